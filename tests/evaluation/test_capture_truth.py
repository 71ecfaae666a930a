"""Capture against truth, on poses, masks, units and clips whose errors are known."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerf_ad.cli.main import main
from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import read_json, write_json, write_npz
from nerf_ad.dataset.dataset import ActionUnits, Dataset
from nerf_ad.dataset.synthetic.film import FilmConfig
from nerf_ad.dataset.synthetic.look import resting_camera
from nerf_ad.dataset.synthetic.truth import Truth, read_truth, truth_files
from nerf_ad.evaluation import capture_benchmark
from nerf_ad.evaluation.capture_benchmark import (
    CaptureBenchmarkConfig,
    benchmark_capture,
    benchmark_capture_events,
    is_filmed,
    place_of,
)
from nerf_ad.evaluation.capture_page import table_text
from nerf_ad.evaluation.capture_plots import PICTURES
from nerf_ad.evaluation.capture_summary import BARS, summarise
from nerf_ad.evaluation.capture_truth import (
    Spread,
    compare_capture,
    compare_labels,
    compare_landmarks,
    compare_poses,
    compare_units,
    eye_distance,
    intersection_over_union,
    reduce_labels,
)
from nerf_ad.face.parsing import PALETTE, Part
from nerf_ad.geometry.camera import Intrinsics, invert_pose, pose_matrix, project
from nerf_ad.geometry.rotations import matrix_from_axis_angle, matrix_from_euler
from nerf_ad.media.images import write_image

OFFSET = matrix_from_axis_angle(np.radians([9.0, -4.0, 2.0]))
SHIFT = np.array([0.004, -0.011, 0.023])


def nodding(num_frames: int = 200) -> np.ndarray:
    """``camera_to_world`` of a head that turns, nods and sways one metre before the camera."""
    time = np.arange(num_frames) / 25
    angles = np.stack([0.2 * np.sin(time), 0.1 * np.sin(1.7 * time), 0.05 * np.cos(0.9 * time)], axis=1)
    place = np.stack([0.03 * np.sin(0.7 * time), 0.02 * np.cos(1.1 * time), -1 + 0.04 * np.sin(time)], axis=1)
    return invert_pose(pose_matrix(matrix_from_euler(angles), place))


def seen_otherwise(
    truth: np.ndarray, noise: np.ndarray, *, size: float = 1.0, depth: float = 1.0
) -> np.ndarray:
    """The same head in other axes, about another point, of another size, through another lens, and turned
    in the camera by ``noise`` (frames 3) radians."""
    real = invert_pose(truth)
    turn = matrix_from_axis_angle(noise) @ real[:, :3, :3] @ OFFSET
    place = (real[:, :3, 3] + real[:, :3, :3] @ SHIFT) * np.array([1, 1, depth]) / size
    return invert_pose(pose_matrix(turn, place))


def test_constant_offset_size_and_lens_are_no_error() -> None:
    truth = nodding()
    captured = seen_otherwise(truth, np.zeros((200, 3)), size=1.2, depth=0.6)
    found = compare_poses(captured, truth, size=1.2)
    for error in (found.degrees, found.jitter_degrees, found.millimetres):
        assert error.max() < 1e-6
    angle = np.degrees(np.arccos((np.trace(OFFSET) - 1) / 2))
    assert found.offset_degrees == pytest.approx(angle)
    assert found.depth_ratio == pytest.approx(0.6 / 1.2)


def test_known_trembling_is_found() -> None:
    truth = nodding()
    noise = np.zeros((200, 3))
    noise[:, 0] = np.radians(0.3) * (-1.0) ** np.arange(200)
    found = compare_poses(seen_otherwise(truth, noise), truth)
    np.testing.assert_allclose(found.degrees, 0.3, atol=0.02)
    np.testing.assert_allclose(found.jitter_degrees, 0.6, atol=1e-4)
    assert found.millimetres.max() < 1e-6


def test_a_shaking_place_is_told_by_direction() -> None:
    truth = nodding()
    real = invert_pose(truth)
    sign = (-1.0) ** np.arange(200)
    real[:, 0, 3] += 0.003 * sign
    found = compare_poses(invert_pose(real), truth)
    np.testing.assert_allclose(found.across_mm, 3, atol=0.1)
    np.testing.assert_allclose(found.along_mm, 0, atol=0.1)
    np.testing.assert_allclose(found.millimetres, 3, atol=0.1)


def test_the_true_turn_is_measured() -> None:
    path = np.tile(resting_camera(), (3, 1, 1))
    path[1:, :3, :3] = matrix_from_axis_angle(np.radians([0.0, 0.5, 0.0]))
    np.testing.assert_allclose(compare_poses(path, path).turned_degrees, [0.5, 0], atol=1e-9)


def test_eyes_of_the_truth_keep_their_distance() -> None:
    path, lens = nodding(5), Intrinsics.centred(900.0, 512, 512)
    eyes = np.zeros((478, 3))
    eyes[33], eyes[263] = (-0.041, 0.02, 0.07), (0.039, 0.02, 0.075)
    seen = project(eyes[None], path[:, None], lens)
    away = np.linalg.norm(path[:, :3, 3], axis=1)[:, None]
    points = np.concatenate([seen.pixels, ((seen.depth - away) * lens.fx / away)[..., None]], axis=-1)
    none = np.zeros((5, 0))
    truth = Truth(
        path,
        lens.array(),
        np.zeros((5, 52)),
        none,
        none > 0,
        (),
        points,
        np.zeros((5, 68, 2)),
        none[:, :0].sum(1),
    )
    assert eye_distance(truth) == pytest.approx(np.hypot(0.080, 0.005), rel=1e-5)


def test_a_constant_landmark_offset_is_no_motion() -> None:
    truth = np.random.default_rng(0).normal(100, 10, (40, 478, 2))
    captured = truth + np.array([3.0, 4.0])
    captured[::2, 7, 0] += 1.0
    plain, moved = compare_landmarks(captured, truth)
    assert Spread.of(plain).median == pytest.approx(5)
    np.testing.assert_allclose(moved[:, 7], 0.5, atol=1e-9)
    assert np.delete(moved, 7, axis=1).max() < 1e-9


def test_masks_by_hand() -> None:
    first, second = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    first[:4, :4] = second[:4, 2:6] = True
    assert intersection_over_union(first, second) == pytest.approx(8 / 24)
    assert intersection_over_union(first, first) == 1
    assert intersection_over_union(~(first | True), ~(first | True)) == 1
    seen, real = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    seen[0], seen[1], seen[2] = Part.HEAD, Part.NECK, Part.TORSO
    real[0], real[1:3] = Part.HEAD, Part.TORSO
    assert compare_labels(seen, real) == {
        "head": 1, "neck": 0, "torso": 0.5, "background": 1, "neck and torso": 1,
    }  # fmt: skip


def test_labels_shrink_by_majority() -> None:
    labels = np.zeros((12, 12), np.uint8)
    labels[2:6, 4:8] = Part.HEAD
    labels[2, 4] = Part.NECK  # one of four
    labels[6:10, 4:7] = Part.TORSO
    small = reduce_labels(labels, (4, 2, 8), 4)
    assert small[:2, :2].tolist() == [[Part.HEAD, Part.HEAD], [Part.HEAD, Part.HEAD]]
    assert small[2:, 0].tolist() == [Part.TORSO, Part.TORSO]
    assert not small[:, 2:].any()


def test_units_by_hand() -> None:
    real = np.stack([np.linspace(0, 0.8, 50), np.full(50, 0.01), np.linspace(0.8, 0, 50)], axis=1)
    said = ActionUnits(
        np.stack([0.5 * real[:, 0], np.linspace(0, 1, 50), real[:, 0]], axis=1),
        np.stack([real[:, 0] >= 0.4, np.ones(50, bool), np.zeros(50, bool)], axis=1),
        ("AU26", "AU14", "AU10"),
        ("a", "b", "c"),
    )
    names = ("AU26", "AU14", "AU10", "AU99")
    rows = {
        row.name: row
        for row in compare_units(said, np.c_[real, real[:, 0]], np.c_[real, real[:, 0]] >= 0.2, names)
    }
    assert set(rows) == {"AU26", "AU14", "AU10"}
    assert (rows["AU26"].moves, rows["AU14"].moves) == (True, False)
    assert rows["AU26"].correlation == pytest.approx(1)
    assert rows["AU10"].correlation == pytest.approx(-1)
    hits, there = (real[:, 0] >= 0.4).sum(), (real[:, 0] >= 0.2).sum()
    assert rows["AU26"].accuracy == pytest.approx(1 - (there - hits) / 50)
    assert rows["AU26"].f1 == pytest.approx(2 * hits / (hits + there))
    assert (rows["AU14"].correlation, rows["AU14"].accuracy, rows["AU14"].f1) == (0, 0, 0)


def write_truth(root: Path, dataset: Dataset, **facts: object) -> None:
    """A truth that says what the dataset says, twice as large."""
    track, tracking, units = dataset.landmarks(), dataset.tracking(), dataset.action_units()
    grown = np.array([2, 2, 2], np.float32)
    write_npz(
        root / "tracking.npz",
        {"camera_to_world": tracking.camera_to_world, "intrinsics": 2 * tracking.intrinsics},
    )
    write_npz(root / "expression.npz", {"units": np.zeros((dataset.num_frames, 52), np.float32)})
    write_npz(
        root / "action_units.npz",
        {"intensity": units.intensity, "presence": units.presence, "names": np.array(units.names)},
    )
    write_npz(
        root / "landmarks.npz",
        {
            "points": track.points * grown,
            "ibug": np.zeros((dataset.num_frames, 68, 2), np.float32),
            "lip_gap": np.zeros(dataset.num_frames, np.float32),
        },
    )
    for frame in range(dataset.num_frames):
        labels = dataset.labels(frame).repeat(2, axis=0).repeat(2, axis=1)
        write_image(root / "parts" / f"{frame:06d}.png", labels, palette=PALETTE)
    write_json(root / "truth.json", {"format": 1, **facts})


@pytest.fixture
def clip(person: Dataset, tmp_path: Path) -> Dataset:
    """The analytic person as if filmed at twice its size."""
    shutil.copytree(person.root, tmp_path / "clip.dataset")
    source = {"width": 2 * person.size, "height": 2 * person.size}
    manifest = person.manifest.model_dump(mode="json", exclude_none=True)
    made = type(person.manifest).from_mapping(
        manifest | {"source": manifest["source"] | source}, source="the test"
    )
    made.save_toml(tmp_path / "clip.dataset" / "dataset.toml")
    return Dataset.open(tmp_path / "clip.dataset")


def test_a_perfect_capture_has_no_errors(clip: Dataset, tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", clip)
    errors = compare_capture(clip, read_truth(tmp_path / "truth"), tmp_path / "truth" / "parts")
    assert errors.pose.degrees.max() < 1e-3
    assert errors.focal_ratio == pytest.approx(1)
    assert errors.landmark_pixels.max() < 1e-3
    assert all(values.min() == 1 for values in errors.masks.values())
    assert all(unit.accuracy == 1 and unit.f1 == 1 for unit in errors.units)
    assert all(unit.correlation == pytest.approx(1) for unit in errors.units if unit.moves)
    assert errors.offset.milliseconds == pytest.approx(errors.true_offset.milliseconds, abs=0.1)


def test_masks_that_differ_in_one_frame_are_told(clip: Dataset, tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", clip)
    empty = np.zeros((2 * clip.size, 2 * clip.size), np.uint8)
    write_image(tmp_path / "truth" / "parts" / "000003.png", empty, palette=PALETTE)
    errors = compare_capture(clip, read_truth(tmp_path / "truth"), tmp_path / "truth" / "parts")
    assert np.flatnonzero(errors.masks["head"] < 1).tolist() == [3]
    assert errors.masks["head"][3] == 0
    assert errors.masks["background"][3] == pytest.approx((clip.labels(3) == 0).mean())


def test_another_clips_truth_is_refused(clip: Dataset, tmp_path: Path) -> None:
    write_truth(tmp_path / "truth", clip)
    truth = read_truth(tmp_path / "truth")
    with pytest.raises(FormatError, match=f"{clip.num_frames} frames, the truth has {clip.num_frames - 1}"):
        compare_capture(clip, truth._replace(points=truth.points[1:]), tmp_path / "truth" / "parts")


def figures(**changes: Any) -> dict[str, Any]:
    """A person's figures, all 1, with changes of top-level groups."""
    one = {"median": 1.0, "p95": 1.0}
    unit = {"moves": True, "correlation": 1.0, "accuracy": 1.0, "f1": 1.0, "source": ""}
    pose = dict.fromkeys(("rotation_degrees", "jitter_degrees", "position_mm", "across_mm", "along_mm"), one)
    plain: dict[str, Any] = {
        "pose": {**pose, "focal_ratio": 1.0},
        "landmarks": {
            name: {"pixels": one, "motion_pixels": one} for name in ("all", "mouth", "eyes", "oval")
        },
        "masks": dict.fromkeys(("head", "neck", "torso", "background", "neck and torso"), 1.0),
        "action_units": dict.fromkeys(("AU10", "AU14", "AU20", "AU25", "AU26", "AU1"), unit),
        "offset": {"milliseconds": 1.0},
    }
    return plain | changes


def test_medians_are_over_people_and_held_against_the_bars() -> None:
    still = {"AU14": {"moves": False, "correlation": 0.0, "accuracy": 0.0, "f1": 0.0, "source": ""}}
    people = {
        0: figures(offset={"milliseconds": -30.0}),
        2: figures(offset={"milliseconds": 10.0}),
        5: figures(offset={"milliseconds": 25.0}, action_units=figures()["action_units"] | still),
    }
    rows = {row.name: row for row in summarise(people)}
    assert [row.bar for row in rows.values()][: len(BARS)] == list(BARS)
    late = rows["audio/video offset, ms"]
    assert (late.values, late.median, late.is_met) == ((-30, 10, 25), 25, False)
    assert rows["AU14, correlation"].values == (1, 1, None)
    assert rows["AU14, correlation"].is_met is True
    assert rows["rotation, degrees"].is_met is True
    assert rows["jitter at rest, degrees"].is_met is False
    assert rows["AU1, correlation"].is_met is None
    text = table_text(list(people), list(rows.values()))
    assert text.splitlines()[0].split() == ["0", "2", "5", "median", "bar", "met"]
    assert len(text.splitlines()) == 1 + len(BARS)


@pytest.fixture
def work(clip: Dataset, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Films and captures without pictures being drawn; says what was done."""
    done: list[str] = []

    def film_events(video: Path, config: FilmConfig, *, truth: Path) -> Iterator[Event]:
        assert not truth.exists()
        done.append(f"film {config.identity} seed {config.seed}")
        write_truth(truth, clip, **config.model_dump(mode="json"))
        for file in truth_files(truth):
            file.touch()  # those that the comparison does not read
        video.write_bytes(b"film")
        yield Progress(stage="drawing", done=1, total=1)

    def capture_events(video: Path, root: Path, **choices: object) -> Iterator[Event]:
        if not root.exists():
            done.append("capture")
            shutil.copytree(clip.root, root)
        yield Progress(stage="landmarks", done=1, total=1)

    monkeypatch.setattr(capture_benchmark, "film_events", film_events)
    monkeypatch.setattr(capture_benchmark, "capture_events", capture_events)
    return done


def test_what_is_finished_is_not_done_again(work: list[str], tmp_path: Path) -> None:
    folder, config = tmp_path / "bench", CaptureBenchmarkConfig(identities=(1, 4), size=96)
    benchmark_capture(folder, config)
    assert work == ["film 1 seed 11", "capture", "film 4 seed 14", "capture"]
    told = read_json(folder / "capture.json")
    assert told["identities"] == [1, 4]
    assert told["people"]["4"]["masks"]["head"] == 1
    page = (folder / "index.html").read_text()
    for name in (*PICTURES, "masks.png"):
        assert name in page
        assert (folder / "identity-4" / name).is_file()
    stages = [
        event.stage for event in benchmark_capture_events(folder, config) if isinstance(event, Progress)
    ]
    assert len(work) == 4
    assert not any("masks" in stage for stage in stages)
    assert read_json(folder / "capture.json") == told


def test_a_half_written_truth_is_made_again(work: list[str], tmp_path: Path) -> None:
    place = place_of(tmp_path / "bench", 0)
    place.truth.mkdir(parents=True)
    (place.truth / "landmarks.npz").write_bytes(b"half")
    benchmark_capture(tmp_path / "bench", CaptureBenchmarkConfig(identities=(0,), size=96))
    assert work[0] == "film 0 seed 10"
    assert read_json(place.truth / "truth.json")["identity"] == 0


def test_another_film_is_refused_and_kept(work: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "bench"
    benchmark_capture(folder, CaptureBenchmarkConfig(identities=(0,), size=96))
    with pytest.raises(FormatError, match="holds another film: its seed is 10, not 7"):
        benchmark_capture(folder, CaptureBenchmarkConfig(identities=(1, 0), size=96, seed=7))
    assert work == ["film 0 seed 10", "capture"]  # and person 1 was not begun
    assert is_filmed(place_of(folder, 0), CaptureBenchmarkConfig().film(0))


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BadInputError, match=r"letter\.txt is a file, not a folder"):
        next(benchmark_capture_events(tmp_path / "letter.txt", CaptureBenchmarkConfig()))


@pytest.mark.parametrize(
    "words",
    [("--identities", "9"), ("--size", "100"), ("--seconds", "2"), ("--seconds", "nan"), ("--seed", "-1")],
)
def test_wrong_choices_are_one_sentence(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "capture", str(tmp_path / "bench"), *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert words[0].removeprefix("--") in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "bench").exists()

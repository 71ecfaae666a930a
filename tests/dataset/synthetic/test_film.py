"""A short film: the truth on disk agrees with itself, with the pictures and with the sound."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nerf_ad.core import weights
from nerf_ad.core.errors import BadInputError, FormatError, UsageError
from nerf_ad.dataset.synthetic.film import FilmConfig, camera_path, film_events, synthesize, torso_path
from nerf_ad.dataset.synthetic.look import resting_camera
from nerf_ad.dataset.synthetic.motion import Motion
from nerf_ad.dataset.synthetic.truth import DEPTH_UNIT, HAIR, Truth, read_truth, steps_of_depth
from nerf_ad.dataset.synthetic.voice import ToneConfig
from nerf_ad.face.parsing import Part
from nerf_ad.geometry.camera import Intrinsics, project
from nerf_ad.media.audio import read_audio
from nerf_ad.media.video import decode, probe

CONFIG = FilmConfig(seconds=1.0, seed=3, identity=1, size=96, voice=ToneConfig())
SURFACE = (1, 4, 9, 50, 280, 152, 199)
"""Nose, forehead, cheeks and chin: always seen from the front."""


def still(num_frames: int) -> Motion:
    return Motion(*(np.zeros((num_frames, size), np.float32) for size in (52, 3, 3, 6)))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    for name in ("head-mesh", "face-units", "head-shapes", "head-masks"):
        if weights.find(name) is None:
            pytest.skip(f"{name} is not in the cache: nerf-ad weights fetch {name}")
    folder = tmp_path_factory.mktemp("film")
    text = folder / "text.txt"
    text.write_text("My mother may pay.")
    return synthesize(folder / "a.mp4", CONFIG, text=text, truth=folder / "truth"), folder / "truth"


@pytest.fixture(scope="module")
def truth(film: tuple[Path, Path]) -> Truth:
    return read_truth(film[1])


@pytest.mark.weights
def test_pictures_sound_and_truth_are_equally_long(film: tuple[Path, Path], truth: Truth) -> None:
    facts = json.loads((film[1] / "truth.json").read_text())
    frames = len(list(decode(film[0], 25)))
    assert frames == len(truth.units) == facts["frames"] == len(list((film[1] / "parts").iterdir()))
    assert read_audio(film[0]).seconds == pytest.approx(frames / 25, abs=1024 / 24_000)  # AAC ends on a block
    assert facts["phonemes"][-1]["end_seconds"] == pytest.approx(frames / 25)
    assert probe(film[0]).width == 96


@pytest.mark.weights
def test_landmarks_lie_on_the_surface_that_is_seen(film: tuple[Path, Path], truth: Truth) -> None:
    for index in (0, len(truth.units) // 2):
        depth = np.asarray(Image.open(film[1] / "depth" / f"{index:06d}.png")).astype(float) * DEPTH_UNIT
        parts = np.asarray(Image.open(film[1] / "parts" / f"{index:06d}.png"))
        origin = float(
            project(
                np.zeros((1, 3)),
                truth.camera_to_world[index].astype(float),
                Intrinsics.from_array(truth.intrinsics),
            ).depth[0]
        )
        points = truth.points[index, list(SURFACE)].astype(float)
        column, row = np.floor(points[:, :2]).astype(int).T
        told = origin + points[:, 2] * origin / truth.intrinsics[0]
        np.testing.assert_allclose(depth[row, column], told, atol=0.006)
        assert (parts[row, column] == Part.HEAD).all()
        assert (parts == HAIR).any()
        assert {Part.BACKGROUND, Part.NECK, Part.TORSO} <= set(np.unique(parts).tolist())
        assert ((depth == 0) == (parts == Part.BACKGROUND)).mean() > 0.98


@pytest.mark.weights
def test_lips_meet_where_they_must(film: tuple[Path, Path], truth: Truth) -> None:
    facts = json.loads((film[1] / "truth.json").read_text())
    closed = [p for p in facts["phonemes"] if p["symbol"] in "pbm"]
    assert len(closed) >= 4
    for phoneme in closed:
        first, last = int(phoneme["start_seconds"] * 25), int(phoneme["end_seconds"] * 25) + 1
        assert truth.lip_gap[max(first - 1, 0) : last + 2].min() < 0.001
    assert truth.lip_gap.max() > 0.004


@pytest.mark.weights
@pytest.mark.slow
def test_the_same_choices_give_the_same_bytes(film: tuple[Path, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("My mother may pay.")
    synthesize(tmp_path / "b.mp4", CONFIG, text=text, truth=tmp_path / "truth")
    digests = []
    for root in (film[1], tmp_path / "truth"):
        files = sorted(path for path in root.rglob("*") if path.is_file())
        digests.append([(p.relative_to(root), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert digests[0] == digests[1]


def test_a_head_at_rest_is_seen_from_the_resting_camera() -> None:
    np.testing.assert_allclose(camera_path(still(2)), np.tile(resting_camera(), (2, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(torso_path(still(1))[0], np.eye(4), atol=1e-12)


def test_turning_left_moves_the_nose_to_the_viewers_right() -> None:
    motion = still(1)
    motion.angles[0, 0] = np.radians(10)
    nose = np.array([[0.0, 0.0, 0.1]])
    camera = Intrinsics.centred(240.0, 100, 100)
    moved = project(nose, camera_path(motion)[0], camera).pixels[0]
    assert moved[0] > project(nose, resting_camera(), camera).pixels[0, 0] + 2


def test_a_bend_of_the_torso_leaves_the_base_of_the_neck_where_it_is() -> None:
    motion = still(1)
    motion.torso[0, :3] = (0.03, -0.02, 0.01)
    neck = np.array([0.0, -0.15, -0.02, 1.0])
    np.testing.assert_allclose(torso_path(motion)[0] @ neck, neck, atol=1e-9)


def test_depth_in_steps() -> None:
    steps = steps_of_depth(np.array([[1.0, np.inf, 0.12344]]))
    assert steps.tolist() == [[10000, 0, 1234]]


def test_what_cannot_be_used_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(BadInputError, match="not empty"):
        list(film_events(tmp_path / "a.mp4", CONFIG, truth=tmp_path / "full"))
    with pytest.raises(UsageError, match=r"\.mp4"):
        list(film_events(tmp_path / "a.avi", CONFIG))
    with pytest.raises(FormatError, match="no truth"):
        read_truth(tmp_path)
    assert not (tmp_path / "a.mp4").exists()


def test_names_that_cannot_serve_are_refused_before_work(tmp_path: Path) -> None:
    there = tmp_path / "there.mp4"
    there.write_bytes(b"mine")
    cases = [
        (there, None, "is there already"),
        (tmp_path / "truth" / "a.mp4", tmp_path / "truth", "would lie in the truth's folder"),
        (tmp_path / "a.mp4", there, "is a file, not a folder"),
    ]
    for video, truth_folder, said in cases:
        with pytest.raises(BadInputError, match=said):
            next(film_events(video, CONFIG, truth=truth_folder))
    assert there.read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["there.mp4"]


def test_an_interrupted_film_leaves_no_half_truth(tmp_path: Path) -> None:
    events = film_events(tmp_path / "a.mp4", CONFIG, truth=tmp_path / "truth")
    next(events)
    assert (tmp_path / "truth").is_dir()
    events.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.weights
def test_a_damaged_truth_is_one_sentence(film: tuple[Path, Path], tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "truth"
    shutil.copytree(film[1], copy)
    np.savez(copy / "landmarks.npz", other=np.zeros(1))
    with pytest.raises(FormatError, match="has no array 'points'"):
        read_truth(copy)
    (copy / "tracking.npz").unlink()
    with pytest.raises(FormatError, match="is missing"):
        read_truth(copy)

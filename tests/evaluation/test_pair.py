"""Two videos against each other, on films whose faces a told detector reads off a grey block."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.test_face_figures import Told

from nerf_ad.cli.main import main
from nerf_ad.core.errors import MediaError, UsageError, WeightsError
from nerf_ad.evaluation import rows, sound
from nerf_ad.evaluation.pair import Clip, Pair, evaluate_pair, refuse_folder, refuse_lengths, still_frame
from nerf_ad.evaluation.rows import spans
from nerf_ad.face.landmarks import NUM_POINTS, FaceLandmarks
from nerf_ad.media.audio import Waveform
from nerf_ad.media.cadence import Cadence
from nerf_ad.media.video import VideoWriter, probe

SIDE = 64
SECONDS = 5
GAPS = 6 + 5 * np.sin(np.arange(60 * SECONDS) / 3)
"""Lip gap of frame k at 60 frames a second at most."""
_BLOCK = slice(40, 56)


class Grey(Told):
    """The block's level is ten times the lip gap; a dark one is no face."""

    id = "grey"

    def detect(self, frame: np.ndarray, *, index: int = 0) -> list[FaceLandmarks]:
        gap = float(frame[_BLOCK, _BLOCK].mean()) / 10
        if gap < 0.5:
            return []
        points = np.random.default_rng(0).random((NUM_POINTS, 3), np.float32) * [20, 6, 3] + [22, 44, 0]
        points[[33, 263], :2] = (18, 24), (46, 24)
        points[[13, 14], :2] = (32, 48 - gap / 2), (32, 48 + gap / 2)
        return [
            FaceLandmarks(points.astype(np.float32), np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
        ]


def film(
    path: Path, *, fps: int = 25, late: int = 0, seconds: float = SECONDS, face: bool = True, side: int = SIDE
) -> Path:
    sound = Waveform(np.sin(np.arange(int(16_000 * seconds)) / 9).astype(np.float32), 16_000)
    with VideoWriter(path, (side, SIDE), fps=fps, audio=sound, crf=4) as writer:
        for index in range(round(fps * seconds)):
            picture = np.full((SIDE, side, 3), 60, np.uint8)
            picture[:8, :8] = index % 200
            picture[_BLOCK, _BLOCK] = 10 * GAPS[max(index - late, 0)] if face else 0
            writer.write(picture)
    return path


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise WeightsError("they are not here")

    monkeypatch.setattr(rows, "build_landmark_detector", Grey)
    monkeypatch.setattr(rows, "build_lpips", missing)
    monkeypatch.setattr(rows, "Identity", missing)
    monkeypatch.setattr(sound, "build_speech_encoder", missing)


def test_late_lips_are_found_and_the_rows_say_what_that_is_worth(tmp_path: Path) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4", late=3)
    events: list = []
    told = evaluate_pair(made, real, tmp_path / "out", every=5, html=True, on_event=events.append)
    assert told["frames"] == [0, 125]
    assert told["frames_used"] == {"pictures": "0-120 by 5", "faces": "0-124"}
    assert told["fps"] == 25
    assert told["size"] == [SIDE, SIDE]
    assert told["lip_gap_best_lag_frames"] == 3
    assert told["psnr"] < 100  # type: ignore[operator]
    assert {"psnr_head", "psnr_mouth", "psnr_eyes", "ssim", "flicker", "jitter"} <= set(told)
    assert told["instruments"]["landmarks"] == "grey"  # type: ignore[index]
    others = told["rows"]
    assert isinstance(others, dict)
    assert others["ground_truth"]["psnr"] == 100
    assert others["ground_truth"]["mouth_lmd_68_px"] == others["ground_truth"]["au_error"] == 0
    assert others["static"]["lip_gap_correlation"] == 0
    assert others["shifted"]["lip_gap_best_lag_frames"] in {10, 13 - round(6 * np.pi)}
    low, high = told["intervals"]["lmd_68_px"]  # type: ignore[index]
    assert low < told["lmd_68_px"] < high
    assert sum("not measured" in getattr(event, "message", "") for event in events) == 3
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    for name in set(re.findall(r'src="([^"]+)"', page)):
        assert (tmp_path / "out" / name).stat().st_size > 100
    shown = probe(tmp_path / "out" / "side_by_side.mp4")
    assert (shown.width, shown.height, shown.has_audio) == (2 * SIDE, SIDE, True)
    assert shown.seconds == pytest.approx(SECONDS, abs=0.1)


def test_rates_and_sizes_are_brought_together(tmp_path: Path) -> None:
    """50 frames a second against 25: every second made frame is compared, at its own time."""
    real = film(tmp_path / "real.mp4", fps=25)
    with VideoWriter(tmp_path / "made.mp4", (2 * SIDE, 2 * SIDE), fps=50, crf=4) as writer:
        for index in range(50 * SECONDS):
            picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
            picture[_BLOCK, _BLOCK] = 10 * GAPS[index // 2]
            writer.write(picture.repeat(2, axis=0).repeat(2, axis=1))
    told = evaluate_pair(tmp_path / "made.mp4", real, tmp_path / "out", every=25)
    assert told["fps"] == 25
    assert told["size"] == [SIDE, SIDE]
    assert told["lip_gap_correlation"] > 0.99  # type: ignore[operator]
    assert told["lip_gap_best_lag_frames"] == 0
    assert not (tmp_path / "out" / "index.html").exists()


def test_padding_copies_do_not_count_as_rate(tmp_path: Path) -> None:
    info = probe(film(tmp_path / "a.mp4", fps=30, seconds=1))
    assert Clip(tmp_path / "a.mp4", info, Cadence(6, 2)).rate == pytest.approx(25)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seconds": 4}, "differ by more than 5%"),
        ({"face": False}, "shows a face in 0 of 125 frames"),
        ({"side": 2 * SIDE}, "different shapes"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, change: dict, sentence: str) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4", **change)
    with pytest.raises(MediaError, match=sentence) as refusal:
        evaluate_pair(made, real, tmp_path / "out")
    assert refusal.value.hint
    assert not (tmp_path / "out").exists()


def test_a_few_frames_more_are_left_over(tmp_path: Path) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4", seconds=SECONDS - 0.2)
    told = evaluate_pair(made, real, tmp_path / "out", every=50)
    assert told["frames"] == [0, 120]
    assert told["frames_left_over"] == {"generated": 0, "reference": 5}


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4")
    words = ["--video", str(made), "--reference", str(real), "--out", str(tmp_path / "out"), "--every", "60"]
    assert main(["evaluate", *words]) == 0
    text = capsys.readouterr().out
    assert text.startswith("figure ")
    assert "ground truth" in text.splitlines()[0]
    assert main(["evaluate", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "metrics.json").read_text())
    for wrong in ([], ["a.avatar"], ["--video", str(made)], ["a", "b", "--video", "c", "--reference", "d"]):
        assert main(["evaluate", *wrong]) == 2
        assert "needs an avatar and its data set, or two videos" in capsys.readouterr().err
    assert main(["evaluate", "--video", str(made), "--reference", str(tmp_path / "no.mp4")]) == 2
    assert "error: " in capsys.readouterr().err
    with pytest.raises(UsageError, match="--every"):
        evaluate_pair(made, real, tmp_path / "out", every=0)


def test_the_still_frame_has_closed_lips_where_the_head_usually_is() -> None:
    faces = {}
    for index in range(20):
        points = np.zeros((NUM_POINTS, 3), np.float32)
        points[[33, 263], 0] = -50, 50
        points[14, 1] = 20 if index % 4 else 1
        points[:, :2] += 30 if index in {0, 4} else 0
        faces[index] = FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
    assert still_frame(faces) in {8, 12, 16}
    assert still_frame({}) == 0


def test_without_a_detector_pictures_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise WeightsError("it is not here")

    monkeypatch.setattr(rows, "build_landmark_detector", missing)
    real = film(tmp_path / "real.mp4")
    told = evaluate_pair(film(tmp_path / "made.mp4", face=False), real, tmp_path / "out", every=50)
    assert "psnr" in told
    assert not {"psnr_mouth", "lmd_68_px"} & set(told)


def test_spans_of_frames() -> None:
    assert spans([0, 4, 8, 9, 10, 20]) == "0-8 by 4, 9-10, 20"
    assert spans([]) == ""
    assert spans([7]) == "7"


def test_results_are_never_put_over_an_avatar_or_a_file(tmp_path: Path) -> None:
    for name in ("avatar.toml", "dataset.toml"):
        folder = tmp_path / name.removesuffix(".toml")
        folder.mkdir()
        (folder / name).write_text("")
        with pytest.raises(UsageError, match="own figures would be lost"):
            refuse_folder(folder)
    file = tmp_path / "picture.png"
    file.write_text("")
    for place in (file, file / "below"):
        with pytest.raises(UsageError, match="not a folder"):
            refuse_folder(place)
    refuse_folder(tmp_path / "new" / "folder")


def test_a_file_that_does_not_tell_its_length_is_not_judged_by_it(tmp_path: Path) -> None:
    clips = [Clip(tmp_path / name, None, None) for name in ("made.mkv", "real.mp4")]  # type: ignore[arg-type]
    refuse_lengths(Pair(*clips), 0.0, 3.2)
    with pytest.raises(MediaError, match="differ by more"):
        refuse_lengths(Pair(*clips), 2.0, 3.2)

"""Each fault of a clip is named, with its frame where it has one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from nerf_ad.capture.check import Look, check_video, file_complaints, look_complaints, sharpness
from nerf_ad.core.events import Event
from nerf_ad.face.landmarks import FaceLandmarks, LandmarkDetector
from nerf_ad.media.audio import Waveform
from nerf_ad.media.video import VideoInfo, VideoWriter

GOOD = VideoInfo(
    width=512,
    height=512,
    fps=25,
    num_frames=1500,
    seconds=60,
    video_start=0,
    rotation=0,
    codec="h264",
    has_audio=True,
)


class DrawnDetector(LandmarkDetector):
    """Finds the bright squares of the clip below: each is a face."""

    @property
    def id(self) -> str:
        return "drawn"

    def detect(self, frame: np.ndarray, *, index: int = 0) -> list[FaceLandmarks]:
        faces = []
        for half in (slice(None, frame.shape[1] // 2), slice(frame.shape[1] // 2, None)):
            rows, columns = np.nonzero(frame[:, half].mean(axis=-1) > 180)
            if len(rows) < 50:
                continue
            points = np.zeros((478, 3), np.float32)
            low = np.array([columns.min() + (half.start or 0), rows.min()])
            high = np.array([columns.max() + 1 + (half.start or 0), rows.max() + 1])
            points[:, :2] = (low + high) / 2
            points[10, :2], points[152, :2] = (low[0], low[1]), (high[0], high[1])
            points[33, 0], points[263, 0] = low[0], high[0]
            points[14, 1] += 1 + index % 5
            faces.append(FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32)))
        return faces

    def close(self) -> None:
        pass

    def __enter__(self) -> "DrawnDetector":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def write_clip(path: Path, *, faces: int, seconds: int = 6, sound: float = 0.2) -> Path:
    rng = np.random.default_rng(0)
    gate = np.abs(np.sin(np.arange(16_000 * seconds) / 4000)) > 0.5
    samples = (sound * rng.standard_normal(len(gate)) * gate).astype(np.float32)
    with VideoWriter(path, (96, 96), audio=Waveform(samples, 16_000), preset="ultrafast") as writer:
        for _ in range(25 * seconds):
            frame = np.full((96, 96, 3), 40, np.uint8)
            for left in (8, 56)[:faces]:
                frame[30:70, left : left + 32] = 230
            writer.write(frame)
    return path


def test_a_good_file_has_no_faults() -> None:
    assert file_complaints(GOOD) == []


@pytest.mark.parametrize(
    ("update", "severity", "words"),
    [
        ({"seconds": 2.0}, "refusal", "only 2.0 seconds"),
        ({"seconds": 12.0}, "warning", "12 seconds long"),
        ({"has_audio": False}, "refusal", "no audio track"),
        ({"fps": 12.0}, "warning", "12 frames per second"),
        ({"fps": 29.97}, "note", "29.97 frames per second become 25"),
        ({"width": 200}, "warning", "200x512"),
    ],
)
def test_faults_of_files(update: dict[str, object], severity: str, words: str) -> None:
    (complaint,) = file_complaints(GOOD.model_copy(update=update))
    assert complaint.severity == severity
    assert words in complaint.fault


def test_one_face_is_fit(tmp_path: Path) -> None:
    events: list[Event] = []
    found = check_video(write_clip(tmp_path / "a.mp4", faces=1), DrawnDetector(), on_event=events.append)
    assert all(complaint.severity != "refusal" for complaint in found)
    assert any("face is only" in complaint.fault for complaint in found)  # 40 pixels
    assert events


@pytest.mark.parametrize(("faces", "words"), [(0, "no face"), (2, "two faces")])
def test_nobody_and_two_people_are_refused(faces: int, words: str, tmp_path: Path) -> None:
    found = check_video(write_clip(tmp_path / "a.mp4", faces=faces), DrawnDetector())
    assert found[0].severity == "refusal"
    assert words in found[0].fault


def test_silence_is_refused_and_faces_need_a_detector(tmp_path: Path) -> None:
    found = check_video(write_clip(tmp_path / "a.mp4", faces=1, sound=0.0))
    assert (found[0].severity, found[0].fault) == ("refusal", "the sound is silent")
    assert any("faces were not looked at" in complaint.fault for complaint in found)


def test_faults_of_frames() -> None:
    frames = 100
    opening = np.where(np.arange(frames) % 2, 0.1, 0.0)
    look = Look(opening, np.zeros(frames), np.full(frames, 0.05), np.ones(frames), np.full(frames, 0.5), (0,))
    assert look_complaints(look) == []
    opening[20:24] = np.nan
    yaw = np.zeros(frames)
    yaw[50:60] = -60
    people = np.ones(frames)
    people[81] = 2
    bad = Look(opening, yaw, np.full(frames, 0.01), people, np.full(frames, 0.05), (0, 40))
    found = {(c.frame, c.last_frame, c.fault) for c in look_complaints(bad)}
    assert found == {
        (40, None, "the clip is cut here"),
        (20, 23, "no face"),
        (50, 59, "the face is turned far away"),
        (81, None, "two faces"),
        (None, None, "the face is blurred (sharpness 0.01)"),
        (None, None, "the top of the head is cut off in 100 % of the frames"),
    }
    still = look._replace(opening=np.full(frames, 0.01))
    assert [c.fault for c in look_complaints(still)] == ["the mouth hardly moves"]


def test_blur_lowers_sharpness(rng: np.random.Generator) -> None:
    image = Image.fromarray(
        np.kron(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), np.ones((5, 5, 1), np.uint8))
    )
    points = np.array([[20.0, 20.0], [180.0, 180.0]])
    values = [
        sharpness(np.asarray(image.filter(ImageFilter.GaussianBlur(radius))), points) for radius in (0, 2, 4)
    ]
    assert values[0] > 1.5 * values[1] > 2 * values[2]

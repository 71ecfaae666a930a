"""Frames are written once, at the right size, and what the file lacks is said."""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.capture.audio import extract_audio
from nerf_ad.capture.frames import FramesResult, extract_frames
from nerf_ad.core.errors import MediaError
from nerf_ad.core.events import Event, Progress
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.images import read_image
from nerf_ad.media.video import Crop, VideoWriter, probe


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "a.mp4"
    rng = np.random.default_rng(0)
    sound = Waveform((0.1 * rng.standard_normal(44_100)).astype(np.float32), 44_100)
    picture = np.kron(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    with VideoWriter(path, (96, 64), fps=30, audio=sound, crf=4) as writer:
        for index in range(60):
            noise = rng.integers(0, 20, picture.shape, dtype=np.uint8)
            writer.write(np.roll(picture, index // 20 * 24, axis=1) // 2 + noise)
    return path


def run(work: Generator[Event, None, FramesResult]) -> tuple[list[Event], FramesResult]:
    events: list[Event] = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as stop:
            return events, stop.value


def test_frames_cuts_and_warning(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    events, result = run(extract_frames(clip, probe(clip), folder, size=80, crop=None))
    assert result.num_frames == len(list(folder.iterdir())) == 50
    assert read_image(folder / "000049.png").shape == (80, 80, 3)
    assert result.shots == (0, 17, 33)  # changes at 20/30 s and 40/30 s
    assert [complaint.fault for complaint in result.complaints] == [
        "enlarged from 64 to 80 pixels, which adds no detail"
    ]
    assert events[-1] == Progress(stage="frames", done=50, total=50)


def test_what_is_there_stays(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "000003.png").write_bytes(b"mine")
    _, result = run(extract_frames(clip, probe(clip), folder, size=32, crop=Crop(10, 0, 60)))
    assert (folder / "000003.png").read_bytes() == b"mine"
    assert result.num_frames == 50
    assert result.complaints == []


def test_sound_is_as_long_as_the_frames(clip: Path, tmp_path: Path) -> None:
    complaints = extract_audio(clip, probe(clip), num_frames=50, fps=25, target=tmp_path / "audio.wav")
    waveform = read_audio(tmp_path / "audio.wav")
    assert len(waveform.samples) == 50 * 640
    assert "the sound ends 1.0 s before the picture" in [complaint.fault for complaint in complaints]


def test_a_file_that_ends_early_is_refused(clip: Path, tmp_path: Path) -> None:
    info = probe(clip).model_copy(update={"num_frames": 90})
    with pytest.raises(MediaError, match="60 of its 90 frames"):
        run(extract_frames(clip, info, tmp_path / "frames", size=32, crop=None))

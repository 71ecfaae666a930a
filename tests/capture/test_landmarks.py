"""Following one face among several, gaps, and what is said about them."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from nerf_ad.capture.landmarks import Follower, fill_gaps, track_landmarks
from nerf_ad.core.errors import MediaError
from nerf_ad.face.landmarks import FaceLandmarks


def face(x: float, size: float = 40.0) -> FaceLandmarks:
    cloud = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)) * size + (x, 50, 0)
    return FaceLandmarks(
        cloud.astype(np.float32), np.full(52, x / 200, np.float32), np.eye(4, dtype=np.float32)
    )


class Script:
    """A detector that reads its faces from a list."""

    id = "script"
    closed = 0

    def __init__(self, frames: list[list[FaceLandmarks]]) -> None:
        self.frames = frames

    def detect(self, frame: np.ndarray, *, index: int = 0) -> list[FaceLandmarks]:
        return self.frames[index]

    def close(self) -> None:
        Script.closed += 1

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def track(frames: list[list[FaceLandmarks]], num_workers: int = 2) -> tuple[Any, list[str]]:
    work: Generator[Any, None, Any] = track_landmarks(
        len(frames), lambda _: np.zeros((4, 4, 3), np.uint8), lambda: Script(frames), num_workers=num_workers
    )
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result, complaints = stop.value
            return result, [str(complaint) for complaint in complaints]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_gap_is_interpolated_and_said(num_workers: int) -> None:
    result, complaints = track([[face(10)], [face(20)], [], [face(40)]], num_workers)
    centres = result.points[:, :, 0].mean(axis=1)
    assert np.allclose(np.diff(centres), 10, atol=1e-3)
    assert result.confidence.tolist() == [1, 1, 0, 1]
    assert np.allclose(result.blendshapes[2], 30 / 200)
    assert [text for text in complaints if text.startswith("frame 2: no face")]


def test_stays_with_the_first_face_though_another_grows() -> None:
    frames = [[face(50, 60), face(150, 40)], [face(150, 70), face(52, 60)], [face(54, 60), face(150, 50)]]
    result, complaints = track(frames)
    assert result.points[:, :, 0].max() < 100
    assert [text for text in complaints if "frames 0 to 2: two faces" in text]


def test_small_face_in_the_background_is_no_complaint() -> None:
    assert track([[face(50, 60), face(150, 8)]] * 3)[1] == []


def test_mostly_nobody_is_refused_and_detectors_are_closed() -> None:
    Script.closed = 0
    with pytest.raises(MediaError, match="no face in 3 of 4 frames"):
        track([[], [], [face(9)], []])
    assert Script.closed >= 1


def test_largest_face_is_taken_first() -> None:
    assert Follower().choose([face(1, 50), face(2, 20)]) is not None
    assert Follower().choose([]) is None


def test_ends_repeat_the_nearest() -> None:
    values = np.array([9.0, 1.0, 9.0, 3.0, 9.0])
    filled = fill_gaps(values, np.array([False, True, False, True, False]))
    assert filled.tolist() == [1, 1, 2, 3, 3]

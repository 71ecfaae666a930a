"""The evaluator's bookkeeping, on faces whose lips are known."""

import numpy as np
import pytest

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import MOUTH
from nerf_ad.evaluation.held_out import LipMeter, PictureMeter, Sheet, lip_gap
from nerf_ad.face.landmarks import FaceLandmarks


class Told:
    """A detector that is told what to find: the picture's first pixel is the lip gap; 0 means no face."""

    id = "told"

    def detect(self, frame: np.ndarray, *, index: int = 0) -> list[FaceLandmarks]:
        gap, shift = float(frame[0, 0, 0]), float(frame[0, 0, 1])
        if gap == 0:
            return []
        points = np.zeros((478, 3), np.float32)
        points[33, 0], points[263, 0] = -50, 50
        points[13, 1], points[14, 1] = -gap / 2, gap / 2
        points[list(MOUTH), 0] += shift
        return [FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))]

    def close(self) -> None:
        pass

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, *reason: object) -> None:
        pass


def picture(gap: float, shift: float = 0.0) -> np.ndarray:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[0, 0] = (gap, shift, 0)
    return frame


def test_lips_that_are_late_are_found_late() -> None:
    meter = LipMeter(Told())
    gaps = np.random.default_rng(0).integers(1, 90, 60)
    for index in range(2, 60):
        meter.add(picture(gaps[index]), picture(gaps[index - 2], shift=3))
    meter.add(picture(0), picture(5))
    figures = meter.figures()
    assert figures["lip_gap_best_lag_frames"] == 2
    assert figures["lip_gap_best_correlation"] == pytest.approx(1.0)
    assert figures["frames_without_face"] == 1
    # The shift of the whole mouth does not count, and each inner lip is off by half the difference.
    off = np.abs(gaps[2:] - gaps[:-2]) / 2
    assert figures["mouth_lmd_mp_px"] == pytest.approx(float((2 * off / len(MOUTH)).mean()), rel=1e-3)


def test_the_gap_is_over_the_eyes_distance() -> None:
    assert lip_gap(Told().detect(picture(20))[0].points[None, :, :2].astype(np.float64)) == pytest.approx(0.2)


def test_psnr_is_by_region(person: Dataset) -> None:
    meter = PictureMeter(person, person.size)
    real = person.frame(3)
    made = real.copy()
    left, top, right, bottom = meter.boxes[3]
    made[top:bottom, left:right] = np.clip(made[top:bottom, left:right].astype(int) + 10, 0, 255)
    meter.add(3, real, made)
    figures = meter.figures()
    assert figures["psnr_mouth"] == pytest.approx(20 * np.log10(255 / 10), abs=0.05)
    share = (bottom - top) * (right - left) / person.size**2
    assert figures["psnr"] == pytest.approx(figures["psnr_mouth"] - 10 * np.log10(share), abs=0.05)


def test_the_sheet_shows_frames_spread_over_the_tail() -> None:
    sheet = Sheet(range(10, 50), columns=4)
    for index in range(10, 50):
        sheet.add(index, np.full((2, 2, 3), index, np.uint8), np.zeros((2, 2, 3), np.uint8))
    assert sheet.picture().shape == (4, 8, 3)
    assert sheet.picture()[2, ::2, 0].tolist() == [10, 23, 36, 49]

"""Regions of pictures, on errors whose place is known."""

import numpy as np
import pytest

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.evaluation.picture_figures import FAULTLESS, PictureMeter
from nerf_ad.evaluation.regions import DatasetRegions
from nerf_ad.metrics.perceptual import Lpips


class Mean(Lpips):
    """Says the mean difference, so that the region is seen."""

    def __init__(self) -> None:
        pass

    def distance(self, made: np.ndarray, real: np.ndarray) -> float:
        return float(np.abs(made.astype(float) - real.astype(float)).mean())


@pytest.mark.parametrize("region", ["mouth", "eyes"])
def test_an_error_counts_in_its_region(person: Dataset, region: str) -> None:
    meter = PictureMeter(DatasetRegions(person, person.size))
    real = person.frame(3)
    made = real.copy()
    left, top, right, bottom = meter.regions.boxes(3)[region]
    made[top:bottom, left:right] = np.clip(made[top:bottom, left:right].astype(int) + 10, 0, 255)
    meter.add(3, real, made)
    figures = meter.figures()
    assert figures[f"psnr_{region}"] == pytest.approx(20 * np.log10(255 / 10), abs=0.05)
    share = (bottom - top) * (right - left) / person.size**2
    assert figures["psnr"] == pytest.approx(figures[f"psnr_{region}"] - 10 * np.log10(share), abs=0.05)
    assert figures[f"ssim_{region}"] < figures["ssim"] < 1
    assert "ms_ssim" not in figures  # 96 pixels are too few for five scales
    assert "lpips" not in figures


def test_eyes_are_above_the_mouth_within_the_face(person: Dataset) -> None:
    regions = DatasetRegions(person, person.size)
    for index in range(person.num_frames):
        eyes, mouth, face = (regions.boxes(index)[name] for name in ("eyes", "mouth", "face"))
        assert eyes[3] <= mouth[1] + 2
        assert (face[:2] <= np.minimum(eyes[:2], mouth[:2]) + 3).all()
        assert (face[2:] >= np.maximum(eyes[2:], mouth[2:]) - 3).all()


def test_lpips_sees_the_whole_and_the_face(person: Dataset) -> None:
    meter = PictureMeter(DatasetRegions(person, person.size), lpips=Mean())
    real = person.frame(0)
    made = real.copy()
    left, top, right, bottom = meter.regions.boxes(0)["face"]
    made[top:bottom, left:right] ^= 1
    meter.add(0, real, made)
    share = (bottom - top) * (right - left) / person.size**2
    assert min(bottom - top, right - left) >= 32
    assert meter.figures()["lpips_face"] == 1
    assert meter.figures()["lpips"] == pytest.approx(share, abs=1e-4)


def test_equal_pictures_have_finite_figures(person: Dataset) -> None:
    meter = PictureMeter(DatasetRegions(person, person.size))
    meter.add(0, person.frame(0), person.frame(0))
    figures = meter.figures()
    assert {figures[name] for name in figures if name.startswith("psnr")} == {FAULTLESS}
    assert {figures[name] for name in figures if name.startswith("ssim")} == {1.0}

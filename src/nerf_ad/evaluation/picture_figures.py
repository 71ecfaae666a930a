"""Figures of pictures, by region (`regions`): PSNR, SSIM, MS-SSIM, LPIPS; and flicker where nothing moves."""

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.evaluation.regions import Mask, Regions
from nerf_ad.evaluation.series import SeriesBook
from nerf_ad.metrics.flicker import FlickerMeter
from nerf_ad.metrics.image import psnr
from nerf_ad.metrics.perceptual import SMALLEST, Lpips
from nerf_ad.metrics.structure import WINDOW, ms_ssim, ssim_map, ssim_within

FAULTLESS = 100.0
"""dB that a region without any error counts, whose PSNR is infinite (ours)."""

Picture = UInt8[np.ndarray, "height width 3"]


class PictureMeter:
    """Figures frame by frame."""

    def __init__(self, regions: Regions, *, lpips: Lpips | None = None) -> None:
        """Prepare.

        Args:
            regions: of the recording.
            lpips: measures LPIPS; left out where absent.
        """
        self.regions, self.lpips = regions, lpips
        self.series = SeriesBook()
        self._flicker = FlickerMeter()

    def add(self, index: int, real: Picture, made: Picture) -> None:
        """Compare a picture with frame ``index`` of the recording."""
        masks = {name: where for name, where in self.regions.masks(index).items() if where.any()}
        self._keep(index, "psnr", psnr(made, real))
        for name, where in masks.items():
            self._keep(index, f"psnr_{name}", psnr(made, real, where))
        if min(real.shape[:2]) >= WINDOW:
            self._measure_structure(index, real, made, masks)
        boxes = self.regions.boxes(index)
        if "head" in boxes:
            left, top, right, bottom = boxes["head"]
            self._keep(
                index, "ms_ssim_head", ms_ssim(made[top:bottom, left:right], real[top:bottom, left:right])
            )
        if self.lpips is not None:
            self._measure_lpips(self.lpips, index, real, made)

    def add_flicker(self, index: int, real: Picture, made: Picture) -> None:
        """Measure flicker; wants every frame in order, also those whose pictures are not compared."""
        found = self._flicker.add(index, real, made)
        if found is not None:
            self.series.add(index - 1, "flicker", found.excess)
            self.series.add(index - 1, "flicker_made", found.made)
            self.series.add(index - 1, "flicker_real", found.real)

    def figures(self) -> dict[str, float]:
        """The mean over frames of each frame's figure; a region that was never there is left out."""
        return self.series.means()

    def _measure_structure(self, index: int, real: Picture, made: Picture, masks: dict[str, Mask]) -> None:
        similarity: Float[np.ndarray, "inner_height inner_width"] = ssim_map(made, real)
        self._keep(index, "ssim", float(similarity.mean()))
        for name, where in masks.items():
            self._keep(index, f"ssim_{name}", ssim_within(similarity, where))
        self._keep(index, "ms_ssim", ms_ssim(made, real))

    def _measure_lpips(self, lpips: Lpips, index: int, real: Picture, made: Picture) -> None:
        height, width = real.shape[:2]
        whole = {"lpips": (0, 0, width, height)}
        boxes = {f"lpips_{name}": tuple(box.tolist()) for name, box in self.regions.boxes(index).items()}
        for name, (left, top, right, bottom) in (whole | boxes).items():
            if min(right - left, bottom - top) >= SMALLEST:
                self._keep(
                    index,
                    name,
                    lpips.distance(made[top:bottom, left:right], real[top:bottom, left:right]),
                )

    def _keep(self, index: int, name: str, value: float | None) -> None:
        if value is not None:
            self.series.add(index, name, min(value, FAULTLESS))

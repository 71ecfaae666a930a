"""Figures of pictures, by region: PSNR, SSIM, MS-SSIM, LPIPS.

| region | what it is |
|---|---|
| whole | the frame |
| head | the pixels that the recording's parsing calls head |
| mouth, eyes, face | boxes around the recorded landmarks of lips and chin, eyes and brows, whole face |
"""

from collections import defaultdict

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import EYES
from nerf_ad.dataset.pixels import boxes_around, fit_labels, mouth_boxes
from nerf_ad.face.landmarks import FACE_OVAL
from nerf_ad.face.parsing import Part
from nerf_ad.metrics.image import psnr
from nerf_ad.metrics.perceptual import SMALLEST, Lpips
from nerf_ad.metrics.structure import WINDOW, ms_ssim, ssim_map, ssim_within

MARGIN = 0.05
"""By which the boxes of eyes and face are widened, of their longer side; the mouth's is the same (ours)."""
FAULTLESS = 100.0
"""dB that a region without any error counts, whose PSNR is infinite (ours)."""


class PictureMeter:
    """Figures frame by frame, and their means."""

    def __init__(self, dataset: Dataset, size: int, *, lpips: Lpips | None = None) -> None:
        """Prepare.

        Args:
            dataset: whose parsing and landmarks say where the regions are.
            size: width and height of the pictures that are compared.
            lpips: measures LPIPS; left out where absent.
        """
        self.dataset, self.size, self.lpips = dataset, size, lpips
        points = dataset.landmarks().points[:, :, :2] * (size / dataset.size)
        self.boxes = mouth_boxes(points, size)
        self.eyes = boxes_around(points[:, list(EYES)], margin=MARGIN, size=size)
        self.faces = boxes_around(points[:, list(FACE_OVAL)], margin=MARGIN, size=size)
        self.rows: dict[str, list[float]] = defaultdict(list)

    def add(
        self, index: int, real: UInt8[np.ndarray, "size size 3"], made: UInt8[np.ndarray, "size size 3"]
    ) -> None:
        """Compare a picture with frame ``index`` of the recording."""
        regions = {
            "head": fit_labels(self.dataset.labels(index), self.size) == Part.HEAD,
            "mouth": self._inside(self.boxes[index]),
            "eyes": self._inside(self.eyes[index]),
        }
        self._keep("psnr", psnr(made, real))
        for name, where in regions.items():
            if where.any():
                self._keep(f"psnr_{name}", psnr(made, real, where))
        if self.size >= WINDOW:
            self._measure_structure(real, made, regions)
        if self.lpips is not None:
            left, top, right, bottom = self.faces[index]
            for name, pair in (
                ("lpips", (made, real)),
                ("lpips_face", (made[top:bottom, left:right], real[top:bottom, left:right])),
            ):
                if min(pair[0].shape[:2]) >= SMALLEST:
                    self._keep(name, self.lpips.distance(*pair))

    def figures(self) -> dict[str, float]:
        """The mean over frames of each frame's figure; a region that was never there is left out."""
        digits = {name: 3 if name.startswith("psnr") else 4 for name in self.rows}
        return {name: round(float(np.mean(values)), digits[name]) for name, values in self.rows.items()}

    def _measure_structure(
        self,
        real: UInt8[np.ndarray, "size size 3"],
        made: UInt8[np.ndarray, "size size 3"],
        regions: dict[str, Bool[np.ndarray, "size size"]],
    ) -> None:
        similarity: Float[np.ndarray, "inner inner"] = ssim_map(made, real)
        self._keep("ssim", float(similarity.mean()))
        for name, where in regions.items():
            self._keep(f"ssim_{name}", ssim_within(similarity, where))
        self._keep("ms_ssim", ms_ssim(made, real))

    def _keep(self, name: str, value: float | None) -> None:
        if value is not None:
            self.rows[name].append(min(value, FAULTLESS))

    def _inside(self, box: Int[np.ndarray, "4"]) -> Bool[np.ndarray, "size size"]:
        left, top, right, bottom = box
        where = np.zeros((self.size, self.size), bool)
        where[top:bottom, left:right] = True
        return where

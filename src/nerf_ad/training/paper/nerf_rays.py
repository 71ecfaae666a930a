"""Stage 3's truth, rays and references: what is drawn for a step, on the host."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from nerf_ad.dataset.frame_file import FrameFile
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.face import landmarks as lm
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig

ReferenceSource = Callable[[Int[np.ndarray, "views"]], Float[Tensor, "views 3 height width"]]
"""Identity faces of frames, square, in [0, 1]; on the device where training is."""


def face_rects(points: Float[np.ndarray, "frames landmarks 2"], size: int) -> Int[np.ndarray, "frames 4"]:
    """Left, top, right, bottom around each face, in pixels of a picture of ``size``, clipped to it.

    AD-NeRF's rule on 68 points: the middle column is the middle of their extent, the middle row is the top of
    the nose (27); 1.5 times the half width, 1.15 times the height down to the chin (8). Of 478 points these
    are the nasion and the chin; the face's outline gives the extent.
    """
    left, right = points[..., 0].min(axis=1), points[..., 0].max(axis=1)
    row = points[:, lm.NASION, 1]
    wide, high = 1.5 * (right - left) / 2, 1.15 * (points[:, lm.CHIN, 1] - row)
    column = (left + right) / 2
    low = np.floor(np.stack([column - wide, row - high], axis=1))
    end = np.ceil(np.stack([column + wide, row + high], axis=1))
    return np.clip(np.concatenate([low, end], axis=1), 0, size).astype(np.int64)


class NerfBatch(NamedTuple):
    """One step's rays with their truth."""

    frame: int
    """Frame of the clip that all rays are of."""
    pixels: Float[np.ndarray, "rays 2"]
    """Pixel centres (u, v)."""
    rgb: Float[np.ndarray, "rays 3"]
    """The recording, in [0, 1]."""
    behind: Float[np.ndarray, "rays 3"]
    """Torso over background, in [0, 1]."""


class NerfTruth:
    """Recorded frames and what is behind their heads."""

    def __init__(
        self,
        cache: PixelCache,
        backgrounds: Float[np.ndarray, "plates size size 3"],
        background_of: Int[np.ndarray, "frames"],
    ) -> None:
        self.cache = cache
        self.size = cache.size
        self.backgrounds = backgrounds.reshape(len(backgrounds), -1, 3)
        self.background_of = background_of

    def read(self, frame: int, flat: Int[np.ndarray, "rays"]) -> NerfBatch:
        """The truth at pixels of one frame, by their flat numbers."""
        row, column = np.divmod(flat, self.size)
        rgb = self.cache.frames[frame].reshape(-1, 3)[flat].astype(np.float32) / 255
        pixels = np.stack([column, row], axis=-1).astype(np.float32) + 0.5
        return NerfBatch(frame, pixels, rgb, self.behind(frame, flat))

    def behind(self, frame: int, flat: Int[np.ndarray, "rays"]) -> Float[np.ndarray, "rays 3"]:
        """Torso over background at pixels of one frame."""
        torso = self.cache.torso[frame].reshape(-1, 4)[flat].astype(np.float32) / 255
        plate = self.backgrounds[self.background_of[frame], flat]
        return np.asarray(torso[:, :3] * torso[:, 3:] + (1 - torso[:, 3:]) * plate, np.float32)

    def torso_image(self, frame: int) -> Float[np.ndarray, "size size 3"]:
        """Torso over background, whole: what ``PaperHead.frame`` renders the head before."""
        return self.behind(frame, np.arange(self.size**2)).reshape(self.size, self.size, 3)


class NerfSampler:
    """Draws one frame's rays at a time, most of them around the face."""

    def __init__(
        self,
        config: NerfTrainingConfig,
        truth: NerfTruth,
        *,
        train: range,
        rects: Int[np.ndarray, "frames 4"],
        generator: np.random.Generator,
    ) -> None:
        self.config = config
        self.truth = truth
        self.train = train
        self.rects = rects
        self.generator = generator

    def draw(self) -> NerfBatch:
        """One step's rays."""
        frame = int(self.generator.integers(self.train.start, self.train.stop))
        return self.truth.read(frame, self.pixels(frame))

    def pixels(self, frame: int) -> Int[np.ndarray, "rays"]:
        """Flat numbers of pixels: ``face_share`` of them inside the frame's rectangle, the rest outside.

        Where one of the two is empty the other gives all.
        """
        left, top, right, bottom = self.rects[frame]
        is_inside = np.zeros((self.truth.size, self.truth.size), bool)
        is_inside[top:bottom, left:right] = True  # rows are y, columns x (paper.md section 13, defect 7)
        inside, outside = np.flatnonzero(is_inside), np.flatnonzero(~is_inside)
        number = round(self.config.face_share * self.config.num_rays)
        if len(inside) == 0 or len(outside) == 0:
            number = self.config.num_rays if len(inside) else 0
        return np.concatenate(
            [self._some(inside, number), self._some(outside, self.config.num_rays - number)]
        )

    def references(self, frame: int, count: int) -> Int[np.ndarray, "views"]:
        """Other training frames than this one, at random; repeated only where there are too few."""
        others = len(self.train) - 1
        drawn = self.generator.choice(others, count, replace=others < count) + self.train.start
        return np.asarray(drawn + (drawn >= frame), np.int64)

    def _some(self, pool: np.ndarray[Any, np.dtype[Any]], number: int) -> np.ndarray[Any, np.dtype[Any]]:
        if number == 0:
            return pool[:0]
        return pool[self.generator.choice(len(pool), number, replace=len(pool) < number)]


class ReferencePictures:
    """Identity faces that were made once, since what masks them is frozen; a ``ReferenceSource``."""

    def __init__(
        self,
        pictures: UInt8[np.ndarray, "frames height width 3"] | FrameFile,
        *,
        first_frame: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.pictures = pictures
        self.first_frame = first_frame
        self.device = device

    def __call__(self, frames: Int[np.ndarray, "views"]) -> Float[Tensor, "views 3 height width"]:
        """Read some."""
        read = torch.from_numpy(np.ascontiguousarray(self.pictures[frames - self.first_frame]))
        return read.to(self.device or torch.device("cpu")).permute(0, 3, 1, 2).float() / 255

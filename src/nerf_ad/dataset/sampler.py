"""Which rays a step sees: the head everywhere, more of the mouth and the eyes."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from nerf_ad.core.config import Config
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.face.parsing import Part


class RaySamplingConfig(Config):
    """How a step's rays are spread."""

    num_rays: int = Field(default=2048, ge=64, le=1 << 20)
    """Rays per step (performance.md section 6)."""
    num_frames: int = Field(default=16, ge=1)
    """Frames that they come from."""
    mouth_share: float = Field(default=0.25, ge=0, le=1)
    """Part of the rays in the box around the mouth (ours)."""
    eye_share: float = Field(default=0.1, ge=0, le=1)
    """Part of the rays in the box around the eyes (ours)."""

    patch_size: int = Field(default=32, ge=32)
    """Side of a patch in pixels; LPIPS sees nothing in smaller ones (ER-NeRF's code: 32)."""
    patch_mouth_share: float = Field(default=0.7, ge=0, le=1)
    """How many patches are at the mouth; the others are at the eyes (ours)."""

    @model_validator(mode="after")
    def _fits(self) -> "RaySamplingConfig":
        if self.mouth_share + self.eye_share > 1:
            message = "mouth_share and eye_share must not be more than 1 together"
            raise ValueError(message)
        if self.num_frames > self.num_rays:
            message = "num_frames must not be more than num_rays"
            raise ValueError(message)
        return self


class RayBatch(NamedTuple):
    """One step's rays with their truth."""

    frames: Int[np.ndarray, "batch"]
    """Frames of the clip."""
    slot: Int[np.ndarray, "rays"]
    """Which entry of ``frames`` each ray belongs to."""
    pixels: Float[np.ndarray, "rays 2"]
    """Pixel centres (u, v)."""
    rgb: Float[np.ndarray, "rays 3"]
    """The recording, in [0, 1]."""
    behind: Float[np.ndarray, "rays 3"]
    """Torso over background, in [0, 1]."""
    head: Float[np.ndarray, "rays"]
    """1 where the parsing says head."""
    certain: Float[np.ndarray, "rays"]
    """0 within two pixels of the head's edge, where the parsing is not to be believed."""


class DeviceRays(NamedTuple):
    """``RayBatch`` as tensors, where they are worked on."""

    frames: Int[Tensor, "batch"]
    slot: Int[Tensor, "rays"]
    pixels: Float[Tensor, "rays 2"]
    rgb: Float[Tensor, "rays 3"]
    behind: Float[Tensor, "rays 3"]
    head: Float[Tensor, "rays"]
    certain: Float[Tensor, "rays"]


class RaySource(ABC):
    """Where a training's rays come from."""

    @abstractmethod
    def draw(self, *, with_patch: bool = False) -> DeviceRays:
        """One step's rays; ``with_patch``: behind them, row by row, a square of one of its frames."""

    def refresh(self) -> None:  # noqa: B027 - most have nothing to do
        """Between two steps: bring in frames that were read meanwhile."""


def patch_pixels(
    box: Float[Tensor, "4"], share: Float[Tensor, "2"], patch_size: int, size: int
) -> Int[Tensor, "pixels"]:
    """Flat numbers of a square's pixels, row by row: anywhere in a box, or around a smaller one.

    Args:
        box: left, top, right, bottom.
        share: how far to the right and down, in [0, 1).
        patch_size: side of the square.
        size: side of the picture, at least as large.
    """
    spare = box[2:] - box[:2] - patch_size
    corner = box[:2] + torch.floor(share * (spare.clamp(min=0) + 1)) + torch.floor(spare.clamp(max=0) / 2)
    left, top = corner.clamp(0, size - patch_size).long().unbind()
    steps = torch.arange(patch_size, device=box.device)
    return ((top + steps).unsqueeze(1) * size + left + steps).flatten()


class RaySampler:
    """Draws rays from the training frames."""

    def __init__(
        self,
        config: RaySamplingConfig,
        cache: PixelCache,
        backgrounds: Float[np.ndarray, "plates size size 3"],
        background_of: Int[np.ndarray, "frames"],
        *,
        train: range,
        mouth_boxes: Int[np.ndarray, "frames 4"],
        eye_boxes: Int[np.ndarray, "frames 4"],
        generator: np.random.Generator,
    ) -> None:
        self.config = config
        self.cache = cache
        self.backgrounds = backgrounds.reshape(len(backgrounds), -1, 3)
        self.background_of = background_of
        self.train = train
        self.boxes = (mouth_boxes, eye_boxes)
        self.generator = generator

    def draw(self, *, with_patch: bool = False) -> RayBatch:
        """One step's rays; see ``RaySource``."""
        config, draw = self.config, self.generator
        chosen = draw.choice(
            len(self.train), size=config.num_frames, replace=len(self.train) < config.num_frames
        )
        frames = np.sort(chosen + self.train.start)
        per_frame = config.num_rays // config.num_frames
        num_mouth, num_eyes = (int(per_frame * share) for share in (config.mouth_share, config.eye_share))
        flat = np.concatenate(
            [self._pixels(int(frame), per_frame, (num_mouth, num_eyes)) for frame in frames]
        )
        slot = np.repeat(np.arange(config.num_frames), per_frame)
        if with_patch:
            where = int(draw.integers(config.num_frames))
            patch = self._patch(int(frames[where]))
            flat, slot = np.concatenate([flat, patch]), np.append(slot, np.full(len(patch), where))
        return self.read(frames, slot, flat)

    def read(
        self, frames: Int[np.ndarray, "batch"], slot: Int[np.ndarray, "rays"], flat: Int[np.ndarray, "rays"]
    ) -> RayBatch:
        """The truth at given pixels (flat numbers) of given frames."""
        size = self.cache.size
        row, column = np.divmod(flat, size)
        found = self.cache.pixels(frames, slot, flat)
        rgb, torso = found.frame.astype(np.float32) / 255, found.torso.astype(np.float32) / 255
        plate = self.backgrounds[self.background_of[frames[slot]], flat]
        behind = torso[:, :3] * torso[:, 3:] + (1 - torso[:, 3:]) * plate
        heads = found.labels == Part.HEAD
        certain = (heads == heads[0]).all(axis=0)
        pixels = np.stack([column, row], axis=-1).astype(np.float32) + 0.5
        return RayBatch(
            frames, slot, pixels, rgb, behind, heads[0].astype(np.float32), certain.astype(np.float32)
        )

    def _patch(self, frame: int) -> np.ndarray[Any, np.dtype[Any]]:
        box = self.boxes[0 if self.generator.random() < self.config.patch_mouth_share else 1][frame]
        share = torch.from_numpy(self.generator.random(2))
        if (box[2:] <= box[:2]).any():  # out of the picture: somewhere on the head instead
            row, column = np.divmod(self._pixels(frame, 1, (0, 0)), self.cache.size)
            box = np.concatenate([column, row, column + 1, row + 1])
        flat = patch_pixels(torch.from_numpy(box).double(), share, self.config.patch_size, self.cache.size)
        return np.asarray(flat.numpy())

    def _pixels(self, frame: int, count: int, in_boxes: tuple[int, int]) -> np.ndarray[Any, np.dtype[Any]]:
        parts = []
        for boxes, number in zip(self.boxes, in_boxes, strict=True):
            left, top, right, bottom = boxes[frame]
            if right > left and bottom > top and number:
                rows = self.generator.integers(top, bottom, number)
                parts.append(rows * self.cache.size + self.generator.integers(left, right, number))
        pool = self.cache.pixels_of_head(frame)
        rest = count - sum(len(part) for part in parts)
        if len(pool):
            parts.append(pool[self.generator.integers(0, len(pool), rest)].astype(np.int64))
        else:
            parts.append(self.generator.integers(0, self.cache.size**2, rest))
        return np.concatenate(parts)


class HostRays(RaySource):
    """Rays drawn by NumPy from the cache's files, and copied to the device."""

    def __init__(self, sampler: RaySampler, device: torch.device) -> None:
        self.sampler = sampler
        self.device = device

    def draw(self, *, with_patch: bool = False) -> DeviceRays:
        """One step's rays."""
        batch = self.sampler.draw(with_patch=with_patch)
        return DeviceRays(*(torch.from_numpy(array).to(self.device) for array in batch))

"""The clean plate: what the camera would see without the person.

AD-NeRF takes each pixel from the frame in which it lies farthest from the foreground, and only if that is
more than 5 px away. Where several frames qualify, their median has less noise; where none does, the plate is
filled smoothly from its surroundings.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from pydantic import Field

from nerf_ad.core.config import Config

Picture = UInt8[np.ndarray, "height width 3"]
Labels = UInt8[np.ndarray, "height width"]


class BackgroundConfig(Config):
    """How the clean plate is made."""

    every: int = Field(default=20, ge=1)
    """Look at every n-th frame (AD-NeRF: 20)."""
    max_samples: int = Field(default=96, ge=1)
    """At most this many frames of up to 512x512, of larger ones fewer: a bound on memory (ours)."""
    clearance: float = Field(default=5.0, ge=0.0)
    """Smallest distance from the person in pixels of a 512x512 frame (AD-NeRF: 5)."""
    well_clear: float = Field(default=20.0, ge=0.0)
    """Frames nearer to the person than this, and than half the farthest, are left out of it (ours)."""
    min_median: int = Field(default=5, ge=1)
    """Median of the frames that qualify from this many on; below, the one farthest from the person (ours)."""
    rare: float = Field(default=0.25, ge=0.0, le=1.0)
    """Frames that clear a pixel well count alone only if they are this share of those that half clear it."""
    tolerance: float = Field(default=20.0, gt=0.0)
    """Colour difference (of 255) from which a background pixel is another one (ours)."""
    max_difference: float = Field(default=0.03, ge=0.0, le=1.0)
    """Share of such pixels from which a shot is said to have another background (ours)."""
    shot_samples: int = Field(default=40, ge=1)
    """Frames that the plate of a single shot looks at (ours)."""
    max_shots: int = Field(default=16, ge=0)
    """At most this many shots, the longest, have a plate of their own: a bound on memory (ours)."""


class Plate(NamedTuple):
    """The clean plate and how much of it was seen."""

    picture: Picture
    """The plate."""
    seen: Bool[np.ndarray, "height width"]
    """Pixels that were background in at least one frame; the others are filled in."""
    shot_differences: dict[int, float]
    """Shot -> share of its background that differs from the plate by more than the tolerance."""


def sample_frames(num_frames: int, size: int, config: BackgroundConfig) -> list[int]:
    """Which frames the plate looks at: every n-th, thinned evenly if they are too many or too large."""
    frames = list(range(0, num_frames, config.every))
    most = _fewer(config.max_samples, size)
    if len(frames) <= most:
        return frames
    chosen = np.linspace(0, len(frames) - 1, most).round().astype(int)
    return [frames[index] for index in chosen]


def _fewer(samples: int, size: int) -> int:
    """How many frames of a size take the memory of ``samples`` frames of 512x512; no more of smaller ones."""
    return max(round(samples * min(1.0, (512 / size) ** 2)), 1)


def plan_shots(
    shots: tuple[int, ...], num_frames: int, size: int, config: BackgroundConfig
) -> dict[int, list[int]]:
    """Shots that have a plate of their own, with the frames that it looks at; none in a clip without cuts.

    Even before one background a cut moves the camera by a little: on a broadcast clip of five shots their own
    plates halved to quartered the error of the common one, everywhere (docs/decisions/0007).
    """
    if len(shots) == 1:
        return {}
    spans = list(pairwise((*shots, num_frames)))
    longest = sorted(range(len(spans)), key=lambda shot: spans[shot][0] - spans[shot][1])[: config.max_shots]
    most = _fewer(config.shot_samples, size)
    return {
        shot: np.unique(np.linspace(first, last - 1, min(most, last - first)).round().astype(int)).tolist()
        for shot, (first, last) in ((shot, spans[shot]) for shot in sorted(longest))
    }


def fill_from(plate: Plate, other: Plate) -> Picture:
    """What a shot never shows is taken from the whole clip's plate."""
    return np.where(plate.seen[..., None], plate.picture, other.picture).astype(np.uint8)


def build_plate(
    frames: list[int],
    read: Callable[[int], tuple[Any, Any]],
    shot_of: Callable[[int], int],
    config: BackgroundConfig,
) -> Plate:
    """Make the plate from a few frames.

    Args:
        frames: which frames to look at (``sample_frames``).
        read: frame number -> picture (height width 3) uint8 and foreground mask (height width) bool.
        shot_of: frame number -> number of its shot.
        config: the rules.
    """
    from scipy.ndimage import distance_transform_edt

    pictures, distances = [], []
    for frame in frames:
        picture, foreground = read(frame)
        distance = distance_transform_edt(~foreground)
        if not foreground.any():
            distance = np.full(foreground.shape, float(max(foreground.shape)))
        pictures.append(picture)
        distances.append(distance.astype(np.float16))
    stack, distance = np.stack(pictures), np.stack(distances)
    clear = _clear_enough(distance, config)
    seen = np.asarray((clear > 0).any(axis=0))
    plate = np.zeros(stack.shape[1:], np.float32)
    for top in range(0, stack.shape[1], 16):  # in bands: sorting all at once would double the memory
        band = slice(top, top + 16)
        plate[band] = _merge(stack[:, band], clear[:, band], config.min_median)
    is_clear = distance > config.clearance * stack.shape[1] / 512
    differences = _shot_differences(
        (np.abs(picture - plate).max(axis=-1) > config.tolerance for picture in stack),
        is_clear,
        [shot_of(frame) for frame in frames],
    )
    filled = fill_smoothly(plate, seen)
    return Plate(np.clip(filled + 0.5, 0, 255).astype(np.uint8), seen, differences)


def fill_smoothly(
    picture: Float[np.ndarray, "height width channels"], known: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width channels"]:
    """Fill unknown pixels from known ones: coarse averages far away, finer ones near the edge (push-pull).

    Known pixels keep their value. With nothing known the result is mid-grey.
    """
    if known.all():
        return picture
    if not known.any():
        return np.full_like(picture, 127.5)
    weight = known.astype(np.float32)
    small, small_weight = _halve(picture.astype(np.float32) * weight[..., None], weight)
    coarse = fill_smoothly(
        small / np.maximum(small_weight, 1e-6)[..., None], small_weight > 0
    )  # recursion ends where all is known
    return np.where(known[..., None], picture, _double(coarse, picture.shape[:2])).astype(np.float32)


def _clear_enough(
    distance: Float[np.ndarray, "samples height width"], config: BackgroundConfig
) -> Float[np.ndarray, "samples height width"]:
    """The distances of the frames that count at each pixel, 0 for the others."""
    scale = distance.shape[1] / 512
    clear = np.where(distance > config.clearance * scale, distance, 0)
    # Just outside the mask hair still shines through: where a pixel was ever well clear, that counts alone.
    clear = np.where(clear >= np.minimum(clear.max(axis=0) / 2, config.well_clear * scale), clear, 0)
    # A pixel that is usually just beside the person must not look as in the few frames that clear it, which
    # may belong to another shot.
    near = np.where(distance > config.clearance * scale / 2, distance, 0)
    is_rare = (clear > 0).sum(axis=0) < config.rare * (near > 0).sum(axis=0)
    return np.asarray(np.where(is_rare & (clear > 0).any(axis=0), near, clear))


def _merge(
    stack: UInt8[np.ndarray, "samples rows width 3"],
    clear: Float[np.ndarray, "samples rows width"],
    min_median: int,
) -> Float[np.ndarray, "rows width 3"]:
    valid = clear > 0
    count = valid.sum(axis=0)
    farthest = np.take_along_axis(stack, clear.argmax(axis=0)[None, ..., None], axis=0)[0]
    ordered = np.sort(np.where(valid[..., None], stack.astype(np.int16), 256), axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    middle = [
        np.take_along_axis(ordered, np.minimum(index, len(stack) - 1)[None, ..., None], axis=0)[0]
        for index in (low, high)
    ]
    median = (middle[0].astype(np.float32) + middle[1]) / 2
    merged = np.where((count >= min_median)[..., None], median, farthest)
    return np.where((count > 0)[..., None], merged, 0).astype(np.float32)


def _shot_differences(
    is_other: Iterable[Bool[np.ndarray, "height width"]],
    valid: Bool[np.ndarray, "samples height width"],
    shots: list[int],
) -> dict[int, float]:
    totals: dict[int, tuple[int, int]] = {}
    for other, mask, shot in zip(is_other, valid, shots, strict=True):
        total, count = totals.get(shot, (0, 0))
        totals[shot] = (total + int((other & mask).sum()), count + int(mask.sum()))
    return {shot: total / max(count, 1) for shot, (total, count) in sorted(totals.items())}


def _halve(
    weighted: Float[np.ndarray, "height width channels"], weight: Float[np.ndarray, "height width"]
) -> tuple[Float[np.ndarray, "rows columns channels"], Float[np.ndarray, "rows columns"]]:
    height, width = weight.shape
    pad = ((0, height % 2), (0, width % 2))
    weight = np.pad(weight, pad)
    weighted = np.pad(weighted, (*pad, (0, 0)))
    rows, columns = weight.shape[0] // 2, weight.shape[1] // 2
    return (
        weighted.reshape(rows, 2, columns, 2, -1).sum(axis=(1, 3)),
        weight.reshape(rows, 2, columns, 2).sum(axis=(1, 3)),
    )


def _double(
    picture: Float[np.ndarray, "rows columns channels"], shape: tuple[int, int]
) -> Float[np.ndarray, "height width channels"]:
    """Twice the size, bilinear about pixel centres, cut to ``shape``."""
    for axis, length in enumerate(shape):
        at = (np.arange(length) + 0.5) / 2 - 0.5
        low = np.clip(np.floor(at).astype(int), 0, picture.shape[axis] - 1)
        high = np.clip(low + 1, 0, picture.shape[axis] - 1)
        share = np.clip(at - low, 0, 1).astype(np.float32)
        share = share.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        picture = picture.take(low, axis=axis) * (1 - share) + picture.take(high, axis=axis) * share
    return picture.astype(np.float32)

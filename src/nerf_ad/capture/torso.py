"""The torso image: a frame without its head, alpha where neck and torso are.

The neck is continued upwards under the chin, so that a rendered head leaves no gap, and clothes that chin or
hair cover by a little (AD-NeRF continues the neck by 50 px of 512 per column). Pixels next to the head are
made anew as well, because they hold the colour of the chin's edge.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.face.parsing import Part


class TorsoConfig(Config):
    """How the head is taken out. Lengths in pixels of a 512x512 frame."""

    neck_extension: int = Field(default=50, ge=0)
    """How far the neck is continued upwards (AD-NeRF: 50)."""
    torso_extension: int = Field(default=16, ge=0)
    """How far clothes are continued upwards under hair or chin (ours)."""
    margin: int = Field(default=5, ge=0)
    """Pixels this near to the head are made anew (AD-NeRF dilates the head by an 11 px kernel)."""
    edge: float = Field(default=1.2, gt=0.0)
    """Width of the soft edge against the background (ours)."""


class _Columns(NamedTuple):
    """Per column of the picture, where a part is continued from."""

    top: Int[np.ndarray, "width"]
    """Row of the topmost pixel kept; the height where nothing is continued."""
    reach: Int[np.ndarray, "width"]
    """How many rows it is continued by."""


def remove_head(
    picture: UInt8[np.ndarray, "height width 3"],
    labels: UInt8[np.ndarray, "height width"],
    config: TorsoConfig,
) -> UInt8[np.ndarray, "height width 4"]:
    """Take the head out of a frame.

    Args:
        picture: the frame, RGB.
        labels: the part of every pixel (``Part``).
        config: lengths.

    Returns:
        RGBA; alpha 0 where there is neither neck nor torso; what is continued is opaque.
    """
    from scipy.ndimage import binary_closing, gaussian_filter

    rgba = np.zeros((*labels.shape, 4), np.uint8)
    scale = labels.shape[0] / 512
    margin = round(config.margin * scale)
    head = labels == Part.HEAD
    kept = (labels >= Part.NECK) & ~_near(head, margin)
    if not kept.any():
        return rgba
    reach = [
        max(round(length * scale), 1) + margin for length in (config.torso_extension, config.neck_extension)
    ]
    # Nothing happens above the rows that can be reached.
    first = max(int(kept.any(axis=1).argmax()) - max(reach) - 4, 0)
    picture, labels, head, kept = picture[first:], labels[first:], head[first:], kept[first:]
    room = (head | (labels >= Part.NECK)) & ~kept
    neck = kept & (labels == Part.NECK)
    colours = picture.astype(np.float32)
    grown = np.zeros_like(kept)
    for part, length in ((kept & ~neck, reach[0]), (neck, reach[1])):
        columns = _columns(part, room, length)
        grown |= _paint(colours, part, columns, room & ~grown)
    # Columns of unlike height leave slits; close them where the head was, with the colours around.
    closed = binary_closing(kept | grown, np.ones((3, 2 * margin + 3), bool)) & room
    slits = closed & ~grown
    body = kept | grown | slits
    _soften(colours, grown, slits, kept, max(2.5 * scale, 0.6))
    alpha = gaussian_filter(body.astype(np.float32), config.edge * scale)
    alpha = np.where(_near(room, 1), 1.0, np.clip(2 * alpha - 0.5, 0, 1)) * body
    rgba[first:, :, :3] = np.where(body[..., None], np.clip(colours + 0.5, 0, 255), 0)
    rgba[first:, :, 3] = np.round(alpha * 255)
    return rgba


def _columns(
    part: Bool[np.ndarray, "rows width"], room: Bool[np.ndarray, "rows width"], reach: int
) -> _Columns:
    """A column is continued from its topmost pixel that has room right above it."""
    height, width = part.shape
    border = part.copy()
    border[0] = False
    border[1:] &= room[:-1]
    has = border.any(axis=0)
    return _Columns(np.where(has, border.argmax(axis=0), height), np.full(width, reach))


def _paint(
    colours: Float32[np.ndarray, "rows width 3"],
    part: Bool[np.ndarray, "rows width"],
    columns: _Columns,
    room: Bool[np.ndarray, "rows width"],
) -> Bool[np.ndarray, "rows width"]:
    """Continue a part upwards into ``room``, column by column; says where it painted."""
    from scipy.ndimage import gaussian_filter1d

    height, width = part.shape
    has = columns.top < height
    if not has.any():
        return np.zeros_like(part)
    rows = np.arange(height)[:, None]
    walls = np.cumsum(~room[::-1], axis=0)[::-1]  # pixels without room from here down
    walls_at_top = walls[np.minimum(columns.top, height - 1), np.arange(width)]
    grown = (rows < columns.top) & (rows >= columns.top - columns.reach) & (walls == walls_at_top) & has
    # A column's colour is the mean of a few pixels below its top, smoothed along the columns.
    depth = max(int(columns.reach.max()) // 6, 2)
    below = np.minimum(columns.top + np.arange(depth)[:, None], height - 1)
    there = (np.take_along_axis(part, below, axis=0) & has)[..., None].astype(np.float32)
    total = (np.take_along_axis(colours, below[..., None], axis=0) * there).sum(axis=0)
    sigma = max(float(columns.reach.max()) / 12, 0.5)
    weight = gaussian_filter1d(there.sum(axis=0), sigma, axis=0)
    mean = gaussian_filter1d(total, sigma, axis=0) / np.maximum(weight, 1e-6)
    colours[grown] = np.broadcast_to(mean, colours.shape)[grown]
    return grown


def _soften(
    colours: Float32[np.ndarray, "rows width 3"],
    grown: Bool[np.ndarray, "rows width"],
    slits: Bool[np.ndarray, "rows width"],
    kept: Bool[np.ndarray, "rows width"],
    sigma: float,
) -> None:
    """Blur what was painted (never what was seen), and fill slits from their surroundings."""
    from scipy.ndimage import gaussian_filter

    made = grown | slits
    rows = np.flatnonzero(made.any(axis=1))
    if not len(rows):
        return
    pad = int(4 * sigma) + 1
    band = slice(max(rows[0] - pad, 0), rows[-1] + pad)
    known = (grown | kept)[band].astype(np.float32)
    blurred = gaussian_filter(colours[band] * known[..., None], (sigma, sigma, 0))
    blurred /= np.maximum(gaussian_filter(known, sigma), 1e-3)[..., None]
    colours[band][made[band]] = blurred[made[band]]


def _near(mask: Bool[np.ndarray, "rows width"], distance: int) -> Bool[np.ndarray, "rows width"]:
    """Pixels within a square of half-width ``distance`` around the mask."""
    from scipy.ndimage import maximum_filter1d

    if not distance:
        return mask
    wide = maximum_filter1d(mask.astype(np.uint8), 2 * distance + 1, axis=0)
    near: Bool[np.ndarray, "rows width"] = np.asarray(maximum_filter1d(wide, 2 * distance + 1, axis=1), bool)
    return near

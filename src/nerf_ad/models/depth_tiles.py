"""Where along its ray each pixel can meet an occupied cell: depths by tiles of the picture.

A ray is marched only there (performance.md section 7: depth-range tiles); no occupied step is missed.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.volume.occupancy import OccupancyGrid

TILE = 4
"""Pixels along each side of a tile."""


class DepthRange(NamedTuple):
    """Pixels whose rays can meet something, and between which depths."""

    pixels: Int[Tensor, "pixels"]
    """Flat numbers."""
    near: Float[Tensor, "pixels"]
    """Depth, metres."""
    far: Float[Tensor, "pixels"]
    """Depth, metres."""


def depth_range(
    centres: Float[Tensor, "cells 3"],
    grid: OccupancyGrid,
    camera_to_world: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    size: int,
) -> DepthRange:
    """Project the occupied cells, as bounding squares, into the picture.

    Args:
        centres: world positions of the grid's occupied cells.
        grid: says how large the cells are.
        camera_to_world: the camera.
        intrinsics: fx, fy, cx, cy in pixels.
        size: width and height of the picture.
    """
    every = torch.arange(size * size, device=centres.device)
    if len(centres) == 0:
        return DepthRange(every[:0], centres.new_zeros(0), centres.new_zeros(0))
    world_to_camera = torch.linalg.inv(camera_to_world)
    points = world_to_camera[:3, :3] @ centres.T + world_to_camera[:3, 3:]
    depth = (-points[2]).clamp_min(1e-3)
    cell = (grid.high - grid.low) / grid.resolution
    half = 0.5 * float(cell.norm()) * 1.01
    fx, fy, cx, cy = intrinsics.tolist()
    nearest = float(depth.min())
    if nearest <= 2 * half:  # the camera stands in the box, or nearly: a user's own poses may do that
        return DepthRange(every, torch.zeros(size * size), torch.full((size * size,), torch.inf))
    reach = max(fx, fy) * half / (nearest - half) * (1 + size / min(fx, fy)) + 1
    column, row = cx + fx * points[0] / depth, cy - fy * points[1] / depth
    inside = (column > -reach) & (column < size + reach) & (row > -reach) & (row < size + reach)
    tiles = -(-size // TILE)
    column, row = ((part[inside] / TILE).clamp(0, tiles - 1).long() for part in (column, row))
    tile, depth = row * tiles + column, depth[inside]
    near = torch.full((tiles * tiles,), torch.inf).scatter_reduce_(0, tile, depth - half, "amin")
    far = torch.full((tiles * tiles,), -torch.inf).scatter_reduce_(0, tile, depth + half, "amax")
    radius = min(int(reach // TILE) + 1, tiles)
    reached = F.max_pool2d(
        torch.stack([-near, far]).view(1, 2, tiles, tiles), 2 * radius + 1, stride=1, padding=radius
    )
    by_pixel = reached[0].repeat_interleave(TILE, 1).repeat_interleave(TILE, 2)[:, :size, :size].flatten(1)
    pixels = (by_pixel[1] > 0).nonzero().squeeze(-1)
    near, far = by_pixel.index_select(1, pixels)
    return DepthRange(pixels, -near, far)

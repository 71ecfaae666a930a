"""Rays through pixels, in torch; the conventions are those of :mod:`nerf_ad.geometry.camera`."""

from typing import NamedTuple

import torch
from jaxtyping import Float


class Rays(NamedTuple):
    """Half-lines ``origin + t * direction``."""

    origins: Float[torch.Tensor, "*rays 3"]
    """World, metres."""
    directions: Float[torch.Tensor, "*rays 3"]
    """World, not of unit length: one unit of t is one metre of depth along the camera's axis."""


def pixel_rays(
    pixels: Float[torch.Tensor, "rays 2"],
    camera_to_world: Float[torch.Tensor, "*pose 4 4"],
    intrinsics: Float[torch.Tensor, "4"],
) -> Rays:
    """Rays through the picture's points (u, v); the centre of a pixel is (column + 0.5, row + 0.5).

    Args:
        pixels: picture points.
        camera_to_world: one pose for all rays (4 4) or (1 4 4), or one each (rays 4 4).
        intrinsics: fx, fy, cx, cy in pixels.
    """
    fx, fy, cx, cy = intrinsics.unbind()
    u, v = pixels.unbind(-1)
    local = torch.stack([(u - cx) / fx, -(v - cy) / fy, -torch.ones_like(u)], dim=-1)
    directions = (camera_to_world[..., :3, :3] * local[..., None, :]).sum(-1)
    return Rays(camera_to_world[..., :3, 3].expand_as(directions), directions)


def project_points(
    points: Float[torch.Tensor, "points 3"],
    camera_to_world: Float[torch.Tensor, "*pose 4 4"],
    intrinsics: Float[torch.Tensor, "4"],
) -> tuple[Float[torch.Tensor, "points 2"], Float[torch.Tensor, "points"]]:
    """Pixels (u, v) and depth in metres of world points: the inverse of :func:`pixel_rays`.

    Args:
        points: world, metres.
        camera_to_world: one pose for all points (4 4), or one each (points 4 4).
        intrinsics: fx, fy, cx, cy in pixels.
    """
    fx, fy, cx, cy = intrinsics.unbind()
    offset = points - camera_to_world[..., :3, 3]
    local = (camera_to_world[..., :3, :3] * offset[..., :, None]).sum(-2)
    depth = -local[..., 2]
    return torch.stack([cx + fx * local[..., 0] / depth, cy - fy * local[..., 1] / depth], dim=-1), depth


def pixel_grid(
    width: int, height: int, *, device: torch.device | str = "cpu"
) -> Float[torch.Tensor, "pixels 2"]:
    """Centres (u, v) of all pixels, row by row."""
    rows = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    columns = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    v, u = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([u, v], dim=-1).reshape(-1, 2)

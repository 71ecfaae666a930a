"""Where a ray is sampled: a fixed budget of the first occupied steps, so that shapes never change."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_ad.volume.occupancy import OccupancyGrid


class Samples(NamedTuple):
    """A fixed number of places on each ray; those that are not there have length 0."""

    depth: Float[Tensor, "rays samples"]
    """Ray parameter: with directions of unit z it is the depth."""
    lengths: Float[Tensor, "rays samples"]
    """How much ray each sample stands for, in march steps: 1 where it is there, else 0."""


def box_interval(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    low: Float[Tensor, "3"],
    high: Float[Tensor, "3"],
) -> tuple[Float[Tensor, "rays"], Float[Tensor, "rays"]]:
    """Where rays enter and leave an axis-aligned box (slab method); entry >= exit where they miss it."""
    inverse = 1.0 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    first, second = (low - origins) * inverse, (high - origins) * inverse
    entry = torch.minimum(first, second).amax(dim=-1).clamp_min(0.0)
    leave = torch.maximum(first, second).amin(dim=-1)
    return entry, leave


def first_occupied(
    depth: Float[Tensor, "rays steps"], occupied: Bool[Tensor, "rays steps"], num_samples: int
) -> Samples:
    """Keep the first ``num_samples`` occupied steps of each ray (performance.md section 5).

    Missing samples repeat depth 0 with length 0, so that they cost nothing in the composite and shapes
    are the same in every step.
    """
    rank = torch.cumsum(occupied, dim=-1)
    kept = occupied & (rank <= num_samples)
    slot = (rank - 1).masked_fill(~kept, num_samples)
    out = depth.new_zeros(depth.shape[0], num_samples + 1).scatter_(1, slot, depth)
    there = depth.new_zeros(depth.shape[0], num_samples + 1).scatter_(1, slot, kept.to(depth.dtype))
    return Samples(out[:, :num_samples], there[:, :num_samples])


def march(
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    grid: OccupancyGrid,
    *,
    step: float | Float[Tensor, ""],
    num_steps: int,
    num_samples: int,
    jitter: Float[Tensor, "rays"] | None = None,
) -> Samples:
    """Walk each ray through the grid's box in equal steps and keep the first occupied ones.

    Args:
        origins: ray origins, metres.
        directions: ray directions; the step is measured along their unit vectors' depth axis, as given.
        grid: what is occupied.
        step: march step in units of the ray parameter.
        num_steps: candidates per ray.
        num_samples: samples kept per ray.
        jitter: offset of the first candidate in steps, in [0, 1); the middle (0.5) where absent.
    """
    entry, leave = box_interval(origins, directions, grid.low, grid.high)
    offset = 0.5 if jitter is None else jitter.unsqueeze(-1)
    index = torch.arange(num_steps, device=origins.device, dtype=origins.dtype)
    depth = entry.unsqueeze(-1) + (index + offset) * step
    points = origins.unsqueeze(1) + depth.unsqueeze(-1) * directions.unsqueeze(1)
    occupied = grid.lookup(points.reshape(-1, 3)).view(depth.shape) & (depth < leave.unsqueeze(-1))
    return first_occupied(depth, occupied, num_samples)

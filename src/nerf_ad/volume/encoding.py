"""Positions as waves, so that a network can tell near points apart."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

NUM_HARMONICS = 16
"""Numbers that ``encode_direction`` makes."""


def encoded_dim(axes: int, num_frequencies: int) -> int:
    """Numbers that ``encode_position`` makes of ``axes`` numbers."""
    return axes * (1 + 2 * num_frequencies)


def encode_position(
    values: Float[Tensor, "*batch axes"], num_frequencies: int
) -> Float[Tensor, "*batch encoded"]:
    """``[v, sin v, cos v, sin 2v, cos 2v, ..., sin 2^(L-1) v, cos 2^(L-1) v]``: NeRF eq. 4 without its pi.

    Leaving pi out and keeping v itself is NeRF's own code, and AD-NeRF's and NeRF-AD's after it.
    """
    if num_frequencies == 0:
        return values
    powers = 2.0 ** torch.arange(num_frequencies, device=values.device, dtype=values.dtype)
    angles = values.unsqueeze(-2) * powers.unsqueeze(-1)
    waves = torch.stack([angles.sin(), angles.cos()], dim=-2)
    return torch.cat([values, waves.flatten(-3)], dim=-1)


def encode_direction(directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 16"]:
    """Real spherical harmonics of the degrees 0 to 3 ("degree 4" in instant-ngp, RAD-NeRF and ER-NeRF).

    Args:
        directions: unit vectors.

    Returns:
        an orthonormal basis on the sphere, degree by degree, order from -l to l.
    """
    x, y, z = directions.unbind(-1)
    pi = math.pi
    first = math.sqrt(3 / (4 * pi))
    second = math.sqrt(15 / (4 * pi))
    outer, inner = math.sqrt(35 / (32 * pi)), math.sqrt(21 / (32 * pi))
    middle = math.sqrt(105 / (4 * pi))
    values = [
        torch.full_like(x, math.sqrt(1 / (4 * pi))),
        first * y,
        first * z,
        first * x,
        second * x * y,
        second * y * z,
        math.sqrt(5 / (16 * pi)) * (3 * z * z - 1),
        second * x * z,
        0.5 * second * (x * x - y * y),
        outer * y * (3 * x * x - y * y),
        middle * x * y * z,
        inner * y * (5 * z * z - 1),
        math.sqrt(7 / (16 * pi)) * z * (5 * z * z - 3),
        inner * x * (5 * z * z - 1),
        0.5 * middle * z * (x * x - y * y),
        outer * x * (x * x - 3 * y * y),
    ]
    return torch.stack(values, dim=-1)

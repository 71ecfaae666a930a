"""Positions as waves, so that a network can tell near points apart."""

import torch
from jaxtyping import Float
from torch import Tensor


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

"""From density along a ray to the colour of a pixel."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Composite(NamedTuple):
    """What a ray sees."""

    rgb: Float[Tensor, "rays 3"]
    """Premultiplied colour of the samples, without what lies behind them."""
    opacity: Float[Tensor, "rays"]
    """Sum of the weights, in [0, 1]."""
    weights: Float[Tensor, "rays samples"]
    """What each sample contributes."""


def ray_weights(
    density: Float[Tensor, "rays samples"], lengths: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples"]:
    """How much each sample contributes to its ray: ``T_i (1 - exp(-sigma_i delta_i))``.

    Args:
        density: extinction per unit of length, at least 0.
        lengths: length of the interval that each sample stands for; 0 for a sample that is not there.
    """
    optical_depth = density * lengths
    before = torch.cumsum(optical_depth, dim=-1) - optical_depth
    return torch.exp(-before) * -torch.expm1(-optical_depth)


def composite(
    density: Float[Tensor, "rays samples"],
    rgb: Float[Tensor, "3 rays samples"],
    lengths: Float[Tensor, "rays samples"],
) -> Composite:
    """Front-to-back compositing of samples sorted by depth (NeRF eq. 3)."""
    weights = ray_weights(density, lengths)
    return Composite((weights * rgb).sum(dim=-1).T, weights.sum(dim=-1), weights)


def over(
    front: Float[Tensor, "rays 3"], opacity: Float[Tensor, "rays"], behind: Float[Tensor, "rays 3"]
) -> Float[Tensor, "rays 3"]:
    """A premultiplied layer over what lies behind it (Porter and Duff's *over*)."""
    return front + (1.0 - opacity).unsqueeze(-1) * behind

"""NeRF's two passes over a ray: even depths first, then depths where the first pass saw something.

``depths`` are ray parameters; with directions of unit z (``geometry.rays``) metres along the camera's
axis. A ray ends in an opaque sample that shows what lies behind the head (NeRF-AD's and AD-NeRF's
code: the picture of torso and background), so weights always sum to 1 and there is no separate background.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

LEAST_DENSITY = 1e-6
"""Added to the density (NeRF-AD's code); with ``LAST_LENGTH`` it makes the last sample opaque."""
LAST_LENGTH = 1e10
"""Length of the last sample's interval (NeRF's code)."""
LEAST_WEIGHT = 1e-5
"""Added to the weights before depths are drawn from them (NeRF's code)."""


def stratified_depths(
    near: float, far: float, *, jitter: Float[Tensor, "rays samples"]
) -> Float[Tensor, "rays samples"]:
    """One depth in each bin around evenly spaced depths from ``near`` to ``far`` (NeRF eq. 2).

    The last depth is at the end of its bin, ``far``, whatever its jitter: it carries the background.

    Args:
        near: first depth.
        far: last depth.
        jitter: place inside each bin, in [0, 1).
    """
    even = torch.linspace(near, far, jitter.shape[1], device=jitter.device, dtype=jitter.dtype)
    middle = (even[1:] + even[:-1]) / 2
    low, high = torch.cat([even[:1], middle]), torch.cat([middle, even[-1:]])
    depths = low + (high - low) * jitter
    return torch.cat([depths[:, :-1], even[-1:].expand(len(jitter), 1)], dim=1)


def even_depths(
    near: float,
    far: float,
    num_rays: int,
    num_samples: int,
    *,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "rays samples"]:
    """Evenly spaced depths from ``near`` to ``far``: ``stratified_depths`` without a draw."""
    return torch.linspace(near, far, num_samples, device=device, dtype=dtype).expand(num_rays, num_samples)


def inverse_cdf_depths(
    edges: Float[Tensor, "rays edges"],
    weights: Float[Tensor, "rays bins"],
    draws: Float[Tensor, "rays draws"],
) -> Float[Tensor, "rays draws"]:
    """Depths with a density proportional to each bin's weight, uniform inside a bin (NeRF section 5.2).

    Args:
        edges: ascending; one more than there are bins.
        weights: at least 0; ``LEAST_WEIGHT`` is added to each.
        draws: in [0, 1]: random when training, evenly spaced otherwise.
    """
    mass = weights + LEAST_WEIGHT
    cumulated = torch.cumsum(mass / mass.sum(dim=-1, keepdim=True), dim=-1)
    cdf = torch.cat([torch.zeros_like(cumulated[:, :1]), cumulated], dim=-1)
    above = torch.searchsorted(cdf, draws.contiguous(), right=True).clamp(1, edges.shape[1] - 1)
    low, high = cdf.gather(1, above - 1), cdf.gather(1, above)
    share = ((draws - low) / (high - low).clamp_min(1e-9)).clamp(0.0, 1.0)
    start, end = edges.gather(1, above - 1), edges.gather(1, above)
    return start + share * (end - start)


class FineDepths(NamedTuple):
    """The second pass's depths, those of the first pass among them."""

    new: Float[Tensor, "rays draws"]
    """Depths that the first pass has not seen."""
    depths: Float[Tensor, "rays samples"]
    """All depths, ascending."""
    order: Int[Tensor, "rays samples"]
    """Place of each of ``depths`` in the first pass's depths followed by ``new``."""


@torch.no_grad()
def fine_depths(
    depths: Float[Tensor, "rays coarse"],
    weights: Float[Tensor, "rays coarse"],
    draws: Float[Tensor, "rays draws"],
) -> FineDepths:
    """Draw from the interior weights, on bins between the first pass's depths, and sort all together.

    Nothing flows back through depths (NeRF's code).
    """
    middle = (depths[:, 1:] + depths[:, :-1]) / 2
    new = inverse_cdf_depths(middle, weights[:, 1:-1], draws)
    ascending, order = torch.cat([depths, new], dim=1).sort(dim=1)
    return FineDepths(new, ascending, order)


def opaque_weights(
    density: Float[Tensor, "rays samples"],
    depths: Float[Tensor, "rays samples"],
    lengths_per_depth: Float[Tensor, "rays"],
) -> Float[Tensor, "rays samples"]:
    """What each sample contributes, ``T_i alpha_i``, where the last sample is opaque: the weights sum to 1.

    ``alpha = 1 - exp(-(relu(density) + 1e-6) * delta * |d|)``. NeRF's code multiplies ``1 - alpha + 1e-10``
    along the ray; summing the exponents instead needs no such guard.

    Args:
        density: as the network says it, of any sign; per metre.
        depths: ascending.
        lengths_per_depth: metres of ray to a metre of depth, the norm ``|d|`` of the ray's direction.
    """
    delta = (depths[:, 1:] - depths[:, :-1]) * lengths_per_depth.unsqueeze(-1)
    sigma = torch.relu(density) + LEAST_DENSITY
    optical_depth = sigma[:, :-1] * delta
    reached = torch.cumsum(optical_depth, dim=-1)
    start = torch.zeros_like(reached[:, :1])
    through = torch.exp(-torch.cat([start, reached], dim=-1))
    last = sigma[:, -1:] * LAST_LENGTH * lengths_per_depth.unsqueeze(-1)
    return through * -torch.expm1(-torch.cat([optical_depth, last], dim=-1))


def composite_before(
    weights: Float[Tensor, "rays samples"],
    rgb: Float[Tensor, "rays samples 3"],
    behind: Float[Tensor, "rays 3"],
) -> Float[Tensor, "rays 3"]:
    """Colour of a ray whose last sample shows what lies behind."""
    front = (weights[:, :-1, None] * rgb[:, :-1]).sum(dim=1)
    return front + weights[:, -1:] * behind

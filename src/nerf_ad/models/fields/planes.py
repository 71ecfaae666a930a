"""The fast field: planes in front of a small network, conditioned where the face moves."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.kernels.field_network import NetworkWeights, shade_samples
from nerf_ad.models.fields.plane_encoding import PlaneEncoding


class PlaneFieldConfig(Config):
    """A conditional radiance field on dense planes: the fast one."""

    kind: Literal["planes"] = "planes"
    """Which field this is."""
    resolutions: tuple[Annotated[int, Field(ge=2, le=8192)], ...] = Field(
        default=(33, 65, 129, 257), min_length=1, max_length=16, strict=False
    )
    """Nodes along each side of each plane level: one more than performance.md section 9 has, so that levels
    nest and can be merged (decision 0024)."""
    num_features: int = Field(default=8, ge=2, le=64, multiple_of=2)
    """Features per plane and level (performance.md section 9)."""
    hidden_dim: int = Field(default=64, ge=8, le=4096)
    """Width of both networks (RAD-NeRF's code)."""


class Radiance(torch.nn.Module):
    """Density and colour of samples; feature-major throughout."""

    def __init__(self, config: PlaneFieldConfig, *, condition_dim: int) -> None:
        super().__init__()
        self.encoding = PlaneEncoding(config.resolutions, config.num_features)
        width = config.hidden_dim
        self.trunk_in = nn.Linear(self.encoding.out_dim + condition_dim, width)
        self.trunk_out = nn.Linear(width, 1 + width)
        self.colour_in = nn.Linear(width + condition_dim, width)
        self.colour_ray = nn.Linear(3, width, bias=False)
        self.colour_out = nn.Linear(width, 3)

    def forward(
        self,
        points: Float[Tensor, "samples 3"],
        condition: Float[Tensor, "units samples"],
        directions: Float[Tensor, "rays 3"],
        ray: Int[Tensor, "samples"] | None = None,
    ) -> tuple[Float[Tensor, "samples"], Float[Tensor, "3 samples"]]:
        """Evaluate the field; under autocast the matrix products are as it says, everything else in float32.

        Args:
            points: in [-1, 1]^3.
            condition: the frame's condition, already weighted by where each sample is.
            directions: unit view direction per ray.
            ray: which ray each sample lies on; ray by ray, the same number on each, where absent.

        Returns:
            density per march step (at least 0) and colour in [0, 1].
        """
        if ray is not None and self._learns_on_cpu(points):
            return shade_samples(
                self.weights(),
                self.encoding.read(points),
                condition,
                directions.T.index_select(1, ray),
                dtype=torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32,
            )
        hidden = F.relu(_apply(self.trunk_in, self.encoding(points), condition))
        trunk = _apply(self.trunk_out, hidden)
        density = torch.exp(trunk[0].float().clamp(max=8.0) - 1.0)
        seen_from = self.colour_ray(directions).T
        colour = _apply(self.colour_in, F.relu(trunk[1:]), condition)
        if ray is None:
            by_ray = colour.view(len(colour), len(directions), -1)
            seen = F.relu(by_ray + seen_from.unsqueeze(-1)).flatten(1)
        else:
            seen = F.relu(colour + seen_from.index_select(1, ray))
        rgb = torch.sigmoid(_apply(self.colour_out, seen).float())
        return density, rgb

    def _learns_on_cpu(self, points: Float[Tensor, "samples 3"]) -> bool:
        is_plain = points.device.type == "cpu" and points.dtype == torch.float32
        return is_plain and torch.is_grad_enabled() and self.encoding.uses_kernels

    def weights(self) -> NetworkWeights:
        """Weights of both networks."""
        return NetworkWeights(
            self.trunk_in.weight,
            self.trunk_in.bias,
            self.trunk_out.weight,
            self.trunk_out.bias,
            self.colour_in.weight,
            self.colour_in.bias,
            self.colour_ray.weight,
            self.colour_out.weight,
            self.colour_out.bias,
        )


def _apply(layer: nn.Linear, *parts: Float[Tensor, "_ samples"]) -> Float[Tensor, "outputs samples"]:
    """A linear layer on feature-major input that is given in parts."""
    if torch.is_autocast_enabled(parts[0].device.type):
        return _apply_joined(layer, parts, torch.get_autocast_dtype(parts[0].device.type))
    weights = layer.weight.split([len(part) for part in parts], dim=1)
    total = layer.bias.unsqueeze(-1)
    for weight, part in zip(weights, parts, strict=True):
        total = torch.addmm(total, weight, part)
    return total


def _apply_joined(
    layer: nn.Linear, parts: tuple[Float[Tensor, "_ samples"], ...], dtype: torch.dtype
) -> Float[Tensor, "outputs samples"]:
    """One product in half precision: rows of ones for the bias, and of zeros up to a multiple of 8.

    Tensor cores want rows of weights that begin at 16 bytes; 113 inputs do not.
    """
    if len(parts) == 1:
        return layer.weight @ parts[0] + layer.bias.unsqueeze(-1).to(dtype)
    spare = -(layer.in_features + 1) % 8
    ones = torch.ones(1, parts[0].shape[1], dtype=dtype, device=parts[0].device)
    zeros = torch.zeros(spare, parts[0].shape[1], dtype=dtype, device=parts[0].device)
    weight = F.pad(torch.cat([layer.weight, layer.bias.unsqueeze(-1)], dim=1), (0, spare))
    return weight @ torch.cat([*(part.to(dtype) for part in parts), ones, zeros])

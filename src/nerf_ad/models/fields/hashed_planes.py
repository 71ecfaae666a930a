"""ER-NeRF's field, to compare with: three hashed planes of many narrow levels, and heads that attend.

Sizes and order are those of ER-NeRF's code (``nerf_triplane/network.py``), the hash is instant-ngp's
(eq. 4 of its paper, in two dimensions). It is plain PyTorch, and reads its tables the fastest way that eager
PyTorch has on a CPU (``index_select`` in one flat table; indexing takes twice as long). What is otherwise:

* nodes lie as ``grid_sample`` has them with ``align_corners``, so that a level without collisions equals it;
* the condition comes weighted by place, and of mouth codes instead of AudioNet's: a linear map makes its 32
  channels of them, and one number of the eyes' state;
* one individual code serves all frames, the colour stays in [0, 1], and no uncertainty is predicted (ER-NeRF
  does that for a loss of its own).
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.models.fields.plane_encoding import PLANES
from nerf_ad.volume.encoding import NUM_HARMONICS, encode_direction

PRIME = 2_654_435_761
"""The second coordinate's factor in the hash; the first one's is 1 (instant-ngp)."""
FIRST_FEATURES = 1e-4
"""Tables begin between plus and minus this (instant-ngp)."""


class HashedPlaneFieldConfig(Config):
    """ER-NeRF's hashed planes and heads: to compare the fast field with, in eager PyTorch."""

    kind: Literal["hashed-planes"] = "hashed-planes"
    """Which field this is."""
    num_levels: int = Field(default=12, ge=1, le=32)
    """Levels of each plane, one feature each (ER-NeRF's code)."""
    base_resolution: int = Field(default=64, ge=2, le=4096)
    """Nodes along each side of the coarsest level (ER-NeRF's code)."""
    finest_resolution: int = Field(default=512, ge=2, le=4096)
    """Nodes along each side of the finest level; those between grow by one factor (ER-NeRF's code)."""
    log2_table_size: int = Field(default=14, ge=1, le=19)
    """Most numbers of a level and plane, as a power of 2; more nodes are hashed (ER-NeRF's code)."""
    hidden_dim: int = Field(default=64, ge=1, le=4096)
    """Width of density, colour and mouth-attention networks (ER-NeRF's code)."""
    mouth_channels: int = Field(default=32, ge=1, le=1024)
    """Channels that the mouth code is brought to and attended by (ER-NeRF's code)."""
    eye_hidden_dim: int = Field(default=16, ge=1, le=4096)
    """Width of the eye-attention network (ER-NeRF's code)."""
    individual_dim: int = Field(default=4, ge=1, le=64)
    """Learned numbers that the colour network reads (ER-NeRF's code: one such code a frame)."""

    @model_validator(mode="after")
    def _grows(self) -> "HashedPlaneFieldConfig":
        if self.finest_resolution < self.base_resolution:
            message = "finest_resolution must not be less than base_resolution"
            raise ValueError(message)
        return self

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Nodes along each side of every level."""
        growth = math.log(self.finest_resolution / self.base_resolution) / max(1, self.num_levels - 1)
        # A whole number that rounding lifts by a hair would be the next one.
        sides = [self.base_resolution * math.exp(growth * level) for level in range(self.num_levels)]
        return tuple(math.ceil(side - 1e-6) for side in sides)


class HashedPlanes(nn.Module):
    """Density and colour of samples, by ER-NeRF's heads; feature-major throughout."""

    def __init__(self, config: HashedPlaneFieldConfig, *, mouth_dim: int, eye_dim: int) -> None:
        super().__init__()
        self.encoding = HashedPlaneEncoding(config.resolutions, table_size=1 << config.log2_table_size)
        self.sizes = (mouth_dim, eye_dim)
        width, inputs, channels = config.hidden_dim, self.encoding.out_dim, config.mouth_channels
        self.mouth_in = _Network(mouth_dim, channels)
        self.mouth_attention = _Network(inputs, width, channels)
        self.eye_in = _Network(eye_dim, 1)
        self.eye_attention = _Network(inputs, config.eye_hidden_dim, 1)
        self.density = _Network(inputs + channels + 1, width, width, 1 + width)
        self.colour = _Network(NUM_HARMONICS + width + config.individual_dim, width, 3)
        self.individual = nn.Parameter(0.1 * torch.randn(config.individual_dim))

    def forward(
        self,
        points: Float[Tensor, "samples 3"],
        condition: Float[Tensor, "units samples"],
        directions: Float[Tensor, "rays 3"],
        ray: Int[Tensor, "samples"] | None = None,
    ) -> tuple[Float[Tensor, "samples"], Float[Tensor, "3 samples"]]:
        """Evaluate the field; arguments and answers as in ``planes.Radiance``."""
        mouth, eyes = condition.split(self.sizes)
        encoded = self.encoding(points)
        heard = self.mouth_in(mouth) * self.mouth_attention(encoded)
        seen = self.eye_in(eyes) * torch.sigmoid(self.eye_attention(encoded))
        trunk = self.density(torch.cat([encoded, heard, seen]))
        density = torch.exp(trunk[0].to(points.dtype).clamp(max=8.0) - 1.0)
        harmonics = encode_direction(directions).T
        if ray is None:
            harmonics = harmonics.repeat_interleave(len(points) // len(directions), dim=1)
        else:
            harmonics = harmonics.index_select(1, ray)
        own = self.individual.unsqueeze(-1).expand(-1, len(points))
        colour = self.colour(torch.cat([harmonics, trunk[1:], own]))
        return density, torch.sigmoid(colour.to(points.dtype))


class HashedPlaneEncoding(nn.Module):
    """One feature for each plane and level of points in the unit cube [-1, 1]^3."""

    def __init__(self, resolutions: tuple[int, ...], *, table_size: int) -> None:
        """Empty tables; ``table_size``, a power of 2, bounds the numbers of a level and plane."""
        super().__init__()
        self.resolutions = resolutions
        self.table_size = table_size
        self.tables = nn.ParameterList(
            nn.Parameter(
                torch.empty(len(PLANES), min(side * side, table_size)).uniform_(
                    -FIRST_FEATURES, FIRST_FEATURES
                )
            )
            for side in resolutions
        )
        self.out_dim = len(PLANES) * len(resolutions)

    def forward(self, points: Float[Tensor, "samples 3"]) -> Float[Tensor, "features samples"]:
        """Encode, level after level; points outside the cube read the border."""
        place = (0.5 * points.T + 0.5).clamp(0.0, 1.0)
        levels = [
            self._read(table, place * (side - 1), side)
            for table, side in zip(self.tables, self.resolutions, strict=True)
        ]
        return torch.stack(levels).flatten(0, 1)

    def _read(
        self, table: Float[Tensor, "planes entries"], place: Float[Tensor, "3 samples"], side: int
    ) -> Float[Tensor, "planes samples"]:
        """One level, bilinearly; ``place`` in cells."""
        low = place.detach().floor().clamp_(max=side - 2)
        share, cell = place - low, low.to(torch.int32)
        column, row = _by_plane(cell)
        starts = table.shape[1] * torch.arange(len(PLANES), dtype=torch.int32, device=table.device)
        corners = torch.stack(
            [
                node_entry(column + right, row + down, side=side, table_size=self.table_size)
                + starts.unsqueeze(-1)
                for down in range(2)
                for right in range(2)
            ]
        )
        read = table.flatten().index_select(0, corners.flatten()).view(corners.shape)
        across, along = _by_plane(share)
        above = torch.lerp(read[0], read[1], across)
        below = torch.lerp(read[2], read[3], across)
        return torch.lerp(above, below, along)


def _by_plane(along: Shaped[Tensor, "3 samples"]) -> list[Shaped[Tensor, "planes samples"]]:
    """What each plane reads of three axes, first and second; no index, whose numbers a GPU would wait for."""
    return [torch.stack([along[pair[axis]] for pair in PLANES]) for axis in range(2)]


def node_entry(
    column: Int[Tensor, "*cells"], row: Int[Tensor, "*cells"], *, side: int, table_size: int
) -> Int[Tensor, "*cells"]:
    """Where a plane's node stands in its level's table.

    Args:
        column: of the node.
        row: of the node.
        side: nodes along each side. Where all fit the table they stand row by row; else they are hashed.
        table_size: a power of 2.
    """
    if side * side <= table_size:
        return row * side + column
    # Only the last bits count, so that the prime's others need not be multiplied.
    return (column ^ (row * (PRIME % table_size))) & (table_size - 1)


class _Network(nn.Module):
    """Linear layers without biases, ReLU between them, on feature-major input."""

    def __init__(self, *widths: int) -> None:
        """Weights begin as those of ``nn.Linear``, as in ER-NeRF's code."""
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.empty(outputs, inputs).uniform_(-(inputs**-0.5), inputs**-0.5))
            for inputs, outputs in pairwise(widths)
        )

    def forward(self, inputs: Float[Tensor, "inputs samples"]) -> Float[Tensor, "outputs samples"]:
        for number, weight in enumerate(self.weights):
            inputs = weight @ (F.relu(inputs) if number else inputs)
        return inputs

"""The planes field as a CPU evaluates it fastest: ``Radiance`` with everything that a frame fixes folded in.

A frame's condition is the same at all samples but for how strongly each feels it, so its product with a layer
is one column beside the layer's weights; so are the view direction's weights and the bias. Each layer is then
one matrix product into memory that stays in the cache.
"""

import threading
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.models.fields.plane_encoding import PLANES
from nerf_ad.models.fields.planes import Radiance

CHUNK = 2048
"""Samples evaluated at once: their activations fit a core's second cache."""
NUM_FELT = 2
"""Conditions that are felt by place: the mouth's and the eyes'."""


class FoldedLayers(NamedTuple):
    """The layers that depend on a frame's condition."""

    trunk_in: Float[Tensor, "hidden inputs"]
    """For encoding, what is felt of mouth and eyes, and 1."""
    colour_in: Float[Tensor, "hidden inner"]
    """For the trunk, what is felt of mouth and eyes, view direction, and 1."""


class PackedPlanes:
    """A trained field's weights, packed once; shares the planes' memory with it."""

    def __init__(self, field: Radiance, *, mouth_dim: int) -> None:
        self.encoding_dim = field.encoding.out_dim
        self.width = field.colour_in.out_features
        self._mouth_dim = mouth_dim
        # One thread reads whole planes faster than the halves that the parameters are stored in.
        self._tables = [
            level.detach().view(len(PLANES), -1, *level.shape[2:]) for level in field.encoding.levels
        ]
        self._trunk_in, self._colour_in = field.trunk_in.weight.detach(), field.colour_in.weight.detach()
        self._trunk_in_bias = field.trunk_in.bias.detach()[:, None]
        self._colour_in_last = torch.cat([field.colour_ray.weight, field.colour_in.bias[:, None]], 1).detach()
        trunk_out = torch.cat([field.trunk_out.weight, field.trunk_out.bias[:, None]], dim=1).detach()
        self._trunk_out = trunk_out.roll(-1, dims=0)  # the density's row last
        self._colour_out = field.colour_out.weight.detach()
        self._colour_out_bias = field.colour_out.bias.detach()[:, None]
        self._memory = threading.local()

    def fold(self, mouth: Float[Tensor, "1 mouth"], eyes: Float[Tensor, "1 eyes"]) -> FoldedLayers:
        """The layers for a frame of that condition."""
        felt = []
        for weight, before in ((self._trunk_in, self.encoding_dim), (self._colour_in, self.width)):
            of_mouth, of_eyes = weight[:, before:].split([self._mouth_dim, eyes.shape[1]], dim=1)
            felt.append(torch.cat([of_mouth @ mouth.T, of_eyes @ eyes.T], dim=1))
        return FoldedLayers(
            torch.cat([self._trunk_in[:, : self.encoding_dim], felt[0], self._trunk_in_bias], dim=1),
            torch.cat([self._colour_in[:, : self.width], felt[1], self._colour_in_last], dim=1),
        )

    def evaluate(
        self,
        points: Float[Tensor, "3 samples"],
        felt: Float[Tensor, "2 samples"],
        directions: Float[Tensor, "3 samples"],
        layers: FoldedLayers,
    ) -> tuple[Float[Tensor, "samples"], Float[Tensor, "3 samples"]]:
        """Density and colour, as ``Radiance`` gives them.

        Args:
            points: in [-1, 1]^3.
            felt: how strongly each sample feels mouth and eyes.
            directions: unit view directions.
            layers: of ``fold``.
        """
        total = points.shape[1]
        density, rgb = points.new_empty(total), points.new_empty(3, total)
        for start in range(0, total, CHUNK):
            part = slice(start, min(start + CHUNK, total))
            self._evaluate(
                points[:, part], felt[:, part], directions[:, part], layers, density[part], rgb[:, part]
            )
        density.clamp_(max=8.0).sub_(1.0).exp_()
        return density, rgb.add_(self._colour_out_bias).sigmoid_()

    def _evaluate(
        self,
        points: Float[Tensor, "3 samples"],
        felt: Float[Tensor, "2 samples"],
        directions: Float[Tensor, "3 samples"],
        layers: FoldedLayers,
        density: Float[Tensor, "samples"],
        rgb: Float[Tensor, "3 samples"],
    ) -> None:
        """One chunk; logarithmic density and colour go to the last two arguments."""
        count, width, features = points.shape[1], self.width, self.encoding_dim
        grids, first, second, third, last = (part[..., :count] for part in self._workspace())
        for axis, pair in enumerate(PLANES):
            grids[axis, 0].copy_(points[pair[0]])
            grids[axis, 1].copy_(points[pair[1]])
        where = grids.transpose(1, 2).unsqueeze(2)
        at = 0
        for table in self._tables:
            read = F.grid_sample(table, where, mode="bilinear", padding_mode="border", align_corners=True)
            rows = table.shape[0] * table.shape[1]
            first[at : at + rows].copy_(read.view(rows, count))
            at += rows
        first[features : features + NUM_FELT].copy_(felt)
        torch.mm(layers.trunk_in, first, out=second[:width])
        second[:width].relu_()
        torch.mm(self._trunk_out, second, out=third[: width + 1])
        density.copy_(third[width])
        third[:width].relu_()
        third[width : width + NUM_FELT].copy_(felt)
        third[width + NUM_FELT : width + NUM_FELT + 3].copy_(directions)
        torch.mm(layers.colour_in, third, out=last)
        torch.mm(self._colour_out, last.relu_(), out=rgb)

    def _workspace(self) -> tuple[Tensor, ...]:
        """This thread's memory: places in the planes, and each layer's input, with a row of ones."""
        kept: tuple[Tensor, ...] | None = getattr(self._memory, "kept", None)
        if kept is None:
            make = self._trunk_in.new_empty
            first = make(self.encoding_dim + NUM_FELT + 1, CHUNK)
            second, third = make(self.width + 1, CHUNK), make(self.width + NUM_FELT + 4, CHUNK)
            for part in (first, second, third):
                part[-1] = 1.0
            kept = (make(len(PLANES), 2, CHUNK), first, second, third, make(self.width, CHUNK))
            self._memory.kept = kept
        return kept

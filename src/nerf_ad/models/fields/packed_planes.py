"""The planes field as a CPU evaluates it fastest: ``Radiance`` with everything that a frame fixes folded in.

A frame's condition is the same at all samples but for how strongly each feels it, so its product with a layer
is one column beside the layer's weights; so are the view direction's weights and the bias. Each layer is then
one matrix product into memory that stays in the cache. Where the processor multiplies bfloat16, the products
may be in it, which takes less than half their time (decision 0022).
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
GRAIN = 256
"""In bfloat16 a chunk's samples are this or a multiple: oneDNN plans a product for each size anew."""
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

    def __init__(self, field: Radiance, *, mouth_dim: int, dtype: torch.dtype = torch.float32) -> None:
        """``dtype``: of the products; planes are read, and colours made, in float32."""
        self.dtype = dtype
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
        self._trunk_out = self._widened(trunk_out.roll(-1, dims=0))  # the density's row last
        self._colour_out = field.colour_out.weight.detach().to(dtype)
        self._colour_out_bias = field.colour_out.bias.detach()[:, None]
        self._memory = threading.local()

    def fold(self, mouth: Float[Tensor, "1 mouth"], eyes: Float[Tensor, "1 eyes"]) -> FoldedLayers:
        """The layers for a frame of that condition."""
        felt = []
        for weight, before in ((self._trunk_in, self.encoding_dim), (self._colour_in, self.width)):
            of_mouth, of_eyes = weight[:, before:].split([self._mouth_dim, eyes.shape[1]], dim=1)
            felt.append(torch.cat([of_mouth @ mouth.T, of_eyes @ eyes.T], dim=1))
        return FoldedLayers(
            self._widened(
                torch.cat([self._trunk_in[:, : self.encoding_dim], felt[0], self._trunk_in_bias], dim=1)
            ),
            self._widened(
                torch.cat([self._colour_in[:, : self.width], felt[1], self._colour_in_last], dim=1)
            ),
        )

    def _widened(self, layer: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "outputs more"]:
        """A layer in its type; in half precision with zeros up to a multiple of 8 inputs."""
        if self.dtype == torch.float32:
            return layer
        return F.pad(layer, (0, -layer.shape[1] % 8)).to(self.dtype)

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
        grids = self._workspace().grids[..., :count]
        first, second, third, last, colour = self._workspace().layers(self._made(count))
        for axis, pair in enumerate(PLANES):
            grids[axis, 0].copy_(points[pair[0]])
            grids[axis, 1].copy_(points[pair[1]])
        where = grids.transpose(1, 2).unsqueeze(2)
        at = 0
        for table in self._tables:
            read = F.grid_sample(table, where, mode="bilinear", padding_mode="border", align_corners=True)
            rows = table.shape[0] * table.shape[1]
            first[at : at + rows, :count].copy_(read.view(rows, count))
            at += rows
        first[features : features + NUM_FELT, :count].copy_(felt)
        torch.mm(layers.trunk_in, first, out=second[:width])
        second[:width].relu_()
        torch.mm(self._trunk_out, second, out=third[: width + 1])
        density.copy_(third[width, :count])
        third[:width].relu_()
        third[width : width + NUM_FELT, :count].copy_(felt)
        third[width + NUM_FELT : width + NUM_FELT + 3, :count].copy_(directions)
        torch.mm(layers.colour_in, third, out=last)
        torch.mm(self._colour_out, last.relu_(), out=colour)
        rgb.copy_(colour[:, :count])

    def _made(self, count: int) -> int:
        """Samples that are evaluated for so many: more in half precision, so that few sizes come."""
        return count if self.dtype == torch.float32 else min(CHUNK, count + -count % GRAIN)

    def _workspace(self) -> "_Workspace":
        """This thread's memory."""
        kept: _Workspace | None = getattr(self._memory, "kept", None)
        if kept is None:
            kept = _Workspace(self.encoding_dim, self.width, self.dtype)
            self._memory.kept = kept
        return kept


class _Workspace:
    """A chunk's memory: places in the planes, and each layer's input, with a row of ones and zeros after it.

    Each number of samples has views of its own of the same memory: a product wants its columns side by side.
    """

    def __init__(self, encoding_dim: int, width: int, dtype: torch.dtype) -> None:
        self.grids = torch.empty(len(PLANES), 2, CHUNK)
        more = 1 if dtype == torch.float32 else 8
        self._rows = [encoding_dim + NUM_FELT + 1, width + 1, width + NUM_FELT + 4]
        wide = [rows + -rows % more for rows in self._rows]
        self._memory = [torch.zeros(rows * CHUNK, dtype=dtype) for rows in (*wide, width, 3)]
        self._wide = [*wide, width, 3]
        self._count = 0

    def layers(self, count: int) -> list[Tensor]:
        """Inputs of the three layers, the last one's answer, and the colour, for so many samples."""
        views = [
            memory[: rows * count].view(rows, count)
            for memory, rows in zip(self._memory, self._wide, strict=True)
        ]
        if count != self._count:
            for view, ones in zip(views, self._rows, strict=False):
                view[ones - 1 :].zero_()
                view[ones - 1] = 1.0
            self._count = count
        return views

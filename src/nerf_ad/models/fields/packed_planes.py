"""The planes field as a CPU evaluates it fastest: ``Radiance`` with everything that a frame fixes folded in.

A frame's condition is the same at all samples but for how strongly each feels it, so its product with a layer
is one column beside the layer's weights; so are the view direction's weights and the bias. Each layer is then
one matrix product into memory that stays in the cache. Planes whose levels nest are read together with the
first layer (``MergedPlanes``), others by ``grid_sample``. Where the processor multiplies bfloat16, the
products may be in it, which takes less than half their time (decision 0022).
"""

import threading
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.models.fields.merged_planes import MergedPlanes, can_merge
from nerf_ad.models.fields.planes import Radiance
from nerf_ad.models.fields.sampled_planes import SampledPlanes

GRAIN = 256
"""In bfloat16 a chunk's samples are this or a multiple: oneDNN plans a product for each size anew."""
NUM_FELT = 2
"""Conditions that are felt by place: the mouth's and the eyes'."""


class FoldedLayers(NamedTuple):
    """The layers that depend on a frame's condition."""

    trunk_in: Float[Tensor, "rows columns"]
    """As ``MergedPlanes`` or ``SampledPlanes`` folds it."""
    colour_in: Float[Tensor, "hidden inner"]
    """For the trunk, what is felt of mouth and eyes, view direction, and 1."""


class PackedPlanes:
    """A trained field's weights, packed once."""

    def __init__(
        self,
        field: Radiance,
        *,
        mouth_dim: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Pack.

        Args:
            field: the field.
            mouth_dim: numbers of its condition that are the mouth's.
            dtype: of the products and of merged planes; colours are made in float32.
        """
        self.dtype = dtype
        self.encoding_dim = field.encoding.out_dim
        self.width = field.colour_in.out_features
        self._mouth_dim = mouth_dim
        first = MergedPlanes if can_merge(field) else SampledPlanes
        self._first: MergedPlanes | SampledPlanes = first(field, dtype=dtype)
        self._trunk_in, self._colour_in = field.trunk_in.weight.detach(), field.colour_in.weight.detach()
        self._colour_in_last = torch.cat([field.colour_ray.weight, field.colour_in.bias[:, None]], 1).detach()
        # The density's row last.
        self._trunk_out = field.trunk_out.weight.detach().roll(-1, dims=0).to(dtype)
        self._trunk_out_bias = field.trunk_out.bias.detach().roll(-1, dims=0)[:, None].to(dtype)
        self._colour_out = field.colour_out.weight.detach().to(dtype)
        self._colour_out_bias = field.colour_out.bias.detach()[:, None]
        self._memory = threading.local()

    def fold(self, mouth: Float[Tensor, "1 mouth"], eyes: Float[Tensor, "1 eyes"]) -> FoldedLayers:
        """The layers for a frame of that condition."""
        felt = []
        for weight, before in ((self._trunk_in, self.encoding_dim), (self._colour_in, self.width)):
            of_mouth, of_eyes = weight[:, before:].split([self._mouth_dim, eyes.shape[1]], dim=1)
            felt.append(torch.cat([of_mouth @ mouth.T, of_eyes @ eyes.T], dim=1))
        colour_in = torch.cat([self._colour_in[:, : self.width], felt[1], self._colour_in_last], dim=1)
        if self.dtype != torch.float32:
            colour_in = F.pad(colour_in, (0, -colour_in.shape[1] % 8)).to(self.dtype)
        return FoldedLayers(self._first.fold(felt[0]), colour_in)

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
        total, chunk = points.shape[1], self._first.chunk
        density, rgb = points.new_empty(total), points.new_empty(3, total)
        for start in range(0, total, chunk):
            part = slice(start, min(start + chunk, total))
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
        count, width = points.shape[1], self.width
        made = self._made(count)
        hidden = self._first.answer(points, felt, layers.trunk_in, made).relu_()
        inner, last, colour = self._workspace().layers(made)
        torch.addmm(self._trunk_out_bias, self._trunk_out, hidden, out=inner[: width + 1])
        density.copy_(inner[width, :count])
        inner[:width].relu_()
        inner[width : width + NUM_FELT, :count].copy_(felt)
        inner[width + NUM_FELT : width + NUM_FELT + 3, :count].copy_(directions)
        torch.mm(layers.colour_in, inner, out=last)
        torch.mm(self._colour_out, last.relu_(), out=colour)
        rgb.copy_(colour[:, :count])

    def _made(self, count: int) -> int:
        """Samples that are evaluated for so many: more in half precision, so that few sizes come."""
        return count if self.dtype == torch.float32 else min(self._first.chunk, count + -count % GRAIN)

    def _workspace(self) -> "_Workspace":
        """This thread's memory."""
        kept: _Workspace | None = getattr(self._memory, "kept", None)
        if kept is None:
            kept = self._memory.kept = _Workspace(self.width, self.dtype, self._first.chunk)
        return kept


class _Workspace:
    """A chunk's memory: the colour layer's input, with a row of ones and zeros after it, its answer, colour.

    Each number of samples has views of its own of the same memory: a product wants its columns side by side.
    """

    def __init__(self, width: int, dtype: torch.dtype, chunk: int) -> None:
        self._ones = width + NUM_FELT + 3
        more = 1 if dtype == torch.float32 else 8
        rows = self._ones + 1
        self._rows = [rows + -rows % more, width, 3]
        self._memory = [torch.zeros(rows * chunk, dtype=dtype) for rows in self._rows]
        self._count = 0

    def layers(self, count: int) -> list[Tensor]:
        """Input and answer of the colour layer, and the colour, for so many samples."""
        views = [
            memory[: rows * count].view(rows, count)
            for memory, rows in zip(self._memory, self._rows, strict=True)
        ]
        if count != self._count:
            views[0][self._ones - NUM_FELT - 3 :].zero_()
            views[0][self._ones] = 1.0
            self._count = count
        return views

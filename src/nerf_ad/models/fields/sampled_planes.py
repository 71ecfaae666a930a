"""Planes read by ``grid_sample``, with the first layer after it: for levels that do not nest."""

import threading

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.models.fields.plane_encoding import PLANES
from nerf_ad.models.fields.planes import Radiance


class SampledPlanes:
    """The first layer of a field as a product for each chunk; shares the planes' memory. Safe for threads."""

    chunk = 2048
    """Samples of a call: their activations fit a core's second cache (ours)."""

    def __init__(self, field: Radiance, *, dtype: torch.dtype) -> None:
        """``dtype``: of the product; planes are read in float32."""
        self._dtype = dtype
        # One thread reads whole planes faster than the halves that the parameters are stored in.
        self._tables = [
            level.detach().view(len(PLANES), -1, *level.shape[2:]) for level in field.encoding.levels
        ]
        self._layer = field.trunk_in.weight.detach()[:, : field.encoding.out_dim]
        self._bias = field.trunk_in.bias.detach()[:, None]
        self._memory = threading.local()

    def fold(self, felt: Float[Tensor, "hidden felt"]) -> Float[Tensor, "hidden inputs"]:
        """The layer for encoding, what is felt, and 1; in half precision with zeros up to a multiple of 8."""
        folded = torch.cat([self._layer, felt, self._bias], dim=1)
        if self._dtype == torch.float32:
            return folded
        return F.pad(folded, (0, -folded.shape[1] % 8)).to(self._dtype)

    def answer(
        self,
        points: Float[Tensor, "3 samples"],
        felt: Float[Tensor, "felt samples"],
        folded: Float[Tensor, "hidden inputs"],
        made: int,
    ) -> Float[Tensor, "hidden made"]:
        """``MergedPlanes.answer``."""
        count, ones = points.shape[1], self._layer.shape[1] + len(felt)
        given = self._inputs(folded.shape[1] * made).view(-1, made)
        grids = torch.stack([points[list(pair)].T for pair in PLANES]).unsqueeze(2)
        at = 0
        for table in self._tables:
            read = F.grid_sample(table, grids, mode="bilinear", padding_mode="border", align_corners=True)
            rows = table.shape[0] * table.shape[1]
            given[at : at + rows, :count].copy_(read.view(rows, count))
            at += rows
        given[at:ones, :count].copy_(felt)
        given[:ones, count:] = 0
        given[ones] = 1
        given[ones + 1 :] = 0
        return folded @ given

    def _inputs(self, numbers: int) -> Float[Tensor, "numbers"]:
        """This thread's memory."""
        kept: Tensor | None = getattr(self._memory, "kept", None)
        if kept is None or len(kept) < numbers:
            kept = self._memory.kept = torch.empty(numbers, dtype=self._dtype)
        return kept[:numbers]

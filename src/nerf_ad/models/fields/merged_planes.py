"""Planes whose levels nest, read as one table that the first layer has gone through already.

Reading planes and the first layer are both linear, so they change places: the layer is applied to what the
planes hold at their nodes, once for each head, and a sample then adds up 12 rows (3 planes, 4 corners) of
hidden units instead of reading 48 corners of features and multiplying them. That is the same number wherever
every node of a coarse level is one of the finest's: 33, 65, 129 and 257 nodes do that, 32, 64, 128 and 256
do not. Rows are read by ``embedding_bag``, which takes less than half of ``grid_sample``'s time, finding them
included (decision 0024).
"""

import threading

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.models.fields.plane_encoding import PLANES
from nerf_ad.models.fields.planes import Radiance

MOST_BYTES = 256 << 20
"""Memory that a table may take (ours): 257 nodes of 64 units take 51 MB in float32."""
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""A cell's corners: how many nodes down and across."""
BAG = len(PLANES) * len(CORNERS)
"""Rows that a sample reads."""


class MergedPlanes:
    """The first layer's answer at each node of the finest level. Safe for threads."""

    chunk = 8192
    """Samples of a call (ours): more of them share its fixed cost, fewer fit the cache (decision 0024)."""

    def __init__(self, field: Radiance, *, dtype: torch.dtype) -> None:
        """Merge a field for which ``can_merge`` is true; ``dtype`` is the table's and the answers'."""
        levels = [level.detach() for level in field.encoding.levels]
        layer, bias = field.trunk_in.weight.detach(), field.trunk_in.bias.detach()
        self.side = side = max(level.shape[2] for level in levels)
        rows = layer.new_zeros(len(PLANES), side * side, len(layer))
        rows[0] = bias  # a plane's weights add up to 1
        at = 0
        for level in levels:
            planes = level.view(len(PLANES), -1, *level.shape[2:])
            wide = F.interpolate(planes, (side, side), mode="bilinear", align_corners=True)
            for plane, held in enumerate(wide):
                rows[plane].addmm_(held.flatten(1).T, layer[:, at : at + len(held)].T)
                at += len(held)
        self.rows = rows.flatten(0, 1).to(dtype)
        self._memory = threading.local()

    def fold(self, felt: Float[Tensor, "hidden felt"]) -> Float[Tensor, "rows hidden"]:
        """What a frame adds to the answer where its conditions are felt; rows of zeros up to 8."""
        return F.pad(felt.T, (0, 0, 0, -felt.shape[1] % 8)).to(self.rows.dtype)

    def answer(
        self,
        points: Float[Tensor, "3 samples"],
        felt: Float[Tensor, "felt samples"],
        folded: Float[Tensor, "rows hidden"],
        made: int,
    ) -> Float[Tensor, "hidden made"]:
        """The first layer before its ReLU.

        Args:
            points: in [-1, 1]^3; others read the border.
            felt: how strongly each sample feels the frame's conditions.
            folded: of ``fold``.
            made: columns of the answer; those behind the last sample mean nothing.
        """
        corners = self._corners(made, len(folded))
        corners.fill(points, self.side)
        corners.felt[: points.shape[1], : len(felt)].copy_(felt.T)
        answer = torch.embedding_bag(
            self.rows,
            corners.numbers[:made].view(-1),
            corners.starts[:made],
            per_sample_weights=corners.weights[:made].to(self.rows.dtype).view(-1),
        )[0]
        return answer.addmm_(corners.felt[:made], folded).T

    def _corners(self, count: int, num_felt: int) -> "_Corners":
        """This thread's memory."""
        kept: _Corners | None = getattr(self._memory, "kept", None)
        if kept is None or len(kept.starts) < count:
            kept = self._memory.kept = _Corners(max(count, self.chunk), num_felt, self.rows.dtype)
        return kept


class _Corners:
    """Memory for which rows samples read, and how much of each."""

    numbers: Int[Tensor, "room bag"]
    weights: Float[Tensor, "room bag"]
    starts: Int[Tensor, "room"]
    felt: Float[Tensor, "room felt"]

    def __init__(self, room: int, num_felt: int, dtype: torch.dtype) -> None:
        self.numbers = torch.zeros(room, BAG, dtype=torch.int32)
        self.weights = torch.zeros(room, BAG)
        self.starts = torch.arange(0, room * BAG, BAG, dtype=torch.int32)
        self.felt = torch.zeros(room, num_felt, dtype=dtype)
        self._place, self._rest = torch.empty(3, room), torch.empty(3, room)
        self._cell = torch.empty(3, room, dtype=torch.int32)
        self._first = torch.empty(room, dtype=torch.int32)

    def fill(self, points: Float[Tensor, "3 samples"], side: int) -> None:
        """Find the corners of each point."""
        count = points.shape[1]
        place, rest, cell = (part[:, :count] for part in (self._place, self._rest, self._cell))
        torch.add(points, 1.0, out=place).mul_((side - 1) / 2).clamp_(0, side - 1)
        cell.copy_(place).clamp_(0, side - 2)
        place.sub_(cell)
        torch.sub(1.0, place, out=rest)
        numbers, weights = self.numbers[:count].T, self.weights[:count].T
        column = 0
        for plane, (across, down) in enumerate(PLANES):
            first = torch.mul(cell[down], side, out=self._first[:count]).add_(cell[across])
            for below, beside in CORNERS:
                torch.add(first, (plane * side + below) * side + beside, out=numbers[column])
                shares = (place if below else rest)[down], (place if beside else rest)[across]
                torch.mul(*shares, out=weights[column])
                column += 1


def can_merge(field: Radiance) -> bool:
    """Whether every node of each level is one of the finest's, and the table is not too large."""
    sides = [level.shape[2] for level in field.encoding.levels]
    finest = max(sides)
    nest = all((finest - 1) % (side - 1) == 0 for side in sides)
    return nest and 4 * len(PLANES) * finest**2 * field.trunk_in.out_features <= MOST_BYTES

"""The grid that says where anything can be: a visual hull at first, then what the rays really hit."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class OccupancyGrid(nn.Module):
    """A box of cells; its state is saved with the field that it belongs to."""

    low: Tensor
    high: Tensor
    cells: Tensor
    importance: Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        shape = (resolution, resolution, resolution)
        self.register_buffer("low", -torch.ones(3))
        self.register_buffer("high", torch.ones(3))
        self.register_buffer("cells", torch.ones(shape, dtype=torch.bool))
        self.register_buffer("importance", torch.ones(shape))

    def set_box(self, low: Float[Tensor, "3"], high: Float[Tensor, "3"]) -> None:
        """Place the grid: metres in the world."""
        self.low.copy_(low)
        self.high.copy_(high)

    def centres(self) -> Float[Tensor, "resolution resolution resolution 3"]:
        """World position of every cell's centre, indexed x, y, z."""
        axis = (torch.arange(self.resolution, device=self.low.device) + 0.5) / self.resolution
        unit = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
        return self.low + unit * (self.high - self.low)

    def index(self, points: Float[Tensor, "points 3"]) -> Int[Tensor, "points"]:
        """Flat cell number of each point; points outside fall into the nearest border cell."""
        unit = (points - self.low) * (self.resolution / (self.high - self.low))
        cell = unit.clamp_(0, self.resolution - 1).to(torch.int64)
        return (cell[:, 0] * self.resolution + cell[:, 1]) * self.resolution + cell[:, 2]

    def lookup(self, points: Float[Tensor, "points 3"]) -> Bool[Tensor, "points"]:
        """Whether anything can be there."""
        return self.cells.view(-1).index_select(0, self.index(points))

    def set_cells(self, cells: Bool[Tensor, "x y z"]) -> None:
        """Take a carved hull; every cell of it counts as slightly important until rays say otherwise."""
        self.cells.copy_(cells)
        self.importance.copy_(0.1 * cells.to(self.importance.dtype))

    def observe(self, points: Float[Tensor, "points 3"], weights: Float[Tensor, "points"]) -> None:
        """Remember the largest compositing weight seen in each cell; one that is not a number counts 0."""
        self.importance.view(-1).scatter_reduce_(
            0, self.index(points), weights.nan_to_num(posinf=0.0), "amax"
        )

    def prune(self, *, threshold: float, decay: float) -> None:
        """Forget slowly, and drop cells whose neighbourhood contributed less than ``threshold``.

        Compositing weights drop the inside of the head too, which a density grid would not
        (performance.md section 6). A cell once dropped does not come back.
        """
        self.importance.mul_(decay)
        near = F.max_pool3d(self.importance[None, None], 3, stride=1, padding=1)[0, 0]
        self.cells.logical_and_(near > threshold)

"""Marching against geometry that is known by formula."""

import numpy as np
import torch

from nerf_ad.volume.occupancy import OccupancyGrid
from nerf_ad.volume.sampling import box_interval, first_occupied, march


def sphere_grid(radius: float, resolution: int = 96) -> OccupancyGrid:
    grid = OccupancyGrid(resolution)
    grid.set_cells(grid.centres().norm(dim=-1) < radius)
    return grid


def test_box_interval_of_an_axis_ray():
    origin, direction = torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    entry, leave = box_interval(origin, direction, torch.tensor([-1.0, -1, -2]), torch.tensor([1.0, 1, 3]))
    assert (float(entry), float(leave)) == (2.0, 7.0)


def test_rays_that_miss_the_box_leave_before_they_enter():
    entry, leave = box_interval(
        torch.tensor([[5.0, 0.0, 5.0]]), torch.tensor([[0.0, 0.0, -1.0]]), -torch.ones(3), torch.ones(3)
    )
    assert float(entry) >= float(leave)


def test_first_occupied_keeps_order_and_budget():
    occupied = torch.tensor([[False, True, True, False, True, True], [False] * 6])
    depth = torch.arange(6.0).repeat(2, 1)
    samples = first_occupied(depth, occupied, 3)
    assert samples.depth.tolist() == [[1, 2, 4], [0, 0, 0]]
    assert samples.lengths.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_the_silhouette_of_a_sphere_is_that_of_the_formula():
    radius, distance = 0.6, 4.0
    grid = sphere_grid(radius)
    across = torch.linspace(-0.3, 0.3, 401)
    directions = torch.stack([across, torch.zeros_like(across), -torch.ones_like(across)], dim=-1)
    origins = torch.tensor([0.0, 0.0, distance]).expand_as(directions)
    samples = march(origins, directions, grid, step=0.01, num_steps=400, num_samples=4)
    hit = samples.lengths.sum(dim=-1) > 0
    edge = float(across[hit].max())
    assert abs(edge - np.tan(np.arcsin(radius / distance))) < 0.01
    first = samples.depth[200, 0]
    assert abs(float(first) - (distance - radius)) < 0.03


def test_pruning_drops_cells_that_never_contribute_and_keeps_those_that_do():
    grid = OccupancyGrid(16)
    grid.set_cells(torch.ones(16, 16, 16, dtype=torch.bool))
    seen = torch.tensor([[0.5, 0.5, 0.5]])
    for _ in range(600):
        grid.observe(seen, torch.tensor([0.8]))
        grid.prune(threshold=0.01, decay=0.98)
    assert bool(grid.lookup(seen)[0])
    assert int(grid.cells.sum()) == 27  # the cell and its neighbours

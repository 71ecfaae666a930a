"""What the torso's stage asks of its flows."""

import torch

from nerf_ad.training.torso import bending


def test_shifts_turns_and_scalings_bend_nothing() -> None:
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(5.0), indexing="ij")
    flow = torch.stack([0.3 + 0.2 * rows - 0.1 * columns, 1.0 - 0.4 * rows])
    assert float(bending(flow[None])) < 1e-10


def test_a_parabola_bends_by_its_curvature() -> None:
    columns = torch.arange(6.0).expand(4, 6)
    flow = torch.stack([0.5 * columns**2, torch.zeros(4, 6)])
    torch.testing.assert_close(bending(flow[None]), torch.tensor(0.5))  # 1 squared, in one of two directions

"""The plane encoding against an explicit bilinear sum in float64."""

import numpy as np
import pytest
import torch

from nerf_ad.models.fields.plane_encoding import PLANES, PlaneEncoding


def bilinear(table: np.ndarray, x: float, y: float) -> np.ndarray:
    resolution = table.shape[-1]
    u, v = (np.clip((a + 1) / 2 * (resolution - 1), 0, resolution - 1) for a in (x, y))
    i, j = min(int(u), resolution - 2), min(int(v), resolution - 2)
    a, b = u - i, v - j
    top = (1 - a) * table[:, j, i] + a * table[:, j, i + 1]
    bottom = (1 - a) * table[:, j + 1, i] + a * table[:, j + 1, i + 1]
    return (1 - b) * top + b * bottom


@pytest.mark.parametrize("num_threads", [1, 2])
def test_encoding_is_the_bilinear_sum(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread reads whole planes, several read halves."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    torch.manual_seed(0)
    encoding = PlaneEncoding((4, 9), 4).double()
    points = torch.rand(20, 3, dtype=torch.float64) * 2.4 - 1.2
    ours = encoding(points).detach().numpy()
    truth = []
    for table in encoding.levels:
        values = table.detach().numpy()
        for plane, (a, b) in enumerate(PLANES):
            for half in range(2):
                rows = [bilinear(values[2 * plane + half], float(p[a]), float(p[b])) for p in points]
                truth.append(np.stack(rows, axis=-1))
    np.testing.assert_allclose(ours, np.concatenate(truth), atol=1e-12)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_gradients_are_those_of_finite_differences(num_threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    torch.manual_seed(1)
    encoding = PlaneEncoding((5,), 2).double()
    points = (torch.rand(6, 3, dtype=torch.float64) * 1.6 - 0.8).requires_grad_()
    assert torch.autograd.gradcheck(encoding, (points,))

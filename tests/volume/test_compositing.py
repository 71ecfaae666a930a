"""Compositing against a numerical integral and against its own algebra."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from nerf_ad.volume.compositing import composite, over, ray_weights


def test_weights_match_the_integral_of_transmittance():
    density = np.array([0.3, 1.7, 0.0, 4.0])
    lengths = np.array([0.5, 0.25, 1.0, 0.4])
    edges = np.concatenate([[0.0], np.cumsum(lengths)])

    def sigma(t):
        return density[min(np.searchsorted(edges, t, side="right") - 1, 3)]

    def contribution(t):
        depth = quad(sigma, 0, t, points=[e for e in edges if e < t] or None, limit=200)[0]
        return sigma(t) * np.exp(-depth)

    truth = [quad(contribution, a, b)[0] for a, b in pairwise(edges)]
    ours = ray_weights(torch.tensor(density)[None].float(), torch.tensor(lengths)[None].float())
    np.testing.assert_allclose(ours[0].numpy(), truth, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 20), min_size=2, max_size=8), st.integers(0, 7), st.floats(0.05, 0.95))
def test_splitting_an_interval_changes_nothing(density, which, where):
    which = which % len(density)
    lengths = [0.1] * len(density)
    split = density[: which + 1] + density[which:]
    pieces = [*lengths[:which], 0.1 * where, 0.1 * (1 - where), *lengths[which + 1 :]]
    whole = ray_weights(torch.tensor([density], dtype=torch.float64).float(), torch.tensor([lengths]))
    parts = ray_weights(torch.tensor([split], dtype=torch.float64).float(), torch.tensor([pieces]))
    assert abs(float(whole.sum() - parts.sum())) < 1e-5
    assert abs(float(whole[0, which] - parts[0, which : which + 2].sum())) < 1e-5


def test_empty_space_shows_what_lies_behind():
    behind = torch.rand(5, 3)
    result = composite(torch.zeros(5, 4), torch.rand(3, 5, 4), torch.ones(5, 4))
    torch.testing.assert_close(over(result.rgb, result.opacity, behind), behind)


def test_an_opaque_first_sample_hides_everything():
    rgb = torch.rand(3, 2, 3)
    density = torch.tensor([[1e4, 5.0, 5.0]]).repeat(2, 1)
    result = composite(density, rgb, torch.ones(2, 3))
    torch.testing.assert_close(over(result.rgb, result.opacity, torch.ones(2, 3)), rgb[:, :, 0].T)

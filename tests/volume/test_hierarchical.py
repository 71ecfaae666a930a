"""The two passes: depths against exact distributions, weights against loops and integrals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from nerf_ad.volume.hierarchical import (
    LAST_LENGTH,
    LEAST_DENSITY,
    LEAST_WEIGHT,
    composite_before,
    even_depths,
    fine_depths,
    inverse_cdf_depths,
    opaque_weights,
    stratified_depths,
)


def naive_colour(density, depths, norm, rgb, behind):
    """NeRF's sum as the released codes write it, one number at a time, in double precision."""
    colour, through = np.zeros(3), 1.0
    for i in range(len(density)):
        delta = (depths[i + 1] - depths[i] if i + 1 < len(depths) else LAST_LENGTH) * norm
        alpha = 1 - math.exp(-(max(density[i], 0.0) + LEAST_DENSITY) * delta)
        seen = behind if i + 1 == len(density) else rgb[i]
        colour += alpha * through * np.asarray(seen)
        through *= 1 - alpha + 1e-10
    return colour


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 40), st.floats(0.5, 2.0))
def test_compositing_matches_a_naive_loop(seed, samples, norm):
    draw = np.random.default_rng(seed)
    density = draw.normal(0, 30, samples)
    depths = np.sort(draw.uniform(0.4, 1.2, samples))
    rgb, behind = draw.random((samples, 3)), draw.random(3)
    weights = opaque_weights(
        torch.tensor(density).float()[None], torch.tensor(depths).float()[None], torch.tensor([norm])
    )
    ours = composite_before(
        weights, torch.tensor(rgb).float()[None], torch.tensor(behind).float()[None]
    ).squeeze(0)
    truth = naive_colour(density, depths, norm, rgb, behind)
    np.testing.assert_allclose(ours.numpy(), truth, atol=2e-5)


def test_a_smooth_fog_matches_its_integral():
    """C = int sigma(t) c(t) T(t) dt, and what is behind keeps T(far): closed forms by quadrature."""
    near, far = 0.5, 1.1

    def sigma(t):
        return 8.0 * math.exp(-(((t - 0.8) / 0.07) ** 2))

    def colour(t):
        return 0.5 + 0.4 * math.sin(9 * t)

    def through(t):
        return math.exp(-quad(sigma, near, t, limit=200)[0])

    behind = 0.9
    truth = quad(lambda t: sigma(t) * colour(t) * through(t), near, far, limit=200)[0] + behind * through(far)
    depths = even_depths(near, far, 1, 6000, device=torch.device("cpu"))
    values = depths[0].tolist()
    density = torch.tensor([[sigma(t) for t in values]])
    rgb = torch.tensor([[[colour(t)] * 3 for t in values]])
    weights = opaque_weights(density, depths, torch.ones(1))
    ours = composite_before(weights, rgb, torch.full((1, 3), behind))
    np.testing.assert_allclose(ours[0].numpy(), [truth] * 3, atol=3e-4)


def test_weights_sum_to_one_and_empty_space_shows_what_is_behind():
    depths = even_depths(0.5, 1.1, 2, 64, device=torch.device("cpu"))
    density = torch.stack([torch.full((64,), -5.0), torch.linspace(-5, 40, 64)])
    weights = opaque_weights(density, depths, torch.tensor([1.0, 1.3]))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    rgb, behind = torch.zeros(2, 64, 3), torch.rand(2, 3)
    np.testing.assert_allclose(
        composite_before(weights, rgb, behind)[0].numpy(), behind[0].numpy(), atol=1e-5
    )


def test_a_wall_hides_what_is_behind():
    depths = even_depths(0.5, 1.1, 1, 64, device=torch.device("cpu"))
    density = torch.where(torch.arange(64) == 30, 1e5, 0.0)[None]
    rgb = torch.zeros(1, 64, 3)
    rgb[0, 30] = torch.tensor([0.2, 0.5, 0.7])
    seen = composite_before(opaque_weights(density, depths, torch.ones(1)), rgb, torch.ones(1, 3))
    torch.testing.assert_close(seen[0], rgb[0, 30], atol=1e-4, rtol=0)


def test_gradients_match_finite_differences():
    torch.manual_seed(0)
    depths = torch.sort(torch.rand(2, 6, dtype=torch.float64), dim=1).values
    density = (3 * torch.rand(2, 6, dtype=torch.float64) + 0.5).requires_grad_()
    rgb = torch.rand(2, 6, 3, dtype=torch.float64, requires_grad=True)
    behind = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)

    def picture(density, rgb, behind):
        weights = opaque_weights(density, depths, torch.ones(2, dtype=torch.float64))
        return composite_before(weights, rgb, behind)

    assert torch.autograd.gradcheck(picture, (density, rgb, behind))


def test_stratified_depths_stay_in_their_bins_and_fill_them():
    even = np.linspace(0.5, 1.1, 8)
    edges = np.concatenate([even[:1], (even[1:] + even[:-1]) / 2, even[-1:]])
    jitter = torch.rand(20_000, 8, generator=torch.Generator().manual_seed(0))
    depths = stratified_depths(0.5, 1.1, jitter=jitter).numpy()
    assert (depths[:, :-1] >= edges[:-2] - 1e-6).all()
    assert (depths[:, :-1] <= edges[1:-1] + 1e-6).all()
    np.testing.assert_allclose(depths[:, -1], 1.1, atol=1e-6)
    np.testing.assert_allclose(depths[:, :-1].mean(axis=0), (edges[:-2] + edges[1:-1]) / 2, atol=1e-3)


def exact_cdf(t, edges, weights):
    """Share of the mass below t: bins of uniform density."""
    mass = weights + LEAST_WEIGHT
    below = np.clip((t - edges[:-1]) / np.diff(edges), 0, 1)
    return float((mass * below).sum() / mass.sum())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_inverse_cdf_inverts_the_exact_cdf(seed, bins):
    draw = np.random.default_rng(seed)
    edges = np.cumsum(draw.uniform(0.01, 0.2, bins + 1))
    weights = draw.uniform(0.05, 1, bins)
    draws = np.concatenate([[0.0, 1.0], draw.random(20)])
    depths = inverse_cdf_depths(
        torch.tensor(edges)[None].double(), torch.tensor(weights)[None], torch.tensor(draws)[None]
    )
    back = [exact_cdf(t, edges, weights) for t in depths[0].numpy()]
    np.testing.assert_allclose(back, draws, atol=1e-6)


def test_draws_have_the_distribution_of_the_weights():
    edges = np.array([0.5, 0.6, 0.65, 0.9, 1.1])
    weights = np.array([0.1, 0.6, 0.0, 0.3])
    draws = torch.rand(1, 100_000, generator=torch.Generator().manual_seed(0))
    depths = inverse_cdf_depths(torch.tensor(edges)[None].float(), torch.tensor(weights)[None].float(), draws)
    for t in (0.55, 0.6, 0.62, 0.65, 0.8, 1.0):
        assert float((depths <= t).float().mean()) == pytest.approx(exact_cdf(t, edges, weights), abs=6e-3)


def test_where_nothing_was_seen_draws_are_even():
    edges = torch.linspace(0.5, 1.1, 13)[None]
    draws = torch.linspace(0, 1, 7)[None]
    depths = inverse_cdf_depths(edges, torch.zeros(1, 12), draws)
    torch.testing.assert_close(depths, 0.5 + 0.6 * draws, atol=1e-5, rtol=0)


def test_fine_depths_keep_the_first_ones_and_say_where_they_went():
    generator = torch.Generator().manual_seed(0)
    depths = stratified_depths(0.5, 1.1, jitter=torch.rand(5, 16, generator=generator))
    weights = torch.rand(5, 16, generator=generator)
    found = fine_depths(depths, weights, torch.rand(5, 24, generator=generator))
    both = torch.cat([depths, found.new], dim=1)
    assert (found.depths.diff(dim=1) >= 0).all()
    assert torch.equal(both.gather(1, found.order), found.depths)
    assert torch.equal(found.order.sort(dim=1).values, torch.arange(40).expand(5, 40))


def test_fine_depths_gather_where_the_weight_is():
    """All weight on one interior sample: all draws between its neighbours' middles."""
    depths = even_depths(0.0, 1.0, 1, 11, device=torch.device("cpu"))
    weights = torch.zeros(1, 11)
    weights[0, 4] = 1e3
    new = fine_depths(depths, weights, torch.linspace(0.01, 0.99, 50)[None]).new
    assert float(new.min()) > 0.349
    assert float(new.max()) < 0.451

"""Intervals of means, against the textbook's and against how often they hold the truth."""

import numpy as np
import pytest

from nerf_ad.metrics.bootstrap import mean_interval


def autoregressive(rng: np.random.Generator, series: int, length: int, memory: float) -> np.ndarray:
    """AR(1) series of mean 0 that have forgotten how they began."""
    noise = rng.normal(size=(series, length + 200))
    values = np.zeros_like(noise)
    for step in range(1, noise.shape[1]):
        values[:, step] = memory * values[:, step - 1] + noise[:, step]
    return values[:, 200:]


def held(intervals: list) -> float:
    return float(np.mean([low <= 0 <= high for low, high in intervals]))


def test_white_noise_has_the_textbook_interval(rng: np.random.Generator) -> None:
    values = rng.normal(3, 2, 4000)
    found = mean_interval(values, block=1)
    assert found is not None
    width = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert found == pytest.approx((values.mean() - width, values.mean() + width), abs=0.1 * width)
    blocks = mean_interval(values, block=25)
    assert blocks is not None
    assert blocks.high - blocks.low == pytest.approx(2 * width, rel=0.2)


def test_series_that_remember_need_wider_intervals(rng: np.random.Generator) -> None:
    memory = 0.8
    series = autoregressive(rng, 200, 1000, memory)
    found = [mean_interval(values, block=25, draws=400) for values in series]
    naive = [
        (v.mean() - 1.96 * v.std() / v.size**0.5, v.mean() + 1.96 * v.std() / v.size**0.5) for v in series
    ]
    assert held(naive) < 0.6
    assert 0.88 <= held(found) <= 0.99
    # The mean's true deviation is 1 / (1 - memory) / sqrt(n): three times the naive one at 0.8.
    width = np.mean([interval.high - interval.low for interval in found if interval is not None])
    assert width == pytest.approx(2 * 1.96 / (1 - memory) / np.sqrt(1000), rel=0.15)


def test_the_same_values_have_the_same_interval(rng: np.random.Generator) -> None:
    values = rng.normal(size=130)
    assert mean_interval(values, block=25) == mean_interval(values, block=25)
    assert mean_interval(values, block=25) != mean_interval(values, block=25, seed=1)


def test_a_short_series_has_none() -> None:
    assert mean_interval(np.arange(99.0), block=25) is None
    assert mean_interval(np.ones(100), block=25) == (1, 1)

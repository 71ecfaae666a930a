"""Accelerations of points whose path is known."""

import numpy as np
import pytest

from nerf_ad.metrics.jitter import landmark_acceleration, mean_length


def test_a_circle_accelerates_towards_its_middle() -> None:
    """``|a| = 2 r (1 - cos w)``, exactly."""
    frames, turn, radius = np.arange(50), 0.3, 20.0
    path = radius * np.stack([np.cos(turn * frames), np.sin(turn * frames)], axis=-1)[:, None]
    found = mean_length(landmark_acceleration(np.repeat(path, 4, axis=1), frames))
    assert np.isnan(found[[0, -1]]).all()
    assert found[1:-1] == pytest.approx(2 * radius * (1 - np.cos(turn)))


def test_steady_motion_has_none_and_gaps_do_not_count() -> None:
    frames = np.array([0, 1, 2, 3, 7, 8, 9])
    path = np.stack([3.0 * frames, -2.0 * frames], axis=-1)[:, None]
    path[4:] += 100
    found = mean_length(landmark_acceleration(path, frames))
    assert np.isfinite(found).tolist() == [False, True, True, False, False, True, False]
    assert np.nanmax(found) < 1e-9


def test_noise_of_known_size(rng: np.random.Generator) -> None:
    """Each coordinate's second difference has variance 6; a Rayleigh mean is ``s sqrt(pi / 2)``."""
    points = rng.normal(size=(4000, 5, 2))
    found = np.nanmean(mean_length(landmark_acceleration(points, np.arange(4000))))
    assert found == pytest.approx(np.sqrt(6) * np.sqrt(np.pi / 2), rel=0.02)


def test_too_few_frames() -> None:
    assert np.isnan(landmark_acceleration(np.zeros((2, 3, 2)), np.arange(2))).all()

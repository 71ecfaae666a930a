from typing import Any

import numpy as np

from nerf_ad.geometry.rotations import geodesic_distance, matrix_from_axis_angle
from nerf_ad.geometry.smoothing import estimate_noise, smooth_path, smooth_poses


def make_path(frames: Any = 1500, dof: Any = 2, seed: Any = 0) -> Any:
    """An integrated random walk and a noisy measurement of it."""
    random = np.random.default_rng(seed)
    acceleration = random.normal(size=(frames, dof)) * np.linspace(0.02, 0.05, dof)
    true = np.cumsum(np.cumsum(acceleration, axis=0), axis=0)
    true -= np.linspace(0, 1, frames)[:, None] * true[-1]
    return true, true + random.normal(size=true.shape) * np.linspace(0.5, 0.2, dof)


def test_noise_is_found() -> None:
    _, path = make_path()
    noise = estimate_noise(path, (0,))
    assert noise is not None
    np.testing.assert_allclose(np.sqrt(np.diag(noise.measurement)), [0.5, 0.2], rtol=0.15)
    np.testing.assert_allclose(np.sqrt(np.diag(noise.acceleration)), [0.02, 0.05], rtol=0.6)


def test_smoothing_brings_the_path_near_the_truth() -> None:
    true, path = make_path()
    smoothed = smooth_path(path, np.ones(len(path)), (0,))
    before, after = np.sqrt(((path - true) ** 2).mean(axis=0)), np.sqrt(((smoothed - true) ** 2).mean(axis=0))
    assert (after < before * [0.35, 0.65]).all()


def test_clean_path_is_left_alone() -> None:
    time = np.arange(300) / 25
    path = np.stack([np.sin(2 * time), np.cos(3 * time)], axis=1)
    smoothed = smooth_path(path + 1e-5 * np.random.default_rng(0).normal(size=path.shape), np.ones(300), (0,))
    np.testing.assert_allclose(smoothed, path, atol=1e-3)


def test_shots_do_not_touch() -> None:
    _, path = make_path(200)
    path[100:] += 50.0
    together = smooth_path(path, np.ones(200), (0, 100))
    changed = path.copy()
    changed[100:] *= -1
    noise = estimate_noise(path, (0, 100))
    first = smooth_path(path, np.ones(200), (0, 100), noise)
    second = smooth_path(changed, np.ones(200), (0, 100), noise)
    np.testing.assert_array_equal(first[:100], second[:100])
    assert abs(np.diff(together[98:102, 0])[1]) > 40


def test_untrusted_frames_are_interpolated() -> None:
    true, path = make_path(400, seed=3)
    trust = np.ones(400)
    trust[200:206] = 0
    path[200:206] = 1e3
    noise = estimate_noise(make_path(400, seed=3)[1], (0,))
    smoothed = smooth_path(path, trust, (0,), noise)
    assert np.abs(smoothed[200:206] - true[200:206]).max() < 1.5


def test_short_and_empty_shots_pass() -> None:
    _, path = make_path(5)
    np.testing.assert_array_equal(smooth_path(path, np.ones(5), (0, 2)), path)


def test_poses_are_smoothed() -> None:
    random = np.random.default_rng(5)
    time = np.arange(400) / 25
    angles = np.stack([0.1 * np.sin(time), 0.3 * np.sin(0.7 * time), 0.05 * np.cos(time)], axis=1)
    true = matrix_from_axis_angle(angles)
    place = np.stack([0.02 * np.sin(time), 0.01 * np.cos(time), -0.8 + 0.02 * np.sin(0.5 * time)], axis=1)
    rotation = matrix_from_axis_angle(0.01 * random.normal(size=(400, 3))) @ true
    noisy = place + random.normal(size=place.shape) * [0.0005, 0.0005, 0.005]
    smooth_rotation, smooth_place = smooth_poses(rotation, noisy, np.ones(400), (0,))
    assert geodesic_distance(smooth_rotation, true).mean() < 0.5 * geodesic_distance(rotation, true).mean()
    assert np.abs(smooth_place - place)[:, 2].mean() < 0.5 * np.abs(noisy - place)[:, 2].mean()

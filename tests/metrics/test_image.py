"""PSNR on hand-made values."""

import numpy as np
import pytest

from nerf_ad.metrics.image import psnr
from nerf_ad.metrics.landmarks import lagged_correlation, landmark_distance


def test_psnr_of_a_known_error():
    real = np.full((4, 4, 3), 100, np.uint8)
    made = np.full((4, 4, 3), 151, np.uint8)  # an error of 0.2
    assert psnr(made, real) == pytest.approx(-20 * np.log10(0.2), abs=1e-9)
    assert psnr(real, real) == float("inf")


def test_psnr_counts_only_where_asked():
    real = np.zeros((2, 2, 3), np.uint8)
    made = real.copy()
    made[0, 0] = 255
    where = np.array([[True, False], [False, False]])
    assert psnr(made, real, where) == pytest.approx(0.0)
    assert psnr(made, real, ~where) == float("inf")


def test_landmark_distance_ignores_a_shift_only_when_centred():
    points = np.random.default_rng(0).random((3, 5, 2))
    moved = points + np.array([3.0, 4.0])
    assert landmark_distance(moved, points) == pytest.approx(0, abs=1e-12)
    assert landmark_distance(moved, points, centred=False) == pytest.approx(5.0)


def test_lag_is_found_with_its_sign():
    curve = np.random.default_rng(1).standard_normal(200)
    late = np.concatenate([np.zeros(3), curve[:-3]])
    scores = lagged_correlation(late, curve)
    assert max(scores, key=lambda lag: scores[lag]) == 3

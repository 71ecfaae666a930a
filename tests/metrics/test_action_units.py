"""Figures of action units on hand-made labels."""

import numpy as np
import pytest

from nerf_ad.metrics.action_units import majority_accuracy, unit_accuracy, unit_error

REAL = np.array([[1, 0], [1, 0], [1, 1], [0, 0]], bool)


def test_accuracy_counts_frames_that_agree() -> None:
    made = np.array([[1, 1], [1, 0], [0, 1], [0, 1]], bool)
    assert unit_accuracy(made, REAL).tolist() == [0.75, 0.5]
    assert unit_accuracy(REAL, REAL).tolist() == [1, 1]


def test_the_majority_is_what_a_constant_answer_gets() -> None:
    constants = np.stack([unit_accuracy(np.full_like(REAL, answer), REAL) for answer in (True, False)])
    assert majority_accuracy(REAL).tolist() == constants.max(axis=0).tolist() == [0.75, 0.75]


def test_error_is_the_mean_difference() -> None:
    real = np.array([[0.0, 0.5], [1.0, 0.5]], np.float32)
    made = np.array([[0.5, 0.5], [0.75, 0.25]], np.float32)
    assert unit_error(made, real) == pytest.approx([0.375, 0.125])

"""Mouth codes against the synthetic person's known mouth; head motion must not leak into them."""

import numpy as np
import pytest

from nerf_ad.dataset import expression
from nerf_ad.dataset.dataset import Dataset, shot_numbers
from nerf_ad.dataset.expression import (
    MOUTH,
    REST_GAP,
    decode_mouth,
    encode_expression,
    few_rows,
    fit_expression_basis,
    rest_code,
)
from nerf_ad.dataset.head_landmarks import HeadLandmarks


def test_the_code_follows_the_mouth(person: Dataset) -> None:
    landmarks = HeadLandmarks.of(person)
    basis = fit_expression_basis(landmarks, person.split().train, mouth_dim=6)
    code = encode_expression(landmarks, basis).mouth
    opening = person.action_units().channel("AU25")
    assert abs(np.corrcoef(code[:, 0], opening)[0, 1]) > 0.95


def test_decoding_gives_the_landmarks_back(person: Dataset) -> None:
    landmarks = HeadLandmarks.of(person)
    basis = fit_expression_basis(landmarks, person.split().train, mouth_dim=12)
    code = encode_expression(landmarks, basis).mouth
    error = np.linalg.norm(decode_mouth(code, basis) - landmarks.read(MOUTH), axis=-1)
    assert error.mean() < 0.001  # metres


def test_the_mouth_at_rest_is_shut(person: Dataset) -> None:
    landmarks = HeadLandmarks.of(person)
    basis = fit_expression_basis(landmarks, person.split().train, mouth_dim=6)
    points = decode_mouth(rest_code(basis)[None], basis)[0]
    gap = points[MOUTH.index(13), 1] - points[MOUTH.index(14), 1]
    assert abs(gap - REST_GAP) < 1e-5


def test_many_rows_give_way_to_few_with_the_same_modes(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expression, "MOST_ROWS", 1000)
    rows = rng.normal(size=(9000, 12)) * np.linspace(3, 1, 12)
    few = few_rows(rows[start : start + 256] for start in range(0, len(rows), 256))
    assert len(few) <= 1000
    _, singular, modes = np.linalg.svd(few, full_matrices=False)
    _, of_all, modes_of_all = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(singular, of_all, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(modes * modes_of_all, axis=1)), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(few_rows([rows[:100], rows[100:300]]), rows[:300])


def test_shots_are_counted_and_unseen_ones_count_as_the_last() -> None:
    assert shot_numbers([0, 3, 5], 7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert shot_numbers([0, 3, 5], 7, 2).tolist() == [0, 0, 0, 1, 1, 1, 1]

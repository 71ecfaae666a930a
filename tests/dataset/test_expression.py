"""Mouth codes against the synthetic person's known mouth; head motion must not leak into them."""

import numpy as np

from nerf_ad.dataset.dataset import Dataset, shot_numbers
from nerf_ad.dataset.expression import (
    MOUTH,
    REST_GAP,
    decode_mouth,
    encode_expression,
    fit_expression_basis,
    head_landmarks,
    rest_code,
)


def test_the_code_follows_the_mouth(person: Dataset) -> None:
    landmarks = head_landmarks(person.landmarks(), person.tracking())
    basis = fit_expression_basis(landmarks, person.split().train, mouth_dim=6)
    code = encode_expression(landmarks, basis).mouth
    opening = person.action_units().channel("AU25")
    assert abs(np.corrcoef(code[:, 0], opening)[0, 1]) > 0.95


def test_decoding_gives_the_landmarks_back(person: Dataset) -> None:
    landmarks = head_landmarks(person.landmarks(), person.tracking())
    basis = fit_expression_basis(landmarks, person.split().train, mouth_dim=12)
    code = encode_expression(landmarks, basis).mouth
    error = np.linalg.norm(decode_mouth(code, basis) - landmarks[:, list(MOUTH)], axis=-1)
    assert error.mean() < 0.001  # metres


def test_points_that_do_not_move_stay_where_they_are(person: Dataset) -> None:
    tracking = person.tracking()
    landmarks = head_landmarks(person.landmarks(), tracking)
    sideways = landmarks[:, tracking.point_indices, :2] - tracking.head_points[:, :2]
    assert np.abs(sideways).mean() < 0.003


def test_the_mouth_at_rest_is_shut(person: Dataset) -> None:
    landmarks = head_landmarks(person.landmarks(), person.tracking())
    basis = fit_expression_basis(landmarks, person.split().train, mouth_dim=6)
    points = decode_mouth(rest_code(basis)[None], basis)[0]
    gap = points[MOUTH.index(13), 1] - points[MOUTH.index(14), 1]
    assert abs(gap - REST_GAP) < 1e-5


def test_shots_are_counted_and_unseen_ones_count_as_the_last() -> None:
    assert shot_numbers([0, 3, 5], 7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert shot_numbers([0, 3, 5], 7, 2).tolist() == [0, 0, 0, 1, 1, 1, 1]

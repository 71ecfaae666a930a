"""Faces at rest: the similarity that was applied is found again and undone."""

import numpy as np
import pytest
import torch

from nerf_ad.models.paper.resting_face import at_rest, points_in_crops, similarities


def test_places_in_crops_follow_the_box() -> None:
    boxes = np.array([[10, 20, 30, 40], [0, 0, 100, 100]])
    points = np.array(
        [[[10.0, 20.0], [30.0, 40.0], [20.0, 25.0]], [[50.0, 50.0], [0.0, 100.0], [100.0, 0.0]]]
    )
    wanted = np.array([[[-1, -1], [1, 1], [0, -0.5]], [[0, 0], [-1, 1], [1, -1]]])
    np.testing.assert_allclose(points_in_crops(points, boxes), wanted)


def test_a_similarity_is_found_again() -> None:
    rng = np.random.default_rng(0)
    rest = rng.uniform(-1, 1, (30, 2))
    points, wanted = [], []
    for angle, scale, shift in ((0.0, 1.0, (0.0, 0.0)), (0.3, 1.2, (0.1, -0.2)), (-1.0, 0.5, (0.0, 0.4))):
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points.append(rest @ turn.T + shift)
        wanted.append(np.column_stack([turn, shift]))
    np.testing.assert_allclose(similarities(rest, np.stack(points)).numpy(), wanted, atol=1e-6)


def test_it_is_the_nearest_one() -> None:
    """No small change of it brings noisy points nearer."""
    rng = np.random.default_rng(0)
    rest, points = rng.uniform(-1, 1, (20, 2)), rng.uniform(-1, 1, (1, 20, 2))
    a, b, x, y = (
        float(similarities(rest, points)[0, row, column]) for row, column in ((0, 0), (1, 0), (0, 2), (1, 2))
    )

    def distance(change: np.ndarray) -> float:
        p, q, r, s = np.array([a, b, x, y]) + change
        return float(((rest @ np.array([[p, -q], [q, p]]).T + (r, s) - points[0]) ** 2).sum())

    for axis in range(4):
        for step in (-0.01, 0.01):
            assert distance(step * np.eye(4)[axis]) > distance(np.zeros(4))


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_turned_faces_come_back(quarter: int) -> None:
    torch.manual_seed(0)
    face = torch.rand(1, 3, 8, 8)
    angle = quarter * np.pi / 2
    rest = np.array([[0.5, 0.0], [0.0, 0.5], [-0.3, -0.2]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # y points down: this turn carries x to y, clockwise to the eye, against torch.rot90's sense
    turned = torch.rot90(face, -quarter, dims=(2, 3))
    found = at_rest(turned, similarities(rest, (rest @ turn.T)[None]))
    torch.testing.assert_close(found, face, atol=1e-4, rtol=0)


def test_beyond_the_crop_is_black() -> None:
    rest = np.array([[0.5, 0.0], [0.0, 0.5]])
    moved = at_rest(torch.ones(1, 3, 8, 8), similarities(rest, (rest + np.array([1.0, 0.0]))[None]))
    torch.testing.assert_close(moved[0, :, :, :3], torch.ones(3, 8, 3))
    torch.testing.assert_close(moved[0, :, :, 4:], torch.zeros(3, 8, 4))

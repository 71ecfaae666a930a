from typing import Any

import numpy as np
import pytest

from nerf_ad.geometry import rotations

N = 50


@pytest.fixture(name="matrices")
def random_matrices() -> Any:
    vectors = np.random.default_rng(0).normal(size=(N, 3))
    return rotations.matrix_from_axis_angle(vectors)


def test_matrices_are_rotations(matrices: Any) -> None:
    np.testing.assert_allclose(
        matrices @ np.swapaxes(matrices, 1, 2), np.broadcast_to(np.eye(3), (N, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)


def test_opposite_vector_is_the_inverse() -> None:
    vectors = np.random.default_rng(1).normal(size=(N, 3))
    product = rotations.matrix_from_axis_angle(vectors) @ rotations.matrix_from_axis_angle(-vectors)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), (N, 3, 3)), atol=1e-12)


def test_turns_about_one_axis_add_up() -> None:
    axis = np.array([[0.6, 0.0, 0.8]])
    both = rotations.matrix_from_axis_angle(0.3 * axis) @ rotations.matrix_from_axis_angle(0.5 * axis)
    np.testing.assert_allclose(both, rotations.matrix_from_axis_angle(0.8 * axis), atol=1e-12)


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (rotations.axis_angle_from_matrix, rotations.matrix_from_axis_angle),
        (rotations.quaternion_from_matrix, rotations.matrix_from_quaternion),
        (rotations.euler_from_matrix, rotations.matrix_from_euler),
    ],
)
def test_every_form_comes_back(matrices: Any, there: Any, back: Any) -> None:
    np.testing.assert_allclose(back(there(matrices)), matrices, atol=1e-10)


def test_quaternions_multiply_like_matrices(matrices: Any) -> None:
    first, second = matrices[: N // 2], matrices[N // 2 :]
    w1, v1 = np.split(rotations.quaternion_from_matrix(first), [1], axis=1)
    w2, v2 = np.split(rotations.quaternion_from_matrix(second), [1], axis=1)
    real = w1 * w2 - (v1 * v2).sum(axis=1, keepdims=True)
    product = np.concatenate([real, w1 * v2 + w2 * v1 + np.cross(v1, v2)], axis=1)
    np.testing.assert_allclose(rotations.matrix_from_quaternion(product), first @ second, atol=1e-10)


def test_euler_signs() -> None:
    yaw, pitch, roll = (rotations.matrix_from_euler(row) for row in 0.3 * np.eye(3))
    out_of_face, up = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
    assert (yaw @ out_of_face)[0] > 0
    assert (pitch @ out_of_face)[1] < 0
    assert (roll @ up)[0] < 0


def test_distance_is_a_metric_that_rotations_keep(matrices: Any) -> None:
    first, second, third = matrices[:10], matrices[10:20], matrices[20:30]
    distance = rotations.geodesic_distance
    np.testing.assert_allclose(distance(first, first), 0, atol=1e-7)
    np.testing.assert_allclose(distance(first, second), distance(second, first))
    assert (distance(first, third) <= distance(first, second) + distance(second, third) + 1e-12).all()
    np.testing.assert_allclose(distance(third @ first, third @ second), distance(first, second), atol=1e-9)


def test_alignment_finds_the_rotation(matrices: Any) -> None:
    cloud = np.random.default_rng(2).normal(size=(20, 3))
    moved = np.einsum("fij,nj->fni", matrices, cloud) + 0.7
    found = rotations.align_rotation(np.broadcast_to(cloud, moved.shape), moved, np.linspace(1, 2, 20))
    np.testing.assert_allclose(found, matrices, atol=1e-10)


def test_mean_of_a_symmetric_set_is_its_middle(matrices: Any) -> None:
    spread = rotations.matrix_from_axis_angle(np.concatenate([0.2 * np.eye(3), -0.2 * np.eye(3)]))
    np.testing.assert_allclose(rotations.mean_rotation(spread @ matrices[0]), matrices[0], atol=1e-10)

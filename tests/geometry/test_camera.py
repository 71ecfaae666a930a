from typing import Any

import numpy as np
import pytest
import torch

from nerf_ad.geometry.camera import (
    Intrinsics,
    crop_intrinsics,
    invert_pose,
    pose_matrix,
    project,
    scale_intrinsics,
)
from nerf_ad.geometry.rays import pixel_grid, pixel_rays, project_points
from nerf_ad.geometry.rotations import matrix_from_axis_angle

INTRINSICS = Intrinsics(900.0, 950.0, 250.0, 260.0)


@pytest.fixture(name="pose")
def some_pose() -> Any:
    return pose_matrix(matrix_from_axis_angle(np.array([0.2, -0.4, 0.1])), np.array([0.1, 0.05, 0.8]))


def test_axes() -> None:
    pose = np.eye(4)
    points = np.array([[0.0, 0.0, -1.0], [0.1, 0.0, -1.0], [0.0, 0.1, -1.0], [0.0, 0.0, 1.0]])
    pixels, depth = project(points, pose, INTRINSICS)
    np.testing.assert_allclose(pixels[0], [250, 260])
    np.testing.assert_allclose(pixels[1], [250 + 90, 260])  # x to the right
    np.testing.assert_allclose(pixels[2], [250, 260 - 95])  # y up
    np.testing.assert_allclose(depth, [1, 1, 1, -1])


def test_inverse_pose(pose: Any) -> None:
    np.testing.assert_allclose(invert_pose(pose) @ pose, np.eye(4), atol=1e-12)


def test_poses_broadcast_over_points(pose: Any) -> None:
    points = np.random.default_rng(0).normal(size=(5, 3)) * 0.05
    poses = np.stack([pose, np.eye(4) + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0, 0]])])
    both = project(points, poses[:, None], INTRINSICS).pixels
    for frame in range(2):
        np.testing.assert_allclose(both[frame], project(points, poses[frame], INTRINSICS).pixels)


def test_scaling_and_cropping_move_pixels(pose: Any) -> None:
    points = np.random.default_rng(1).normal(size=(5, 3)) * 0.05
    pixels = project(points, pose, INTRINSICS).pixels
    np.testing.assert_allclose(project(points, pose, scale_intrinsics(INTRINSICS, 0.5)).pixels, pixels / 2)
    cropped = project(points, pose, crop_intrinsics(INTRINSICS, 30, 10)).pixels
    np.testing.assert_allclose(cropped, pixels - [30, 10])


def test_points_on_rays_project_to_their_pixels(pose: Any) -> None:
    pixels = torch.rand(40, 2) * 500
    pose32, intrinsics = torch.tensor(pose, dtype=torch.float32), torch.tensor(INTRINSICS.array())
    rays = pixel_rays(pixels, pose32, intrinsics)
    depth = torch.linspace(0.3, 1.2, 40)
    points = rays.origins + depth[:, None] * rays.directions
    seen, seen_depth = project(points.numpy().astype(np.float64), pose, INTRINSICS)
    np.testing.assert_allclose(seen, pixels.numpy(), atol=2e-3)
    np.testing.assert_allclose(seen_depth, depth.numpy(), atol=1e-6)
    again, again_depth = project_points(points, pose32, intrinsics)
    torch.testing.assert_close(again, pixels, atol=2e-2, rtol=0)
    torch.testing.assert_close(again_depth, depth)


def test_a_pose_for_every_ray(pose: Any) -> None:
    poses = torch.tensor(np.stack([pose, np.eye(4)]), dtype=torch.float32)
    pixels, intrinsics = torch.tensor([[10.0, 20.0], [30.0, 40.0]]), torch.tensor(INTRINSICS.array())
    both = pixel_rays(pixels, poses, intrinsics)
    for ray in range(2):
        alone = pixel_rays(pixels[ray : ray + 1], poses[ray], intrinsics)
        torch.testing.assert_close(both.origins[ray], alone.origins[0])
        torch.testing.assert_close(both.directions[ray], alone.directions[0])


def test_pixel_centres() -> None:
    grid = pixel_grid(3, 2)
    assert grid.tolist() == [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5]]

"""The pose of a known rigid head in each frame, from landmarks.

A pose is kept as head-to-camera: a point X of the head is at ``rotation @ X + translation`` in camera axes
(OpenGL: the camera looks along -z). Steps are (rotation vector in camera axes, translation in metres).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_ad.geometry.camera import invert_pose, pose_matrix
from nerf_ad.geometry.rotations import align_rotation, matrix_from_axis_angle


class Poses(NamedTuple):
    """Head-to-camera."""

    rotation: Float[np.ndarray, "frames 3 3"]
    translation: Float[np.ndarray, "frames 3"]
    """Metres; z is negative."""

    def camera_to_world(self) -> Float[np.ndarray, "frames 4 4"]:
        """The same as moving cameras before a resting head."""
        return invert_pose(pose_matrix(self.rotation, self.translation))


def guess_poses(
    landmarks: Float[np.ndarray, "frames points 3"],
    shape: Float[np.ndarray, "points 3"],
    focal: float,
    centre: float,
) -> Poses:
    """First poses from MediaPipe's relative 3D points by alignment, as under weak perspective.

    Args:
        landmarks: x right, y down, z away from the viewer, all in pixels.
        shape: the same points of the head, metres.
        focal: pixels.
        centre: principal point, pixels, for both axes.
    """
    cloud = landmarks * np.array([1.0, -1.0, -1.0])
    rotation = align_rotation(np.broadcast_to(shape, cloud.shape), cloud, np.ones(len(shape)))
    turned = np.einsum("fij,nj->fni", rotation, shape)
    mean = turned.mean(axis=1)
    spread = np.sqrt(((turned - mean[:, None])[..., :2] ** 2).sum(axis=(1, 2)))
    seen = landmarks[..., :2].mean(axis=1)
    depth = focal * spread / np.sqrt(((landmarks[..., :2] - seen[:, None]) ** 2).sum(axis=(1, 2)))
    x, y = (seen[:, 0] - centre) * depth / focal, -(seen[:, 1] - centre) * depth / focal
    return Poses(rotation, np.stack([x, y, -depth], axis=1) - mean)


def apply_step(poses: Poses, step: Float[np.ndarray, "frames 6"]) -> Poses:
    """Turn about the camera's axes by ``step[:, :3]`` radians (the head's origin stays), then shift."""
    return Poses(matrix_from_axis_angle(step[:, :3]) @ poses.rotation, poses.translation + step[:, 3:])


class Linearised(NamedTuple):
    """Residuals (projected minus observed, pixels) and their derivatives."""

    residual: Float[np.ndarray, "frames points 2"]
    by_pose: Float[np.ndarray, "frames points 2 6"]
    by_point: Float[np.ndarray, "frames points 2 3"]
    by_log_focal: Float[np.ndarray, "frames points 2"]


def linearise(
    pixels: Float[np.ndarray, "frames points 2"],
    shape: Float[np.ndarray, "points 3"],
    focal: float,
    centre: float,
    poses: Poses,
) -> Linearised:
    """Reprojection of the shape at the poses, to first order."""
    turned = np.einsum("fij,nj->fni", poses.rotation, shape)
    x, y, z = np.moveaxis(turned + poses.translation[:, None], -1, 0)
    by_log_focal = np.stack([-focal * x / z, focal * y / z], axis=-1)
    residual = by_log_focal + centre - pixels
    by_camera = np.zeros((*z.shape, 2, 3))
    by_camera[..., 0, 0] = -focal / z
    by_camera[..., 0, 2] = focal * x / z**2
    by_camera[..., 1, 1] = focal / z
    by_camera[..., 1, 2] = -focal * y / z**2
    # d(R X)/d(rotation vector) = -[R X]_x, and a row vector a times -[b]_x is b x a.
    by_pose = np.empty((*z.shape, 2, 6))
    by_pose[..., :3] = np.cross(turned[:, :, None], by_camera)
    by_pose[..., 3:] = by_camera
    by_point = (by_camera.reshape(len(z), -1, 3) @ poses.rotation).reshape(by_camera.shape)
    return Linearised(residual, by_pose, by_point, by_log_focal)


def solve_poses(
    pixels: Float[np.ndarray, "frames points 2"],
    shape: Float[np.ndarray, "points 3"],
    focal: float,
    centre: float,
    poses: Poses,
    *,
    rounds: int = 6,
    spread: Float[np.ndarray, "points"] | None = None,
    chunk: int = 256,
) -> tuple[Poses, Float[np.ndarray, "points"]]:
    """The pose of every frame on its own, by robust Gauss-Newton, and each point's root mean square residual.

    Args:
        pixels: observed landmarks.
        shape: the head, metres.
        focal: pixels.
        centre: principal point, pixels.
        poses: where to start.
        rounds: Gauss-Newton rounds.
        spread: pixels by which each point scatters; estimated from the residuals where it is not given.
        chunk: frames worked on at a time, which bounds the memory.
    """
    if spread is None:
        sample = slice(None, None, max(1, len(pixels) // 300))
        subset = Poses(poses.rotation[sample], poses.translation[sample])
        known = np.ones(len(shape))
        for _ in range(3):
            subset, seen = _chunk_poses(
                pixels[sample], shape, focal, centre, subset, known, max(rounds // 2, 2)
            )
            known = floored(seen)
        spread = known
    parts, squares = [], np.zeros(len(shape))
    for start in range(0, len(pixels), chunk):
        part = slice(start, start + chunk)
        first = Poses(poses.rotation[part], poses.translation[part])
        solved, seen = _chunk_poses(pixels[part], shape, focal, centre, first, spread, rounds)
        parts.append(solved)
        squares += seen**2 * len(solved.translation)
    joined = Poses(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return joined, np.sqrt(squares / len(pixels))


def floored(spread: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
    """Standard deviations to weight points by: no point counts more than the median one.

    Without the floor a few neighbouring points come to agree with each other and outweigh the rest.
    """
    return np.asarray(np.maximum(spread, max(float(np.median(spread)), 0.05)))


def _chunk_poses(
    pixels: Float[np.ndarray, "frames points 2"],
    shape: Float[np.ndarray, "points 3"],
    focal: float,
    centre: float,
    poses: Poses,
    spread: Float[np.ndarray, "points"],
    rounds: int,
) -> tuple[Poses, Float[np.ndarray, "points"]]:
    for _ in range(rounds):
        residual, by_pose, _, _ = linearise(pixels, shape, focal, centre, poses)
        distance = np.linalg.norm(residual, axis=2) / spread
        weight = np.minimum(1.0, 2.0 / np.maximum(distance, 1e-9)) / spread**2  # Huber
        rows = by_pose.reshape(len(pixels), -1, 6)
        weighted = (by_pose * weight[..., None, None]).reshape(rows.shape)
        hessian = np.swapaxes(weighted, 1, 2) @ rows
        gradient = np.einsum("fri,fr->fi", weighted, residual.reshape(len(pixels), -1))
        poses = apply_step(poses, -np.linalg.solve(hessian, gradient[..., None])[..., 0])
    residual = linearise(pixels, shape, focal, centre, poses).residual
    return poses, np.sqrt((np.minimum(np.abs(residual), 10 * spread[:, None]) ** 2).mean(axis=(0, 2)))

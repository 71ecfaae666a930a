"""One rigid head shape and one focal length for a whole clip, by bundle adjustment.

The unknowns are the shape (points x 3), the focal length and a pose per keyframe; the least-squares problem
is solved by Levenberg-Marquardt with the poses eliminated (Schur complement), so that its cost is linear in
the number of keyframes. Every landmark gets a weight from its own residuals: those that move with the face's
expression count less.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nerf_ad.face.head_pose import Poses, floored, linearise, solve_poses
from nerf_ad.geometry.rotations import align_rotation

EYE_DISTANCE = 0.089
"""Metres between the outer eye corners (landmarks 33 and 263) of MediaPipe's canonical face."""

_OVER_BONE = """
    9 8
    10 109 67 103 54 21 162 127 338 297 332 284 251 389 356 151 108 69 104 68 71 139 34 337 299 333 298 301
    368 264 143 372 156 383 227 447 116 345 234 454
    168 6 197 195 5 4 193 417 122 351 196 419 3 248 188 412 245 465 174 399 236 456 198 420 51 281 45 275 134
    363 217 437
    33 133 263 362 35 265 31 261 111 340 117 346 118 347 119 348 100 329 121 350 123 352 50 280 101 330 47 277
    114 343 128 357 244 464 243 463
"""  # forehead and temples; nose; corners and bony rim of the eyes, upper cheeks

RIGID_POINTS: Int[np.ndarray, "points"] = np.array(sorted(int(index) for index in _OVER_BONE.split()))
"""Landmarks over bone and the nose's cartilage: none of lips, jaw, brows and lids."""

_MIRRORED = ((33, 263), (133, 362), (234, 454), (127, 356), (21, 251), (54, 284), (103, 332), (116, 345))
_TOP, _CHIN, _TRAGI = 10, 152, (234, 454)


class HeadShape(NamedTuple):
    """What does not change over the clip."""

    points: Float[np.ndarray, "points 3"]
    """Metres; x to the person's left, y up, z out of the face, origin inside the skull."""
    focal: float
    """Pixels."""
    spread: Float[np.ndarray, "points"]
    """Root mean square residual of each point, in pixels."""


def average_face(landmarks: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, "478 3"]:
    """The mean of MediaPipe's own relative 3D points after generalised Procrustes alignment.

    Returned in metres, upright and frontal: x along the mirrored pairs of landmarks, y from chin to hairline,
    the origin between the tragi (landmarks 234 and 454), at half the height of the face plus 2 cm, which is
    near the middle of the skull.
    """
    cloud = landmarks * np.array([1.0, -1.0, -1.0])
    cloud = cloud - cloud[:, RIGID_POINTS].mean(axis=1, keepdims=True)
    cloud = cloud / np.sqrt((cloud[:, RIGID_POINTS] ** 2).sum(axis=2).mean(axis=1))[:, None, None]
    equal = np.ones(len(RIGID_POINTS))
    mean = cloud[len(cloud) // 2]
    for _ in range(4):
        target = np.broadcast_to(mean[RIGID_POINTS], (len(cloud), len(RIGID_POINTS), 3))
        rotation = align_rotation(cloud[:, RIGID_POINTS], target, equal)
        mean = np.einsum("fij,fnj->ni", rotation, cloud) / len(cloud)
    side = np.mean([mean[left] - mean[right] for right, left in _MIRRORED], axis=0)
    side /= np.linalg.norm(side)
    up = mean[_TOP] - mean[_CHIN]
    up -= side * (side @ up)
    up /= np.linalg.norm(up)
    mean = mean @ np.stack([side, up, np.cross(side, up)], axis=1)
    mean *= EYE_DISTANCE / np.linalg.norm(mean[33] - mean[263])
    tragi = mean[list(_TRAGI)].mean(axis=0)
    return np.asarray(mean - [tragi[0], (mean[_TOP, 1] + mean[_CHIN, 1]) / 2 + 0.02, tragi[2]])


def fit_head_shape(
    pixels: Float[np.ndarray, "frames points 2"],
    initial: Float[np.ndarray, "points 3"],
    poses: Poses,
    *,
    focal: float,
    centre: float,
    focal_spread: float,
    shape_spread: float,
    eyes: tuple[int, int],
    rounds: int = 12,
) -> tuple[HeadShape, Poses]:
    """Bundle adjustment of shape, focal length and the poses of the given (key) frames.

    Args:
        pixels: observed landmarks.
        initial: first shape, metres; the fitted one keeps its position, orientation and size.
        poses: first poses.
        focal: first focal length in pixels and the centre of its prior.
        centre: principal point in pixels, for both axes.
        focal_spread: standard deviation of the prior on the logarithm of the focal length.
        shape_spread: standard deviation of the prior on every coordinate of the shape, metres.
        eyes: rows of the two outer eye corners, whose distance fixes the size.
        rounds: Levenberg-Marquardt rounds; the weights are renewed in every one of them.
    """
    num_points = len(initial)
    shape, log_focal = initial.copy(), np.log(focal)
    damping = 1e-3
    spread = np.ones(num_points)
    for _ in range(rounds):
        poses, seen = solve_poses(pixels, shape, np.exp(log_focal), centre, poses, rounds=2, spread=spread)
        spread = floored(seen)
        # Landmarks of one frame err together: a frame counts as about 6 independent points.
        evidence = 6.0 / num_points
        residual, by_pose, by_point, by_focal = linearise(pixels, shape, np.exp(log_focal), centre, poses)
        distance = np.linalg.norm(residual, axis=2) / spread
        weight = evidence / spread**2 * np.minimum(1.0, 2.0 / np.maximum(distance, 1e-9))
        hessian, gradient = _reduced_system(residual, by_pose, by_point, by_focal, weight)
        hessian[np.arange(num_points * 3), np.arange(num_points * 3)] += shape_spread**-2
        gradient[:-1] += ((shape - initial) / shape_spread**2).ravel()
        hessian[-1, -1] += focal_spread**-2
        gradient[-1] += (log_focal - np.log(focal)) / focal_spread**2
        hessian[np.diag_indices_from(hessian)] *= 1 + damping
        step = -np.linalg.solve(hessian, gradient)
        step *= min(1.0, 0.2 / max(abs(step[-1]), 1e-9))
        previous = shape
        shape, log_focal = shape + step[:-1].reshape(-1, 3), log_focal + step[-1]
        shape, poses = _fix_gauge(shape, poses, initial, spread, eyes)
        damping = max(damping / 3, 1e-6)
        if np.abs(shape - previous).max() < 2e-6 and abs(step[-1]) < 1e-4:
            break
    poses, spread = solve_poses(pixels, shape, np.exp(log_focal), centre, poses, rounds=3, spread=spread)
    return HeadShape(shape, float(np.exp(log_focal)), spread), poses


def _reduced_system(
    residual: Float[np.ndarray, "frames points 2"],
    by_pose: Float[np.ndarray, "frames points 2 6"],
    by_point: Float[np.ndarray, "frames points 2 3"],
    by_focal: Float[np.ndarray, "frames points 2"],
    weight: Float[np.ndarray, "frames points"],
) -> tuple[Float[np.ndarray, "unknowns unknowns"], Float[np.ndarray, "unknowns"]]:
    """Normal equations of shape and log focal with the poses eliminated; unknowns = 3 points + 1."""
    num_frames, num_points = weight.shape
    size = num_points * 3 + 1
    root = np.sqrt(weight)[:, :, None]
    by_pose = (by_pose * root[..., None]).reshape(num_frames, -1, 6)
    by_point = by_point * root[..., None]
    by_focal, residual = by_focal * root, residual * root
    flat_focal, flat_residual = by_focal.reshape(num_frames, -1), residual.reshape(num_frames, -1)

    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    rows = by_point.transpose(1, 0, 2, 3).reshape(num_points, -1, 3)
    blocks = rows.transpose(0, 2, 1) @ rows
    for n in range(num_points):
        hessian[3 * n : 3 * n + 3, 3 * n : 3 * n + 3] = blocks[n]
    hessian[-1, :-1] = hessian[:-1, -1] = np.einsum("fnki,fnk->ni", by_point, by_focal).ravel()
    hessian[-1, -1] = (by_focal**2).sum()
    gradient[:-1] = np.einsum("fnki,fnk->ni", by_point, residual).ravel()
    gradient[-1] = (by_focal * residual).sum()

    transposed = by_pose.transpose(0, 2, 1)
    cross = np.empty((num_frames, 6, size))
    split = by_pose.reshape(num_frames, num_points, 2, 6).transpose(0, 1, 3, 2)
    cross[:, :, :-1] = (split @ by_point).transpose(0, 2, 1, 3).reshape(num_frames, 6, -1)
    cross[:, :, -1:] = transposed @ flat_focal[:, :, None]
    right = np.concatenate([cross, transposed @ flat_residual[:, :, None]], axis=2)
    solved = np.linalg.solve(transposed @ by_pose, right).reshape(num_frames * 6, size + 1)
    flat = cross.reshape(num_frames * 6, size)
    hessian -= flat.T @ solved[:, :-1]
    gradient -= flat.T @ solved[:, -1]
    return hessian, gradient


def _fix_gauge(
    shape: Float[np.ndarray, "points 3"],
    poses: Poses,
    initial: Float[np.ndarray, "points 3"],
    spread: Float[np.ndarray, "points"],
    eyes: tuple[int, int],
) -> tuple[Float[np.ndarray, "points 3"], Poses]:
    """Move the shape back to the initial one's place, orientation and size; the pictures do not change."""
    scale = EYE_DISTANCE / np.linalg.norm(shape[eyes[0]] - shape[eyes[1]])
    weight = spread**-2
    rotation = align_rotation(shape, initial, weight)
    share = weight / weight.sum()
    shift = share @ initial - scale * rotation @ (share @ shape)
    moved = scale * shape @ rotation.T + shift
    # x_cam = R X + t with X = rotation^T (moved - shift) / scale; the picture knows x_cam only up to scale.
    turned = poses.rotation @ rotation.T
    return moved, Poses(turned, scale * poses.translation - turned @ shift)

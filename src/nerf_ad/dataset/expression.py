"""What the face does, with the head's motion undone: a mouth code and an eye state for every frame.

Landmarks are lifted to the head's own axes with the tracked pose. The mouth code is their principal
components around lips and chin; the eye state is openness, gaze and brow. Both have about unit variance, so
that they can condition a network. The bases belong to the avatar: they are what its speech encoder predicts.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.dataset import LandmarkTrack, Tracking

LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409)
"""Outer lip contour (MediaPipe face mesh)."""
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415)
"""Inner lip contour."""
CHIN = (152, 148, 176, 149, 150, 377, 400, 378, 379, 199, 200, 18)
"""Chin and the lower jaw's outline."""
MOUTH = (*LIPS, *INNER_LIPS, *CHIN)
"""Points of the mouth code."""
EYES = (33, 133, 159, 145, 263, 362, 386, 374, 70, 105, 107, 300, 334, 336)
"""Eye corners, lids and brows: where the eye state acts."""

REST_GAP = 0.0005
"""Distance of the inner lips at rest, metres (ours; the landmarker hardly ever says 0)."""

EYE_STATES = ("left openness", "right openness", "gaze across", "gaze up", "brow")
"""Meaning of the eye state's entries."""


class ExpressionBasis(NamedTuple):
    """How landmarks become codes; fitted on training frames only."""

    mouth_mean: Float[np.ndarray, "coordinates"]
    """Mean mouth, metres, head axes, flattened."""
    mouth_modes: Float[np.ndarray, "units coordinates"]
    """Orthonormal modes, the strongest first."""
    mouth_scale: Float[np.ndarray, "units"]
    """What a code of 1 means in metres along each mode."""
    eye_mean: Float[np.ndarray, "states"]
    """Mean of the raw eye states."""
    eye_scale: Float[np.ndarray, "states"]
    """Standard deviation of the raw eye states."""


class Expression(NamedTuple):
    """Codes over the clip."""

    mouth: Float[np.ndarray, "frames units"]
    """Mouth code."""
    eyes: Float[np.ndarray, "frames states"]
    """Eye state."""


def head_landmarks(track: LandmarkTrack, tracking: Tracking) -> Float[np.ndarray, "frames 478 3"]:
    """Landmarks in the head's own axes, metres.

    The landmarker gives depth relative to the head and in pixels; the rigid points, whose depth the tracking
    knows, tell the offset. The scale is that of a weak perspective at the head's distance.
    """
    lifted = np.empty(track.points.shape, np.float32)
    for start in range(0, len(lifted), 1000):  # piece by piece: the doubles of an hour would take gigabytes
        part = slice(start, start + 1000)
        pose = tracking._replace(camera_to_world=tracking.camera_to_world[part])
        lifted[part] = _lift(track.points[part], pose)
    return lifted


def _lift(points: Float[np.ndarray, "frames 478 3"], tracking: Tracking) -> Float[np.ndarray, "frames 478 3"]:
    fx, fy, cx, cy = (float(value) for value in tracking.intrinsics)
    pose = tracking.camera_to_world.astype(np.float64)
    rotation, position = pose[:, :3, :3], pose[:, :3, 3]
    rigid = np.einsum("fji,fpj->fpi", rotation, tracking.head_points[None] - position[:, None])
    distance = np.einsum("fji,fj->fi", rotation, -position)[:, 2] * -1.0
    metres_per_pixel = (distance / fx)[:, None]
    relative = points[:, :, 2] * metres_per_pixel
    offset = np.median(-rigid[:, :, 2] - relative[:, tracking.point_indices], axis=1)
    depth = relative + offset[:, None]
    camera = np.stack(
        [(points[:, :, 0] - cx) / fx * depth, -(points[:, :, 1] - cy) / fy * depth, -depth],
        axis=-1,
    )
    world = np.einsum("fij,fpj->fpi", rotation, camera) + position[:, None]
    return world.astype(np.float32)


def fit_expression_basis(
    landmarks: Float[np.ndarray, "frames 478 3"], train: range, *, mouth_dim: int
) -> ExpressionBasis:
    """Fit the codes on the training frames.

    Weak modes are scaled by at least a quarter of the strongest one's deviation, so that landmark noise does
    not look like speech (ours).
    """
    mouth = landmarks[train.start : train.stop, MOUTH].reshape(len(train), -1).astype(np.float64)
    mean = mouth.mean(axis=0)
    _, singular, modes = np.linalg.svd(mouth - mean, full_matrices=False)
    deviation = singular / np.sqrt(len(train))
    kept = min(mouth_dim, len(deviation))
    scale = np.zeros(mouth_dim)
    basis = np.zeros((mouth_dim, mouth.shape[1]))
    scale[:] = max(0.25 * deviation[0], 1e-6)
    scale[:kept] = np.maximum(deviation[:kept], scale[0])
    basis[:kept] = modes[:kept]
    eyes = raw_eye_states(landmarks[train.start : train.stop])
    return ExpressionBasis(
        mean.astype(np.float32),
        basis.astype(np.float32),
        scale.astype(np.float32),
        eyes.mean(axis=0),
        np.maximum(eyes.std(axis=0), 1e-3),
    )


def encode_expression(landmarks: Float[np.ndarray, "frames 478 3"], basis: ExpressionBasis) -> Expression:
    """Codes of every frame."""
    mouth = landmarks[:, MOUTH].reshape(len(landmarks), -1) - basis.mouth_mean
    code = mouth @ basis.mouth_modes.T / basis.mouth_scale
    eyes = (raw_eye_states(landmarks) - basis.eye_mean) / basis.eye_scale
    return Expression(code.astype(np.float32), np.clip(eyes, -4, 4).astype(np.float32))


def decode_mouth(
    mouth: Float[np.ndarray, "frames units"], basis: ExpressionBasis
) -> Float[np.ndarray, "frames points 3"]:
    """Mouth landmarks, metres, that a code stands for (the points of ``MOUTH``)."""
    flat = basis.mouth_mean + (mouth * basis.mouth_scale) @ basis.mouth_modes
    return flat.reshape(len(mouth), len(MOUTH), 3)


def rest_code(basis: ExpressionBasis) -> Float[np.ndarray, "units"]:
    """The mouth at rest: of all codes that close the inner lips, the one nearest to the average mouth.

    The lips' distance is linear in the code, so this is the least-norm solution of one equation (ours).
    """
    upper, lower = (3 * MOUTH.index(point) + 1 for point in (13, 14))
    apart = float(basis.mouth_mean[upper] - basis.mouth_mean[lower])
    slope = (basis.mouth_modes[:, upper] - basis.mouth_modes[:, lower]) * basis.mouth_scale
    return np.asarray(slope * (REST_GAP - apart) / max(float(slope @ slope), 1e-12), np.float32)


def raw_eye_states(landmarks: Float[np.ndarray, "frames 478 3"]) -> Float[np.ndarray, "frames states"]:
    """Openness of both eyes, gaze across and up, and brow height, over the eye's width."""

    def apart(first: int, second: int) -> np.ndarray[Any, np.dtype[Any]]:
        return np.asarray(np.linalg.norm(landmarks[:, first] - landmarks[:, second], axis=-1))

    right, left = apart(33, 133) + 1e-6, apart(263, 362) + 1e-6
    across = (
        (landmarks[:, 468, 0] - landmarks[:, (33, 133), 0].mean(axis=1)) / right
        + (landmarks[:, 473, 0] - landmarks[:, (263, 362), 0].mean(axis=1)) / left
    ) / 2
    up = (
        (landmarks[:, 468, 1] - landmarks[:, (33, 133), 1].mean(axis=1)) / right
        + (landmarks[:, 473, 1] - landmarks[:, (263, 362), 1].mean(axis=1)) / left
    ) / 2
    brow = (apart(105, 33) / right + apart(334, 263) / left) / 2
    states = np.stack([apart(386, 374) / left, apart(159, 145) / right, across, up, brow], axis=-1)
    return states.astype(np.float32)

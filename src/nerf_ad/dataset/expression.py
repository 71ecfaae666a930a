"""What the face does, with the head's motion undone: a mouth code and an eye state for every frame.

Landmarks are lifted to the head's own axes (``head_landmarks``). The mouth code is their principal
components around lips and chin; the eye state is openness, gaze and brow. Both have about unit variance, so
that they can condition a network. The bases belong to the avatar: they are what its speech encoder predicts.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.head_landmarks import HeadLandmarks, mean_of

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
EYE_POINTS = (33, 133, 145, 159, 263, 362, 374, 386, 105, 334, 468, 473)
"""What the eye state is made of: corners, lids, brows and irises."""

REST_GAP = 0.0005
"""Distance of the inner lips at rest, metres (ours; the landmarker hardly ever says 0)."""

MOST_ROWS = 1 << 14
"""Mouths that are held at once while their modes are looked for, 20 MB of doubles: those of eleven minutes at
25 fps. Modes of a longer clip may have the other sign than those of all its mouths together (ours)."""

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


def fit_expression_basis(landmarks: HeadLandmarks, train: range, *, mouth_dim: int) -> ExpressionBasis:
    """Fit the codes on the training frames.

    Weak modes are scaled by at least a quarter of the strongest one's deviation, so that landmark noise does
    not look like speech (ours).
    """

    def mouths() -> Iterator[Float[np.ndarray, "frames coordinates"]]:
        for block in landmarks.blocks(train, points=MOUTH):
            yield block.reshape(len(block), -1).astype(np.float64)

    mean = mean_of(mouths())
    _, singular, modes = np.linalg.svd(few_rows(mouth - mean for mouth in mouths()), full_matrices=False)
    deviation = singular / np.sqrt(len(train))
    kept = min(mouth_dim, len(deviation))
    scale = np.zeros(mouth_dim)
    basis = np.zeros((mouth_dim, len(mean)))
    scale[:] = max(0.25 * deviation[0], 1e-6)
    scale[:kept] = np.maximum(deviation[:kept], scale[0])
    basis[:kept] = modes[:kept]
    eyes = np.concatenate([raw_eye_states(block) for block in landmarks.blocks(train, points=EYE_POINTS)])
    return ExpressionBasis(
        mean.astype(np.float32),
        basis.astype(np.float32),
        scale.astype(np.float32),
        eyes.mean(axis=0),
        np.maximum(eyes.std(axis=0), 1e-3),
    )


def few_rows(blocks: Iterable[Float[np.ndarray, "_ columns"]]) -> Float[np.ndarray, "few columns"]:
    """Rows with the singular values and right singular vectors of all rows, about ``MOST_ROWS`` at most.

    Where they become more, they give way to R of their QR decomposition, which has as many rows as columns.
    """
    held: list[np.ndarray[Any, np.dtype[Any]]] = []
    for block in blocks:
        held.append(block)
        if sum(len(rows) for rows in held) > MOST_ROWS:
            held = [np.asarray(np.linalg.qr(np.concatenate(held), mode="r"))]
    return np.concatenate(held)


def encode_expression(landmarks: HeadLandmarks, basis: ExpressionBasis) -> Expression:
    """Codes of every frame."""
    codes, states = [], []
    for block in landmarks.blocks(points=(*MOUTH, *EYE_POINTS)):
        mouth = block[:, : len(MOUTH)].reshape(len(block), -1) - basis.mouth_mean
        codes.append((mouth @ basis.mouth_modes.T / basis.mouth_scale).astype(np.float32))
        eyes = (raw_eye_states(block[:, len(MOUTH) :]) - basis.eye_mean) / basis.eye_scale
        states.append(np.clip(eyes, -4, 4).astype(np.float32))
    return Expression(np.concatenate(codes), np.concatenate(states))


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


def raw_eye_states(eyes: Float[np.ndarray, "frames points 3"]) -> Float[np.ndarray, "frames states"]:
    """Openness of both eyes, gaze across and up, and brow height, over the eye's width; of ``EYE_POINTS``."""
    at = {point: eyes[:, place] for place, point in enumerate(EYE_POINTS)}

    def apart(first: int, second: int) -> np.ndarray[Any, np.dtype[Any]]:
        return np.asarray(np.linalg.norm(at[first] - at[second], axis=-1))

    def off_middle(iris: int, corners: tuple[int, int], axis: int) -> np.ndarray[Any, np.dtype[Any]]:
        middle = np.stack([at[corner][:, axis] for corner in corners], axis=1).mean(axis=1)
        return np.asarray(at[iris][:, axis] - middle)

    right, left = apart(33, 133) + 1e-6, apart(263, 362) + 1e-6
    across, up = (
        (off_middle(468, (33, 133), axis) / right + off_middle(473, (263, 362), axis) / left) / 2
        for axis in (0, 1)
    )
    brow = (apart(105, 33) / right + apart(334, 263) / left) / 2
    states = np.stack([apart(386, 374) / left, apart(159, 145) / right, across, up, brow], axis=-1)
    return states.astype(np.float32)

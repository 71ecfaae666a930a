"""The mouth's shape, whoever it belongs to and however the head is held: 13 lengths a frame.

Landmarks are laid on an average face by the points over bone (`face.action_unit_network.lay_on_bone`), which
undoes place, size and rotation. Sides are averaged, so that a lopsided mouth is like any other.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from nerf_ad.core.errors import UsageError
from nerf_ad.face.action_unit_network import lay_on_bone, load_network
from nerf_ad.face.landmarks import CHIN, LOWER_LIP_INNER, LOWER_LIP_OUTER, UPPER_LIP_INNER, UPPER_LIP_OUTER

NUM_LENGTHS: Final = 13
"""Of ``mouth_lengths``."""
GAPS: Final = slice(0, 3)
"""Those that are gaps between the lips: never below 0."""
_USUAL: Final = np.array(
    [0.045, 0.035, 0.02, 0.05, 0.03, 0.03, 0.012, 0.04, 0.04, 0.015, 0.01, 0.012, 0.015], np.float32
)
"""About their deviations in speech, in distances between the outer eye corners (ours)."""
_STILL: Final = 0.25
"""Movement, in usual deviations, below which a mouth counts as still: noise is not blown up (ours)."""
_CORNERS, _INNER_CORNERS = (61, 291), (78, 308)
_NEAR, _FAR = ((82, 312), (87, 317)), ((80, 310), (88, 318))
"""Upper and lower inner lip beside the middle, and further out."""


def measure_mouth(points: Float[np.ndarray, "frames 478 3"]) -> Float32[np.ndarray, "frames lengths"]:
    """``mouth_lengths`` of detected landmarks; frames without a face (NaN) are interpolated.

    Args:
        points: x right, y down, z away from the viewer, in one unit.

    Raises:
        UsageError: no frame shows a face.
    """
    known = np.flatnonzero(np.isfinite(points).all(axis=(1, 2)))
    if not len(known):
        raise UsageError("no frame shows a face", hint="check the landmarks")
    laid = lay_on_bone(points[known].astype(np.float64), load_network().template)
    found = mouth_lengths(laid.points)
    frames = np.arange(len(points))
    return np.stack([np.interp(frames, known, column) for column in found.T], axis=1).astype(np.float32)


def mouth_lengths(points: Float[np.ndarray, "frames 478 3"]) -> Float32[np.ndarray, "frames lengths"]:
    """Of faces laid on bone: three gaps, heights, widths, lips and chin against the skull, protrusion.

    In usual deviations, which makes them about 1.
    """

    def height(*landmarks: int) -> Float[np.ndarray, "frames"]:
        return points[:, list(landmarks), 1].mean(axis=1)

    def width(pair: tuple[int, int]) -> Float[np.ndarray, "frames"]:
        return points[:, pair[1], 0] - points[:, pair[0], 0]

    ahead = points[:, [UPPER_LIP_OUTER, LOWER_LIP_OUTER], 2].mean(axis=1)
    lengths = (
        height(UPPER_LIP_INNER) - height(LOWER_LIP_INNER),
        height(*_NEAR[0]) - height(*_NEAR[1]),
        height(*_FAR[0]) - height(*_FAR[1]),
        height(UPPER_LIP_OUTER) - height(LOWER_LIP_OUTER),
        width(_CORNERS),
        width(_INNER_CORNERS),
        height(UPPER_LIP_OUTER),
        height(LOWER_LIP_OUTER),
        height(CHIN),
        height(*_CORNERS),
        height(UPPER_LIP_OUTER) - height(UPPER_LIP_INNER),
        height(LOWER_LIP_INNER) - height(LOWER_LIP_OUTER),
        ahead - points[:, list(_CORNERS), 2].mean(axis=1),
    )
    return (np.stack(lengths, axis=1) / _USUAL).astype(np.float32)


def normalise_mouth(lengths: Float[np.ndarray, "frames lengths"]) -> Float32[np.ndarray, "frames lengths"]:
    """Away from the clip's mean, and as lively as anybody's: divided by how much the gaps move."""
    moved = lengths - lengths.mean(axis=0)
    lively = float(np.sqrt((moved[:, :2] ** 2).mean())) if len(moved) else 0.0
    return (moved / max(lively, _STILL)).astype(np.float32)

"""How much landmarks tremble: their acceleration from frame to frame.

``a[t] = p[t-1] - 2 p[t] + p[t+1]``, pixels per frame squared. Steady motion has none. A smooth head whose
landmarks tremble has more than the recording's; one that does not move its lips has less.
"""

import numpy as np
from jaxtyping import Float, Int


def landmark_acceleration(
    points: Float[np.ndarray, "frames points 2"], frames: Int[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames points 2"]:
    """Second difference at every frame; NaN where the frame before or after is not there.

    Args:
        points: landmarks in pixels.
        frames: number of each frame in the clip, ascending.
    """
    result = np.full(points.shape, np.nan)
    if len(points) < 3:
        return result
    bent = points[:-2] - 2 * points[1:-1] + points[2:]
    in_a_row = (np.diff(frames)[:-1] == 1) & (np.diff(frames)[1:] == 1)
    result[1:-1][in_a_row] = bent[in_a_row]
    return result


def mean_length(vectors: Float[np.ndarray, "frames points 2"]) -> Float[np.ndarray, "frames"]:
    """Mean length of the points' vectors by frame."""
    return np.asarray(np.linalg.norm(vectors, axis=-1).mean(axis=-1))

"""How far landmarks are from others."""

import numpy as np
from jaxtyping import Float


def landmark_distance(
    made: Float[np.ndarray, "frames points 2"],
    real: Float[np.ndarray, "frames points 2"],
    *,
    centred: bool = True,
) -> float:
    """Mean of `landmark_distances` over the frames."""
    return float(landmark_distances(made, real, centred=centred).mean())


def landmark_distances(
    made: Float[np.ndarray, "frames points 2"],
    real: Float[np.ndarray, "frames points 2"],
    *,
    centred: bool = True,
) -> Float[np.ndarray, "frames"]:
    """Mean distance of each frame's points in pixels (LMD).

    Args:
        made: landmarks found in rendered frames.
        real: landmarks found in recorded frames.
        centred: subtract each set's mean first, as the field does for the mouth (peers.md section 4).
    """
    if centred:
        made = made - made.mean(axis=1, keepdims=True)
        real = real - real.mean(axis=1, keepdims=True)
    return np.asarray(np.linalg.norm(made - real, axis=-1).mean(axis=-1))


def lagged_correlation(
    made: Float[np.ndarray, "frames"], real: Float[np.ndarray, "frames"], *, reach: int = 10
) -> dict[int, float]:
    """Correlation of two curves for every lag; a positive lag means that ``made`` comes later.

    A curve that does not move correlates 0. Pairs of which one is NaN, where nothing was measured, do not
    count.
    """
    result = {}
    for lag in range(-reach, reach + 1):
        a = made[lag:] if lag >= 0 else made[:lag]
        b = real[: max(len(real) - lag, 0)] if lag >= 0 else real[-lag:]
        both = np.isfinite(a) & np.isfinite(b)
        a, b = a[both], b[both]
        flat = len(a) < 3 or a.std() < 1e-9 or b.std() < 1e-9
        result[lag] = 0.0 if flat else float(np.corrcoef(a, b)[0, 1])
    return result

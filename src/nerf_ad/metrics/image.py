"""How far a picture is from another."""

import numpy as np
from jaxtyping import Bool, UInt8


def psnr(
    made: UInt8[np.ndarray, "height width 3"],
    real: UInt8[np.ndarray, "height width 3"],
    where: Bool[np.ndarray, "height width"] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB, ``-10 log10 MSE`` on [0, 1]; infinite for equal pictures.

    Args:
        made: a rendered picture.
        real: its truth.
        where: pixels that count, all where absent.
    """
    error = np.square((made.astype(np.float64) - real.astype(np.float64)) / 255)
    mean = float(error.mean() if where is None else error[where].mean())
    return float("inf") if mean == 0 else float(-10 * np.log10(mean))

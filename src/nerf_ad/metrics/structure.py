"""How alike the structure of two pictures is: SSIM, and MS-SSIM over several scales.

Both are measured in every channel of R'G'B' as stored, and averaged: luma alone is the older habit, and gives
slightly other figures. Statistics are those of an 11x11 Gaussian window of deviation 1.5 (Wang et al. 2004),
without the correction for small samples, and only where the whole window lies inside the picture.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

WINDOW: Final = 11
"""Width of the Gaussian window in pixels (Wang et al. 2004)."""
BORDER: Final = WINDOW // 2
"""Pixels at each edge that are no window's middle, and have no value."""
SIGMA: Final = 1.5
"""Deviation of the window in pixels (Wang et al. 2004)."""
K1: Final = 0.01
"""Keeps the luminance term finite (Wang et al. 2004)."""
K2: Final = 0.03
"""Keeps the contrast term finite (Wang et al. 2004)."""
DATA_RANGE: Final = 1.0
"""Pictures are brought to [0, 1]."""
SCALE_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, the finest first (Wang, Simoncelli, Bovik 2003)."""
SMALLEST: Final = WINDOW << (len(SCALE_WEIGHTS) - 1)
"""Least width and height that MS-SSIM can be measured on: the window must fit into the coarsest scale."""

Picture = UInt8[np.ndarray, "height width 3"]


def ssim(made: Picture, real: Picture) -> float:
    """Structural similarity of whole pictures, 1 for equal ones.

    Args:
        made: a rendered picture.
        real: its truth; at least 11x11.
    """
    return float(ssim_map(made, real).mean())


def ssim_within(
    similarity: Float[np.ndarray, "inner_height inner_width"], where: Bool[np.ndarray, "height width"]
) -> float | None:
    """The mean of a map of `ssim_map` over a region; None where all of the region lies in the border.

    Windows reach 5 pixels out of the region, as everybody's do.
    """
    inner = where[BORDER:-BORDER, BORDER:-BORDER]
    return float(similarity[inner].mean()) if inner.any() else None


def ssim_map(made: Picture, real: Picture) -> Float[np.ndarray, "inner_height inner_width"]:
    """SSIM around every pixel, the mean of the channels; 5 pixels at each edge are missing."""
    luminance, contrast = _compare(_unit(made), _unit(real))
    return np.asarray((luminance * contrast).mean(axis=0))


def ms_ssim(made: Picture, real: Picture) -> float | None:
    """SSIM over five scales, each half as fine as the one before; None for pictures below 176x176.

    ``prod_i mean(cs_i)^w_i * mean(ssim_5)^w_5`` by channel, then the mean of the channels. A mean below 0,
    which has no such power, counts as 0.
    """
    if min(made.shape[:2]) < SMALLEST:
        return None
    a, b = _unit(made), _unit(real)
    result = np.ones(len(a))
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale:
            a, b = _halve(a), _halve(b)
        luminance, contrast = _compare(a, b)
        is_last = scale == len(SCALE_WEIGHTS) - 1
        value = (luminance * contrast if is_last else contrast).mean(axis=(1, 2))
        result *= np.maximum(value, 0) ** weight
    return float(result.mean())


def _unit(picture: Picture) -> Float[np.ndarray, "3 height width"]:
    return np.ascontiguousarray(picture.transpose(2, 0, 1)) / 255.0


def _halve(picture: Float[np.ndarray, "3 height width"]) -> Float[np.ndarray, "3 half_height half_width"]:
    """Means of 2x2 pixels; an odd last row or column is dropped."""
    height, width = (side // 2 * 2 for side in picture.shape[1:])
    even = picture[:, :height, :width]
    return np.asarray(even.reshape(3, height // 2, 2, width // 2, 2).mean(axis=(2, 4)))


def _compare(
    a: Float[np.ndarray, "3 height width"], b: Float[np.ndarray, "3 height width"]
) -> tuple[Float[np.ndarray, "3 inner_height inner_width"], Float[np.ndarray, "3 inner_height inner_width"]]:
    """The luminance term and the contrast-structure term around every pixel."""
    mean_a, mean_b, square_a, square_b, product = (_blur(part) for part in (a, b, a * a, b * b, a * b))
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    spread = square_a - mean_a**2 + square_b - mean_b**2
    contrast = (2 * (product - mean_a * mean_b) + c2) / (spread + c2)
    return luminance, contrast


def _blur(picture: Float[np.ndarray, "3 height width"]) -> Float[np.ndarray, "3 inner_height inner_width"]:
    """The Gaussian mean around every pixel whose window lies inside."""
    from scipy.ndimage import correlate1d

    offsets = np.arange(WINDOW) - BORDER
    window = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    window /= window.sum()
    down = correlate1d(picture, window, axis=1)[:, BORDER:-BORDER]
    return np.asarray(correlate1d(down, window, axis=2)[:, :, BORDER:-BORDER])

"""How much a picture flickers where nothing moves.

For three frames in a row the second difference ``|x[t-1] - 2 x[t] + x[t+1]|`` is what light, camera noise and
coding do to a pixel at rest; steady change, such as a slow fade, has none. It is measured on the pixels at
rest, and the recording's own is subtracted: cameras flicker too.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

STILL: Final = 2.0
"""Levels of 255 by which the blurred recording may change over two frames where it is at rest (ours)."""
BLUR: Final = 5
"""Width in pixels of the mean that is taken before asking for rest: the noise of one pixel is no motion, and
choosing pixels by their own noise would choose quiet ones (ours)."""

Picture = UInt8[np.ndarray, "height width 3"]


class Flicker(NamedTuple):
    """Of the middle one of three frames; levels of 255."""

    made: float
    real: float

    @property
    def excess(self) -> float:
        """What the made pictures flicker more than the recording; below 0 they are smoother."""
        return self.made - self.real


class FlickerMeter:
    """Takes frames in order, and keeps two."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def add(self, index: int, real: Picture, made: Picture) -> Flicker | None:
        """The flicker of frame ``index - 1``; None without three frames in a row, or where nothing rests."""
        if self._kept and self._kept[-1].frame != index - 1:
            self._kept.clear()
        self._kept = [*self._kept[-2:], _Kept(index, real, made, blurred(real))]
        if len(self._kept) < 3:
            return None
        a, b, c = self._kept
        still = resting(a.blurred, b.blurred, c.blurred)
        if not still.any():
            return None
        differences = second_difference(a.made, b.made, c.made), second_difference(a.real, b.real, c.real)
        return Flicker(*(float(difference[still].mean()) for difference in differences))


class _Kept(NamedTuple):
    frame: int
    real: Picture
    made: Picture
    blurred: Float[np.ndarray, "height width"]


def second_difference(before: Picture, now: Picture, after: Picture) -> Float[np.ndarray, "height width"]:
    """``|x[t-1] - 2 x[t] + x[t+1]|``, the mean of the channels, in levels of 255."""
    bent = np.abs(before.astype(np.int16) - 2 * now.astype(np.int16) + after.astype(np.int16))
    return (bent[..., 0] + bent[..., 1] + bent[..., 2]) / 3


def still_pixels(before: Picture, now: Picture, after: Picture) -> Bool[np.ndarray, "height width"]:
    """Where the recording rests over three frames."""
    return resting(blurred(before), blurred(now), blurred(after))


def resting(*frames: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Where blurred frames differ by no more than ``STILL``."""
    return np.asarray(np.maximum.reduce(frames) - np.minimum.reduce(frames) <= STILL)


def blurred(picture: Picture) -> Float[np.ndarray, "height width"]:
    """The mean of the channels over ``BLUR`` pixels each way."""
    from scipy.ndimage import uniform_filter

    grey = (picture[..., 0].astype(np.float32) + picture[..., 1] + picture[..., 2]) / 3
    return np.asarray(uniform_filter(grey, BLUR))

"""Blinks in a curve of eye openness (eye aspect ratio, Soukupova and Cech 2016), and how many a minute."""

from typing import Final

import numpy as np
from jaxtyping import Float

CLOSED: Final = 0.7
"""Share of the usual openness below which an eye is closing (ours)."""
USUAL_SECONDS: Final = 3.0
"""The usual openness is the median of so long a stretch around each frame: heads nod, gaze falls (ours)."""
LONGEST_SECONDS: Final = 0.6
"""A blink lasts 0.1 to 0.4 s; what lasts longer than this is a look down or closed eyes (ours)."""


def find_blinks(openness: Float[np.ndarray, "frames"], fps: float | int) -> list[range]:
    """Frames of every blink, ascending.

    A blink is a run of frames whose openness is below ``CLOSED`` of the usual, at most ``LONGEST_SECONDS``
    long. Runs with a single open frame between them are one. Nothing that is not a number is closed.

    Args:
        openness: aspect ratio of the eyes, any unit that 0 closes; NaN where no face was found.
        fps: frames per second.
    """
    usual = _running_median(openness, max(1, round(USUAL_SECONDS * fps / 2)))
    closed = np.flatnonzero(openness < CLOSED * usual)
    if not len(closed):
        return []
    runs = np.split(closed, np.flatnonzero(np.diff(closed) > 2) + 1)
    blinks = [range(int(run[0]), int(run[-1]) + 1) for run in runs]
    return [blink for blink in blinks if len(blink) <= LONGEST_SECONDS * fps]


def blinks_per_minute(openness: Float[np.ndarray, "frames"], fps: float | int) -> float:
    """How often the eyes blink; frames without a face do not count as time."""
    seen = np.isfinite(openness).sum()
    return len(find_blinks(openness, fps)) / (seen / fps / 60) if seen else 0.0


def _running_median(values: Float[np.ndarray, "frames"], reach: int) -> Float[np.ndarray, "frames"]:
    """Of ``2 reach + 1`` frames, fewer at the ends; NaN where none is a number."""
    padded = np.pad(values.astype(np.float64), reach, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    result = np.full(len(values), np.nan)
    some = np.isfinite(windows).any(axis=1)
    result[some] = np.nanmedian(windows[some], axis=1)
    return result

"""How sure a mean over frames is: moving-block bootstrap over time (Kuensch 1989).

Neighbouring frames are alike, so a thousand frames are not a thousand measurements, and the textbook interval
``mean +- 1.96 s / sqrt(n)`` is several times too narrow. Drawing whole stretches keeps what neighbours share.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

LEVEL: Final = 0.95
"""Share of such intervals that hold the true mean."""
DRAWS: Final = 1000
"""Series that are drawn (ours; the ends then move by some 3 % of the width)."""
SEED: Final = 20_240_229
"""The same figures have the same interval."""
LEAST_BLOCKS: Final = 4
"""Stretches below which there is no interval: it would be far too narrow (ours)."""


class Interval(NamedTuple):
    """Of a mean."""

    low: float
    high: float


def mean_interval(
    values: Float[np.ndarray, "frames"], *, block: int, seed: int = SEED, draws: int = DRAWS
) -> Interval | None:
    """The interval that holds the mean of the process in 95 of 100 cases; None for fewer than four blocks.

    Stretches of ``block`` values are drawn with replacement from all that there are until the series is as
    long as it was, and the mean is taken; the interval goes from the 2.5th to the 97.5th percentile of such
    means. These lie about the mean of all stretches, which counts the ends less than the middle: the interval
    is moved by the difference.

    Args:
        values: one for each frame, in order; frames in which nothing was measured are simply not there.
        block: values a stretch, about a second.
        seed: of the draws.
        draws: how many.
    """
    count = len(values)
    block = max(1, block)
    if count < LEAST_BLOCKS * block:
        return None
    # Sums of stretches are all that is needed: a series is some whole ones and the beginning of another.
    total = np.concatenate([[0.0], np.cumsum(values.astype(np.float64))])
    whole, rest = divmod(count, block)
    starts = count - block + 1
    sums = total[block:] - total[:starts]
    draw = np.random.default_rng(seed)
    means = sums[draw.integers(0, starts, (draws, whole))].sum(axis=1)
    if rest:
        begin = draw.integers(0, starts, draws)
        means += total[begin + rest] - total[begin]
    means /= count
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    shift = float(values.mean()) - float(means.mean())
    return Interval(float(low) + shift, float(high) + shift)

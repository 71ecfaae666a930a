"""Figures frame by frame: their means, and how sure these are."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nerf_ad.metrics.bootstrap import LEAST_BLOCKS, mean_interval

DIGITS = {"psnr": 3, "flicker": 3, "jitter": 3}
"""Digits after the point by the beginning of the name; others have 4, normalised distances 5."""

BLOCK_SECONDS = {"sync": 3}
"""Length of the bootstrap's blocks by the beginning of the name; others have 1 s."""


class Series(NamedTuple):
    """One figure over the frames in which it was measured."""

    frames: Int[np.ndarray, "frames"]
    """Numbers in the clip, ascending."""
    values: Float[np.ndarray, "frames"]


class SeriesBook:
    """Figures by name, grown frame by frame."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def add(self, index: int, name: str, value: float) -> None:
        """Take the figure of a frame."""
        self._entries[name].append((index, value))

    def add_all(self, frames: Iterable[int], name: str, values: Iterable[float]) -> None:
        """Take the figures of many frames; those that are no numbers are left out."""
        self._entries[name].extend(
            (index, float(value)) for index, value in zip(frames, values, strict=True) if np.isfinite(value)
        )

    def last(self, name: str, index: int) -> float | None:
        """The figure that was added last, if it is that of this frame."""
        entries = self._entries.get(name)
        return entries[-1][1] if entries and entries[-1][0] == index else None

    def all(self) -> dict[str, Series]:
        """By name; a figure that was never measured is not there."""
        return {
            name: Series(np.array([index for index, _ in entries]), np.array([value for _, value in entries]))
            for name, entries in self._entries.items()
            if entries
        }

    def means(self) -> dict[str, float]:
        """Over the frames in which each was measured."""
        return {name: rounded(name, float(series.values.mean())) for name, series in self.all().items()}


def intervals(series: Mapping[str, Series], fps: float | int) -> dict[str, list[float]]:
    """95 % intervals of the means by moving-block bootstrap, in blocks of about ``BLOCK_SECONDS``.

    Figures of fewer than four blocks have none, however many or few frames were measured in them.
    """
    result = {}
    for name, (frames, values) in series.items():
        step = float(np.median(np.diff(frames))) if len(frames) > 1 else 1.0
        seconds = next((length for start, length in BLOCK_SECONDS.items() if name.startswith(start)), 1)
        if (frames[-1] - frames[0] + step) / fps < LEAST_BLOCKS * seconds:
            continue
        found = mean_interval(values, block=max(1, round(seconds * fps / step)))
        if found is not None:
            result[name] = [rounded(name, end) for end in found]
    return result


def rounded(name: str, value: float) -> float:
    """To the digits of the figure."""
    digits = next((digits for start, digits in DIGITS.items() if name.startswith(start)), 4)
    return round(value, 5 if name.endswith("_normalised") else digits)

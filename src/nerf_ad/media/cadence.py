"""Clips padded to a higher rate by copies: 25 frames a second that some program stored as 30.

Every sixth picture is then a copy of the one before it. Choosing pictures by time keeps copies and drops real
ones, so that a moving head stutters. Where copies come regularly they are left out, and the others are shown
at their own, even rate.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_ad.media.container import PictureFrames, first_video_stream, open_container

MAX_PICTURES = 900
"""Pictures that are compared with their predecessor (ours: half a minute at 30 a second)."""
MAX_PERIOD = 12
"""Longest distance of copies: 24 as 26 (ours)."""
COPY = 0.08
"""A copy differs by less than this share of what pictures around it differ by (upper quartile). Ours: on a
broadcast clip copies stayed below 0.015 and real pictures above 0.13."""
REGULAR = 0.9
"""Share of the copies that must lie on the beat, and of the beats that must be copies (ours)."""
_SIDE = 96
"""Pictures are compared at this width."""


class Cadence(NamedTuple):
    """Where the copies are: pictures ``phase``, ``phase + period``, and so on."""

    period: int
    phase: int

    def is_copy(self, picture: int) -> bool:
        """Whether a picture of the file is a copy."""
        return picture % self.period == self.phase

    def delay(self, picture: int) -> float:
        """How much later than the file says a picture that is no copy should be shown, in steps of the file.

        So corrected, real pictures are spaced evenly, ``period / (period - 1)`` steps apart, and over one
        period they are neither early nor late on the whole. Always less than one step, so that gaps in the
        file's clock stay where they are.

        Args:
            picture: number in the file, copies counted.
        """
        stretch = self.period / (self.period - 1)
        kept = [slot for slot in range(self.period) if slot != self.phase]
        shift = float(np.mean([slot - order * stretch for order, slot in enumerate(kept)]))
        before = (picture - self.phase + self.period - 1) // self.period
        return (picture - before) * stretch + shift - picture


def find_cadence(path: Path) -> Cadence | None:
    """Look for regular copies at the beginning of a video.

    Raises:
        MediaError: it cannot be opened.
    """
    small: np.ndarray | None = None
    differences: list[float] = []
    with open_container(path) as container:
        stream = first_video_stream(path, container)
        for number, frame in enumerate(PictureFrames(container, stream)):
            if number >= MAX_PICTURES:
                break
            height = max(1, round(_SIDE * frame.height / frame.width))
            grey = frame.to_ndarray(format="gray", width=_SIDE, height=height).astype(np.float32)
            if small is not None and small.shape == grey.shape:
                differences.append(float(np.abs(grey - small).mean()))
            small = grey
    return cadence_of(np.array(differences))


def cadence_of(differences: Float[np.ndarray, "changes"]) -> Cadence | None:
    """The period of copies, if there is one.

    Args:
        differences: change of every picture from the one before it, from the second picture on.
    """
    if len(differences) < 3 * MAX_PERIOD:
        return None
    reach = MAX_PERIOD // 2
    around = np.pad(differences, reach, "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1)
    usual = np.quantile(windows, 0.75, axis=1)  # half of them may be copies
    moves = usual > 1e-3
    is_copy = (differences < COPY * usual) & moves
    picture = np.arange(1, len(differences) + 1)
    for period in range(2, MAX_PERIOD + 1):
        for phase in range(period):
            on_beat = (picture % period == phase) & moves
            hits = int((is_copy & on_beat).sum())
            if hits >= 5 and hits >= REGULAR * on_beat.sum() and hits >= REGULAR * is_copy.sum():
                return Cadence(period, phase)
    return None

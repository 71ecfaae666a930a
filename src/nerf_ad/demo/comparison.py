"""An avatar's lips against those of the truth, which it never saw.

Two looks: at the pictures, by the landmark detector; and at the mouth codes that the sound gives, which is
cheap enough to move the sound about and see whether the lips move with it.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.dataset.expression import MOUTH, decode_mouth
from nerf_ad.face.action_units import mouth_opening
from nerf_ad.face.landmarks import LOWER_LIP_INNER, UPPER_LIP_INNER, LandmarkDetector
from nerf_ad.media.audio import Waveform
from nerf_ad.metrics.landmarks import lagged_correlation
from nerf_ad.rendering.drive import num_frames_of, open_encoder

REACH = 10
"""Largest shift of the sound, frames."""
SEARCH = 15
"""Largest lag that is looked for, frames; more than ``REACH``, so that finding the edge means something."""


class Shift(NamedTuple):
    """What moving the sound did to the lips."""

    shift: int
    """Frames that the sound begins earlier."""
    lag: int
    """Frames that the lips come later than the truth's, where they match best."""
    correlation: float
    """At that lag."""


def seen_openings(
    pictures: Iterator[UInt8[np.ndarray, "height width 3"]], detector: LandmarkDetector
) -> Iterator[float]:
    """Gap between the inner lips over the distance of the outer eye corners; NaN without a face."""
    for picture in pictures:
        faces = detector.detect(np.ascontiguousarray(picture))
        yield float(mouth_opening(faces[0].points)) if faces else float("nan")


def without_gaps(values: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames"]:
    """NaN replaced by what lies between its neighbours; all NaN becomes 0."""
    known = np.isfinite(values)
    if not known.any():
        return np.zeros_like(values)
    index = np.arange(len(values))
    return np.interp(index, index[known], values[known])


def follow_shifts(
    avatar: FastAvatar, sound: Waveform, truth: Float[np.ndarray, "frames"], shifts: Sequence[int]
) -> Iterator[Shift]:
    """Move the sound and find where the lips go.

    Args:
        avatar: the person.
        sound: 16 kHz mono.
        truth: true lip gap of every frame, of the sound where it is.
        shifts: frames that the sound begins earlier; negative: later.
    """
    encoder = open_encoder(avatar)
    fps = avatar.manifest.fps
    for shift in shifts:
        moved = shifted(sound, shift / fps)
        num_frames = num_frames_of(moved, fps)
        codes = avatar.speak(moved, encoder.encode(moved.samples), encoder.rate_hz, num_frames)
        gap = coded_opening(avatar, codes)
        length = min(len(gap), len(truth))
        scores = lagged_correlation(gap[:length], truth[:length], reach=SEARCH)
        best = max(scores, key=lambda lag: scores[lag])
        yield Shift(shift, best, scores[best])


def coded_opening(
    avatar: FastAvatar, codes: Float[np.ndarray, "frames units"]
) -> Float[np.ndarray, "frames"]:
    """Distance of the inner lips that mouth codes stand for, metres."""
    points = decode_mouth(codes, avatar.basis)
    upper, lower = (points[:, MOUTH.index(index)] for index in (UPPER_LIP_INNER, LOWER_LIP_INNER))
    return np.asarray(np.linalg.norm(upper - lower, axis=1), np.float64)


def shifted(sound: Waveform, seconds: float) -> Waveform:
    """The sound beginning so much earlier (its start is cut, silence follows) or, if negative, later."""
    samples = round(seconds * sound.rate)
    moved = np.zeros_like(sound.samples)
    if samples >= 0:
        moved[: max(len(moved) - samples, 0)] = sound.samples[samples:]
    else:
        moved[-samples:] = sound.samples[:samples]
    return sound._replace(samples=moved)

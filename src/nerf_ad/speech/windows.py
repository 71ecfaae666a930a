"""Speech features as each video frame sees them: the steps around it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int


def windows(
    features: Float[np.ndarray, "steps channels"],
    num_frames: int,
    fps: float = 25.0,
    reach: int = 8,
    rate_hz: float = 50.0,
    shots: Sequence[int] = (),
) -> Float32[np.ndarray, "frames window channels"]:
    """The ``2 * reach + 1`` steps around every frame.

    Args:
        features: One row per step; step ``s`` is centred on second ``s / rate_hz``.
        num_frames: How many frames; frame ``i`` is centred on step ``i * rate_hz / fps``, rounded.
        fps: Frames per second.
        reach: Steps to each side; 8 at 50 Hz are 160 ms before and after.
        rate_hz: Steps per second.
        shots: First frame of every shot, ascending, beginning with 0. Given, no window reaches into another
            shot: the shot's edge step is repeated. Not given by default: a cut in the picture is mostly none
            in the sound (an interview is cut on its voice), and new audio has no cuts, so clamped windows
            would teach edges that are never met again. For clips whose sound jumps with the picture.

    Returns:
        Windows; steps before the beginning and after the end repeat the first and the last.

    Raises:
        ValueError: there are no features, or the shots do not begin with 0 and ascend.
    """
    if len(features) == 0:
        message = "there are no speech features to take windows of"
        raise ValueError(message)
    steps = window_steps(len(features), num_frames, fps, reach, rate_hz, shots)
    return np.ascontiguousarray(features[steps], dtype=np.float32)


def window_steps(
    num_steps: int, num_frames: int, fps: float, reach: int, rate_hz: float, shots: Sequence[int] = ()
) -> Int[np.ndarray, "frames window"]:
    """Which step each place of each window shows; arguments as in ``windows``."""
    centres = _centres(np.arange(num_frames), fps, rate_hz)
    steps = centres[:, None] + np.arange(-reach, reach + 1)
    if len(shots):
        starts = np.asarray(shots)
        if starts[0] != 0 or (np.diff(starts) <= 0).any():
            message = "shots must begin with 0 and ascend"
            raise ValueError(message)
        shot = np.searchsorted(starts, np.arange(num_frames), side="right") - 1
        first = _centres(starts, fps, rate_hz)
        last = np.append(first[1:] - 1, num_steps - 1)
        steps = np.clip(steps, first[shot, None], last[shot, None])
    return np.clip(steps, 0, num_steps - 1)


def _centres(frames: Int[np.ndarray, "frames"], fps: float, rate_hz: float) -> Int[np.ndarray, "frames"]:
    return np.floor(frames * (rate_hz / fps) + 0.5).astype(np.int64)

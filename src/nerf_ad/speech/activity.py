"""When somebody speaks: from loudness alone, so that a mouth can rest in pauses.

A speech branch that learned from a minute of talk has hardly heard silence, and says anything there. Short
gaps inside a sentence stay speech; only pauses are silence.
"""

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

HOP_SECONDS = 0.01
"""Step of the loudness curve."""
PIECE = 6000
"""Steps whose samples are looked at together."""
BELOW_SPEECH_DB = 40.0
"""How far below the loud parts (95th percentile) silence begins (ours)."""
FLOOR_DB = -60.0
"""Full-scale level under which everything is silence."""
LONGEST_GAP_SECONDS = 0.6
"""Gaps up to this long inside speech are speech: stops, breaths between words."""
MARGIN_SECONDS = 0.1
"""The mouth opens this long before the sound and closes as long after it."""
FADE_SECONDS = 0.16
"""Width of the transition."""


def speech_activity(
    samples: Float32[np.ndarray, "samples"], rate: int, num_frames: int, fps: float
) -> Float[np.ndarray, "frames"]:
    """How much somebody speaks at each frame's time, in [0, 1].

    Args:
        samples: mono, in [-1, 1].
        rate: samples per second.
        num_frames: frames wanted; frame i is at i / fps seconds.
        fps: frames per second.
    """
    hop = max(1, round(HOP_SECONDS * rate))
    count = max(1, -(-len(samples) // hop))
    power = np.zeros(count)
    for first in range(0, count, PIECE):
        part = samples[first * hop : (first + PIECE) * hop].astype(np.float64)
        padded = np.pad(part, (0, -len(part) % hop)).reshape(-1, hop)
        power[first : first + len(padded)] = np.square(padded).mean(axis=1)
    power = ndimage.uniform_filter1d(power, 3, mode="nearest")
    loudness = 10 * np.log10(power + 1e-12)
    threshold = max(float(np.percentile(loudness, 95)) - BELOW_SPEECH_DB, FLOOR_DB)
    speaks = loudness > threshold
    gap = round(LONGEST_GAP_SECONDS / HOP_SECONDS)
    speaks = ndimage.binary_opening(speaks, np.ones(5))  # a click is no speech
    speaks = ndimage.binary_closing(np.pad(speaks, gap), np.ones(gap + 1))[gap:-gap]
    speaks = ndimage.binary_dilation(speaks, np.ones(2 * round(MARGIN_SECONDS / HOP_SECONDS) + 1))
    smooth = ndimage.uniform_filter1d(
        speaks.astype(np.float64), round(FADE_SECONDS / HOP_SECONDS), mode="nearest"
    )
    places = np.clip(np.round(np.arange(num_frames) / fps / HOP_SECONDS).astype(int), 0, count - 1)
    return np.asarray(smooth[places])

"""Long sound for networks that see 30 s at a time: overlapping pieces, whose middles are cross-faded.

A step is never seen without context on both sides, unless the sound itself begins or ends there.
"""

from typing import Final

import torch
from jaxtyping import Float32
from torch import Tensor

from nerf_ad.speech.mel import SAMPLE_RATE, STEP_SAMPLES

RATE: Final = SAMPLE_RATE // STEP_SAMPLES
"""Steps per second."""
PIECE: Final = 30 * RATE
"""Steps of a piece: what Whisper was trained on, and the most that hama's network takes."""

_HOP_SECONDS: Final = 20
_FADE_SECONDS: Final = 1
_MARGIN: Final = (PIECE - _HOP_SECONDS * RATE) // 2


def piece_starts(steps: int) -> list[int]:
    """First step of each piece: one piece for 30 s or less, then one more for each 20 s begun."""
    hop = _HOP_SECONDS * RATE
    return list(range(0, max(steps - PIECE + hop, 1), hop))


def piece_weight(*, is_first: bool, is_last: bool) -> Float32[Tensor, "steps 1"]:
    """Weight of each step of a piece: zero in the margins (5 s a side) but at the ends of the sound."""
    step = torch.arange(PIECE) + 0.5
    fade = _FADE_SECONDS * RATE
    rise = ((step - _MARGIN) / fade + 0.5).clamp(0, 1)
    fall = ((PIECE - _MARGIN - step) / fade + 0.5).clamp(0, 1)
    weight = (1.0 if is_first else rise) * (1.0 if is_last else fall) * torch.ones(PIECE)
    return weight[:, None]

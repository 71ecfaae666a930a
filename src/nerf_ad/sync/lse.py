"""LSE-D and LSE-C (Prajwal et al. 2020), from embeddings of pictures and sound by SyncNet.

For every shift the distances of all frames are averaged; D is the least of these means, C the median of them
minus D, and the shift where D is found the offset, as SyncNet's own evaluation computes them:

    d(k) = mean_i || v_i - a_(i+k) + 1e-6 ||_2,   k = -15 ... 15

Beyond both ends the sound's embedding is 0, as it is there.
"""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

MAX_SHIFT: Final = 15
"""Frames either way."""
_EPSILON: Final = 1e-6
"""Added to every difference (torch's ``pairwise_distance``)."""


class LipSyncError(NamedTuple):
    """The figures that papers report."""

    distance: float
    """LSE-D, Sync-D: smaller is better."""
    confidence: float
    """LSE-C, Sync-C: larger is better."""
    offset: int
    """Frames of the embeddings; positive: the mouth is late."""


def shift_distances(
    pictures: Float[Tensor, "frames channels"],
    sounds: Float[Tensor, "frames channels"],
    max_shift: int = MAX_SHIFT,
) -> Float[Tensor, "frames shifts"]:
    """Distance of every frame's picture from the sound of frames ``-max_shift`` to ``max_shift`` later."""
    padded = F.pad(sounds, (0, 0, max_shift, max_shift))
    near = padded.unfold(0, 2 * max_shift + 1, 1)  # frames, channels, shifts
    return torch.linalg.vector_norm(pictures[:, :, None] - near + _EPSILON, dim=1)


def lip_sync_error(
    pictures: Float[Tensor, "frames channels"],
    sounds: Float[Tensor, "frames channels"],
    max_shift: int = MAX_SHIFT,
) -> LipSyncError:
    """LSE-D, LSE-C and the offset of a clip; at least one frame."""
    means = shift_distances(pictures, sounds, max_shift).mean(dim=0)
    best = int(means.argmin())
    least = float(means[best])
    return LipSyncError(least, float(means.median()) - least, max_shift - best)

"""One mask for all frames of the audio face.

G_M cuts every frame a little differently, and where it cuts is most of what tells audio faces apart: 70 to
85 % of the mean face's error (docs/decisions/0015). Sound cannot know it. Here the speech region is the mean
of 1-A over the training frames, so that what speech paints is the face and not the edge of the mask (ours;
the paper multiplies every crop by its own mask).
"""

from collections.abc import Generator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerf_ad.core.events import Event, Progress
from nerf_ad.models.paper.resting_face import at_rest
from nerf_ad.training.paper.fusion import CropReader


def speech_region(
    masks: UInt8[Tensor, "frames 1 size size"],
    moves: Float[Tensor, "frames 2 3"] | None,
    *,
    batch_size: int = 64,
) -> Float[Tensor, "1 size size"]:
    """The mean of 1-A over some frames.

    Args:
        masks: A of the frames in 256 steps.
        moves: brings each frame to rest before the mean is taken; None: as it was cut out.
        batch_size: masks at a time.
    """
    total = torch.zeros(masks.shape[1:], dtype=torch.float64)
    for start in range(0, len(masks), batch_size):
        part = 1 - masks[start : start + batch_size].float() / 255
        if moves is not None:
            part = at_rest(part.expand(-1, 3, -1, -1), moves[start : start + len(part)].cpu())[:, :1]
        total += part.double().sum(dim=0)
    return (total / max(len(masks), 1)).float()


def collect_steady_faces(
    crops: CropReader,
    region: Float[Tensor, "1 size size"],
    moves: Float[Tensor, "frames 2 3"] | None,
    *,
    num_frames: int,
    batch_size: int = 64,
) -> Generator[Event, None, UInt8[Tensor, "frames 3 size size"]]:
    """The crop of every frame, brought to rest and multiplied by one region.

    Args:
        crops: reads face crops.
        region: from ``speech_region``, at rest if ``moves`` are given.
        moves: from ``resting_face.similarities``.
        num_frames: frames of the clip.
        batch_size: crops at a time.

    Yields:
        Progress.
    """
    parts = []
    for start in range(0, num_frames, batch_size):
        frames = np.arange(start, min(start + batch_size, num_frames))
        faces = crops(frames)
        if moves is not None:
            faces = at_rest(faces, moves[start : start + len(frames)].to(faces.device))
        parts.append((faces * region.to(faces.device) * 255).round().to(torch.uint8).cpu())
        yield Progress(stage="audio faces", done=start + len(frames), total=num_frames)
    return torch.cat(parts)

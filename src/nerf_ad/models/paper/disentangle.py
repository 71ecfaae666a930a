"""Taking a face apart with the mask: the identity face A c, and the audio face (1 - A) c."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


class SplitFace(NamedTuple):
    """The two parts of a face; their sum is the face."""

    identity: Float[Tensor, "batch 3 size size"]
    """A c: what does not speak."""
    audio: Float[Tensor, "batch 3 size size"]
    """(1 - A) c: what speaks."""


def split_face(
    crop: Float[Tensor, "batch 3 size size"], mask: Float[Tensor, "batch 1 size size"]
) -> SplitFace:
    """The identity face and the audio face of crops in [0, 1] (paper.md section 5)."""
    return SplitFace(mask * crop, (1 - mask) * crop)


def paste_back(
    frame: Float[Tensor, "3 height width"], box: Int[Tensor, "4"], mask: Float[Tensor, "1 size size"]
) -> Float[Tensor, "3 height width"]:
    """I_id-face: the frame with the mask multiplied onto its own pixels inside the crop's box.

    NeRF-AD's code pastes the crop, which was made smaller, back over the frame; here the mask is resized
    instead, so that the face keeps its resolution (paper.md section 5). Outside the box nothing changes.

    Args:
        frame: the whole picture.
        box: left, top, right, bottom in its pixels, right and bottom not inside.
        mask: A of the crop.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    resized = F.interpolate(mask[None], (bottom - top, right - left), mode="bilinear", align_corners=False)[0]
    whole = torch.ones_like(frame[:1])
    whole[:, top:bottom, left:right] = resized
    return whole * frame

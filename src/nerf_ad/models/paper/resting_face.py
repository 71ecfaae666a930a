"""Audio faces at rest: turned, shifted and scaled until the rigid part of the face stands still.

Speech cannot know how the head is held, so what it shall paint should not show it. NeRF-AD's code turns its
crops upright by the eyes, in training only and without the mask (paper.md section 13, defect 2); here crop
and mask are moved together, after they are multiplied, and whoever paints such faces paints them at rest.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def points_in_crops(
    points: Float[np.ndarray, "frames points 2"], boxes: Int[np.ndarray, "frames 4"]
) -> Float[np.ndarray, "frames points 2"]:
    """Pixels of the frames to places in the crops: -1 and 1 are a crop's edges, x right, y down."""
    corner = boxes[:, None, :2].astype(np.float64)
    side = (boxes[:, 2:] - boxes[:, :2])[:, None, :].astype(np.float64)
    return np.asarray(2 * (points - corner) / side - 1)


def similarities(
    rest: Float[np.ndarray, "points 2"], points: Float[np.ndarray, "frames points 2"]
) -> Float[Tensor, "frames 2 3"]:
    """For each frame the turn, scale and shift that bring the resting points nearest to the frame's own.

    Least squares, as one complex factor: it maps places of the resting picture to places of the crop.
    """
    here, there = rest @ [1, 1j], points @ [1, 1j]
    middle, middles = here.mean(), there.mean(axis=1)
    centred = here - middle
    factor = (there - middles[:, None]) @ centred.conj() / (np.abs(centred) ** 2).sum()
    shift = middles - factor * middle
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return torch.from_numpy(np.array(rows).transpose(2, 0, 1)).float()


def at_rest(
    faces: Float[Tensor, "batch 3 size size"], moves: Float[Tensor, "batch 2 3"]
) -> Float[Tensor, "batch 3 size size"]:
    """Audio faces moved to rest, black where the crop shows nothing.

    Args:
        faces: (1-A)·c, which is black at its borders already.
        moves: from ``similarities``.
    """
    grid = F.affine_grid(moves, list(faces.shape), align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

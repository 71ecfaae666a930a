"""Whether AU-Attention's mask found the speech: how open it is at the mouth against where a face stays still.

A mask is of no use if it is 1 or 0 everywhere. The measure is the mean of 1 - A in the box around the lips
over that on the forehead and on the outer rim of the cheeks (paper.md section 14, row 6).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from nerf_ad.face.landmarks import FOREHEAD, LEFT_EYE_OUTER, OUTER_LIPS, RIGHT_EYE_OUTER

BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
"""Upper edge of both brows (MediaPipe face mesh)."""
CHEEKS = (234, 454)
"""Where the face's outline is widest, right and left."""
NOSE_FOOT = 2
"""Where the nose meets the upper lip."""
RIM = 0.12
"""Breadth of the cheeks' rim, in widths of the face (ours)."""


class FaceRegions(NamedTuple):
    """Boxes in a crop: left, top, right, bottom in its pixels."""

    mouth: Float[np.ndarray, "frames 4"]
    """Around the lips."""
    forehead: Float[np.ndarray, "frames 4"]
    """Above the brows."""
    right_cheek: Float[np.ndarray, "frames 4"]
    """A band along the outline, between the heights of eye and nose; speech hardly moves it."""
    left_cheek: Float[np.ndarray, "frames 4"]
    """The same on the other side."""


class MaskLocality(NamedTuple):
    """Means of 1 - A over all frames."""

    mouth: float
    """In the mouth's box."""
    forehead: float
    """On the forehead."""
    cheeks: float
    """On the cheeks' outer rim."""

    @property
    def ratio(self) -> float:
        """How many times more open the mask is at the mouth than at the worse of the other two."""
        return self.mouth / max(self.forehead, self.cheeks, 1e-6)


def face_regions(
    points: Float[np.ndarray, "frames 478 2"], boxes: Int[np.ndarray, "frames 4"], *, size: int
) -> FaceRegions:
    """Regions of a face inside its crop.

    Args:
        points: landmarks in pixels of the dataset's frames.
        boxes: the crops' boxes in the same pixels (``FaceCrops.boxes``).
        size: width and height of a crop.
    """
    scale = size / (boxes[:, 2:] - boxes[:, :2])[:, None]
    inside = (points - boxes[:, None, :2]) * scale
    x, y = inside[..., 0], inside[..., 1]
    mouth, brows = inside[:, list(OUTER_LIPS)], inside[:, list(BROWS)]
    right, left = (x[:, point] for point in CHEEKS)
    rim = RIM * (left - right)
    top, bottom = (y[:, RIGHT_EYE_OUTER] + y[:, LEFT_EYE_OUTER]) / 2, y[:, NOSE_FOOT]
    brow = brows[..., 1].min(axis=1)
    return FaceRegions(
        np.concatenate([mouth.min(axis=1), mouth.max(axis=1)], axis=1),
        np.stack([brows[..., 0].min(axis=1), y[:, FOREHEAD], brows[..., 0].max(axis=1), brow], axis=1),
        np.stack([right, top, right + rim, bottom], axis=1),
        np.stack([left - rim, top, left, bottom], axis=1),
    )


def mask_locality(masks: Float[np.ndarray, "frames size size"], regions: FaceRegions) -> MaskLocality:
    """Measure masks A of some frames.

    Args:
        masks: A, in [0, 1].
        regions: ``face_regions`` of the same frames.
    """
    size = masks.shape[-1]
    opened = 1 - masks
    means = [mean_inside(opened, inside(box, size)) for box in regions]
    return MaskLocality(means[0], means[1], (means[2] + means[3]) / 2)


def inside(box: Float[np.ndarray, "frames 4"], size: int) -> Bool[np.ndarray, "frames size size"]:
    """Pixels whose centres lie in a box."""
    centre = np.arange(size) + 0.5
    across = (centre >= box[:, :1]) & (centre < box[:, 2:3])
    down = (centre >= box[:, 1:2]) & (centre < box[:, 3:])
    return down[:, :, None] & across[:, None, :]


def mean_inside(
    values: Float[np.ndarray, "frames size size"], where: Bool[np.ndarray, "frames size size"]
) -> float:
    """Mean over the pixels of all frames that lie inside; 0 where there are none."""
    return float(values[where].mean()) if where.any() else 0.0

"""Where the head can be: the visual hull of its masks, thinned to a shell around the known face."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree

from nerf_ad.dataset.head_landmarks import FaceShape
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.face.parsing import Part
from nerf_ad.geometry.camera import Intrinsics, project

REACH = 0.26
"""Half side of the cube around the head that is searched, metres (hair included)."""


SEARCHED = 64
"""Most cells along each side while the box is looked for."""
SKIN = 0.006
"""What is kept around every landmark of the clip, metres (ours)."""


class Hull(NamedTuple):
    """A box of cells that may hold something."""

    low: Float[np.ndarray, "3"]
    """Metres."""
    high: Float[np.ndarray, "3"]
    """Metres."""
    cells: Bool[np.ndarray, "x y z"]
    """Cells that may be occupied."""


def carve(
    cache: PixelCache,
    camera_to_world: Float[np.ndarray, "frames 4 4"],
    intrinsics: Float[np.ndarray, "4"],
    landmarks: Iterable[Float[np.ndarray, "_ points 3"]],
    face: FaceShape,
    *,
    train: range,
    resolution: int,
    num_views: int = 64,
) -> Hull:
    """Carve a coarse cube, fit a box around what is left, and carve that box finely.

    A head is not rigid: where the chin is when the mouth is wide open is background in most views, and would
    be carved away. So whatever lies near a landmark of any training frame stays.

    Args:
        cache: labels of every frame.
        camera_to_world: head poses.
        intrinsics: at the cache's size.
        landmarks: of the training frames, in head axes, metres, block by block.
        face: what they are together.
        train: frames that may be looked at.
        resolution: cells along each side.
        num_views: frames that vote, spread over the clip.
    """
    views = np.unique(np.linspace(train.start, train.stop - 1, min(num_views, len(train))).astype(int))
    masks = [_mask(cache, int(view)) for view in views]
    poses = camera_to_world[views]
    camera = Intrinsics.from_array(intrinsics)
    centre = face.mean.mean(axis=0)
    low, high = centre - REACH, centre + REACH
    searched = min(resolution, SEARCHED)
    for _ in range(2):
        points = _centres(low, high, searched)
        points = points[near_face(points, face.mean)]
        kept = points[seen_as_head(points, masks, poses, camera)]
        if len(kept) == 0:
            break
        margin = (high - low) / searched
        low = np.minimum(kept.min(axis=0) - margin, face.low - SKIN)
        high = np.maximum(kept.max(axis=0) + margin, face.high + SKIN)
    points = _centres(low, high, resolution)
    keep = near_face(points, face.mean)
    keep[keep] = seen_as_head(points[keep], masks, poses, camera)
    cells = keep.reshape(resolution, resolution, resolution) | touched(landmarks, low, high, resolution)
    return Hull(low.astype(np.float32), high.astype(np.float32), ndimage.binary_dilation(cells, iterations=1))


def touched(
    landmarks: Iterable[Float[np.ndarray, "_ points 3"]],
    low: Float[np.ndarray, "3"],
    high: Float[np.ndarray, "3"],
    resolution: int,
) -> Bool[np.ndarray, "x y z"]:
    """Cells whose centre lies within ``SKIN`` of the cell of any landmark at any moment."""
    cells = np.ones((resolution, resolution, resolution), bool)
    for block in landmarks:
        points = block.reshape(-1, 3)
        where = np.floor((points - low) / (high - low) * resolution).astype(np.int64)
        where = where[((where >= 0) & (where < resolution)).all(axis=1)]
        cells[tuple(where.T)] = False
    if cells.all():
        return ~cells
    return np.asarray(ndimage.distance_transform_edt(cells, sampling=(high - low) / resolution) <= SKIN)


def seen_as_head(
    points: Float[np.ndarray, "points 3"],
    masks: list[np.ndarray[Any, np.dtype[Any]]],
    poses: Float[np.ndarray, "views 4 4"],
    camera: Intrinsics,
) -> Bool[np.ndarray, "points"]:
    """Points that fall into (nearly) every view's mask; a view that does not see a point does not vote."""
    votes, against = np.zeros(len(points), np.int32), np.zeros(len(points), np.int32)
    points = points.astype(np.float32)  # a hundredth of a pixel, in half the time
    for mask, pose in zip(masks, poses.astype(np.float32), strict=True):
        seen = project(points, pose, camera)
        column, row = np.floor(seen.pixels).astype(np.int64).T
        inside = (
            (column >= 0) & (column < mask.shape[1]) & (row >= 0) & (row < mask.shape[0]) & (seen.depth > 0)
        )
        votes += inside
        hit = np.zeros(len(points), bool)
        hit[inside] = mask[row[inside], column[inside]]
        against += inside & ~hit
    return (votes > 0) & (against <= 0.04 * votes)


def near_face(
    points: Float[np.ndarray, "points 3"], face: Float[np.ndarray, "landmarks 3"]
) -> Bool[np.ndarray, "points"]:
    """Points within a shell around the face's surface, continued outwards from its rim.

    A clip with little yaw carves a long cone; the landmarks know how deep the face lies. In front of the face
    2.5 cm are left, behind it 7 cm; beside it, where hair and ears are, 3 and 14 cm (ours).
    """
    sideways, nearest = cKDTree(face[:, :2]).query(points[:, :2])
    behind = face[nearest, 2] - points[:, 2]
    on_face = sideways < 0.012
    front = np.where(on_face, 0.025, 0.03 + 0.2 * np.minimum(sideways, 0.05))
    back = np.where(on_face, 0.07, 0.14)
    return (behind > -front) & (behind < back)


def _mask(cache: PixelCache, frame: int) -> np.ndarray[Any, np.dtype[Any]]:
    rim = max(1, round(0.012 * cache.size))
    return ndimage.binary_dilation(cache.labels[frame] == Part.HEAD, iterations=rim)


def _centres(
    low: np.ndarray[Any, np.dtype[Any]], high: np.ndarray[Any, np.dtype[Any]], resolution: int
) -> np.ndarray[Any, np.dtype[Any]]:
    axes = [low[k] + (np.arange(resolution) + 0.5) / resolution * (high[k] - low[k]) for k in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)

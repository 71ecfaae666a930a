"""Landmarks with the head's motion undone: lifted to the head's own axes with the tracked pose.

They are lifted piece by piece as they are asked for: those of ten minutes are 86 MB.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_ad.core.rows import FileRows
from nerf_ad.dataset.dataset import Dataset, Tracking

AT_ONCE = 256
"""Frames that are lifted at once, some 10 MB of doubles (ours)."""


class FaceShape(NamedTuple):
    """What the landmarks of many frames are together, metres."""

    mean: Float[np.ndarray, "points 3"]
    """Every landmark's average."""
    low: Float[np.ndarray, "3"]
    """The least coordinates of any."""
    high: Float[np.ndarray, "3"]
    """The greatest."""


class HeadLandmarks:
    """The landmarks of a clip in the head's own axes, metres."""

    def __init__(self, pixels: FileRows, tracking: Tracking) -> None:
        """Take landmarks in pixels (frames 478 3), and poses with the camera of the same pictures."""
        self.pixels = pixels
        self.tracking = tracking

    @classmethod
    def of(cls, dataset: Dataset) -> "HeadLandmarks":
        """Those of a data set."""
        return cls(dataset.landmark_rows(), dataset.tracking())

    def __len__(self) -> int:
        """Frames."""
        return len(self.pixels)

    def blocks(
        self, frames: range | None = None, *, points: Sequence[int] | None = None
    ) -> Iterator[Float[np.ndarray, "frames points 3"]]:
        """Some frames one behind the other, at most ``AT_ONCE`` at a time.

        Args:
            frames: which frames; all where absent.
            points: which landmarks; all where absent.
        """
        frames = range(len(self)) if frames is None else frames
        for start in range(frames.start, frames.stop, AT_ONCE):
            part = slice(start, min(start + AT_ONCE, frames.stop))
            pose = self.tracking._replace(camera_to_world=self.tracking.camera_to_world[part])
            yield lifted(self.pixels.read(part.start, part.stop), pose, points=points)

    def read(
        self, points: Sequence[int], frames: range | None = None
    ) -> Float[np.ndarray, "frames points 3"]:
        """Some landmarks of some frames, all of them together."""
        return np.concatenate(list(self.blocks(frames, points=points)))


def mean_of(blocks: Iterable[Float[np.ndarray, "_ ..."]]) -> Float[np.ndarray, "..."]:
    """Mean over the frames of all blocks; where frames hold several numbers, to the bit what NumPy says.

    Of single numbers NumPy adds pairs, and pairs of them.
    """
    total: np.ndarray | None = None
    count = 0
    for block in blocks:
        count += len(block)
        for row in block:  # one behind the other, as NumPy adds
            total = row.copy() if total is None else np.add(total, row, out=total)
    if total is None:
        message = "there are no frames"
        raise ValueError(message)
    return np.asarray(total / np.intp(count), total.dtype)


def face_shape(blocks: Iterable[Float[np.ndarray, "_ points 3"]]) -> FaceShape:
    """Mean and extent of landmarks."""
    lows, highs = [], []

    def looked_at() -> Iterator[Float[np.ndarray, "frames points 3"]]:
        for block in blocks:
            lows.append(block.min(axis=(0, 1)))
            highs.append(block.max(axis=(0, 1)))
            yield block

    mean = mean_of(looked_at())  # before its extent: it looks at the blocks
    return FaceShape(mean, np.min(lows, axis=0), np.max(highs, axis=0))


def lifted(
    pixels: Float[np.ndarray, "frames 478 3"], tracking: Tracking, *, points: Sequence[int] | None = None
) -> Float[np.ndarray, "frames points 3"]:
    """Landmarks in the head's own axes, metres.

    The landmarker gives depth relative to the head and in pixels; the rigid points, whose depth the tracking
    knows, tell the offset. The scale is that of a weak perspective at the head's distance.

    Args:
        pixels: as the landmarker gives them.
        tracking: poses of the same frames.
        points: which landmarks are wanted; all where absent.
    """
    fx, fy, cx, cy = (float(value) for value in tracking.intrinsics)
    pose = tracking.camera_to_world.astype(np.float64)
    rotation, position = pose[:, :3, :3], pose[:, :3, 3]
    apart = tracking.head_points[None] - position[:, None]
    rigid = turned_coordinate(rotation[:, :, 2], *np.moveaxis(apart, 2, 0))
    distance = np.einsum("fji,fj->fi", rotation, -position)[:, 2] * -1.0
    metres_per_pixel = (distance / fx)[:, None]
    of_rigid = pixels[:, tracking.point_indices, 2] * metres_per_pixel
    offset = np.median(-rigid - of_rigid, axis=1)
    wanted = pixels if points is None else pixels[:, list(points)]
    depth = wanted[:, :, 2] * metres_per_pixel + offset[:, None]
    camera = (wanted[:, :, 0] - cx) / fx * depth, -(wanted[:, :, 1] - cy) / fy * depth, -depth
    world = np.empty(wanted.shape, np.float32)
    for axis in range(3):
        world[:, :, axis] = turned_coordinate(rotation[:, axis], *camera) + position[:, axis, None]
    return world


def turned_coordinate(
    axis: Float[np.ndarray, "frames 3"],
    x: Float[np.ndarray, "frames points"],
    y: Float[np.ndarray, "frames points"],
    z: Float[np.ndarray, "frames points"],
) -> Float[np.ndarray, "frames points"]:
    """Points along an axis of each frame; ``einsum`` fuses some products and takes thrice the time (ours)."""
    return axis[:, 0, None] * x + axis[:, 1, None] * y + axis[:, 2, None] * z

"""Which frames of a clip stand for the person: one neutral frame, and a few seen from different sides.

NeRF-AD's code takes fixed numbers from the evaluated frames (paper.md sections 5 and 13, defect 13); here all
come from the training frames, the same in training and afterwards.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from nerf_ad.core.errors import UsageError
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.face.action_units import eye_openness, mouth_opening

NUM_CANDIDATES = 12
"""Frames whose sharpness is compared (ours)."""


class HeadDirections(NamedTuple):
    """Where the camera stands as seen from the head, radians; 0 is straight before the face."""

    yaw: Float[np.ndarray, "frames"]
    """Positive on the person's left."""
    pitch: Float[np.ndarray, "frames"]
    """Positive above."""


def head_directions(camera_to_world: Float[np.ndarray, "frames 4 4"]) -> HeadDirections:
    """From which side the camera sees the head, which rests at the origin and looks along +z."""
    x, y, z = camera_to_world[:, :3, 3].astype(np.float64).T
    return HeadDirections(np.arctan2(x, z), np.arctan2(y, np.hypot(x, z)))


def neutral_frame(dataset: Dataset) -> int:
    """A sharp training frame with a closed mouth and open eyes, seen from the front.

    Of the training frames with a face: the fifth whose mouth is closed most, of these those whose eyes are
    not closing, of these the ones nearest to the front, of these the sharpest (paper.md section 14, row 8).
    """
    frames = _seen(dataset)
    track = dataset.landmarks()
    opening = mouth_opening(track.points[frames])
    frames = frames[opening <= np.quantile(opening, 0.2)]
    openness = eye_openness(track.points[frames])
    frames = frames[openness >= 0.9 * np.median(openness)]
    directions = head_directions(dataset.tracking().camera_to_world[frames])
    order = np.argsort(np.hypot(directions.yaw, directions.pitch), kind="stable")
    candidates = frames[order[:NUM_CANDIDATES]]
    sharp = [_sharpness(dataset, int(index), track.points[index, :, :2]) for index in candidates]
    return int(candidates[int(np.argmax(sharp))])


def choose_references(dataset: Dataset, count: int = 4) -> list[int]:
    """Training frames spread evenly over the yaw of the head, in ascending yaw (paper.md section 14, row 9).

    The two ends are the 5th and 95th percentile of the yaw; of the frames about as near to a wanted yaw, the
    one with the most usual pitch is taken. Frames with closing eyes are passed over where enough others are.

    Raises:
        UsageError: fewer training frames than wanted.
    """
    frames = _seen(dataset)
    if not 1 <= count <= len(frames):
        raise UsageError(f"{count} references were asked for of {len(frames)} training frames")
    openness = eye_openness(dataset.landmarks().points[frames])
    is_open = openness >= 0.8 * np.median(openness)
    frames = frames[is_open] if is_open.sum() >= count else frames
    yaw, pitch = head_directions(dataset.tracking().camera_to_world[frames])
    low, high = (float(np.percentile(yaw, end)) for end in ((50, 50) if count == 1 else (5, 95)))
    chosen: list[int] = []
    for wanted in np.linspace(low, high, count):
        order = np.argsort(np.abs(yaw - wanted), kind="stable")
        near = [int(place) for place in order if int(place) not in chosen][: max(1, len(frames) // 20)]
        chosen.append(min(near, key=lambda place: abs(float(pitch[place] - np.median(pitch)))))
    return [int(frames[place]) for place in chosen]


def _seen(dataset: Dataset) -> Int[np.ndarray, "seen"]:
    """Training frames in which a face was found; all of them where none was."""
    train = dataset.split().train
    frames = np.arange(train.start, train.stop)
    seen = frames[dataset.landmarks().confidence[frames] > 0]
    return seen if len(seen) else frames


def _sharpness(dataset: Dataset, frame: int, points: Float[np.ndarray, "landmarks 2"]) -> float:
    """Variance of the Laplacian of the face's grey values."""
    low, high = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int)
    left, top = np.clip(low, 0, dataset.size - 2)
    right, bottom = np.clip(high, (left + 2, top + 2), dataset.size)
    grey = dataset.frame(frame)[top:bottom, left:right].astype(np.float64).mean(axis=-1)
    return float(ndimage.laplace(grey).var())

"""Refuses a dataset whose parts contradict each other: copied half, edited, or written by something else."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nerf_ad.core.arrays import refuse_misfits
from nerf_ad.core.errors import FormatError
from nerf_ad.geometry.rotations import are_rigid

if TYPE_CHECKING:
    from nerf_ad.dataset.dataset import DatasetManifest

HINT = "copy the data set again, or capture the video into a new folder"

MAX_SPEECH_RATE = 1000.0
"""Steps per second; every encoder has 50."""

Arrays = dict[str, Any]


def refuse_unsound_manifest(path: Path, manifest: "DatasetManifest") -> None:
    """A finished dataset has frames, and its shots lie in them.

    Raises:
        FormatError: it has not.
    """
    if manifest.num_frames < 1:
        raise FormatError(
            f"{path}: num_frames is {manifest.num_frames}",
            hint="run nerf-ad capture again; it continues where it stopped",
        )
    edges = (*manifest.shots, manifest.num_frames)
    if edges[0] != 0 or any(here >= there for here, there in pairwise(edges)):
        raise FormatError(
            f"{path}: shots must begin with 0 and ascend below {manifest.num_frames}", hint=HINT
        )


def refuse_unsound_tracking(path: Path, arrays: Arrays, *, num_frames: int, num_landmarks: int = 478) -> None:
    """Poses are rigid, the camera has a focal length, and the rigid points are landmarks.

    Raises:
        FormatError: they are not.
    """
    shapes = {
        "camera_to_world": "frames 4 4",
        "intrinsics": "4",
        "head_points": "points 3",
        "point_indices": "points",
    }
    refuse_misfits(path, arrays, shapes, {"frames": num_frames}, hint=HINT)
    indices = arrays["point_indices"]
    if not are_rigid(arrays["camera_to_world"]):
        raise FormatError(f"{path}: camera_to_world is not made of rotations and positions", hint=HINT)
    if not (arrays["intrinsics"][:2] > 0).all():
        raise FormatError(f"{path}: the focal length is not positive", hint=HINT)
    if indices.dtype.kind not in "iu" or not ((indices >= 0) & (indices < num_landmarks)).all():
        raise FormatError(f"{path}: point_indices name no landmarks", hint=HINT)


def refuse_unsound_landmarks(path: Path, arrays: Arrays, *, num_frames: int) -> None:
    """Every frame has its points.

    Raises:
        FormatError: it has not.
    """
    refuse_misfits(path, arrays, {"points": "frames 478 3"}, {"frames": num_frames}, hint=HINT)


def refuse_unsound_speech(path: Path, arrays: Arrays) -> None:
    """There are features, and their rate is one.

    Raises:
        FormatError: there are none.
    """
    refuse_misfits(path, arrays, {"features": "steps channels"}, {}, hint=HINT)
    rate: np.ndarray[Any, np.dtype[Any]] = arrays["rate_hz"]
    if rate.ndim or rate.dtype.kind not in "fiu" or not 1 <= float(rate) <= MAX_SPEECH_RATE:
        raise FormatError(f"{path}: rate_hz is no number of steps per second", hint=HINT)


def read_range(path: Path, value: object, *, num_frames: int, least: int) -> range:
    """A range of frames from ``[first, one after the last]``.

    Args:
        path: its file, for the sentence.
        value: as read from JSON.
        num_frames: frames of the clip.
        least: how many frames it must hold.

    Raises:
        FormatError: it is none, or leaves the clip.
    """
    if isinstance(value, list) and len(value) == 2 and all(type(edge) is int for edge in value):
        start, stop = value
        if start >= 0 and start + least <= stop <= num_frames:
            return range(start, stop)
    raise FormatError(
        f"{path} is damaged: {str(value)[:40]} is no range of the {num_frames} frames", hint=HINT
    )

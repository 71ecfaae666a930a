"""The face of every frame as a small square picture: what NeRF-AD's attention and audio face are made from.

The crop's box follows the landmarks smoothly, so that a moving jaw does not shake the picture. The crops are
a cache on disk, read when asked for; it may be deleted at any time and is made again.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy import ndimage
from torch import Tensor

from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import explained, locked, sync_folder, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.frame_file import FrameFile, made_again
from nerf_ad.dataset.pixels import fit_picture

VERSION = 1
"""Raised when boxes or crops change their meaning."""

CROP_SIZE = 112
"""Width and height of a crop (NeRF-AD's code; the sizes of its networks follow from it)."""

MARGIN = 0.15
"""How much larger than the face the box is, half of it on each side.

The paper's box is not released. Its code holds a mouth box that ends two rows above the crop's lower edge
and covers 61 % of its width, so its crops are tight; ours are about as tight.
"""

SMOOTHING_SECONDS = 0.2
"""Deviation of the Gaussian over which the box is smoothed (ours)."""


class FaceCrops:
    """Face crops of a dataset. Pixels are read when asked for."""

    def __init__(self, folder: Path, *, num_frames: int, size: int) -> None:
        self.size = size
        self.num_frames = num_frames
        self.boxes: Int[np.ndarray, "frames 4"] = np.load(folder / "boxes.npy")
        """Left, top, right, bottom in pixels of the dataset's frames; right and bottom are not inside."""
        shape = (num_frames, size, size, 3)
        self.pixels = FrameFile(folder / "crops.raw", shape, hint=made_again(folder))

    def crop(self, frame: int) -> UInt8[np.ndarray, "size size 3"]:
        """The face of one frame."""
        return self.pixels[frame]

    def batch(self, frames: Int[np.ndarray, "batch"]) -> Float[Tensor, "batch 3 size size"]:
        """The faces of some frames, in [0, 1]."""
        chosen = np.ascontiguousarray(self.pixels[frames].transpose(0, 3, 1, 2))
        return torch.from_numpy(chosen).float() / 255


def open_face_crops(dataset: Dataset, size: int = CROP_SIZE) -> FaceCrops:
    """The crops, made first where they are missing.

    Raises:
        BadInputError: the dataset's folder cannot be written.
        NerfAdError: the disk is full.
    """
    for _ in make_face_crops(dataset, size):
        pass
    return FaceCrops(crops_folder(dataset, size), num_frames=dataset.num_frames, size=size)


def make_face_crops(dataset: Dataset, size: int = CROP_SIZE) -> Iterator[Event]:
    """Make the cache where it is missing; events on the way.

    One process makes it while others wait; what a killed process left half made is made again.

    Raises:
        BadInputError: the dataset's folder cannot be written.
        NerfAdError: the disk is full.
    """
    folder = crops_folder(dataset, size)
    done = folder / "done.json"
    if done.is_file():
        return
    with locked(folder.with_suffix(".lock"), wait=True):
        if not done.is_file():
            yield from _make_crops(dataset, size, folder)


def crops_folder(dataset: Dataset, size: int) -> Path:
    """Where the cache lies; another capture or size is another folder."""
    facts = [VERSION, dataset.manifest.source.sha256, size, dataset.inputs_for_training()]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return dataset.layout.cache / f"faces-{size}-{key[:12]}"


def _make_crops(dataset: Dataset, size: int, folder: Path) -> Iterator[Event]:
    shutil.rmtree(folder, ignore_errors=True)
    count = dataset.num_frames
    boxes = face_boxes(
        dataset.landmarks().points[:, :, :2].astype(np.float64),
        dataset.manifest.shots,
        size=dataset.size,
        smoothing=SMOOTHING_SECONDS * dataset.manifest.fps,
    )

    def load(index: int) -> np.ndarray[Any, np.dtype[Any]]:
        return fit_picture(cut_out(dataset.frame(index), boxes[index]), size)

    with explained(folder / "done.json"), ThreadPoolExecutor(2) as pool:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "crops.raw").open("wb") as file:
            for start in range(0, count, 32):
                indices = range(start, min(start + 32, count))
                for crop in pool.map(load, indices):
                    file.write(np.ascontiguousarray(crop).data)
                yield Progress(stage="faces", done=indices.stop, total=count)
        np.save(folder / "boxes.npy", boxes)
        sync_folder(folder)
    write_json(folder / "done.json", {"version": VERSION, "frames": count, "size": size})


def face_boxes(
    points: Float[np.ndarray, "frames landmarks 2"],
    shots: tuple[int, ...],
    *,
    size: int,
    smoothing: float,
    margin: float = MARGIN,
) -> Int[np.ndarray, "frames 4"]:
    """Square boxes around the face: left, top, right, bottom.

    Centre and side are smoothed within each shot. A box that leaves the picture is shifted back in, never
    squeezed.

    Args:
        points: landmarks in pixels.
        shots: first frame of every shot.
        size: width and height of the picture.
        smoothing: deviation of the Gaussian in frames.
        margin: how much larger than the face the box is, half of it on each side.
    """
    low, high = points.min(axis=1), points.max(axis=1)
    side = (high - low).max(axis=1, keepdims=True) * (1 + margin)
    track = np.concatenate([(low + high) / 2, side], axis=1)
    edges = [*shots, len(points)]
    for start, stop in itertools.pairwise(edges):
        if smoothing > 0 and stop > start:
            track[start:stop] = ndimage.gaussian_filter1d(
                track[start:stop], smoothing, axis=0, mode="nearest"
            )
    sides = np.clip(np.round(track[:, 2]), 1, size).astype(np.int64)
    corner = np.round(track[:, :2] - track[:, 2:] / 2).astype(np.int64)
    corner = np.clip(corner, 0, size - sides[:, None])
    return np.concatenate([corner, corner + sides[:, None]], axis=1)


def cut_out(
    frame: UInt8[np.ndarray, "height width 3"], box: Int[np.ndarray, "4"]
) -> UInt8[np.ndarray, "side side 3"]:
    """The pixels inside a box."""
    left, top, right, bottom = box
    return frame[top:bottom, left:right]

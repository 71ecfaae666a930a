"""The dataset's pictures in raw files: pixels of any frame without decoding anything twice."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy import ndimage

from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import explained, locked, sync_folder, write_json
from nerf_ad.core.rows import FileRows
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import MOUTH
from nerf_ad.dataset.frame_file import FrameFile, made_again
from nerf_ad.face.parsing import Part
from nerf_ad.media.images import resize_image

VERSION = 1
"""Raised when the arrays' meaning changes."""
RIM = 2
"""Pixels from the head's edge within which the parsing is not to be believed (ours)."""


class Pixels(NamedTuple):
    """What is known of some pixels."""

    frame: UInt8[np.ndarray, "pixels 3"]
    """The recording."""
    torso: UInt8[np.ndarray, "pixels 4"]
    """The torso without its head, and how much of it there is."""
    labels: UInt8[np.ndarray, "5 pixels"]
    """Parts: there, ``RIM`` above and below, and ``RIM`` to the left and to the right."""


class PixelCache:
    """Frames, labels and torso pictures of a dataset at one size, on disk, read when asked for.

    The folder is a cache: it may be deleted at any time and is made again.
    """

    def __init__(self, folder: Path, *, num_frames: int, size: int) -> None:
        self.folder = folder
        self.size = size
        self.num_frames = num_frames
        self.frames = self._open("frames", (num_frames, size, size, 3))
        """The recording."""
        self.labels = self._open("labels", (num_frames, size, size))
        """Parts (``nerf_ad.face.parsing.Part``)."""
        self.torso = self._open("torso", (num_frames, size, size, 4))
        """The torso without its head, and where it is."""
        self._head_pixels = FileRows.of_npy(folder / "head_pixels.npy", hint=made_again(folder))
        self.head_offsets: np.ndarray[Any, np.dtype[Any]] = np.load(folder / "head_offsets.npy")

    def _open(self, name: str, shape: tuple[int, ...]) -> FrameFile:
        return FrameFile(self.folder / f"{name}.raw", shape, hint=made_again(self.folder))

    def pixels_of_head(self, frame: int) -> Int[np.ndarray, "pixels"]:
        """Flat numbers of the pixels in and just around the head of one frame."""
        return self._head_pixels.read(int(self.head_offsets[frame]), int(self.head_offsets[frame + 1]))

    def pixels(
        self,
        frames: Int[np.ndarray, "batch"],
        slot: Int[np.ndarray, "pixels"],
        flat: Int[np.ndarray, "pixels"],
    ) -> Pixels:
        """Some pixels of some frames; of each frame, rows from the highest to the lowest of them are read.

        Args:
            frames: frames of the clip.
            slot: which entry of ``frames`` each pixel belongs to.
            flat: the pixels' flat numbers.
        """
        size, last = self.size, self.size - 1
        row, column = np.divmod(flat, size)
        high, low = np.maximum(row - RIM, 0), np.minimum(row + RIM, last)
        beside = (row * size + np.clip(column + right, 0, last) for right in (-RIM, RIM))
        around = np.stack([flat, high * size + column, low * size + column, *beside])
        shapes = ((len(flat), 3), (len(flat), 4), around.shape)
        found = Pixels(*(np.empty(shape, np.uint8) for shape in shapes))
        place = np.empty(4 * size * size, np.uint8)  # read into again and again: fresh memory is slow
        for number, frame in enumerate(frames.tolist()):
            own = np.flatnonzero(slot == number)
            if len(own) == 0:
                continue
            span = int(high[own].min()), int(low[own].max()) + 1
            there = around[:, own] - span[0] * size
            found.frame[own] = self.frames.rows(frame, *span, place).reshape(-1, 3)[there[0]]
            found.torso[own] = self.torso.rows(frame, *span, place).reshape(-1, 4)[there[0]]
            found.labels[:, own] = self.labels.rows(frame, *span, place).reshape(-1)[there]
        return found


def open_pixels(dataset: Dataset, size: int) -> Iterator[Event]:
    """Make the cache where it is missing; events on the way. Open it with ``PixelCache`` afterwards.

    One process makes it while others wait, because all trainings of a dataset share it; what a killed
    process left half made is made again.

    Raises:
        BadInputError: the dataset's folder cannot be written.
        NerfAdError: the disk is full.
    """
    folder = pixels_folder(dataset, size)
    done = folder / "done.json"
    if done.is_file():
        return
    lock = folder.with_suffix(".lock")
    with locked(lock, wait=False) as is_ours:
        if is_ours:
            yield from _make_pixels(dataset, size, folder)
            return
    yield Progress(stage="pixels", done=0, total=dataset.num_frames, note="another training prepares them")
    with locked(lock, wait=True):
        if not done.is_file():  # the other was stopped
            yield from _make_pixels(dataset, size, folder)


def _make_pixels(dataset: Dataset, size: int, folder: Path) -> Iterator[Event]:
    """Write the arrays front to back, so that memory stays small and a full disk is an error, not a crash."""
    shutil.rmtree(folder, ignore_errors=True)
    count = dataset.num_frames
    offsets = np.zeros(count + 1, np.int64)
    num_workers = min(8, max(2, os.cpu_count() or 2))

    def load(index: int) -> tuple[np.ndarray[Any, np.dtype[Any]], ...]:
        labels = fit_labels(dataset.labels(index), size)
        frame, torso = fit_picture(dataset.frame(index), size), fit_picture(dataset.torso(index), size)
        return frame, labels, torso, around_head(labels).astype(np.int32)

    with (
        explained(folder / "done.json"),
        ThreadPoolExecutor(num_workers) as pool,
        contextlib.ExitStack() as stack,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        names = ("frames", "labels", "torso", "head_pixels")
        files = [stack.enter_context((folder / f"{name}.raw").open("wb")) for name in names]
        for start in range(0, count, 32):
            indices = range(start, min(start + 32, count))
            for index, arrays in zip(indices, pool.map(load, indices), strict=True):
                for file, array in zip(files, arrays, strict=True):
                    file.write(np.ascontiguousarray(array).data)
                offsets[index + 1] = offsets[index] + len(arrays[-1])
            yield Progress(stage="pixels", done=indices.stop, total=count)
        for file in files:
            file.flush()
            os.fsync(file.fileno())
        _as_npy(folder / "head_pixels.raw", folder / "head_pixels.npy", count=int(offsets[-1]))
        np.save(folder / "head_offsets.npy", offsets)
        sync_folder(folder)
    write_json(folder / "done.json", {"version": VERSION, "frames": count, "size": size})


def _as_npy(raw: Path, path: Path, *, count: int) -> None:
    """Turn a file of int32 into an array's, piece by piece: all of it at once would count as memory."""
    with path.open("wb") as file, raw.open("rb") as source:
        told = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.int32)), "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, {**told, "shape": (count,)})
        shutil.copyfileobj(source, file)
    raw.unlink()


def pixels_folder(dataset: Dataset, size: int) -> Path:
    """Where the cache lies; another capture or size is another folder."""
    steps = dataset.inputs_for_training()
    key = json.dumps([VERSION, dataset.manifest.source.sha256, size, steps], sort_keys=True)
    return dataset.layout.cache / f"{size}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def fit_picture(
    picture: UInt8[np.ndarray, "height width channels"], size: int
) -> UInt8[np.ndarray, "size size channels"]:
    """Resize only where the size differs."""
    return picture if picture.shape[0] == size else resize_image(picture, (size, size))


def fit_labels(labels: UInt8[np.ndarray, "height width"], size: int) -> UInt8[np.ndarray, "size size"]:
    """Resize labels by the nearest neighbour."""
    if labels.shape[0] == size:
        return labels
    index = ((np.arange(size) + 0.5) * labels.shape[0] / size).astype(int)
    return labels[np.ix_(index, index)]


def around_head(labels: UInt8[np.ndarray, "size size"]) -> Int[np.ndarray, "pixels"]:
    """Pixels of the head and of the rim around it."""
    rim = head_rim(labels.shape[0])
    distance = ndimage.distance_transform_cdt(labels != Part.HEAD, metric="chessboard")
    return np.flatnonzero((distance >= 0) & (distance <= rim))


def head_rim(size: int) -> int:
    """Pixels from the head's edge within which emptiness must be learned: 4 % of the picture."""
    return max(2, round(0.04 * size))


def boxes_around(
    points: Float[np.ndarray, "frames points 2"], *, margin: float, size: int
) -> Int[np.ndarray, "frames 4"]:
    """Left, top, right, bottom around points in pixels, widened by ``margin`` of their own extent."""
    low, high = points.min(axis=1), points.max(axis=1)
    widen = margin * (high - low).max(axis=1, keepdims=True)
    box = np.concatenate([np.floor(low - widen), np.ceil(high + widen)], axis=1)
    return np.clip(box, 0, size).astype(np.int64)


def mouth_boxes(points: Float[np.ndarray, "frames landmarks 2"], size: int) -> Int[np.ndarray, "frames 4"]:
    """The box around lips and chin of every frame; the mouth region of all our figures."""
    return boxes_around(points[:, list(MOUTH)], margin=0.05, size=size)

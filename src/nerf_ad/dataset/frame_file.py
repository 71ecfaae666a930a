"""Pictures of all frames in one file, of which only those that are asked for are in memory."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from nerf_ad.core.rows import FileRows

Pictures = UInt8[np.ndarray, "..."]


def made_again(folder: Path) -> str:
    """What to do about a cache that lost something."""
    return f"delete {folder}; it is made again"


class FrameFile:
    """Square pictures of a clip: ``file[3]``, ``file[3:7]`` and ``file[numbers]`` read frames, whole.

    What follows in the brackets (``file[numbers, :, :, 3:]``) is picked from what was read: numbers, slices
    and dots, but no arrays, which NumPy would pair with the frames' numbers.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], *, hint: str | None = None) -> None:
        """Open the file.

        Args:
            path: bytes, frame by frame, each row by row.
            shape: frames, rows, columns, and channels where there are some.
            hint: what to do about a file that is missing or too short.

        Raises:
            FormatError: missing, or too short.
        """
        self.shape = shape
        self._rows = FileRows(path, (shape[0] * shape[1], *shape[2:]), np.dtype(np.uint8), hint=hint)

    def __len__(self) -> int:
        """Frames."""
        return self.shape[0]

    def __iter__(self) -> Iterator[Pictures]:
        """Frame by frame."""
        return (self.rows(frame, 0, self.shape[1]) for frame in range(len(self)))

    def __getitem__(self, index: Any) -> Pictures:  # noqa: ANN401 - as NumPy has it
        """Frames as said above.

        Raises:
            TypeError: it is more than is said there.
        """
        which, *rest = index if isinstance(index, tuple) else (index,)
        numbers = np.arange(len(self))[which]  # as NumPy understands it, with its complaint
        if which is Ellipsis or np.ndim(numbers) > 1 or any(np.ndim(part) for part in rest):
            message = "frames come first, as a number, a slice or a list; no lists follow"
            raise TypeError(message)
        if np.ndim(numbers) == 0:
            return np.asarray(self.rows(int(numbers), 0, self.shape[1])[tuple(rest)])
        pictures = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        for place, frame in enumerate(numbers):
            self.read_into(int(frame), pictures[place])
        return pictures[(slice(None), *rest)]

    def rows(
        self, frame: int, top: int, bottom: int, place: UInt8[np.ndarray, "bytes"] | None = None
    ) -> Pictures:
        """Some rows of a frame, from ``top`` to before ``bottom``; read into ``place`` where it is given.

        Raises:
            IndexError: there are no such rows.
            FormatError: the file is shorter than it was.
        """
        if not 0 <= top <= bottom <= self.shape[1]:
            message = f"frames have {self.shape[1]} rows, not those from {top} to before {bottom}"
            raise IndexError(message)
        shape = (bottom - top, *self.shape[2:])
        out = np.empty(shape, np.uint8) if place is None else place[: math.prod(shape)].reshape(shape)
        self._rows.read_into(frame * self.shape[1] + top, out)
        return out

    def read_into(self, frame: int, out: Pictures) -> None:
        """Copy a frame.

        Raises:
            FormatError: the file is shorter than it was.
        """
        self._rows.read_into(frame * self.shape[1], out)

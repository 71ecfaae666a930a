"""Arrays that stay in their files: rows are read when they are asked for.

A memory map would do without reading, but what is mapped counts as this process's memory, and how much a look
at one number maps is the system's choice: up to 2 MB with the large folios of Linux 6.18 on ext4 (ours).
"""

import contextlib
import math
import os
import struct
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import explained, no_array, reading

CHUNK = 1 << 20
"""Bytes that are checked or copied at once."""


class FileRows:
    """An array in a file, of which only what is read is in memory. Threads may share it."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        offset: int = 0,
        hint: str | None = None,
        file: Any = None,  # noqa: ANN401 - any open file
    ) -> None:
        """Open the file.

        Args:
            path: the file.
            shape: of the whole array, which lies there row by row.
            dtype: of its numbers.
            offset: bytes before the array.
            hint: what to do about a file that is missing or too short.
            file: what is read instead of ``path``; closed with this object, or where that cannot be made.

        Raises:
            FormatError: missing, or too short for the array.
        """
        self.path, self.shape, self.dtype = path, shape, dtype
        with reading(path, hint=hint):
            self._file: Any = path.open("rb", buffering=0) if file is None else file
        self._offset, self._hint = offset, hint
        self._row_bytes = dtype.itemsize * math.prod(shape[1:])
        self._lock = threading.Lock()
        if self._file.seek(0, os.SEEK_END) < offset + shape[0] * self._row_bytes:
            self._file.close()
            raise self._cut_short()
        weakref.finalize(self, self._file.close)

    @classmethod
    def of_npy(cls, path: Path, *, hint: str | None = None) -> "FileRows":
        """The array of a ``.npy`` that NumPy wrote row by row.

        Raises:
            FormatError: missing, damaged, holding Python objects, or lying column by column.
        """
        with reading(path, hint=hint), contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb", buffering=0))
            header = _read_header(file)
            if header.is_turned:
                message = "it lies column by column"
                raise ValueError(message)
            offset = file.tell()
            stack.pop_all()  # it is the rows' now
            return cls(path, header.shape, header.dtype, offset=offset, hint=hint, file=file)

    @classmethod
    def of_npz(cls, path: Path, name: str, *, hint: str | None = None) -> "FileRows":
        """One array of an ``.npz``; its size and checksum are compared, never is anything unpickled.

        What lies there packed, or column by column, is unpacked into a temporary file.

        Raises:
            FormatError: missing, damaged, holding Python objects, or without that array.
            NerfAdError: there is no room for a temporary file.
        """
        with reading(path, hint=hint), contextlib.ExitStack() as stack:
            file = stack.enter_context(path.open("rb", buffering=0))
            with zipfile.ZipFile(file) as archive:
                if f"{name}.npy" not in archive.namelist():
                    raise no_array(path, name, hint=hint)
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as member:
                    header = _read_header(member)
                    there, told = info.file_size, member.tell() + header.num_bytes
                    if there != told:
                        what = "is cut short" if there < told else "is damaged"
                        raise FormatError(f"{path} {what}: {name} has {there} bytes, not {told}", hint=hint)
                    if info.compress_type == zipfile.ZIP_STORED and not header.is_turned:
                        offset = _start_of(file, info) + member.tell()
                        while member.read(CHUNK):  # to its end, where the checksum is compared
                            pass
                        stack.pop_all()  # the file is the rows' now
                        return cls(path, header.shape, header.dtype, offset=offset, hint=hint, file=file)
                    unpacked = _unpacked(member, header, path.name)
            return cls(path, header.shape, header.dtype, hint=hint, file=unpacked)

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    def read(self, start: int, stop: int) -> Shaped[np.ndarray, "rows ..."]:
        """Rows from ``start`` to before ``stop``.

        Raises:
            IndexError: there are no such rows.
            FormatError: the file is shorter than it was.
        """
        if not 0 <= start <= stop <= len(self):
            raise self._no_rows(start, stop)
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: Shaped[np.ndarray, "rows ..."]) -> None:
        """Fill ``out``, whose numbers lie one behind the other, with the rows that begin at ``start``.

        Raises:
            IndexError: there are no such rows.
            ValueError: ``out`` holds no such rows.
            FormatError: the file is shorter than it was.
        """
        if not 0 <= start <= start + len(out) <= len(self):
            raise self._no_rows(start, start + len(out))
        if out.shape[1:] != self.shape[1:] or out.dtype != self.dtype or not out.flags.c_contiguous:
            message = f"rows of {self.path} are {self.dtype} of {self.shape[1:]}, one behind the other"
            raise ValueError(message)
        view, done = out.reshape(-1).view(np.uint8), 0
        with self._lock:
            self._file.seek(self._offset + start * self._row_bytes)
            while done < len(view):
                read = self._file.readinto(view[done:])
                if not read:
                    raise self._cut_short()
                done += read

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Shaped[np.ndarray, "rows ..."]]:
        """The rows from ``start`` to before ``stop``, so many at a time."""
        for first in range(start, stop, size):
            yield self.read(first, min(first + size, stop))

    def _cut_short(self) -> FormatError:
        return FormatError(f"{self.path} is cut short", hint=self._hint)

    def _no_rows(self, start: int, stop: int) -> IndexError:
        return IndexError(f"{self.path} has {len(self)} rows, not those from {start} to before {stop}")


class _Header(NamedTuple):
    """What stands before an array's numbers."""

    shape: tuple[int, ...]
    is_turned: bool
    """Whether it lies column by column."""
    dtype: np.dtype[Any]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _read_header(file: Any) -> _Header:  # noqa: ANN401 - any open file
    """Leaves the file at the first number."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        message = f"an array of format {version}"
        raise ValueError(message)
    header = _Header(*read(file))
    if header.dtype.hasobject:
        message = "it holds Python objects"
        raise ValueError(message)
    if not header.shape or min(header.shape) < 0:  # NumPy takes any whole numbers
        message = f"an array of the shape {header.shape}"
        raise ValueError(message)
    return header


def _start_of(file: Any, info: zipfile.ZipInfo) -> int:  # noqa: ANN401 - any open file
    """Where the bytes of an entry that is not packed begin (APPNOTE.TXT section 4.3.7)."""
    file.seek(info.header_offset)
    name, extra = struct.unpack("<26xHH", file.read(30))
    return info.header_offset + 30 + int(name) + int(extra)


def _unpacked(member: Any, header: _Header, name: str) -> Any:  # noqa: ANN401 - open files
    """A temporary file with the numbers that follow, row by row; a full disk is not their file's fault."""
    place = Path(tempfile.gettempdir(), name)
    with contextlib.ExitStack() as stack:
        with explained(place):
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        for piece in _pieces(member, header):
            left = memoryview(piece)
            with explained(place):
                while left:  # a disk that is nearly full takes a part
                    left = left[file.write(left) :]
        stack.pop_all()  # it stays open
    return file


def _pieces(member: Any, header: _Header) -> Iterator[Any]:  # noqa: ANN401 - an open file; its bytes
    if not header.is_turned:
        yield from iter(lambda: member.read(CHUNK), b"")
    else:  # rare, and then all of it is in memory for a moment
        whole = np.frombuffer(member.read(), header.dtype).reshape(header.shape, order="F")
        yield np.ascontiguousarray(whole).reshape(-1).view(np.uint8)

"""Arrays that stay in their files: rows are read when they are asked for.

A memory map would do without reading, but what is mapped counts as this process's memory, and how much a look
at one number maps is the system's choice: with the large folios of Linux 6 it is up to 2 MB.
"""

import contextlib
import io
import shutil
import struct
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from nerf_ad.core.errors import FormatError

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
        file: io.RawIOBase | None = None,
    ) -> None:
        """Open the file.

        Args:
            path: the file.
            shape: of the whole array, which lies there row by row.
            dtype: of its numbers.
            offset: bytes before the array.
            hint: what to do about a file that is too short.
            file: what is read instead of ``path``; closed with this object.
        """
        self.path, self.shape, self.dtype = path, shape, dtype
        self._file: Any = path.open("rb", buffering=0) if file is None else file
        self._offset, self._hint = offset, hint
        self._row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self._lock = threading.Lock()
        weakref.finalize(self, self._file.close)

    @classmethod
    def of_npy(cls, path: Path) -> "FileRows":
        """The array of a ``.npy`` that NumPy wrote row by row."""
        with path.open("rb") as file:
            shape, _, dtype = _read_header(file)
            return cls(path, shape, dtype, offset=file.tell())

    @classmethod
    def of_npz(cls, path: Path, name: str) -> "FileRows":
        """One array of an ``.npz``; its checksum is compared, never is anything unpickled.

        What lies there packed, or column by column, is unpacked into a temporary file.

        Raises:
            FormatError: missing, damaged, holding Python objects, or without that array.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(f"{name}.npy")
                with archive.open(info) as member:
                    shape, is_turned, dtype = _read_header(member)
                    if info.compress_type == zipfile.ZIP_STORED and not is_turned:
                        offset = _start_of(path, info) + member.tell()
                        while member.read(CHUNK):  # to its end, where the checksum is compared
                            pass
                        return cls(path, shape, dtype, offset=offset)
                return cls._unpacked(archive, info, path)
        except FileNotFoundError:
            raise FormatError(f"{path} is missing") from None
        except KeyError:
            raise FormatError(f"{path} has no {name}", hint="run nerf-ad capture again") from None
        except Exception as error:
            raise FormatError(f"{path} is damaged: {error}") from error

    @classmethod
    def _unpacked(cls, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> "FileRows":
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
            with archive.open(info) as member:
                shape, is_turned, dtype = _read_header(member)
                if not is_turned:
                    shutil.copyfileobj(member, file, CHUNK)
            if is_turned:  # rare, and then all of it is in memory for a moment
                with archive.open(info) as member:
                    whole = np.lib.format.read_array(member, allow_pickle=False)
                    file.write(np.ascontiguousarray(whole).data)
            stack.pop_all()  # it stays open
        return cls(path, shape, dtype, file=file)

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
            FormatError: the file is shorter than it was.
        """
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        self.read_into(start, out)
        return out

    def read_into(self, start: int, out: Shaped[np.ndarray, "..."]) -> None:
        """Fill ``out``, whose numbers lie one behind the other, with what begins at row ``start``.

        Raises:
            FormatError: the file is shorter than it was.
        """
        view, done = out.reshape(-1).view(np.uint8), 0
        with self._lock:
            self._file.seek(self._offset + start * self._row_bytes)
            while done < len(view):
                read = self._file.readinto(view[done:])
                if not read:
                    raise FormatError(f"{self.path} is cut short", hint=self._hint)
                done += read

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Shaped[np.ndarray, "rows ..."]]:
        """The rows from ``start`` to before ``stop``, so many at a time."""
        for first in range(start, stop, size):
            yield self.read(first, min(first + size, stop))


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:  # noqa: ANN401 - any open file
    """Shape, whether it lies column by column, and kind of numbers; leaves the file at the first of them."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        message = f"an array of format {version}"
        raise ValueError(message)
    shape, is_turned, dtype = read(file)
    if dtype.hasobject:
        message = "it holds Python objects"
        raise ValueError(message)
    return shape, is_turned, dtype


def _start_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry that is not packed begin (APPNOTE.TXT section 4.3.7)."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<26xHH", file.read(30))
    return info.header_offset + 30 + int(name) + int(extra)

"""Read the variables of a CTranslate2 ``model.bin``: plain numbers, every length checked before it is used.

Layout, little-endian: u32 version; string spec; u32 revision; u32 count; per variable a string name, u8 rank,
u32 x rank shape, u8 type, u32 byte count, the bytes; then u32 count of pairs of strings (alias, variable).
A string is a u16 length that includes a final NUL, then its bytes.
"""

import math
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from nerf_ad.core.errors import WeightsError

_VERSIONS: Final = range(4, 7)
"""Binary versions with this layout (6 is what CTranslate2 3.x and 4.x write)."""
_TYPES: Final = (np.float32, np.int8, np.int16, np.int32, np.float16)
"""The type byte is an index into this."""
_MAX_RANK: Final = 8


def read_variables(path: Path, prefix: str = "") -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """The variables whose names start with ``prefix``, prefix removed, as read-only views of the mapped file.

    Raises:
        WeightsError: missing, cut short, or not such a file; says at which byte.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}", hint=_HINT) from error
    reader = _Reader(path, data.data)
    version = reader.number("I")
    if version not in _VERSIONS:
        raise reader.damaged(f"version {version} is unknown")
    reader.text()
    reader.number("I")
    variables = dict(_variable(reader) for _ in range(reader.number("I")))
    for _ in range(reader.number("I")):
        alias, original = reader.text(), reader.text()
        if original not in variables:
            raise reader.damaged(f"{alias} stands for {original}, which is absent")
        variables[alias] = variables[original]
    if not reader.at_end:
        raise reader.damaged("bytes are left over")
    return {name.removeprefix(prefix): value for name, value in variables.items() if name.startswith(prefix)}


_HINT: Final = "fetch it again with: nerf-ad weights fetch"


class _Reader:
    """A position in the file that never runs past its end."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self._path, self._data, self._position = path, data, 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._data)

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self._position:
            raise self.damaged("the file ends too early")
        self._position += count
        return self._data[self._position - count : self._position]

    def number(self, code: str) -> int:
        value: int = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]
        return value

    def text(self) -> str:
        raw = bytes(self.take(self.number("H")))
        if not raw.endswith(b"\0"):
            raise self.damaged("a name has no end")
        try:
            return raw[:-1].decode("ascii")
        except UnicodeDecodeError:
            raise self.damaged("a name is not text") from None

    def damaged(self, fault: str) -> WeightsError:
        return WeightsError(f"{self._path} is damaged at byte {self._position}: {fault}", hint=_HINT)


def _variable(reader: _Reader) -> tuple[str, np.ndarray[Any, np.dtype[Any]]]:
    name, rank = reader.text(), reader.number("B")
    if rank > _MAX_RANK:
        raise reader.damaged(f"{name} has rank {rank}")
    shape = tuple(reader.number("I") for _ in range(rank))
    code, num_bytes = reader.number("B"), reader.number("I")
    if code >= len(_TYPES):
        raise reader.damaged(f"{name} has the unknown type {code}")
    dtype = np.dtype(_TYPES[code]).newbyteorder("<")
    if math.prod(shape) * dtype.itemsize != num_bytes:
        raise reader.damaged(f"{name} has {num_bytes} bytes for the shape {shape}")
    return name, np.frombuffer(reader.take(num_bytes), dtype=dtype).reshape(shape)

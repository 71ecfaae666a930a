"""Arrays from outside: of the right shape, real, finite and of sane size, or refused in one sentence."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nerf_ad.core.errors import FormatError
from nerf_ad.core.rows import FileRows

LARGEST = 1e6
"""No pixel, metre, frame number or code that we store comes near it."""
_AT_ONCE = 1 << 16


def refuse_misfits(
    path: Path,
    arrays: Mapping[str, np.ndarray[Any, np.dtype[Any]] | FileRows],
    shapes: Mapping[str, str],
    sizes: Mapping[str, int],
    *,
    hint: str,
) -> None:
    """Compare arrays with the shapes that they must have.

    Args:
        path: their file, for the sentence.
        arrays: by name; those in files are looked at piece by piece.
        shapes: of those that are looked at, such as ``"frames 4 4"``; a name that ``sizes`` does not know is
            given its size by the first array that has it.
        sizes: sizes that are known.
        hint: what to do about a misfit.

    Raises:
        FormatError: names the first array that does not fit.
    """
    known = dict(sizes)
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype.kind not in "fiub":
            raise FormatError(f"{path}: {name} holds no numbers", hint=hint)
        wanted = shape.split()
        if array.ndim == len(wanted):
            for axis, size in zip(wanted, array.shape, strict=True):
                if not axis.isdigit():
                    known.setdefault(axis, size)
        right = tuple(int(axis) if axis.isdigit() else known.get(axis, -1) for axis in wanted)
        if array.shape != right or 0 in right:
            raise FormatError(f"{path}: {name} has the shape {array.shape}, not ({shape})", hint=hint)
        if not _is_sane(array):
            raise FormatError(f"{path}: {name} holds numbers that cannot be", hint=hint)


def _is_sane(array: np.ndarray[Any, np.dtype[Any]] | FileRows) -> bool:
    """Whether all numbers are small; piece by piece: doubles of a clip's landmarks take much memory."""
    # of NaN it is false
    return all(bool((np.abs(piece.astype(np.float64)) < LARGEST).all()) for piece in _pieces(array))


def _pieces(array: np.ndarray[Any, np.dtype[Any]] | FileRows) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    if isinstance(array, FileRows):
        at_once = max(1, _AT_ONCE * len(array) // max(1, math.prod(array.shape)))
        return array.blocks(0, len(array), at_once)
    flat = array.reshape(-1)
    return (flat[start : start + _AT_ONCE] for start in range(0, flat.size, _AT_ONCE))

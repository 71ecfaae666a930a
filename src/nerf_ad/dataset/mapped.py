"""Memory maps whose pages are given back: what is mapped counts as this process's memory."""

import mmap
from typing import Any

import numpy as np

LARGEST_MAPPED = 64 << 20
"""Bytes that may be looked at before all pages are given back (ours): the pictures of ten minutes at 256x256
are 9 GB, and a training sees them all."""


class MappedPages:
    """Keeps count of what is looked at in some memory maps, and unmaps it now and then.

    The system still holds what was read; it is mapped again when it is asked for.
    """

    def __init__(self, *arrays: np.ndarray[Any, np.dtype[Any]]) -> None:
        """Take ``numpy.memmap``s; others are left alone."""
        bases: list[Any] = [array.base for array in arrays]
        self._maps: list[mmap.mmap] = [base for base in bases if isinstance(base, mmap.mmap)]
        self._num_bytes = sum(len(held) for held in self._maps)
        self._looked = 0

    def look_at(self, num_bytes: int) -> None:
        """So many bytes are about to be looked at."""
        self._looked += num_bytes
        is_much = min(self._looked, self._num_bytes) > LARGEST_MAPPED
        if is_much and hasattr(mmap, "MADV_DONTNEED"):
            self._looked = num_bytes
            for held in self._maps:
                held.madvise(mmap.MADV_DONTNEED)

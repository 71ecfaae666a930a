"""Arrays out of a foreign pickle, without running what it says.

Some published weights are pickles, which can call any function. Here only those of NumPy that build an array
are let in, and what comes out must be dicts of strings down to arrays of numbers.
"""

import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np

from nerf_ad.core.errors import WeightsError

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]

_ADMITTED: Final = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        for core in ("core", "_core")
    },
}
"""All that a pickle may name: what NumPy itself writes for an array."""
_MAX_DEPTH: Final = 8
_HINT: Final = "do not use this file; fetch the pinned one with: nerf-ad weights fetch"


class _ArrayUnpickler(pickle.Unpickler):
    """Refuses every name but those admitted."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - a function or a class
        """What the pickle names, if it is admitted."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ADMITTED[module, name]


def read_array_pickle(path: Path) -> Arrays:
    """Arrays by their path in the tree of dicts, such as ``AlexNet_0/Conv_0/kernel``.

    Raises:
        WeightsError: unreadable, damaged, asking for anything else than arrays, or holding anything else.
    """
    try:
        with path.open("rb") as file:
            tree = _ArrayUnpickler(file).load()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except Exception as error:  # what a damaged pickle raises is not listed anywhere
        raise WeightsError(f"{path} is refused as a file of arrays: {error}", hint=_HINT) from error
    found: Arrays = {}
    if not isinstance(tree, dict) or not _collect(tree, "", found, depth=0):
        raise WeightsError(f"{path} is refused as a file of arrays: it holds other things", hint=_HINT)
    return found


def _collect(tree: dict[Any, Any], prefix: str, found: Arrays, *, depth: int) -> bool:
    """Put the arrays into ``found``; whether there was nothing else."""
    for key, value in tree.items():
        if not isinstance(key, str):
            return False
        if type(value) is dict:
            if depth == _MAX_DEPTH or not _collect(value, f"{prefix}{key}/", found, depth=depth + 1):
                return False
        elif type(value) is np.ndarray and value.dtype.kind in "biuf":
            found[prefix + key] = value
        else:
            return False
    return True

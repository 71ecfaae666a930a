"""Arrays out of a foreign pickle, without running what it says.

Some published weights are pickles, which can call any function. Here three names of NumPy are let in, and
stand-ins of our own take their place: they keep what they are told, and an array of numbers is made of it
when all is read. NumPy's own would do more, such as take any address for that of an object.
"""

import math
import pickle
import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from nerf_ad.core.errors import WeightsError

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


class _Kind:
    """Stands in for ``numpy.dtype``."""

    code: object = None
    order: object = None

    def __init__(self, code: object, *_others: object) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the pickle says
        self.order = state[1]

    def dtype(self) -> np.dtype[Any] | None:
        """What it means; None for anything else than numbers."""
        code = f"{self.order}{self.code}"
        return np.dtype(code) if re.fullmatch("[<>|=][biuf][0-9]{1,2}", code) else None


class _Array:
    """Stands in for the function that makes an empty array, which is then told its content."""

    state: object = None

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the pickle says
        self.state = state

    def array(self) -> np.ndarray[Any, np.dtype[Any]] | None:
        """What it means; None for anything else than an array of numbers."""
        match self.state:
            case (1, tuple() as shape, _Kind() as kind, bool() as is_turned, bytes() as raw):
                dtype = kind.dtype()
                if dtype is None or not all(type(size) is int and size >= 0 for size in shape):
                    return None
                if math.prod(shape) * dtype.itemsize != len(raw):
                    return None
                return np.ndarray(shape, dtype, raw, order="F" if is_turned else "C").copy(order="K")
            case _:
                return None


_ADMITTED: Final = {
    ("numpy", "ndarray"): "an array's class, which says nothing more",
    ("numpy", "dtype"): _Kind,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
}
"""All that a pickle may name: what NumPy itself writes for an array; and what it gets."""
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
    found: Arrays = {}
    try:
        with path.open("rb") as file:
            tree = _ArrayUnpickler(file).load()
        is_tree = isinstance(tree, dict) and _collect(tree, "", found, depth=0)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except Exception as error:  # what a damaged pickle raises is not listed anywhere
        raise WeightsError(f"{path} is refused as a file of arrays: {error}", hint=_HINT) from error
    if not is_tree:
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
        else:
            array = value.array() if type(value) is _Array else None
            if array is None:
                return False
            found[prefix + key] = array
    return True

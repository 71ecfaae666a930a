"""Foreign pickles: arrays come out, and nothing runs."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerf_ad.core.array_pickles import read_array_pickle
from nerf_ad.core.errors import WeightsError


class Call:
    """A pickle that calls a function when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path: Path, protocol: int, rng: np.random.Generator) -> None:
    arrays = {"kernel": rng.random((2, 3)), "turned": np.asfortranarray(rng.random((3, 2)))}
    path = tmp_path / "x.ckpt"
    # NumPy writes protocol 5 with other functions, and protocols below 3 need a codec for bytes.
    path.write_bytes(pickle.dumps({"a": arrays}, protocol=protocol))
    if protocol in (3, 4):
        found = read_array_pickle(path)
        assert sorted(found) == ["a/kernel", "a/turned"]
        assert all(np.array_equal(found[f"a/{name}"], value) for name, value in arrays.items())
    else:
        with pytest.raises(WeightsError, match="it asks for"):
            read_array_pickle(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.system, eval, exec, print, np.load, getattr, __import__])
def test_a_call_is_refused_and_not_made(tmp_path: Path, protocol: int, function: Any) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps({"x": Call(function, f"touch {mark}")}, protocol=protocol))
    with pytest.raises(WeightsError, match="is refused as a file of arrays: it asks for") as caught:
        read_array_pickle(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not mark.exists()


@pytest.mark.parametrize(
    "attack",
    [
        b"cnumpy\ndtype.__class__\n.",  # a dotted name reaches from what is admitted to what is not
        b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__base__\x93.",
        b"cnumpy._core\nmultiarray\n.",
        b"\x80\x04\x82\x01.",  # a registered extension
        b"Pname\n.",  # a persistent id
        b"cnumpy\nndarray\n(\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40\x85R.",  # an array of all memory
        b"cnumpy\nndarray\n.",  # no array, its class
        b"\x80\x04]K\x01a.",
        b"}(K\x01}u.",  # a number for a name
        b"}(\x8c\x01aK\x01u.",  # a number for an array
        b"",
        b"PK\x03\x04 a zip",
    ],
)
def test_other_attacks_and_damage(tmp_path: Path, attack: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(attack)
    with pytest.raises(WeightsError, match="is refused"):
        read_array_pickle(path)


def test_bytes_do_not_become_objects(tmp_path: Path) -> None:
    """NumPy takes the bytes of a buffer for addresses of objects, and a pickle can then put others there."""
    make = b"cnumpy\nndarray\n(K\x01\x85\x8c\x01O\x96\x08\x00\x00\x00\x00\x00\x00\x00AAAAAAAAtR"
    told = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
    kind = b"cnumpy\ndtype\n(\x8c\x02O8\x89\x88tR(K\x03\x8c\x01<tb"
    for value in (make, told + b"(K\x01K\x01\x85" + kind + b"\x89C\x08AAAAAAAAtb"):
        path = tmp_path / "x.ckpt"
        path.write_bytes(b"\x80\x05}\x8c\x01a" + value + b"s.")
        with pytest.raises(WeightsError, match="is refused"):
            read_array_pickle(path)


def test_content_of_another_size_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({"x": np.zeros(4, np.float32)}, protocol=4)
    path = tmp_path / "x.ckpt"
    path.write_bytes(whole)
    assert read_array_pickle(path)["x"].shape == (4,)
    shape, longer = b"K\x04\x85", b"K\x05\x85"
    assert whole.count(shape) == 1
    path.write_bytes(whole.replace(shape, longer))
    with pytest.raises(WeightsError, match="holds other things"):
        read_array_pickle(path)


def test_objects_in_arrays_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(pickle.dumps({"x": np.array([None])}, protocol=4))
    with pytest.raises(WeightsError, match="holds other things"):
        read_array_pickle(path)
    nested: dict[str, Any] = {}
    nested["again"] = nested
    path.write_bytes(pickle.dumps(nested, protocol=4))
    with pytest.raises(WeightsError, match="holds other things"):
        read_array_pickle(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_array_pickle(tmp_path / "nothing")

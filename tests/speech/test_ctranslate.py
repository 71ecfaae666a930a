"""The reader of ``model.bin`` against a writer that follows the description of the format."""

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nerf_ad.core.errors import WeightsError
from nerf_ad.speech.ctranslate import read_variables

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def model(variables: dict[str, np.ndarray], aliases: dict[str, str] | None = None) -> bytes:
    out = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        data = value.tobytes()
        out += text(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        out += struct.pack("<BI", TYPES[value.dtype.name], len(data)) + data
    aliases = aliases or {}
    out += struct.pack("<I", len(aliases))
    for alias, original in aliases.items():
        out += text(alias) + text(original)
    return out


VARIABLES: dict[str, np.ndarray] = {
    "encoder/weight": np.arange(6, dtype=np.float16).reshape(2, 3),
    "encoder/heads": np.array(6, np.int16),
    "decoder/scale": np.array([1.5, -2], np.float32),
}


def test_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(model(VARIABLES, {"encoder/again": "encoder/weight"}))
    read = read_variables(path)
    assert set(read) == {*VARIABLES, "encoder/again"}
    for name, value in VARIABLES.items():
        np.testing.assert_array_equal(read[name], value)
        assert read[name].dtype == value.dtype
    assert set(read_variables(path, "encoder/")) == {"weight", "heads", "again"}


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    whole = model(VARIABLES, {"a": "encoder/heads"})
    path = tmp_path / "model.bin"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_variables(path)


def test_leftover_bytes_and_wrong_sizes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(model(VARIABLES) + b"x")
    with pytest.raises(WeightsError, match="left over"):
        read_variables(path)
    path.write_bytes(model(VARIABLES, {"a": "nothing"}))
    with pytest.raises(WeightsError, match="absent"):
        read_variables(path)
    huge = struct.pack("<I", 6) + text("W") + struct.pack("<II", 3, 1) + text("w")
    huge += struct.pack("<B8I", 8, *[2**32 - 1] * 8) + struct.pack("<BI", 0, 4) + b"\0" * 4
    path.write_bytes(huge)
    with pytest.raises(WeightsError, match="bytes for the shape"):
        read_variables(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_variables(tmp_path / "none.bin")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 150), value=st.integers(0, 255))
def test_damage_never_raises_anything_else(tmp_path: Path, place: int, value: int) -> None:
    whole = bytearray(model(VARIABLES, {"a": "encoder/heads"}))
    whole[place % len(whole)] = value
    path = tmp_path / "model.bin"
    path.write_bytes(bytes(whole))
    with contextlib.suppress(WeightsError):
        read_variables(path)

"""Rows of arrays in files are those of the arrays, however these lie there; damage is told."""

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core.arrays import refuse_misfits
from nerf_ad.core.errors import FormatError
from nerf_ad.core.rows import FileRows

NUMBERS = np.arange(600, dtype=np.float32).reshape(50, 4, 3)


@pytest.mark.parametrize("kind", ["plain", "packed", "column by column", "other byte order"])
def test_rows_of_an_npz(kind: str, tmp_path: Path) -> None:
    path, array = tmp_path / "a.npz", NUMBERS
    if kind == "column by column":
        array = np.asfortranarray(array)
    elif kind == "other byte order":
        array = array.astype(">f4")
    save = np.savez_compressed if kind == "packed" else np.savez
    save(path, other=np.arange(7), points=array)
    rows = FileRows.of_npz(path, "points")
    assert (len(rows), rows.shape, rows.ndim) == (50, (50, 4, 3), 3)
    np.testing.assert_array_equal(rows.read(3, 17), NUMBERS[3:17])
    np.testing.assert_array_equal(rows.read(9, 9), NUMBERS[9:9])
    blocks = list(rows.blocks(1, 50, 8))
    assert [len(block) for block in blocks] == [8] * 6 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks), NUMBERS[1:])


def test_rows_of_an_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", NUMBERS)
    np.testing.assert_array_equal(FileRows.of_npy(tmp_path / "a.npy").read(40, 50), NUMBERS[40:])


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(FormatError, match="missing"):
        FileRows.of_npz(path, "points")
    np.savez(path, points=NUMBERS)
    with pytest.raises(FormatError, match="has no poses"):
        FileRows.of_npz(path, "poses")
    held = FileRows.of_npz(path, "points")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1  # one bit of one number
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="damaged"):
        FileRows.of_npz(path, "points")
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(FormatError, match="damaged"):
        FileRows.of_npz(path, "points")
    with pytest.raises(FormatError, match="cut short"):
        held.read(0, 50)
    np.savez(path, points=np.array([{}], object), allow_pickle=True)
    with pytest.raises(FormatError, match="Python objects"):
        FileRows.of_npz(path, "points")


def test_numbers_that_cannot_be_are_found_piece_by_piece(tmp_path: Path) -> None:
    path, many = tmp_path / "a.npz", np.zeros((40_000, 50), np.float32)
    many[30_000, 7] = np.nan
    np.savez(path, points=many)
    rows = FileRows.of_npz(path, "points")
    tracemalloc.start()
    with pytest.raises(FormatError, match="cannot be"):
        refuse_misfits(path, {"points": rows}, {"points": "rows 50"}, {}, hint="")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < many.nbytes / 4
    with pytest.raises(FormatError, match="shape"):
        refuse_misfits(path, {"points": rows}, {"points": "rows 51"}, {}, hint="")


def test_the_file_is_closed_with_the_rows(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", points=NUMBERS)
    rows = FileRows.of_npz(tmp_path / "a.npz", "points")
    file = rows._file
    del rows
    gc.collect()
    assert file.closed

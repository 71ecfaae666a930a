"""Rows of arrays in files are those of the arrays, however these lie there; damage is told."""

import errno
import gc
import io
import os
import tempfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerf_ad.core import rows as rows_module
from nerf_ad.core.arrays import refuse_misfits
from nerf_ad.core.errors import FormatError, NerfAdError
from nerf_ad.core.files import read_npz
from nerf_ad.core.rows import FileRows

NUMBERS = np.arange(600, dtype=np.float32).reshape(50, 4, 3)
PACKINGS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def as_npy(numbers: bytes, shape: tuple[int, ...], *, is_turned: bool = False) -> bytes:
    """Floats below a header that tells of any shape."""
    file = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": is_turned, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + numbers


def write_members(path: Path, packing: int, **members: bytes) -> None:
    """An ``.npz`` whose checksums are right."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def open_files(folder: Path) -> list[str]:
    """Files below a folder that this process holds open."""
    gc.collect()
    held = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            held.append(os.readlink(link))  # noqa: PTH115 - what it says of deleted files too
        except FileNotFoundError:  # the one of this very listing
            continue
    return [name for name in held if name.startswith(str(folder))]


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


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("is_turned", [False, True])
def test_an_array_that_is_not_as_long_as_its_header_says_is_refused(
    packing: int, *, is_turned: bool, tmp_path: Path
) -> None:
    """Bytes of what comes behind it are not its numbers."""
    path, behind = tmp_path / "a.npz", as_npy(bytes(4000), (1000,))
    for missing, what in ((48, "cut short"), (1, "cut short"), (-4, "damaged")):
        numbers = (NUMBERS.tobytes() + b"more")[: NUMBERS.nbytes - missing]
        write_members(path, packing, points=as_npy(numbers, (50, 4, 3), is_turned=is_turned), behind=behind)
        with pytest.raises(FormatError, match=f"is {what}: points") as told:
            FileRows.of_npz(path, "points", hint="copy it again")
        assert told.value.hint == "copy it again"
    write_members(path, packing, points=as_npy(NUMBERS.tobytes(), (50, 4, 3)), behind=behind)
    np.testing.assert_array_equal(FileRows.of_npz(path, "points").read(0, 50), NUMBERS)


@pytest.mark.parametrize("shape", [(-50, 4, 3), (50, -4, -3), ()])
def test_shapes_without_rows_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    content = as_npy(NUMBERS.tobytes() if shape else bytes(4), shape)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(FormatError, match="damaged: an array of the shape"):
        FileRows.of_npy(tmp_path / "a.npy")
    for packing in PACKINGS:
        write_members(tmp_path / "a.npz", packing, points=content)
        with pytest.raises(FormatError, match="damaged: an array of the shape"):
            FileRows.of_npz(tmp_path / "a.npz", "points")


def test_damage_of_an_npy_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for content, what in (
        (as_npy(NUMBERS.tobytes()[:-1], (50, 4, 3)), "is cut short"),
        (as_npy(NUMBERS.tobytes(), (50, 4, 3), is_turned=True), "is damaged: it lies column by column"),
        (as_npy(b"", (10**30, 10**30)), "is cut short"),
        (b"nothing of the kind", "is damaged"),
        (b"", "is damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=what) as told:
            FileRows.of_npy(path, hint="make it again")
        assert told.value.hint == "make it again"
    path.unlink()
    with pytest.raises(FormatError, match="is missing"):
        FileRows.of_npy(path)


def test_a_raw_file_that_is_too_short_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(bytes(7) + NUMBERS.tobytes())
    rows = FileRows(path, NUMBERS.shape, NUMBERS.dtype, offset=7)
    np.testing.assert_array_equal(rows.read(0, 50), NUMBERS)
    with pytest.raises(FormatError, match="cut short") as told:
        FileRows(path, NUMBERS.shape, NUMBERS.dtype, offset=8, hint="make it again")
    assert told.value.hint == "make it again"


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=NUMBERS, behind=NUMBERS)
    rows = FileRows.of_npz(tmp_path / "a.npz", "points")
    for start, stop in ((0, 51), (-1, 3), (5, 4), (51, 51), (-3, -1)):
        with pytest.raises(IndexError, match="50 rows"):
            rows.read(start, stop)
    for start, count in ((49, 2), (-1, 1), (51, 0)):
        with pytest.raises(IndexError, match="50 rows"):
            rows.read_into(start, np.empty((count, 4, 3), np.float32))
    for out in (
        np.empty((3, 4, 6), np.float32)[..., ::2],
        np.empty((3, 4, 3), np.float64),
        np.empty((3, 3, 4), np.float32),
    ):
        with pytest.raises(ValueError, match="one behind the other"):
            rows.read_into(0, out)
    with pytest.raises(IndexError):
        list(rows.blocks(40, 60, 8))


def test_threads_share_the_rows(tmp_path: Path) -> None:
    numbers = np.arange(400_000, dtype=np.int32).reshape(1000, 400)
    np.savez(tmp_path / "a.npz", points=numbers)
    rows = FileRows.of_npz(tmp_path / "a.npz", "points")

    def differing(seed: int) -> int:
        starts = np.random.default_rng(seed).integers(0, 990, 300).tolist()
        return sum(not np.array_equal(rows.read(at, at + 10), numbers[at : at + 10]) for at in starts)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(differing, range(8))) == 0


def test_a_file_that_is_replaced_meanwhile_is_not_mixed_with_its_successor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(path, points=NUMBERS)
    np.savez(other, points=-NUMBERS)

    def replacing(file: Any) -> Any:
        if other.exists():
            other.replace(path)
        return read_header(file)

    read_header = rows_module._read_header
    monkeypatch.setattr(rows_module, "_read_header", replacing)
    np.testing.assert_array_equal(FileRows.of_npz(path, "points").read(0, 50), NUMBERS)
    np.testing.assert_array_equal(FileRows.of_npz(path, "points").read(0, 50), -NUMBERS)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nothing says what is open")
def test_nothing_is_left_open(tmp_path: Path) -> None:
    path, packed = tmp_path / "a.npz", tmp_path / "packed.npz"
    write_members(
        path, zipfile.ZIP_STORED, points=as_npy(NUMBERS.tobytes(), (50, 4, 3)), short=as_npy(b"", (1,))
    )
    np.savez_compressed(packed, points=NUMBERS)
    for name in ("poses", "short"):
        with pytest.raises(FormatError):
            FileRows.of_npz(path, name)
    with pytest.raises(FormatError):
        FileRows(path, (10_000,), np.dtype(np.uint8))
    with pytest.raises(FormatError):
        FileRows.of_npy(path)
    held = FileRows.of_npz(packed, "points")
    assert open_files(tmp_path) == []
    np.testing.assert_array_equal(held.read(0, 50), NUMBERS)
    held = FileRows.of_npz(path, "points")
    assert open_files(tmp_path) == [str(path)]
    del held
    assert open_files(tmp_path) == []


def test_a_full_disk_is_not_the_file_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, piece: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    np.savez_compressed(tmp_path / "a.npz", points=NUMBERS)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(NerfAdError, match="the disk is full") as told:
        FileRows.of_npz(tmp_path / "a.npz", "points")
    assert not isinstance(told.value, FormatError)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_temporary_file_may_take_a_part_at_a_time(
    order: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(io.BytesIO):
        def write(self, piece: Any) -> int:
            return super().write(piece[:100])

    np.savez_compressed(tmp_path / "a.npz", points=np.array(NUMBERS, ">f4", order=order))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Slow())
    np.testing.assert_array_equal(FileRows.of_npz(tmp_path / "a.npz", "points").read(0, 50), NUMBERS)


@pytest.mark.parametrize("read", [read_npz, lambda path: FileRows.of_npz(path, "points")])
def test_what_the_system_refuses_is_no_damage(read: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read: Is a directory"):
        read(tmp_path)
    with pytest.raises(FormatError, match="is missing"):
        read(tmp_path / "a.npz")


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

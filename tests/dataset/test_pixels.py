"""The pixel cache: what the pictures hold, made by one process at a time, whole or made again."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import Progress
from nerf_ad.core.files import locked
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import RIM, PixelCache, open_pixels, pixels_folder
from nerf_ad.dataset.synthetic import make_person
from nerf_ad.face.parsing import Part

SIZE = 32


@pytest.fixture
def small(tmp_path: Path) -> Dataset:
    return make_person(tmp_path / "small.dataset", size=SIZE, num_frames=22)


def open_cache(dataset: Dataset) -> PixelCache:
    return PixelCache(pixels_folder(dataset, SIZE), num_frames=dataset.num_frames, size=SIZE)


def test_the_cache_holds_the_pictures(small: Dataset) -> None:
    list(open_pixels(small, SIZE))
    cache = open_cache(small)
    for index in (0, 7, 21):
        np.testing.assert_array_equal(cache.frames[index], small.frame(index))
        np.testing.assert_array_equal(cache.labels[index], small.labels(index))
        np.testing.assert_array_equal(cache.torso[index], small.torso(index))
        head = np.flatnonzero(small.labels(index) == Part.HEAD)
        assert set(head) <= set(cache.pixels_of_head(index))
    assert list(open_pixels(small, SIZE)) == []


def test_a_half_made_cache_is_made_again(small: Dataset) -> None:
    folder = pixels_folder(small, SIZE)
    folder.mkdir(parents=True)
    (folder / "frames.raw").write_bytes(b"half")
    list(open_pixels(small, SIZE))
    np.testing.assert_array_equal(open_cache(small).frames[3], small.frame(3))


def test_what_another_training_is_making_is_left_alone(small: Dataset) -> None:
    folder = pixels_folder(small, SIZE)
    folder.mkdir(parents=True)
    (folder / "frames.raw").write_bytes(b"half")
    with locked(folder.with_suffix(".lock"), wait=False) as is_ours:
        assert is_ours
        events = open_pixels(small, SIZE)
        first = next(events)
        assert isinstance(first, Progress)
        assert "another training" in first.note
        assert (folder / "frames.raw").read_bytes() == b"half"
    assert len(list(events)) == 1  # the other was stopped: made here
    np.testing.assert_array_equal(open_cache(small).frames[3], small.frame(3))


def test_some_pixels_are_those_of_the_pictures(small: Dataset, rng: np.random.Generator) -> None:
    list(open_pixels(small, SIZE))
    cache = open_cache(small)
    frames, slot, flat = np.array([7, 2, 20]), rng.integers(0, 2, 300), rng.integers(0, SIZE**2, 300)
    row, column = np.divmod(flat, SIZE)
    for chosen in (slice(None), (row > 7) & (row < 15)):  # rows are cut off above and below
        found = cache.pixels(frames, slot[chosen], flat[chosen])
        for place, (number, y, x) in enumerate(zip(slot[chosen], row[chosen], column[chosen], strict=True)):
            frame = int(frames[number])
            np.testing.assert_array_equal(found.frame[place], small.frame(frame)[y, x])
            np.testing.assert_array_equal(found.torso[place], small.torso(frame)[y, x])
            around = np.pad(small.labels(frame), RIM, mode="edge")[y : y + 2 * RIM + 1, x : x + 2 * RIM + 1]
            column_of, row_of = around[:, RIM], around[RIM]
            wanted = [row_of[RIM], column_of[0], column_of[-1], row_of[0], row_of[-1]]
            assert found.labels[:, place].tolist() == [int(part) for part in wanted]


def test_brackets_read_as_numpy_s_do(small: Dataset) -> None:
    list(open_pixels(small, SIZE))
    torso = open_cache(small).torso
    whole = np.stack([small.torso(index) for index in range(small.num_frames)])
    np.testing.assert_array_equal(np.array(torso), whole)
    for index in (
        np.s_[3],
        np.s_[-1],
        np.s_[2:9:3],
        np.s_[[5, 5, 1]],
        np.s_[4, 3:7, ..., 1],
        np.s_[[8, 2], ..., 3:],
    ):
        np.testing.assert_array_equal(torso[index], whole[index])
    with pytest.raises(IndexError):
        torso[small.num_frames]
    refused: list[Any] = [
        np.s_[[8, 2], [1, 2], [3, 4]],  # NumPy's are two pixels
        np.s_[3, :, np.array([1, 2])],
        np.s_[[8, 2], whole[0, ..., 3] > 0],
        np.s_[..., 3:],
        np.s_[[[8], [2]]],
        np.s_[None, 3],
    ]
    for which in refused:
        with pytest.raises(TypeError, match="frames come first"):
            torso[which]


def test_rows_are_those_of_the_frame(small: Dataset) -> None:
    list(open_pixels(small, SIZE))
    frames = open_cache(small).frames
    np.testing.assert_array_equal(frames.rows(21, 3, SIZE), small.frame(21)[3:])
    for frame, top, bottom in ((0, 3, SIZE + 1), (1, -1, 3), (3, 5, 4), (22, 0, 1), (-1, 0, 1)):
        with pytest.raises(IndexError):  # never those of the frame beside it
            frames.rows(frame, top, bottom)


@pytest.mark.parametrize("name", ["frames.raw", "labels.raw", "torso.raw", "head_pixels.npy"])
def test_a_cache_that_lost_something_is_told_when_it_is_opened(name: str, small: Dataset) -> None:
    list(open_pixels(small, SIZE))
    path = pixels_folder(small, SIZE) / name
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(FormatError, match=f"{name} is cut short") as told:
        open_cache(small)
    assert told.value.hint == f"delete {path.parent}; it is made again"
    path.unlink()
    with pytest.raises(FormatError, match=f"{name} is missing") as told:
        open_cache(small)
    assert told.value.hint == f"delete {path.parent}; it is made again"


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="nothing says what is mapped")
def test_nothing_of_a_cache_is_mapped(small: Dataset) -> None:
    """What is mapped counts as this process's memory, however long the clip."""
    list(open_pixels(small, SIZE))
    cache = open_cache(small)
    cache.pixels(np.array([3]), np.zeros(9, int), cache.pixels_of_head(3)[:9])
    assert str(cache.folder) not in Path("/proc/self/smaps").read_text(encoding="utf-8")

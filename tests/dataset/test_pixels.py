"""The pixel cache: what the pictures hold, made by one process at a time, whole or made again."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core.events import Progress
from nerf_ad.core.files import locked
from nerf_ad.dataset import mapped
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import PixelCache, open_pixels, pixels_folder
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


def resident_kilobytes(path: Path) -> int:
    """Resident kilobytes of a file's mapping."""
    lines, found = iter(Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines()), 0
    for line in lines:
        if line.endswith(str(path)):
            found += next(int(other.split()[1]) for other in lines if other.startswith("Rss:"))
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="nothing says what is resident")
def test_pages_of_a_large_cache_are_given_back(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    list(open_pixels(small, SIZE))
    cache = open_cache(small)
    total = int(cache.frames.sum())
    assert resident_kilobytes(cache.folder / "frames.raw") > 0
    monkeypatch.setattr(mapped, "LARGEST_MAPPED", 1)
    labels = cache.labels
    assert resident_kilobytes(cache.folder / "frames.raw") == 0
    np.testing.assert_array_equal(labels[3], small.labels(3))
    assert int(cache.frames.sum()) == total

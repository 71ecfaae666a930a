"""A long data set from a short one: every frame has what the short clip's frame has."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.longer_clip import lengthen

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.dataset.synthetic import make_person
from nerf_ad.media.audio import read_audio

SIZE, SHORT, LONG = 32, 22, 50


@pytest.fixture
def short(tmp_path: Path) -> Dataset:
    return make_person(tmp_path / "short.dataset", size=SIZE, num_frames=SHORT)


def test_frames_come_again(short: Dataset, tmp_path: Path) -> None:
    made = lengthen(short, tmp_path / "long.dataset", num_frames=LONG, size=SIZE)
    assert Dataset.open(made.root).num_frames == LONG
    for index in (0, 21, 22, 49):
        np.testing.assert_array_equal(made.frame(index), short.frame(index % SHORT))
        np.testing.assert_array_equal(made.labels(index), short.labels(index % SHORT))
        np.testing.assert_array_equal(made.torso(index), short.torso(index % SHORT))
    np.testing.assert_array_equal(made.landmarks().points[45], short.landmarks().points[1])
    np.testing.assert_array_equal(made.tracking().camera_to_world[45], short.tracking().camera_to_world[1])
    assert made.action_units().intensity.shape[0] == LONG
    assert read_audio(made.layout.audio).seconds == LONG / 25
    for name in made.speech_names():
        track = made.speech(name)
        assert len(track.features) == LONG / 25 * track.rate_hz
    assert made.split().test == range(45, 50)
    assert made.manifest.source.sha256 != short.manifest.source.sha256
    list(open_pixels(made, SIZE))


def test_another_size_scales_what_is_in_pixels(short: Dataset, tmp_path: Path) -> None:
    made = lengthen(short, tmp_path / "large.dataset", num_frames=SHORT, size=2 * SIZE)
    assert made.frame(3).shape == (2 * SIZE, 2 * SIZE, 3)
    np.testing.assert_array_equal(made.labels(3)[::2, ::2], short.labels(3))
    np.testing.assert_allclose(made.tracking().intrinsics, 2 * short.tracking().intrinsics)
    np.testing.assert_allclose(made.landmarks().points, 2 * short.landmarks().points, rtol=1e-6)
    np.testing.assert_array_equal(made.tracking().camera_to_world, short.tracking().camera_to_world)


def test_one_that_is_there_is_opened(short: Dataset, tmp_path: Path) -> None:
    made = lengthen(short, tmp_path / "long.dataset", num_frames=LONG, size=SIZE)
    stamp = made.layout.manifest.stat().st_mtime_ns
    lengthen(short, made.root, num_frames=LONG, size=SIZE)
    assert made.layout.manifest.stat().st_mtime_ns == stamp

"""What a training holds of a clip hardly grows with it."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.longer_clip import lengthen

from nerf_ad.dataset import expression, head_landmarks
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.dataset.synthetic import make_person
from nerf_ad.presets import TINY
from nerf_ad.training.clip import carve_head
from nerf_ad.training.planes import part_boxes, prepare, ray_sampler
from nerf_ad.training.stage import StageState

SIZE = 32


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_person(tmp_path_factory.mktemp("clips") / "short.dataset", size=SIZE, num_frames=22)


def opened(short: Dataset, root: Path, num_frames: int) -> Dataset:
    made = lengthen(short, root / f"{num_frames}.dataset", num_frames=num_frames, size=SIZE)
    list(open_pixels(made, SIZE))
    return made


def test_memory_hardly_grows_with_the_clip(
    short: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Landmarks of all frames would be 5.7 kB a frame, their pixels at this size 8 kB."""
    monkeypatch.setattr(expression, "MOST_ROWS", 200)
    monkeypatch.setattr(head_landmarks, "AT_ONCE", 64)
    peaks, counts = [], (400, 1200)
    module = torch.nn.Linear(1, 1)
    optimiser = torch.optim.SGD(module.parameters())
    state = StageState(tmp_path / "s", module, optimiser, average_decay=0.0, seed=0, fingerprint="")
    for num_frames in counts:
        dataset = opened(short, tmp_path, num_frames)
        tracemalloc.start()
        ready = prepare(dataset, TINY.model, SIZE)
        carve_head(ready.clip, resolution=16)
        sampler = ray_sampler(TINY.head.rays, dataset, ready, state)
        for _ in range(40):
            sampler.draw()
        dataset.speech_origin("mel")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (counts[1] - counts[0]) < 1000  # bytes a frame


def test_boxes_are_around_the_parts_of_their_frames(short: Dataset, tmp_path: Path) -> None:
    dataset = opened(short, tmp_path, 300)  # two blocks
    mouth, eyes = part_boxes(dataset, prepare(dataset, TINY.model, SIZE))
    points = dataset.landmarks().points
    for boxes, part in ((mouth, expression.MOUTH), (eyes, expression.EYES)):
        assert boxes.shape == (300, 4)
        inside = points[:, list(part), :2].clip(0, SIZE)
        assert (boxes[:, None, :2] <= inside).all()
        assert (inside <= boxes[:, None, 2:]).all()
        np.testing.assert_array_equal(boxes[290], boxes[290 % short.num_frames])


@pytest.mark.parametrize("encoder", ["mel:1", "deepspeech:arrays"])
def test_origin_of_speech_is_that_of_the_whole_track(encoder: str, short: Dataset, tmp_path: Path) -> None:
    dataset = opened(short, tmp_path, 100)
    path = dataset.layout.speech_features("mel")
    features = np.random.default_rng(0).normal(size=(9000, 4))
    np.savez(path, features=features, rate_hz=np.array(50.0), encoder=np.array(encoder))
    assert dataset.speech_origin("mel") == dataset.speech("mel").origin
    np.savez(path, features=features + 1, rate_hz=np.array(50.0), encoder=np.array(encoder))
    assert (dataset.speech_origin("mel") == encoder) == (encoder == "mel:1")

"""Learning sync on made-up movements: no weights needed."""

import numpy as np
import torch

from nerf_ad.core.events import Metric
from nerf_ad.sync.mouth import NUM_LENGTHS
from nerf_ad.sync.scorer import MAX_OFFSET, SyncNetworkConfig
from nerf_ad.training.sync import Lesson, SyncTrainingConfig, Talker, agreements, draw_batch, fit_sync

CONFIG = SyncTrainingConfig(
    network=SyncNetworkConfig(speech_channels=6, width=16, embedding_dim=8),
    num_steps=60,
    batch_size=8,
    dropout=0.0,
)


def lessons(*, is_related: bool = True) -> list[Lesson]:
    """Three units move, and six channels of sound tell of it, or of something else."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(4):
        waves = np.cumsum(rng.normal(size=(1200, 3)), axis=0)
        waves = waves - np.stack([np.convolve(wave, np.ones(60) / 60, "same") for wave in waves.T], axis=1)
        units = np.zeros((1200, 52))
        units[:, [4, 20, 30]] = waves / 10
        told = waves[::2] if is_related else rng.normal(size=(600, 3))
        found.append(Lesson.of(units, np.concatenate([told, told**2], axis=1)))
    return found


def talkers() -> list[Talker]:
    rng = np.random.default_rng(1)
    moves = rng.normal(size=(52, NUM_LENGTHS)).astype(np.float32)
    return [
        Talker(np.full(NUM_LENGTHS, 99, np.float32), moves * size)
        for size in np.array([0.8, 1.2], np.float32)
    ]


def learned(*, is_related: bool) -> tuple[list[float], bytes]:
    values: list[float] = []
    training = fit_sync(CONFIG, lessons(is_related=is_related), talkers())
    while True:
        try:
            event = next(training)
        except StopIteration as done:
            return values, b"".join(part.numpy().tobytes() for part in done.value.state_dict().values())
        if isinstance(event, Metric) and event.name == "sync_within_one":
            values.append(event.value)


def test_offsets_are_learned_where_there_is_something_to_learn() -> None:
    related, weights = learned(is_related=True)
    again, same = learned(is_related=True)
    shuffled, _ = learned(is_related=False)
    assert related[-1] > 0.7
    assert shuffled[-1] < 0.4  # three of 31 offsets are within one by chance
    assert (again, same) == (related, weights)  # bit for bit


def test_a_batch_holds_the_sound_around_its_pictures() -> None:
    batch = draw_batch(CONFIG, lessons(), talkers(), np.random.default_rng(0))
    assert batch.mouths.shape == (8, CONFIG.num_frames, NUM_LENGTHS)
    assert batch.features.shape == (8, 2 * (CONFIG.num_frames + 2 * MAX_OFFSET), 6)


def test_agreements_are_best_in_the_middle_for_the_own_sound() -> None:
    sounds = torch.randn(3, 20 + 2 * MAX_OFFSET, 4, generator=torch.Generator().manual_seed(0))
    own, every = agreements(sounds[:, MAX_OFFSET:-MAX_OFFSET], sounds)
    assert own.argmax(dim=1).tolist() == [MAX_OFFSET] * 3
    assert every.argmax(dim=1).tolist() == [0, 1, 2]
    assert torch.allclose(own[:, MAX_OFFSET], every.diagonal())

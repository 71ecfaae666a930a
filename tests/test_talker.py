"""What all stages share is made once, and made again where it was left half made."""

import os
from pathlib import Path

import numpy as np
import pytest
from tests.talker import best_lag, decibels, make_once, sound_lag

from nerf_ad.media.audio import Waveform


def test_a_folder_is_made_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    calls: list[Path] = []

    def make(folder: Path) -> None:
        assert not list(folder.iterdir())
        calls.append(folder)
        (folder / "half").touch()
        if len(calls) == 1:
            raise KeyboardInterrupt

    name = f"once.{os.getpid()}"
    with pytest.raises(KeyboardInterrupt):
        make_once(tmp_path_factory, name, make)
    for _ in range(2):
        assert (make_once(tmp_path_factory, name, make) / "half").is_file()
    assert len(calls) == 2


def test_what_is_late_is_found_late(rng: np.random.Generator) -> None:
    curve = rng.normal(size=60)
    lag, correlation = best_lag(np.roll(curve, 2), curve)
    assert lag == 2
    assert correlation == pytest.approx(1)
    assert best_lag(np.roll(curve, -3), curve)[0] == -3
    noise = rng.normal(size=16_000).astype(np.float32)
    late = Waveform(np.concatenate([np.zeros(320, np.float32), noise]), 16_000)
    assert sound_lag(late, Waveform(noise, 16_000)) == pytest.approx(0.02)
    assert sound_lag(Waveform(noise, 16_000), late) == pytest.approx(-0.02)


def test_ten_steps_of_255_are_28_decibels() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert decibels(black + np.uint8(10), black) == pytest.approx(28.1308, abs=1e-4)

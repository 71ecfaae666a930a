"""Lips against the truth."""

import numpy as np
import pytest

from nerf_ad.demo.comparison import shifted, without_gaps
from nerf_ad.media.audio import Waveform


@pytest.mark.parametrize("frames", [-10, -1, 0, 1, 10])
def test_a_shifted_sound_begins_so_many_frames_earlier(frames: int, rng: np.random.Generator) -> None:
    """Found by correlation, which knows nothing of how it was moved."""
    sound = Waveform(rng.normal(size=16_000).astype(np.float32), 16_000)
    moved = shifted(sound, frames / 25)
    assert moved.samples.shape == sound.samples.shape
    spectrum = np.fft.rfft(sound.samples, 32_768) * np.conj(np.fft.rfft(moved.samples, 32_768))
    peak = int(np.argmax(np.fft.irfft(spectrum)))
    assert (peak if peak < 16_384 else peak - 32_768) == frames * 640


def test_a_sound_moved_out_of_sight_is_silent() -> None:
    sound = Waveform(np.ones(100, np.float32), 100)
    assert not shifted(sound, 2.0).samples.any()
    assert not shifted(sound, -2.0).samples.any()


def test_frames_without_a_face_lie_between_their_neighbours() -> None:
    seen = np.array([np.nan, 1.0, np.nan, np.nan, 4.0, np.nan])
    assert without_gaps(seen).tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert without_gaps(np.full(3, np.nan)).tolist() == [0.0, 0.0, 0.0]

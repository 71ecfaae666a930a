"""Speech activity on sound whose pauses are known."""

import numpy as np

from nerf_ad.speech.activity import speech_activity

RATE = 16_000


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """Noise of given seconds and loudness, one part after the other."""
    draw = np.random.default_rng(0)
    pieces = [level * draw.standard_normal(round(seconds * RATE)) for seconds, level in parts]
    return np.concatenate(pieces).astype(np.float32)


def test_a_long_pause_is_silence_and_a_short_gap_is_not() -> None:
    samples = sound((1, 0.1), (0.15, 1e-4), (1, 0.1), (2, 1e-4), (1, 0.1))
    activity = speech_activity(samples, RATE, 128, 25.0)
    assert activity[5:50].min() > 0.99  # both words and the gap between them
    assert activity[60:95].max() < 0.01  # well inside the pause
    assert activity[108:125].min() > 0.99


def test_silence_is_silence_whatever_its_noise() -> None:
    assert speech_activity(np.zeros(RATE, np.float32), RATE, 25, 25.0).max() == 0
    assert speech_activity(sound((2, 1e-4)), RATE, 50, 25.0).max() == 0


def test_the_mouth_is_ready_before_the_sound() -> None:
    activity = speech_activity(sound((1, 0.0), (1, 0.1)), RATE, 50, 25.0)
    first = int(np.argmax(activity > 0.5))
    assert 22 <= first <= 24  # the sound begins at frame 25


def test_a_click_is_no_speech() -> None:
    samples = sound((1, 0.0), (0.005, 0.1), (1, 0.0))
    assert speech_activity(samples, RATE, 50, 25.0).max() == 0

"""Sound begins with the first picture and lasts as long; the lips' delay is found."""

import numpy as np
import pytest

from nerf_ad.capture.audio import SURE, align, av_offset, sound_complaints, sound_facts
from nerf_ad.media.audio import Track, Waveform

RATE = 16_000


@pytest.mark.parametrize("start", [-0.5, 0.0, 0.25])
def test_alignment_puts_a_click_where_it_is_heard(start: float) -> None:
    samples = np.zeros(RATE, np.float32)
    samples[RATE // 2] = 1.0  # heard at start + 0.5
    waveform = align(Track(Waveform(samples, RATE), start), video_start=-0.1, seconds=1.2)
    assert len(waveform.samples) == round(1.2 * RATE)
    assert np.argmax(waveform.samples) / RATE == pytest.approx(start + 0.5 + 0.1, abs=1e-4)


def test_no_overlap_is_silence() -> None:
    waveform = align(Track(Waveform(np.ones(100, np.float32), RATE), 50.0), video_start=0.0, seconds=1.0)
    assert not waveform.samples.any()


def syllables(seconds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A voice whose loudness follows random syllables, and that loudness at 1 kHz."""
    marks = rng.random(seconds * 5 + 1) ** 2
    time = np.arange(seconds * 1000) / 1000
    loudness = np.interp(time * 5, np.arange(len(marks)), marks)
    carrier = rng.standard_normal(seconds * RATE)
    return (0.2 * carrier * np.repeat(loudness, RATE // 1000)).astype(np.float32), loudness


@pytest.mark.parametrize("delay", [-240, -40, 0, 60, 200])
def test_delay_of_the_mouth_is_found(delay: int, rng: np.random.Generator) -> None:
    sound, loudness = syllables(30, rng)
    times = np.arange(30 * 25) * 40 - delay
    opening = loudness[np.clip(times, 0, len(loudness) - 1)] + 0.1 * rng.standard_normal(30 * 25)
    opening[100:110] = np.nan
    found = av_offset(opening, Waveform(sound, RATE), 25)
    assert found.milliseconds == pytest.approx(delay, abs=4)
    assert found.confidence > SURE


def test_unrelated_lips_are_called_a_guess(rng: np.random.Generator) -> None:
    sound, _ = syllables(30, rng)
    _, other = syllables(30, rng)
    opening = other[((np.arange(750) + 0.5) * 40).astype(int)]
    assert av_offset(opening, Waveform(sound, RATE), 25).confidence < SURE
    assert av_offset(np.zeros(750), Waveform(sound, RATE), 25).confidence == 0
    assert av_offset(np.full(750, np.nan), Waveform(sound, RATE), 25).confidence == 0


def test_faults_of_sound(rng: np.random.Generator) -> None:
    sound, _ = syllables(10, rng)

    def faults(samples: np.ndarray, start: float = 0.0, seconds: float = 10.0) -> list[str]:
        track = Track(Waveform(samples.astype(np.float32), RATE), start)
        waveform = align(track, video_start=0.0, seconds=seconds)
        return [complaint.fault for complaint in sound_complaints(track, waveform, video_start=0.0)]

    quiet = sound * (np.abs(np.sin(np.arange(len(sound)) / RATE * 3)) > 0.3)
    assert faults(quiet) == []
    assert faults(np.zeros(10 * RATE)) == ["the sound is silent"]
    assert "is clipped" in faults(np.clip(20 * quiet, -1, 1))[0]
    assert "above the noise" in faults(0.1 * rng.standard_normal(10 * RATE))[0]
    assert faults(quiet[: 6 * RATE]) == ["the sound ends 4.0 s before the picture"]
    assert faults(quiet, start=2.0, seconds=12.0) == ["the sound begins 2.0 s after the picture"]


def test_facts_of_a_tone() -> None:
    tone = 0.5 * np.sin(np.arange(RATE) / 10)
    facts = sound_facts(Waveform(tone.astype(np.float32), RATE))
    assert facts.loudest_rms == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert facts.clipped_share == 0

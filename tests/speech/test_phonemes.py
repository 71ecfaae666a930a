"""Phoneme posteriors: a small engine of our own in C's calling convention, and the real one where it is."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.core.errors import WeightsError
from nerf_ad.speech import encoder as encoders
from nerf_ad.speech import phonemes
from nerf_ad.speech.encoder import PhonemeConfig, SpeechEncoder, build_speech_encoder, speech_weights
from nerf_ad.speech.phonemes import BLANK, FLOOR, NUM_SYMBOLS, PhonemeEncoder

LONGEST = 1500 * 320


class FakeEngine:
    """As hama's: 1500 steps at most, what is longer is dropped without a word.

    Symbol 0 is the loudest sample of the step, symbol 1 far below the floor, the others zero.
    """

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.lengths: list[int] = []
        self.freed = 0

    def hama_asr_load(self, data: bytes, length: int) -> int:
        return 7 if data == b"network" and length == 7 else 0

    def hama_asr_free(self, model: int) -> None:
        assert model == 7
        self.freed += 1

    def hama_asr_num_frames(self, length: int) -> int:
        return min(length // 320 + 1, 1500)

    def hama_asr_run(self, model: int, sound: Any, length: int, found: Any, made: ctypes.c_int64) -> int:
        assert model == 7
        self.lengths.append(length)
        steps = self.hama_asr_num_frames(length)
        wave = np.ctypeslib.as_array(sound, shape=(length,))
        rows = np.ctypeslib.as_array(found, shape=(steps, NUM_SYMBOLS))
        rows[: length // 320, 0] = wave.reshape(-1, 320).max(axis=1)[:steps]
        rows[:, 1] = -1000
        made.value = steps
        return -1 if self.fails else steps


def fake(monkeypatch: pytest.MonkeyPatch, folder: Path, *, fails: bool = False) -> tuple[Any, FakeEngine]:
    engine = FakeEngine(fails=fails)
    monkeypatch.setattr(phonemes, "_open_engine", lambda path: engine)
    (folder / "model.hama").write_bytes(b"network")
    made = PhonemeEncoder(folder / "libhama.so", folder / "model.hama", extractor="phoneme-encoder:x")
    return made, engine


@pytest.mark.parametrize("samples", [0, 1, 320, 321, LONGEST - 1, LONGEST, LONGEST + 1, 70 * 16000 + 5])
def test_any_length_is_heard_to_its_end(
    samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    encoder, engine = fake(monkeypatch, tmp_path)
    assert isinstance(encoder, SpeechEncoder)
    wave = rng.uniform(0.1, 1, size=samples).astype(np.float32)
    found = encoder.encode(wave)
    steps = -(-samples // 320)
    assert found.shape == (steps, NUM_SYMBOLS)
    assert found.dtype == np.float32
    loudest = np.pad(wave, (0, steps * 320 - samples)).reshape(steps, 320).max(axis=1, initial=0)
    np.testing.assert_allclose(found[:, 0], loudest, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], FLOOR, rtol=1e-6)
    assert all(640 <= length <= LONGEST for length in engine.lengths)
    del encoder
    assert engine.freed == 1


def test_a_failing_engine_and_another_file_are_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _ = fake(monkeypatch, tmp_path, fails=True)
    with pytest.raises(WeightsError, match="the phoneme engine gave"):
        encoder.encode(np.zeros(3200, np.float32))
    (tmp_path / "model.hama").write_bytes(b"another")
    with pytest.raises(WeightsError, match="not a network"):
        PhonemeEncoder(tmp_path / "libhama.so", tmp_path / "model.hama", extractor="x")
    with pytest.raises(WeightsError, match="cannot be read"):
        PhonemeEncoder(tmp_path / "libhama.so", tmp_path / "absent.hama", extractor="x")


def test_a_library_that_is_none_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "libhama.so").write_bytes(b"hello")
    (tmp_path / "model.hama").write_bytes(b"network")
    with pytest.raises(WeightsError, match="no phoneme engine for this machine"):
        PhonemeEncoder(tmp_path / "libhama.so", tmp_path / "model.hama", extractor="x")


def test_systems_without_an_engine_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "WEIGHTS", {})
    with pytest.raises(WeightsError, match="no phoneme engine for"):
        speech_weights(PhonemeConfig())


@pytest.fixture(scope="module")
def real() -> SpeechEncoder:
    if any(weights.find(name) is None for name in ("phoneme-encoder", "phoneme-engine")):
        pytest.skip("the phoneme encoder's files (hama: asr_waveform.hama, libhama) are not here")
    return build_speech_encoder(PhonemeConfig())


def vowels(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Syllables: a buzz through changing resonances, three a second, with pauses."""
    time = np.arange(round(seconds * 16000)) / 16000
    sound = np.zeros_like(time)
    for syllable in range(int(3 * seconds)):
        low, high = rng.uniform(300, 800), rng.uniform(900, 2300)
        part = (time >= syllable / 3) & (time < syllable / 3 + 0.22)
        here = time[part] - syllable / 3
        for partial in range(1, 40):
            hertz = 120 * partial
            gain = sum(1 / (1 + ((hertz - peak) / 90) ** 2) for peak in (low, high))
            sound[part] += gain * np.sin(2 * np.pi * hertz * here)
        sound[part] *= np.sin(np.pi * here / 0.22)
    return (0.1 * sound + 1e-4 * rng.normal(size=len(time))).astype(np.float32)


@pytest.mark.weights
def test_real_posteriors_add_up_to_one(real: SpeechEncoder, rng: np.random.Generator) -> None:
    found = real.encode(vowels(3, rng))
    assert found.shape == (150, 191)
    np.testing.assert_allclose(np.exp(found.astype(np.float64)).sum(axis=1), 1, atol=1e-4)
    silence = real.encode(np.zeros(16000, np.float32))
    assert (silence.argmax(axis=1) == BLANK).all()
    assert real.id.startswith("phoneme-encoder:")


@pytest.mark.weights
@pytest.mark.slow
def test_long_sound_is_heard_as_its_pieces_are(real: SpeechEncoder, rng: np.random.Generator) -> None:
    """70 s at once against 20 s cut out of its middle, away from the borders.

    The network attends to all that it hears, so the two agree but are not equal.
    """
    wave = vowels(70, rng)
    whole = real.encode(wave)
    assert whole.shape == (3500, 191)
    for start in (500, 1400, 2400):
        alone = real.encode(wave[start * 320 : (start + 1000) * 320])[250:750]
        there = whole[start + 250 : start + 750]
        difference = np.abs(there - alone).mean()
        assert difference < 0.25 * np.abs(there - there.mean(axis=0)).mean()
        assert (there.argmax(axis=1) == alone.argmax(axis=1)).mean() > 0.9

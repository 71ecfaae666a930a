"""Voices: the table fits the sound, and the sound fits the table."""

# ruff: noqa: RUF001 - phonetic letters look like others

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from nerf_ad.core import weights
from nerf_ad.core.errors import UsageError, WeightsError
from nerf_ad.dataset.synthetic.articulation import TARGETS
from nerf_ad.dataset.synthetic.hibari_voice import with_output
from nerf_ad.dataset.synthetic.pronunciation import CONSONANTS, DIPHTHONGS, VOWELS, Lexicon, phonemise
from nerf_ad.dataset.synthetic.script import DEMO_SENTENCES, SENTENCES
from nerf_ad.dataset.synthetic.vocoder import HOP, NUM_BINS, SAMPLE_RATE, UNIT, pulses, synthesise
from nerf_ad.dataset.synthetic.voice import (
    GRID,
    PAUSE,
    HibariConfig,
    Phoneme,
    ToneConfig,
    Utterance,
    Voice,
    VoiceConfig,
    build_voice,
    recite,
)

TEXT = ("Six sharp scissors sat on the sofa.", "Please bring my umbrella, Bob.", "A map of the pond?")


@pytest.fixture(params=["tone", pytest.param("hibari", marks=pytest.mark.weights)])
def voice(request: pytest.FixtureRequest) -> Voice:
    if request.param == "tone":
        return build_voice(ToneConfig())
    pytest.importorskip("onnxruntime")
    if weights.find("hibari") is None:
        pytest.skip("the text-to-speech model (hibari-tts: hibari.onnx) is not here")
    return build_voice(HibariConfig())


def heard(utterance: Utterance, phoneme: Phoneme) -> np.ndarray:
    start, end = (round(at * SAMPLE_RATE) for at in phoneme[1:3])
    return utterance.samples[start:end].astype(np.float64)


def level(pieces: list[np.ndarray]) -> float:
    """Decibels against full scale."""
    return float(10 * np.log10(np.mean(np.concatenate(pieces) ** 2)))


def treble(piece: np.ndarray) -> float:
    """Decibels above 4 kHz against those below 2.5 kHz."""
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)))) ** 2
    hertz = np.fft.rfftfreq(len(piece), 1 / SAMPLE_RATE)
    return float(10 * np.log10(spectrum[hertz > 4000].sum() / spectrum[hertz < 2500].sum()))


def test_phonemes_fill_the_recording(voice: Voice) -> None:
    said = recite(voice, TEXT, seed=3)
    assert said.phonemes[0].start_seconds == 0
    assert said.phonemes[-1].end_seconds == said.seconds == len(said.samples) / SAMPLE_RATE
    assert all(a.end_seconds == b.start_seconds for a, b in pairwise(said.phonemes))
    lengths = np.array([p.end_seconds - p.start_seconds for p in said.phonemes]) * SAMPLE_RATE / GRID
    np.testing.assert_allclose(lengths, np.rint(lengths), atol=1e-6)
    assert lengths.min() > 0.9
    assert len(said.samples) % 4800 == 0
    assert all(not (a.symbol == b.symbol == PAUSE) for a, b in pairwise(said.phonemes))
    assert {p.symbol for p in said.phonemes} <= set(TARGETS) | set(DIPHTHONGS)
    assert sum(p.stress == 2 for p in said.phonemes) >= 10
    assert all(p.symbol in VOWELS for p in said.phonemes if p.stress)


def test_sentences_are_where_they_are_spoken(voice: Voice) -> None:
    said = recite(voice, TEXT, seed=3)
    assert tuple(sentence.text for sentence in said.sentences) == TEXT
    gaps = [b.start_seconds - a.end_seconds for a, b in pairwise(said.sentences)]
    assert all(0.3 - 1e-6 <= gap <= 0.8 for gap in gaps)
    for text, start, end in said.sentences:
        inside = [p.symbol for p in said.phonemes if start <= p.start_seconds < end and p.symbol != PAUSE]
        vowels = sum(symbol in VOWELS for symbol in inside)
        assert vowels == sum(sign in VOWELS for sign in phonemise(text)) or "sofa" in text or "umb" in text


def test_it_sounds_like_speech(voice: Voice) -> None:
    said = recite(voice, TEXT, seed=3)
    spoken = [heard(said, p) for p in said.phonemes if p.symbol != PAUSE]
    pauses = [
        heard(said, p) for p in said.phonemes if p.end_seconds - p.start_seconds > 0.25 and p.symbol == PAUSE
    ]
    assert -24 < level(spoken) < -18
    assert level(pauses) < level(spoken) - 18
    assert np.abs(said.samples).max() <= 1
    by = {kind: [heard(said, p) for p in said.phonemes if p.symbol in kind] for kind in ("sʃ", "ptk", VOWELS)}
    assert level(by[VOWELS]) > level(by["ptk"]) + 6  # closures are quiet: the table is not late or early
    assert np.mean([treble(piece) for piece in by["sʃ"]]) > np.mean([treble(p) for p in by[VOWELS]]) + 20
    mean = np.mean([p.end_seconds - p.start_seconds for p in said.phonemes if p.symbol != PAUSE])
    assert 0.05 < mean < 0.13


def test_the_same_seed_gives_the_same_bytes(voice: Voice) -> None:
    first, again, other = (recite(voice, TEXT, seed=seed) for seed in (1, 1, 2))
    assert first.samples.tobytes() == again.samples.tobytes()
    assert first.phonemes == again.phonemes
    assert first.samples.tobytes() != other.samples.tobytes()


def test_speaking_stops_when_there_is_enough(voice: Voice) -> None:
    said = recite(voice, TEXT, seed=0, seconds=0.5)
    assert [sentence.text for sentence in said.sentences] == [TEXT[0]]


def test_nothing_to_say() -> None:
    with pytest.raises(UsageError, match="nothing to say"):
        recite(build_voice(ToneConfig()), ["...", ""], seed=0)
    assert len(build_voice(ToneConfig()).say("?!", seed=0).samples) == 0


def test_speed_shortens(voice: Voice) -> None:
    config = type(voice._config)(speed=1.5)  # type: ignore[attr-defined]
    quick = build_voice(config)
    assert len(quick.say(TEXT[0], seed=0).samples) < 0.9 * len(voice.say(TEXT[0], seed=0).samples)


def test_choices_are_a_closed_union() -> None:
    adapter = TypeAdapter[HibariConfig | ToneConfig](VoiceConfig)
    assert adapter.validate_json('{"kind": "tone", "pitch": 100.0}') == ToneConfig(pitch=100.0)
    assert isinstance(build_voice(ToneConfig()), Voice)


def test_a_damaged_lexicon_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "lexicon_us_silver.json.gz").write_bytes(b"no gzip")
    with pytest.raises(WeightsError, match="cannot be read"):
        Lexicon(tmp_path)


@pytest.mark.weights
def test_lexicon_knows_our_sentences_and_their_endings() -> None:
    folder = weights.find("hibari")
    if folder is None:
        pytest.skip("the lexica (hibari-tts: lexicon_us_gold.json.gz) are not here")
    lexicon = Lexicon(folder)
    for sentence in SENTENCES + DEMO_SENTENCES:
        for word in sentence.replace("-", " ").split():
            assert lexicon(word.strip(",.?:!'"), is_last=False), word
        assert set(phonemise(sentence, lexicon)) <= set(VOWELS + CONSONANTS + "ˈˌ ,;:.!?—")
    endings = {"poppies": "pˈɑpiz", "zebra's": "zˈibɹəz", "blogged": "blˈɑɡd", "zorbulaxing": None}
    assert {word: lexicon(word, is_last=False) for word in endings} == endings


def test_an_output_is_two_nested_messages() -> None:
    added = with_output(b"", "abc")
    assert added == b"\x3a\x07" + b"\x62\x05" + b"\x0a\x03abc"
    with pytest.raises(ValueError, match="too long"):
        with_output(b"", "x" * 126)


def test_pulses_are_the_sum_of_their_harmonics() -> None:
    pitch = np.full(20, 440.0)
    angle = 2 * np.pi * 440.0 * (np.arange(20 * HOP) + 1) / SAMPLE_RATE
    direct = sum(np.cos(harmonic * angle) for harmonic in range(1, 26))
    np.testing.assert_allclose(pulses(pitch), np.asarray(direct), atol=0.02)
    assert not pulses(np.zeros(5)).any()


def test_a_flat_transfer_gives_the_pulses_back() -> None:
    pitch = np.full(40, 300.0)
    flat = np.full((NUM_BINS, 40), UNIT, np.complex128)
    sound = synthesise(flat, np.zeros((NUM_BINS, 40)), pitch, np.random.default_rng(0))
    inner = slice(4 * HOP, -4 * HOP)
    np.testing.assert_allclose(sound[inner], pulses(pitch)[inner], atol=0.01)

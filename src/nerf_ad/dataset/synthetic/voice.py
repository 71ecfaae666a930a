"""Text to speech with known phonemes: who can speak, what comes out, and how sentences become a recording.

    voice = build_voice(HibariConfig())
    utterance = recite(voice, training_sentences(), seed=0, seconds=60.0)

Everything lies on a grid of 25 ms (600 samples at 24 kHz), the step of Hibari's durations, so that the table
of phonemes sums exactly to the sound.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple, Protocol, assert_never, runtime_checkable

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.core.errors import UsageError
from nerf_ad.dataset.synthetic.vocoder import SAMPLE_RATE

PAUSE = "_"
"""The symbol of silence in a table of phonemes."""
GRID = 600
"""Samples of the grid on which phonemes begin and end: 25 ms."""
LOUDNESS = 0.1
"""Root mean square of the speech between the pauses: -20 dB of full scale."""
PEAK = 0.95
"""No sample is louder, whatever that costs in loudness."""
ROOM = 2e-4
"""Standard deviation of the noise under everything: -74 dB of full scale, as a quiet room has."""
PAUSES = (0.3, 0.8)
"""Seconds of silence between two sentences."""
_BLOCK = 4800
"""Samples that a recording's length is a multiple of: 0.2 s holds whole steps of 25 ms and whole frames."""
_BEFORE, _AFTER = 2, 4
"""Grid steps of a voice's own silence kept before and after a sentence, so that nothing is clipped."""


class Phoneme(NamedTuple):
    """A sound and when it is made."""

    symbol: str
    """One character of the alphabet of `pronunciation`, or ``PAUSE``."""
    start_seconds: float
    """From the beginning of the recording."""
    end_seconds: float
    """The beginning of the next one."""
    stress: int = 0
    """2 for a vowel with the word's main stress, 1 for secondary stress."""


class Sentence(NamedTuple):
    """A sentence and when it is spoken, without the pauses around it."""

    text: str
    """As written."""
    start_seconds: float
    """Of its first phoneme."""
    end_seconds: float
    """Of its last phoneme."""


class Utterance(NamedTuple):
    """A recording with known phonemes."""

    samples: Float32[np.ndarray, "samples"]
    """Mono, 24 kHz, in [-1, 1]."""
    phonemes: tuple[Phoneme, ...]
    """Each begins where the one before ends; the last ends with the sound."""
    sentences: tuple[Sentence, ...]
    """In order."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / SAMPLE_RATE


@runtime_checkable
class Voice(Protocol):
    """Someone who can speak a sentence."""

    @property
    def id(self) -> str:
        """What made the sound, with the digest of its weights."""
        ...

    def say(self, sentence: str, *, seed: int) -> Utterance:
        """One sentence, a whole number of grid steps long, with some silence around it.

        The same sentence and seed give the same samples.
        """
        ...


class HibariConfig(Config):
    """A natural voice: the Hibari model, through onnxruntime."""

    kind: Literal["hibari"] = "hibari"
    """Which voice this is."""
    speed: float = Field(default=1.0, ge=0.6, le=1.6)
    """1 is the model's own pace, larger is faster."""
    pitch: float = Field(default=1.0, ge=0.7, le=1.3)
    """What the model's pitch is multiplied by; 1 sounds best."""


class ToneConfig(Config):
    """Formants and bursts of noise, without weights: not natural, but every sound has its own spectrum."""

    kind: Literal["tone"] = "tone"
    """Which voice this is."""
    speed: float = Field(default=1.0, ge=0.6, le=1.6)
    """Larger is faster."""
    pitch: float = Field(default=120.0, ge=70.0, le=300.0)
    """Mean pitch in hertz."""


VoiceConfig = Annotated[HibariConfig | ToneConfig, Field(discriminator="kind")]


def build_voice(config: HibariConfig | ToneConfig) -> Voice:
    """The voice of a choice.

    Raises:
        WeightsError: its weights are not there or damaged.
        NerfAdError: onnxruntime is not installed.
    """
    match config:
        case HibariConfig():
            from nerf_ad.core import weights
            from nerf_ad.dataset.synthetic.hibari_voice import HibariVoice

            name = "hibari"
            return HibariVoice(weights.locate(name), config, extractor=weights.extractor_id(name))
        case ToneConfig():
            from nerf_ad.dataset.synthetic.tone_voice import ToneVoice

            return ToneVoice(config)
        case _:
            assert_never(config)


def recite(voice: Voice, sentences: Iterable[str], *, seed: int, seconds: float | None = None) -> Utterance:
    """Speak sentences one after the other with pauses of 0.3 to 0.8 s, as loud as speech is recorded.

    Args:
        voice: who speaks.
        sentences: what is said; no more of them are taken than needed.
        seed: of the pauses and of all noise.
        seconds: stop after the sentence that reaches this length; without it all are spoken.

    Returns:
        A recording whose length is a multiple of 0.2 s: whole grid steps and whole frames at 25 fps.

    Raises:
        UsageError: there is nothing to say.
    """
    rng = np.random.default_rng(seed)
    spoken, sounds, table, spans, at = 0, [np.zeros(0, np.float32)], [], [], 0
    for text in sentences:
        if seconds is not None and at >= seconds * SAMPLE_RATE:
            break
        piece = voice.say(text, seed=seed * 1_000_003 + spoken)
        samples, phonemes = _trimmed(piece)
        if not phonemes:
            continue
        gap = int(rng.uniform(*PAUSES) * SAMPLE_RATE / GRID) * GRID if spoken else _BEFORE * GRID * 4
        silence = max(gap - (_BEFORE + _AFTER) * GRID, 0) if spoken else gap
        sounds += [np.zeros(silence, np.float32), samples]
        table.append(Phoneme(PAUSE, at / SAMPLE_RATE, (at + silence) / SAMPLE_RATE))
        at += silence
        table += _moved(phonemes, at)
        inside = [p for p in table[-len(phonemes) :] if p.symbol != PAUSE]
        spans.append(Sentence(text, inside[0].start_seconds, inside[-1].end_seconds))
        at += len(samples)
        spoken += 1
    if not spoken:
        raise UsageError("there is nothing to say", hint="give at least one sentence with words in it")
    end = -(-(at + _BLOCK) // _BLOCK) * _BLOCK
    table.append(Phoneme(PAUSE, at / SAMPLE_RATE, end / SAMPLE_RATE))
    sounds.append(np.zeros(end - at, np.float32))
    phonemes = _merged(table)
    samples = _levelled(np.concatenate(sounds), phonemes)
    samples += ROOM * rng.standard_normal(end, dtype=np.float32)
    return Utterance(samples.clip(-1, 1), phonemes, tuple(spans))


def to_phonemes(symbols: Iterable[tuple[str, int, int]]) -> tuple[Phoneme, ...]:
    """A table from (symbol, length in grid steps, stress), one after the other; empty ones are left out."""
    table, at = [], 0
    for symbol, length, stress in symbols:
        if length > 0:
            start, at = at, at + length * GRID
            table.append(Phoneme(symbol, start / SAMPLE_RATE, at / SAMPLE_RATE, stress))
    return tuple(table)


def _trimmed(piece: Utterance) -> tuple[Float32[np.ndarray, "samples"], tuple[Phoneme, ...]]:
    """A sentence with exactly ``_BEFORE`` and ``_AFTER`` grid steps of silence around it."""
    heard = [p for p in piece.phonemes if p.symbol != PAUSE]
    if not heard:
        return piece.samples[:0], ()
    first, last = _sample(heard[0].start_seconds), _sample(heard[-1].end_seconds)
    start, stop = first - _BEFORE * GRID, last + _AFTER * GRID
    padded = np.pad(piece.samples, (max(-start, 0), max(stop - len(piece.samples), 0)))
    samples = padded[max(start, 0) : max(start, 0) + stop - start]
    inside = piece.phonemes[piece.phonemes.index(heard[0]) :]
    inside = inside[: len(inside) - inside[::-1].index(heard[-1])]
    length = len(samples) / SAMPLE_RATE
    before = _BEFORE * GRID
    table = _moved(inside, before - first)
    tail = Phoneme(PAUSE, (before + last - first) / SAMPLE_RATE, length)
    return samples, (Phoneme(PAUSE, 0.0, before / SAMPLE_RATE), *table, tail)


def _moved(phonemes: Iterable[Phoneme], samples: int) -> list[Phoneme]:
    return [
        p._replace(
            start_seconds=(_sample(p.start_seconds) + samples) / SAMPLE_RATE,
            end_seconds=(_sample(p.end_seconds) + samples) / SAMPLE_RATE,
        )
        for p in phonemes
    ]


def _merged(table: Iterable[Phoneme]) -> tuple[Phoneme, ...]:
    """Pauses that touch become one; empty ones go."""
    merged: list[Phoneme] = []
    for phoneme in table:
        if phoneme.start_seconds == phoneme.end_seconds:
            continue
        if merged and merged[-1].symbol == phoneme.symbol == PAUSE:
            merged[-1] = merged[-1]._replace(end_seconds=phoneme.end_seconds)
        else:
            merged.append(phoneme)
    return tuple(merged)


def _levelled(
    samples: Float32[np.ndarray, "samples"], phonemes: tuple[Phoneme, ...]
) -> Float32[np.ndarray, "samples"]:
    pieces = [
        samples[_sample(p.start_seconds) : _sample(p.end_seconds)] for p in phonemes if p.symbol != PAUSE
    ]
    power = float(np.mean(np.concatenate(pieces).astype(np.float64) ** 2))
    gain = min(LOUDNESS / max(power, 1e-12) ** 0.5, PEAK / max(float(np.abs(samples).max()), 1e-6))
    return (samples * gain).astype(np.float32)


def _sample(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)

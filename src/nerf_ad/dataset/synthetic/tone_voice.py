"""The voice without weights: formants on pulses for what is voiced, bands of noise for what hisses.

Spelling becomes phonemes by rule, each phoneme lasts as long as its kind, and its spectrum is a few bells. So
it is hardly understood, but every phoneme is heard: vowels differ by their formants, nasals hum, stops are
silence and a burst, sibilants hiss high.
"""

# ruff: noqa: RUF001 - phonetic letters look like others

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d

from nerf_ad.dataset.synthetic.pronunciation import CONSONANTS, DIPHTHONGS, STOPS, STRESS, VOWELS, phonemise
from nerf_ad.dataset.synthetic.vocoder import BIN_HERTZ, HOP, NUM_BINS, UNIT, synthesise
from nerf_ad.dataset.synthetic.voice import GRID, PAUSE, ToneConfig, Utterance, to_phonemes

_FRAMES = GRID // HOP
"""Frames of the vocoder per grid step."""
_EDGE = 4
"""Grid steps of silence before and after a sentence."""


class _Sound(NamedTuple):
    """How a phoneme is made."""

    formants: tuple[int, int, int]
    """Hertz of the three resonances."""
    voicing: float
    """Amplitude of the pulses."""
    hiss: float
    """Amplitude of the noise."""
    band: int
    """Hertz in whose middle the noise lies."""
    length: int
    """Grid steps of 25 ms."""
    is_stop: bool = False
    """Silence first, the sound only in the last step."""


def _vowel(first: int, second: int, third: int = 2500, *, length: int = 4) -> _Sound:
    return _Sound((first, second, third), 1.0, 0.0, 1000, length)


def _stop(band: int, voicing: float) -> _Sound:
    return _Sound((250, band, 2500), voicing, 0.5, band, 3, is_stop=True)


_SOUNDS = {
    # Formants of American vowels in hertz, rounded from Peterson and Barney (1952), men.
    "i": _vowel(270, 2290, 3010), "ɪ": _vowel(390, 1990, 2550), "ɛ": _vowel(530, 1840, 2480),
    "e": _vowel(480, 2000, 2600), "æ": _vowel(660, 1720, 2410), "a": _vowel(730, 1300, 2440),
    "ɑ": _vowel(730, 1090, 2440), "ɒ": _vowel(650, 950, 2440), "ɔ": _vowel(570, 840, 2410),
    "o": _vowel(480, 850, 2410), "ʊ": _vowel(440, 1020, 2240), "u": _vowel(300, 870, 2240),
    "ʌ": _vowel(640, 1190, 2390), "ɜ": _vowel(490, 1350, 1690), "ə": _vowel(500, 1400, length=2),
    "ɚ": _vowel(490, 1350, 1690, length=3), "ɐ": _vowel(600, 1300, length=2),
    "ᵊ": _vowel(500, 1400, length=2), "ᵻ": _vowel(400, 1800, length=2),
    "p": _stop(900, 0.0), "b": _stop(900, 0.3), "t": _stop(4200, 0.0), "d": _stop(4000, 0.3),
    "k": _stop(2000, 0.0), "ɡ": _stop(1900, 0.3), "ɾ": _Sound((300, 1700, 2600), 0.4, 0.1, 4000, 1),
    "ʔ": _stop(500, 0.0), "ʧ": _Sound((300, 1900, 2600), 0, 0.7, 3000, 4),
    "ʤ": _Sound((300, 1900, 2600), 0.3, 0.5, 3000, 4),
    "f": _Sound((300, 1200, 2400), 0, 0.25, 7000, 4), "v": _Sound((300, 1200, 2400), 0.4, 0.15, 7000, 3),
    "θ": _Sound((300, 1400, 2500), 0, 0.2, 8000, 4), "ð": _Sound((300, 1400, 2500), 0.4, 0.1, 8000, 2),
    "s": _Sound((300, 1600, 2600), 0, 0.8, 6500, 4), "z": _Sound((300, 1600, 2600), 0.4, 0.5, 6500, 3),
    "ʃ": _Sound((300, 1900, 2600), 0, 0.8, 3000, 4), "ʒ": _Sound((300, 1900, 2600), 0.4, 0.5, 3000, 3),
    "h": _Sound((500, 1500, 2500), 0, 0.25, 1500, 2), "x": _Sound((500, 1500, 2500), 0, 0.3, 1800, 3),
    "m": _Sound((250, 1000, 2200), 0.5, 0, 1000, 3), "n": _Sound((250, 1500, 2500), 0.5, 0, 1000, 3),
    "ŋ": _Sound((250, 2000, 2700), 0.5, 0, 1000, 3), "l": _Sound((350, 1100, 2700), 0.7, 0, 1000, 2),
    "ɹ": _Sound((350, 1200, 1600), 0.7, 0, 1000, 2), "w": _Sound((300, 700, 2200), 0.7, 0, 1000, 2),
    "j": _Sound((280, 2200, 3000), 0.7, 0, 1000, 2),
}  # fmt: skip
_WIDTHS = (90.0, 130.0, 200.0)
"""Of the formants, hertz."""
_GAINS = (1.0, 0.5, 0.25)
_NOISE_WIDTH = 1200.0
"""Of the noise, hertz."""


class ToneVoice:
    """Speaks without weights."""

    def __init__(self, config: ToneConfig) -> None:
        """Remember the choices."""
        self._config = config
        self.id = "tone:1"

    def say(self, sentence: str, *, seed: int) -> Utterance:
        """Speak one sentence; the seed varies lengths, melody and noise."""
        rng = np.random.default_rng(seed)
        table = _timed(phonemise(sentence), self._config.speed, rng)
        if not any(symbol != PAUSE for symbol, _, _ in table):
            return Utterance(np.zeros(0, np.float32), (), ())
        tracks = _tracks(table)
        num_frames = len(tracks)
        hertz = np.arange(NUM_BINS)[:, None] * BIN_HERTZ
        formants, voicing, hiss, band = tracks[:, :3].T, tracks[:, 3], tracks[:, 4], tracks[:, 5]
        envelope = sum(
            gain * np.exp(-(((hertz - centre) / width) ** 2))
            for centre, width, gain in zip(formants, _WIDTHS, _GAINS, strict=True)
        )
        transfer = 0.1 * UNIT * voicing * (np.asarray(envelope) + 0.01)
        noise = 0.03 * UNIT * hiss * (np.exp(-(((hertz - band) / _NOISE_WIDTH) ** 2)) + 0.02)
        samples = synthesise(
            transfer.astype(np.complex128),
            noise,
            _melody(num_frames, self._config.pitch, rng),
            np.random.default_rng([seed, 1]),
        )
        return Utterance(samples, to_phonemes(table), ())


def _timed(text: str, speed: float, rng: np.random.Generator) -> list[tuple[str, int, int]]:
    """(symbol, grid steps, stress) of a phonemised sentence."""
    table, stress = [(PAUSE, _EDGE, 0)], 0
    for sign in text:
        if sign in STRESS:
            stress = 2 - STRESS.index(sign)
        elif sign in STOPS:
            table.append((PAUSE, 6 if sign in ".!?" else 4, 0))
        elif sign in VOWELS + CONSONANTS:
            steps = 5 if sign in DIPHTHONGS else _SOUNDS[sign].length
            steps += (stress if sign in VOWELS else 0) + int(rng.integers(0, 2))
            table.append((sign, max(1, round(steps / speed)), stress if sign in VOWELS else 0))
            stress = 0 if sign in VOWELS else stress
    return [*table, (PAUSE, _EDGE, 0)]


def _tracks(table: list[tuple[str, int, int]]) -> Float[np.ndarray, "frames 6"]:
    """Three formants, voicing, hiss and the noise's band for every frame of 12.5 ms."""
    rows: list[tuple[float, ...]] = []
    rest = (500.0, 1500.0, 2500.0, 0.0, 0.0, 1500.0)
    for symbol, steps, stress in table:
        num = steps * _FRAMES
        if symbol == PAUSE:
            rows += [rest] * num
            continue
        parts = DIPHTHONGS.get(symbol, symbol)
        for index, part in enumerate(parts):
            sound = _SOUNDS[part]
            share = num // len(parts) if index else num - num // len(parts) * (len(parts) - 1)
            full = (*sound.formants, sound.voicing * (1 + 0.15 * stress), sound.hiss, sound.band)
            closed = (*sound.formants, 0.3 * sound.voicing, 0.0, sound.band)
            burst = _FRAMES if sound.is_stop else share
            rows += [closed] * max(share - burst, 0) + [full] * min(burst, share)
    tracks = np.array(rows)
    tracks[:, :3] = gaussian_filter1d(tracks[:, :3], 1.5, axis=0)
    tracks[:, 3:5] = gaussian_filter1d(tracks[:, 3:5], 0.6, axis=0)
    return tracks


def _melody(num_frames: int, pitch: float, rng: np.random.Generator) -> Float[np.ndarray, "frames"]:
    """Falls by a quarter over the sentence, with a few waves."""
    time = np.arange(num_frames) * HOP / 24_000.0
    waves = np.sin(2 * np.pi * (rng.uniform(0.5, 0.9) * time + rng.uniform()))
    return pitch * (1.12 - 0.25 * time / max(float(time[-1]), 0.1) + 0.06 * waves)

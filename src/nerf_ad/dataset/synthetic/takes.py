"""Half minutes of synthetic speech in random voices and rooms, and the face that goes with it.

The sync scorer learns from them; nothing is drawn. The one natural voice becomes many by pace, pitch and the
length of its throat (its sound played slower or faster, and its table of phonemes with it); the tone voice
speaks now and then. Half of the words are those of ``SENTENCES``, the rest are made up, so that all sorts of
sounds meet.
"""

import re
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from scipy.signal import fftconvolve, resample_poly

from nerf_ad.dataset.synthetic.motion import perform
from nerf_ad.dataset.synthetic.script import SENTENCES
from nerf_ad.dataset.synthetic.vocoder import SAMPLE_RATE
from nerf_ad.dataset.synthetic.voice import HibariConfig, ToneConfig, Utterance, build_voice, recite

TAKE_FPS: Final = 100
"""Frames of the face per second: four for each of a clip's, so that lags can be drawn."""
SECONDS: Final = 30
"""Length of a take: one piece of Whisper's."""
_RATE: Final = 16_000
_WORDS: Final = sorted({word.lower() for text in SENTENCES for word in re.findall("[A-Za-z']+", text)})
_ONSETS: Final = (*"bpmfvwtdnlsz", "sh", "ch", *"jkghry", "th", "br", "pl", "st", "tr", "gr", "fl")
_NUCLEI: Final = (*"aeiou", "ee", "oo", "ai", "ow", "oy", "ar", "er", "or", "ou")
_CODAS: Final = ("", "", "", *"nmlstpfkdbv")
_THROATS: Final = (17, 27)
"""Twentieths by which the sound is stretched: a longer throat, and slower."""


class Take(NamedTuple):
    """Speech and the face that says it."""

    units: Float32[np.ndarray, "frames 52"]
    """Weights of `head_mesh.UNIT_NAMES`, ``TAKE_FPS`` times a second."""
    samples: Float32[np.ndarray, "samples"]
    """Mono, 16 kHz, as a microphone in some room hears it."""


def make_take(seed: int, *, seconds: float = SECONDS) -> Take:
    """The take that the seed names; about two seconds of work for half a minute.

    Raises:
        WeightsError: the voice or the mesh is not in the cache.
    """
    rng = np.random.default_rng([seed, 77])
    if rng.uniform() < 0.12:
        config: ToneConfig | HibariConfig = ToneConfig(
            speed=rng.uniform(0.8, 1.4), pitch=rng.uniform(80, 260)
        )
    else:
        config = HibariConfig(speed=rng.uniform(0.85, 1.5), pitch=rng.uniform(0.75, 1.25))
    twentieths = int(rng.integers(*_THROATS))
    stretch = twentieths / 20
    texts = [invent_sentence(rng) for _ in range(int(seconds) + 2)]
    said = recite(build_voice(config), texts, seed=seed, seconds=seconds / stretch)
    phonemes = tuple(
        phoneme._replace(
            start_seconds=phoneme.start_seconds * stretch, end_seconds=phoneme.end_seconds * stretch
        )
        for phoneme in said.phonemes
    )
    slow = resample_poly(said.samples, twentieths, 20).astype(np.float32)
    motion = perform(Utterance(slow, phonemes, ()), seed=seed, fps=TAKE_FPS)
    clean = resample_poly(slow, _RATE // 8000, SAMPLE_RATE // 8000)[: round(seconds * _RATE)]
    return Take(motion.units[: round(seconds * TAKE_FPS)], vary_sound(clean.astype(np.float32), rng))


def invent_sentence(rng: np.random.Generator) -> str:
    """One of ours, or words that mean nothing together, some of which are none."""
    if rng.uniform() < 0.35:
        return str(rng.choice(SENTENCES))
    words = []
    for _ in range(rng.integers(5, 14)):
        if rng.uniform() < 0.6:
            word = str(rng.choice(_WORDS))
        else:
            parts = (_ONSETS, _NUCLEI, _CODAS)
            word = "".join(str(rng.choice(part)) for _ in range(rng.integers(1, 4)) for part in parts)
        words.append(word + ("," if rng.uniform() < 0.12 else ""))
    return " ".join(words).rstrip(",").capitalize() + "."


def vary_sound(
    samples: Float[np.ndarray, "samples"], rng: np.random.Generator
) -> Float32[np.ndarray, "samples"]:
    """Another room, microphone, noise and level; nothing is moved in time. Ranges are ours."""
    count = len(samples)
    frequencies = np.fft.rfftfreq(count, 1 / _RATE)
    sound = samples.astype(np.float64)
    if rng.uniform() < 0.6:  # the room's echo, falling by 60 dB within its time
        length = int(rng.uniform(0.08, 0.4) * _RATE)
        echo = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
        echo *= rng.uniform(0.05, 0.5) / np.sqrt((echo**2).sum())
        echo[0] = 1
        sound = fftconvolve(sound, echo)[:count]
    gain = np.interp(frequencies, np.linspace(0, _RATE / 2, 8), rng.normal(0, 5, 8))
    if rng.uniform() < 0.3:  # a telephone
        gain = gain - 60 * np.clip((frequencies - rng.uniform(3500, 7000)) / 1000, 0, 1)
    if rng.uniform() < 0.3:
        gain = gain - 30 * np.clip((rng.uniform(80, 300) - frequencies) / 100, 0, 1)
    sound = np.fft.irfft(np.fft.rfft(sound) * 10 ** (gain / 20), count)
    sound *= 0.07 / max(float(np.sqrt((sound**2).mean())), 1e-9)
    colour = np.maximum(frequencies, 50) ** rng.uniform(0, 1)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(count)) / colour, count)
    noise *= 0.07 * 10 ** (-rng.uniform(12, 55) / 20) / np.sqrt((noise**2).mean())
    level = 10 ** (rng.uniform(-12, 6) / 20)
    return ((sound + noise) * level).clip(-1, 1).astype(np.float32)

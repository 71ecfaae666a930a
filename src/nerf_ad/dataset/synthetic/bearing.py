"""How head and torso are held: postures, breath, nods. Functions of time, smooth by construction."""

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.synthetic.voice import Phoneme

_HOLD = (1.0, 3.5)
"""Seconds a posture is held."""
_CHANGE = (1.0, 2.0)
"""Seconds a change takes."""
_DRIFT = 0.06
"""Share of the range that a held posture still wanders, slowly."""
_NOD_SECONDS = 0.36
"""Length of a nod."""
_NOD_CHANCE = 0.55
"""Share of the stressed vowels far enough from the last nod that get one."""
_NOD_GAP = 0.6
"""Least seconds between the middles of two nods."""
_BREATH = (0.0, 0.0025, 0.001)
"""Metres that breathing lifts the torso: right, up, towards the viewer."""


def held_postures(
    times: Float[np.ndarray, "frames"], rng: np.random.Generator, *, parts: int = 3
) -> Float[np.ndarray, "frames parts"]:
    """Postures in [-1, 1], held and exchanged along minimum-jerk paths, with a slow drift over them.

    The parts change together, as the angles of one head do. A quintic ``10 s^3 - 15 s^4 + 6 s^5`` has neither
    speed nor acceleration at its ends: the head neither jumps nor jerks, and at rest only the drift is left.
    """
    path = np.zeros((len(times), parts))
    now, at = rng.uniform(-0.4, 0.4, parts), 0.0
    end = float(times[-1]) + 1.0 if len(times) else 0.0
    while at < end:
        change, hold = rng.uniform(*_CHANGE), rng.uniform(*_HOLD)
        following = np.clip(0.45 * rng.standard_normal(parts), -0.94, 0.94)
        share = np.clip((times - at - hold) / change, 0, 1)[:, None]
        step = share**3 * (10 - 15 * share + 6 * share**2)
        current = (times >= at)[:, None]
        path = np.where(current, now + (following - now) * step, path)
        now, at = following, at + hold + change
    return path + _DRIFT * drift(times, rng, parts=parts)


def drift(
    times: Float[np.ndarray, "frames"],
    rng: np.random.Generator,
    *,
    parts: int,
    fastest: float = 0.25,
) -> Float[np.ndarray, "frames parts"]:
    """A slow wander in [-1, 1]: five waves of random frequency up to ``fastest`` hertz and random phase."""
    hertz = rng.uniform(0.1 * fastest, fastest, (5, parts))
    phase = rng.uniform(0, 2 * np.pi, (5, parts))
    return np.asarray(np.sin(2 * np.pi * hertz * times[:, None, None] + phase).mean(axis=1))


def nods(
    phonemes: tuple[Phoneme, ...], times: Float[np.ndarray, "frames"], rng: np.random.Generator
) -> Float[np.ndarray, "frames"]:
    """In [0, 1]: how far the head dips on some of the vowels with main stress, lowest in their middle."""
    path, last = np.zeros(len(times)), -_NOD_GAP
    for phoneme in phonemes:
        middle = (phoneme.start_seconds + phoneme.end_seconds) / 2
        if phoneme.stress < 2 or middle - last < _NOD_GAP or rng.uniform() > _NOD_CHANCE:
            continue
        phase = np.clip((times - middle) / _NOD_SECONDS, -0.5, 0.5)
        path += rng.uniform(0.35, 1.0) * np.cos(np.pi * phase) ** 2
        last = middle
    return path


def breathing(times: Float[np.ndarray, "frames"], rng: np.random.Generator) -> Float[np.ndarray, "frames 3"]:
    """Metres: breaths of 3 to 5 s, quicker in than out."""
    path, at = np.zeros(len(times)), -rng.uniform(0, 3)
    while len(times) and at < times[-1]:
        length = rng.uniform(3.0, 5.0)
        phase = (times - at) / length
        bent = np.where(phase < 0.35, phase / 0.7, 0.5 + (phase - 0.35) / 1.3)
        path += np.where((phase >= 0) & (phase < 1), rng.uniform(0.7, 1.0) * np.sin(np.pi * bent) ** 2, 0.0)
        at += length
    return path[:, None] * np.array(_BREATH)

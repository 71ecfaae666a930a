"""A performance: everything that a speaking person's head and face do, from what is said and a seed.

    motion = perform(utterance, seed=3)
    intensity, names = action_unit_truth(motion.units, lip_gap)

The lips follow the phonemes (`articulation`). All else is chance, so that a model can learn to keep it
apart from the sound: blinks, glances, brows, smiles and grimaces, how the head is held. Only small nods
fall on stressed vowels, as people's do. Every part has a generator of its own.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from nerf_ad.dataset.synthetic.articulation import UNIT_INDEX, blend_phonemes, draw_style, seal_lips
from nerf_ad.dataset.synthetic.bearing import breathing, held_postures, nods
from nerf_ad.dataset.synthetic.behaviour import blinks, brows, expressions, gaze
from nerf_ad.dataset.synthetic.vocoder import SAMPLE_RATE
from nerf_ad.dataset.synthetic.voice import PAUSE, Utterance
from nerf_ad.face.action_units import UNITS, ActionUnitConfig

PRESENCE = ActionUnitConfig().presence
"""Intensity from which an action unit counts as present."""
HEAD_LIMITS = (12.0, 6.0, 4.0)
"""Degrees that yaw, pitch and roll never exceed."""
_HEAD_SHIFT = (0.008, 0.004, 0.012)
"""Metres that the head leans against the torso: right, up, towards the viewer."""
_NOD_SHARE = 2.0
"""Degrees of the pitch's limit that are kept for nods."""
_TORSO_ANGLES = (2.5, 1.5, 1.5)
"""Degrees that the torso turns by itself."""
_TORSO_SHIFT = (0.008, 0.003, 0.008)
"""Metres that the torso sways by itself."""
_TORSO_FOLLOWS = 0.2
"""Share of the head's turning that the torso makes too, later and more slowly."""


class Motion(NamedTuple):
    """Face, head and torso; frame i is at the time i / fps.

    Angles are yaw, pitch, roll of `geometry.rotations`: positive turns the face to the person's left,
    lowers it, and tilts it towards the person's right shoulder. Shifts are right, up, towards the viewer
    as the viewer sees the person (the world's axes of a head that faces the camera).
    """

    units: Float32[np.ndarray, "frames 52"]
    """Weights in [0, 1] of `head_mesh.UNIT_NAMES`."""
    angles: Float32[np.ndarray, "frames 3"]
    """Of the head, radians, in the world and not against the torso."""
    offset: Float32[np.ndarray, "frames 3"]
    """Of the head from where it rests, metres; holds the torso's shift."""
    torso: Float32[np.ndarray, "frames 6"]
    """Of the torso: three angles in radians, then the shift in metres."""


def perform(utterance: Utterance, *, seed: int, fps: int = 25) -> Motion:
    """A person's motion while saying something; the seed is the person and the take.

    Returns:
        As many frames as begin before the sound ends.
    """
    num_frames = -(-len(utterance.samples) * fps // SAMPLE_RATE)
    times = np.arange(num_frames) / fps
    style_rng, blink_rng, gaze_rng, brow_rng, mood_rng, head_rng, nod_rng, torso_rng = (
        np.random.default_rng([seed, part]) for part in range(8)
    )
    style = draw_style(style_rng)
    units = blend_phonemes(utterance.phonemes, times, style)
    units[:, UNIT_INDEX["jawOpen"]] *= effort(utterance, times)
    for layer in (expressions(times, mood_rng), brows(times, brow_rng), blinks(times, fps, blink_rng)):
        units = 1 - (1 - units.clip(0, 1)) * (1 - layer)  # together they never leave [0, 1]
    units = seal_lips(units, utterance.phonemes, times, style)

    limits = np.radians(HEAD_LIMITS) - np.radians([0.0, _NOD_SHARE, 0.0])
    angles = held_postures(times, head_rng) * limits
    torso = np.concatenate([np.radians(_TORSO_ANGLES), _TORSO_SHIFT]) * held_postures(
        times, torso_rng, parts=6
    )
    torso[:, :3] += _TORSO_FOLLOWS * _later(angles, fps)
    torso[:, 3:] += breathing(times, torso_rng)
    angles[:, 1] += np.radians(_NOD_SHARE) * nods(utterance.phonemes, times, nod_rng)
    offset = torso[:, 3:] + _HEAD_SHIFT * held_postures(times, head_rng)
    units += gaze(times, angles, gaze_rng)
    return Motion(*(part.astype(np.float32) for part in (units.clip(0, 1), angles, offset, torso)))


def effort(utterance: Utterance, times: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames"]:
    """How much wider the mouth opens where the voice is loud: 1 at the median, within a fifth of it.

    Loudness is taken over a tenth of a second, and 6 dB more open the jaw by a tenth.
    """
    power = np.concatenate([[0.0], np.cumsum(utterance.samples.astype(np.float64) ** 2)])
    middle = np.rint(times * SAMPLE_RATE).astype(int)
    half = SAMPLE_RATE // 20
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, len(utterance.samples))
    level = 10 * np.log10((power[high] - power[low]) / np.maximum(high - low, 1) + 1e-8)
    is_spoken = np.zeros(len(times), dtype=bool)
    for phoneme in utterance.phonemes:
        if phoneme.symbol != PAUSE:
            is_spoken[slice(*np.searchsorted(times, [phoneme.start_seconds, phoneme.end_seconds]))] = True
    median = float(np.median(level[is_spoken])) if is_spoken.any() else 0.0
    return 1 + np.clip(0.1 * (level - median) / 6.0, -0.2, 0.2)


def action_unit_truth(
    units: Float[np.ndarray, "frames 52"], lip_gap: Float[np.ndarray, "frames"]
) -> tuple[Float32[np.ndarray, "frames au"], tuple[str, ...]]:
    """True intensities in [0, 1] of every unit of `face.action_units.UNITS`, and their names.

    Each is the mean of its blendshapes (design note "weights", section 5); AU25, which has none, is the gap
    between the inner lips over its largest value in the clip. A unit is present from ``PRESENCE``.

    Args:
        units: weights of `head_mesh.UNIT_NAMES`.
        lip_gap: distance between the inner lips, in any unit of length.
    """
    largest = float(lip_gap.max(initial=0.0))
    gap = np.clip(lip_gap / largest, 0, 1) if largest > 0 else np.zeros(len(units))
    columns = [
        units[:, [UNIT_INDEX[part] for part in parts]].mean(axis=1) if parts else gap
        for parts in UNITS.values()
    ]
    return np.stack(columns, axis=1).astype(np.float32), tuple(UNITS)


def _later(angles: Float[np.ndarray, "frames 3"], fps: int) -> Float[np.ndarray, "frames 3"]:
    """Smoothed over a second, a fifth of a second late."""
    from scipy.ndimage import gaussian_filter1d

    delayed = np.concatenate([np.repeat(angles[:1], fps // 5, axis=0), angles])[: len(angles)]
    return np.asarray(gaussian_filter1d(delayed, 0.4 * fps, axis=0, mode="nearest"))

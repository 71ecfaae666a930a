"""Value noise in space, and the soft steps that textures are made of."""

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

_PERIOD = 64
"""Lattice points after which the noise repeats."""


def value_noise(
    points: Float[np.ndarray, "points 3"], frequency: float | tuple[float, float, float], *, seed: int
) -> Float32[np.ndarray, "points"]:
    """Smooth noise in [-1, 1], most of it within 0.6.

    Args:
        points: where, metres (or any unit).
        frequency: lattice points in one unit, the same on all axes or one each.
        seed: of the lattice.
    """
    lattice = np.random.default_rng(seed).uniform(-1.0, 1.0, (_PERIOD,) * 3).astype(np.float32)
    places = (points * np.asarray(frequency)).T
    whole = np.floor(places)
    part = places - whole
    eased = whole + part * part * (3.0 - 2.0 * part)
    return np.asarray(ndimage.map_coordinates(lattice, eased, order=1, mode="grid-wrap"), dtype=np.float32)


def fractal_noise(
    points: Float[np.ndarray, "points 3"], frequency: float, *, seed: int, octaves: int = 3
) -> Float32[np.ndarray, "points"]:
    """Sum of noises, each twice as fine and half as strong as the one before."""
    layers = [
        0.5**octave * value_noise(points, frequency * 2.0**octave, seed=seed + octave)
        for octave in range(octaves)
    ]
    return np.asarray(sum(layers), dtype=np.float32)


def smoothstep(low: float, high: float, values: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
    """From 0 at ``low`` to 1 at ``high``, flat at both ends; ``low`` may be the larger."""
    part = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(part * part * (3.0 - 2.0 * part))


def bump(values: Float[np.ndarray, "*points"], width: float) -> Float[np.ndarray, "*points"]:
    """A bell of height 1 around 0."""
    return np.asarray(np.exp(-((values / width) ** 2)))

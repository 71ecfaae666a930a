"""How far action units of made frames are from those of recorded ones."""

import numpy as np
from jaxtyping import Bool, Float


def unit_accuracy(
    made: Bool[np.ndarray, "frames units"], real: Bool[np.ndarray, "frames units"]
) -> Float[np.ndarray, "units"]:
    """Share of the frames in which both say the same of a unit's presence."""
    return np.asarray((made == real).mean(axis=0))


def majority_accuracy(real: Bool[np.ndarray, "frames units"]) -> Float[np.ndarray, "units"]:
    """What always saying the more frequent label would get: an accuracy below it says nothing."""
    present = real.mean(axis=0)
    return np.asarray(np.maximum(present, 1 - present))


def unit_error(
    made: Float[np.ndarray, "frames units"], real: Float[np.ndarray, "frames units"]
) -> Float[np.ndarray, "units"]:
    """Mean absolute difference of a unit's intensity."""
    return np.asarray(np.abs(made.astype(np.float64) - real.astype(np.float64)).mean(axis=0))

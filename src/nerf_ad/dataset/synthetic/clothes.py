"""The clothed torso: where cloth begins, how it stands off the skin, and its weave."""

from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from nerf_ad.dataset.synthetic.identity import Identity, Neckline
from nerf_ad.dataset.synthetic.light import to_linear
from nerf_ad.dataset.synthetic.noise import bump, fractal_noise, smoothstep, value_noise

_DROP: Final[dict[Neckline, float]] = {"crew": -0.150, "v": -0.152, "high": -0.112}
"""Height of the collar at the side of the neck, metres in canonical places."""
_BAND: Final[dict[Neckline, float]] = {"crew": 0.020, "v": 0.014, "high": 0.030}
"""Width of the knitted band, metres."""
_THICKNESS = 0.006


def below_collar(neckline: Neckline, places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """How far a place lies below the collar's edge, metres; negative on bare skin."""
    x, y, z = places.T
    # By direction from the neck's axis, not by z itself: an edge does not follow collar bones.
    ahead = np.cos(np.arctan2(x, z + 0.035))
    edge = _DROP[neckline] + 0.012 - 0.036 * ahead + 7.0 * np.maximum(np.abs(x) - 0.03, 0.0) ** 2
    if neckline == "v":
        edge = edge - 0.95 * np.maximum(0.062 - np.abs(x), 0.0) * smoothstep(0.0, 0.5, ahead)
    return np.asarray(edge - y)


def cloth_offset(
    identity: Identity, places: Float[np.ndarray, "points 3"], normals: Float[np.ndarray, "points 3"]
) -> Float32[np.ndarray, "points 3"]:
    """How far the body is pushed out, metres: the cloth, its band, and folds."""
    below = below_collar(identity.neckline, places)
    band = _BAND[identity.neckline]
    # Slower than the cloth's edge: the mesh has a vertex a centimetre there.
    on = smoothstep(-0.006, 0.020, below)
    collar = 0.002 * on * smoothstep(band + 0.012, band - 0.006, below)
    pulled = places @ np.array([[0.7, 0.5, 0.2], [-0.5, 0.8, 0.1], [0.0, 0.2, 1.0]])
    folds = 0.004 * value_noise(pulled, (26.0, 9.0, 16.0), seed=identity.seed + 41)
    folds = folds * smoothstep(band, band + 0.05, below)
    return (on * (_THICKNESS + folds) + collar)[:, None].astype(np.float32) * normals


def paint_cloth(identity: Identity, places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 4"]:
    """Colour (linear) and gloss of cloth."""
    x, y, _ = places.T
    below = below_collar(identity.neckline, places)
    band = _BAND[identity.neckline]
    cloth, trim = (to_linear(np.asarray(colour)) for colour in (identity.cloth, identity.trim))
    match identity.fabric:
        case "stripes":
            share = smoothstep(-0.25, 0.25, np.sin(2 * np.pi * y / 0.030))
        case "heather":
            share = 0.5 + 0.5 * value_noise(places, (900.0, 260.0, 900.0), seed=identity.seed + 51)
        case "check":
            across, down = (smoothstep(-0.2, 0.2, np.sin(2 * np.pi * value / 0.042)) for value in (x, y))
            share = 0.5 * across + 0.5 * down
        case "plain":
            share = np.zeros_like(x)
    in_band = smoothstep(band + 0.001, band - 0.001, below)
    share = share * (1.0 - in_band) + in_band
    weave = 1.0 + 0.10 * value_noise(places, 700.0, seed=identity.seed + 52)
    weave *= 1.0 + 0.10 * fractal_noise(places, 30.0, seed=identity.seed + 53)
    weave *= 1.0 - 0.16 * in_band * (
        0.5 + 0.5 * np.sin(2 * np.pi * np.arctan2(x, places[:, 2] + 0.05) * 38.0)
    )
    weave *= 1.0 - 0.45 * bump(below - band, 0.0014) - 0.5 * bump(below, 0.0016)
    colour = (cloth + (trim - cloth) * share[:, None]) * weave[:, None]
    return np.concatenate([colour, np.full((len(colour), 1), 0.02)], axis=1)

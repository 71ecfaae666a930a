"""Eyes, lashes, teeth and tongue: what is painted pixel by pixel."""

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.light import to_linear
from nerf_ad.dataset.synthetic.noise import bump, smoothstep, value_noise

IRIS_RADIUS = 0.42
"""Of the iris, as the sine of its angle from the pupil: 5.8 mm on an eyeball of 13.5 mm."""
_PUPIL = 0.155
_TOOTH_WIDTH = 0.0078


def paint_eye(identity: Identity, direction: Float[np.ndarray, "pixels 3"]) -> Float[np.ndarray, "pixels 3"]:
    """Colour (linear) of the eyeball.

    Args:
        identity: whose.
        direction: unit vectors from the eyeball's centre, the pupil at +z.
    """
    x, y, z = direction.T
    radius = np.where(z > 0, np.hypot(x, y), 1.0)
    veins = value_noise(direction, (9.0, 30.0, 9.0), seed=identity.seed + 81)
    sclera = np.array([0.66, 0.62, 0.59]) * (
        1.0 - 0.05 * np.maximum(veins, 0.0)[:, None] * np.array([0.2, 1.0, 1.0])
    )
    corner = smoothstep(0.55, 0.95, np.abs(x))
    sclera = sclera * (1.0 - corner[:, None] * np.array([0.12, 0.34, 0.34]))
    angle = np.arctan2(y, x)
    spokes = np.stack([6.0 * np.cos(angle), 6.0 * np.sin(angle), 1.5 * radius], axis=-1)
    fibres = value_noise(spokes, (2.0, 2.0, 1.0), seed=identity.seed + 82)
    depth = np.clip(radius / IRIS_RADIUS, 0.0, 1.0)
    bright = np.exp(0.35 * fibres) * (1.0 - 0.45 * depth**3)
    iris = to_linear(np.asarray(identity.iris)) * bright[:, None]
    iris = iris + 0.5 * np.array([0.05, 0.03, 0.01]) * bump(depth - 0.5, 0.15)[:, None]
    iris = iris * (1.0 - 0.75 * smoothstep(0.82, 1.0, depth))[:, None]  # limbal ring
    iris = iris * (1.0 - 0.97 * smoothstep(_PUPIL + 0.03, _PUPIL - 0.02, radius))[:, None]
    iris = iris * (0.75 + 0.35 * smoothstep(0.2, -0.3, y))[:, None]  # light gathers opposite its source
    outside = smoothstep(IRIS_RADIUS - 0.03, IRIS_RADIUS + 0.035, radius)
    return np.asarray(iris + (sclera - iris) * outside[:, None])


def paint_teeth(places: Float[np.ndarray, "pixels 3"], *, upper: bool) -> Float[np.ndarray, "pixels 3"]:
    """Colour (linear) of teeth and gums at canonical places."""
    x, y, z = places.T
    arch = np.arctan2(x, z - 0.062) * 0.036  # metres along the row of teeth
    width = _TOOTH_WIDTH if upper else 0.0056
    middle = arch / width
    gap = np.abs(middle - np.round(middle))
    enamel = np.array([0.74, 0.69, 0.58]) * (0.96 + 0.05 * np.cos(np.round(middle + 0.5) * 2.1))[:, None]
    enamel = enamel * (1.0 - 0.42 * bump(gap, 0.07))[:, None]
    root = (y + 0.0345) if upper else (-0.0575 - y)
    scallop = 0.0014 * np.cos(2 * np.pi * middle)
    gum = np.array([0.50, 0.17, 0.16])
    share = smoothstep(-0.0008, 0.0010, root + scallop)
    return np.asarray(enamel + (gum - enamel) * share[:, None])


def paint_tongue(identity: Identity, places: Float[np.ndarray, "pixels 3"]) -> Float[np.ndarray, "pixels 3"]:
    """Colour (linear) of the tongue at canonical places."""
    rough = value_noise(places, 700.0, seed=identity.seed + 83)
    groove = 1.0 - 0.25 * bump(places[:, 0], 0.0015)
    return np.asarray(np.array([0.50, 0.17, 0.16]) * (groove * (1.0 + 0.12 * rough))[:, None])


def lash_cover(
    along: Float[np.ndarray, "pixels"], out: Float[np.ndarray, "pixels"]
) -> Float[np.ndarray, "pixels"]:
    """How much a lash hides: dense at the lid, single hairs further out; both arguments in [0, 1]."""
    hairs = 0.5 + 0.5 * np.cos(2 * np.pi * (along * 34.0 + 1.1 * np.sin(9.0 * along)))
    lengths = 0.80 + 0.20 * np.sin(along * 61.0)
    thick = np.clip(1.0 - out / lengths, 0.0, 1.0)
    return np.asarray(np.clip(1.3 * (hairs - 1.0 + thick) + 0.9 * bump(out, 0.22), 0.0, 1.0))

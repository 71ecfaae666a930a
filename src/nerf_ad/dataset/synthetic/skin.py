"""Skin: base tone, blush, pores, freckles, lips, brows, beard shadow, and the inside of the mouth."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.light import to_linear
from nerf_ad.dataset.synthetic.noise import bump, fractal_noise, smoothstep, value_noise

_BROW: Final = np.array([(0.009, 0.0325), (0.020, 0.0362), (0.034, 0.0390), (0.046, 0.0372), (0.056, 0.0325)])
"""Middle line of a brow in the front view: metres from the middle of the face, and up."""
_BROW_HALF: Final = np.array([(0.009, 0.0026), (0.018, 0.0040), (0.034, 0.0034), (0.056, 0.0008)])
"""Half its thickness along the way."""


class Masks(NamedTuple):
    """Where special skin is, each in [0, 1]; MakeHuman's masks, softened."""

    lips: Float32[np.ndarray, "points"]
    inside: Float32[np.ndarray, "points"]
    """The mouth's cavity."""
    ears: Float32[np.ndarray, "points"]
    eyelids: Float32[np.ndarray, "points"]
    """The upper lids."""


def paint_skin(
    identity: Identity, places: Float[np.ndarray, "points 3"], masks: Masks
) -> Float[np.ndarray, "points 4"]:
    """Colour (linear) and gloss of bare skin at canonical places."""
    seed = identity.seed
    x, y, z = places.T
    aside = np.abs(x)
    base = to_linear(np.asarray(identity.skin))
    colour = np.broadcast_to(base, places.shape).copy()

    # Blood near the surface takes green and blue away; the eye sockets are a little darker and cooler.
    red = 0.9 * _spot(places, (0.043, -0.014, 0.075), 0.022) + 0.8 * _spot(
        places, (0.0, -0.012, 0.113), 0.012
    )
    red = red + 0.55 * masks.ears + 0.35 * _spot(places, (0.0, -0.083, 0.095), 0.014)
    red = red + 0.5 * _spot(places, (0.012, -0.025, 0.100), 0.008)
    red = identity.blush * red * (1.0 + 0.35 * fractal_noise(places, 60.0, seed=seed))
    colour *= 1.0 - red[:, None] * np.array([0.03, 0.22, 0.20])
    socket = _spot(places, (0.033, 0.010, 0.088), 0.013) + 0.6 * _spot(places, (0.014, 0.019, 0.092), 0.008)
    colour *= 1.0 - socket[:, None] * np.array([0.12, 0.16, 0.12])
    colour *= 1.0 - 0.30 * masks.eyelids[:, None] * np.array([0.35, 0.55, 0.5])

    # Mottling from centimetres down to pores.
    mottle = 0.055 * fractal_noise(places, 35.0, seed=seed + 1) + 0.05 * fractal_noise(
        places, 260.0, seed=seed + 2
    )
    pores = value_noise(places, 1100.0, seed=seed + 3)
    mottle = mottle - 0.055 * np.maximum(pores - 0.15, 0.0)
    tint = np.array([0.75, 1.0, 1.1])
    colour *= np.exp(mottle[:, None] * tint)
    if identity.freckles > 0.0:
        spots = value_noise(places, 330.0, seed=seed + 4) + 0.35 * value_noise(places, 70.0, seed=seed + 5)
        where = smoothstep(0.085, 0.03, aside) * smoothstep(-0.05, -0.01, y) * smoothstep(0.06, 0.02, y)
        share = identity.freckles * where * smoothstep(0.55, 0.8, spots)
        colour *= 1.0 - share[:, None] * np.array([0.25, 0.42, 0.50])
    if identity.stubble > 0.0:
        colour = _mix(
            colour, to_linear(np.asarray(identity.brows)) * 0.8 + 0.02, _stubble(identity, places, masks)
        )

    brows = _brows(identity, places)
    colour = _mix(colour, to_linear(np.asarray(identity.brows)), brows)
    lips, gloss = _lips(identity, places)
    edge = smoothstep(0.25, 0.75, masks.lips + 0.10 * value_noise(places, 420.0, seed=seed + 6))
    colour = _mix(colour, lips, 0.92 * edge)
    cavity = np.array([0.30, 0.07, 0.06]) * (0.15 + 0.85 * smoothstep(0.07, 0.10, z))[:, None]
    colour = _mix(colour, cavity, smoothstep(0.35, 0.65, masks.inside) * (1.0 - edge))

    oily = (
        0.10
        + 0.07 * _spot(places, (0.0, 0.06, 0.10), 0.035)
        + 0.12 * _spot(places, (0.0, -0.008, 0.113), 0.012)
    )
    oily = oily * (1.0 + 0.5 * pores)
    shine = (oily + (gloss - oily) * edge) * (1.0 - 0.85 * brows)
    return np.concatenate([colour, np.clip(shine, 0.0, 1.0)[:, None]], axis=1)


def _spot(
    places: Float[np.ndarray, "points 3"], centre: tuple[float, float, float], radius: float
) -> Float[np.ndarray, "points"]:
    """A soft round spot on both sides of the face."""
    mirrored = np.stack([np.abs(places[:, 0]), places[:, 1], places[:, 2]], axis=-1)
    return bump(np.linalg.norm(mirrored - np.array(centre), axis=-1), radius)


def _mix(
    colour: Float[np.ndarray, "points 3"], other: Float[np.ndarray, "..."], share: Float[np.ndarray, "points"]
) -> Float[np.ndarray, "points 3"]:
    return np.asarray(colour + (other - colour) * share[:, None])


def _lips(
    identity: Identity, places: Float[np.ndarray, "points 3"]
) -> tuple[Float[np.ndarray, "points 3"], Float[np.ndarray, "points"]]:
    """Colour and gloss, with the fine vertical lines that lips have."""
    lines = value_noise(places, (1100.0, 120.0, 120.0), seed=identity.seed + 7)
    soft = fractal_noise(places, 90.0, seed=identity.seed + 8)
    bright = np.exp(0.09 * lines + 0.10 * soft)
    darker = 1.0 - 0.35 * bump(places[:, 1] + 0.0497, 0.0022)  # where the lips meet
    colour = to_linear(np.asarray(identity.lips)) * (bright * darker)[:, None]
    return colour, 0.75 * identity.lip_gloss * (0.8 + 0.25 * lines)


def _brows(identity: Identity, places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """How much of the skin a brow hides: short hairs that lean outwards."""
    x, y, z = places.T
    aside = np.abs(x)
    middle = np.interp(aside, *_BROW.T)
    half = np.interp(aside, *_BROW_HALF.T) * identity.brow_weight
    # Hairs stand up near the nose and lie flat at the temple.
    lean = np.interp(aside, [0.008, 0.03, 0.056], [1.2, 2.2, 0.9])
    across = aside + (y - middle) / -lean
    hairs = value_noise(
        np.stack([across, y * 0.3, np.sign(x) * 0.01], axis=-1), 1900.0, seed=identity.seed + 9
    )
    rim = smoothstep(1.35, 0.35, np.abs(y - middle) / half + 0.35 * hairs)
    ends = smoothstep(0.007, 0.013, aside) * smoothstep(0.059, 0.052, aside)
    return np.asarray(rim * ends * (z > 0.05) * np.clip(0.86 + 0.30 * hairs, 0.0, 1.0))


def _stubble(
    identity: Identity, places: Float[np.ndarray, "points 3"], masks: Masks
) -> Float[np.ndarray, "points"]:
    """Share of beard in the skin: jaw, chin and upper lip."""
    x, y, z = places.T
    line = np.interp(
        np.abs(x), [0.0, 0.02, 0.035, 0.05, 0.065, 0.085], [-0.032, -0.031, -0.046, -0.046, -0.03, 0.0]
    )
    grown = smoothstep(-0.004, 0.008, line - y) * smoothstep(-0.125, -0.100, y) * smoothstep(-0.01, 0.02, z)
    dots = value_noise(places, 1300.0, seed=identity.seed + 10)
    return np.asarray(
        identity.stubble
        * 0.55
        * grown
        * np.clip(0.8 + 0.55 * dots, 0.0, 1.0)
        * (1.0 - masks.lips)
        * (1.0 - masks.ears)
    )

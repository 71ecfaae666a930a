"""The face of the synthetic person: an ellipsoid whose paint blinks and speaks, and where its landmarks lie.

Lengths are metres in the head's own axes (x to the person's left, y up, z out of the face). Everything is
painted on the surface, shading included, so that one radiance field with a few conditions can fit it exactly.
Numbers are ours, chosen near an adult face.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

SEMI_AXES = np.array([0.078, 0.115, 0.095])
"""Half width, half height and half depth of the head."""

EYE = np.array([0.032, 0.018])
"""Centre of the person's left eye; the right one mirrors it."""
EYE_HALF_WIDTH = 0.0145
EYE_UPPER, EYE_LOWER = 0.0062, 0.0040
MOUTH_Y = -0.052
MOUTH_HALF_WIDTH = 0.024
MAX_GAP = 0.020
"""Distance between the inner lips when the mouth is wide open."""

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Landmark indices around the face, clockwise in the picture from the top of the forehead."""

_UPPER_LIDS = {
    "right": (33, 246, 161, 160, 159, 158, 157, 173, 133),
    "left": (263, 466, 388, 387, 386, 385, 384, 398, 362),
}
_LOWER_LIDS = {"right": (7, 163, 144, 145, 153, 154, 155), "left": (249, 390, 373, 374, 380, 381, 382)}
_UPPER_LIP_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_LOWER_LIP_OUTER = (146, 91, 181, 84, 17, 314, 405, 321, 375)
_UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_LIP_INNER = (95, 88, 178, 87, 14, 317, 402, 318, 324)
_BROWS = {
    "right": ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
    "left": ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
}
_FIXED = {
    151: (0, 0.07), 9: (0, 0.045), 8: (0, 0.034), 168: (0, 0.022), 6: (0, 0.014), 197: (0, 0.004),
    195: (0, -0.004), 5: (0, -0.012), 4: (0, -0.017), 1: (0, -0.020), 19: (0, -0.023), 94: (0, -0.026),
    2: (0, -0.029), 164: (0, -0.035), 18: (0, -0.074), 200: (0, -0.082), 199: (0, -0.091), 175: (0, -0.098),
    129: (-0.015, -0.021), 358: (0.015, -0.021), 98: (-0.010, -0.026), 327: (0.010, -0.026),
    50: (-0.045, -0.020), 280: (0.045, -0.020), 205: (-0.045, -0.034), 425: (0.045, -0.034),
    36: (-0.030, -0.022), 266: (0.030, -0.022), 117: (-0.048, -0.004), 346: (0.048, -0.004),
}  # fmt: skip


class Expression(NamedTuple):
    """What the face does at one moment, each in [0, 1]."""

    mouth_open: float
    mouth_stretch: float
    blink: float
    brow: float


class Lips(NamedTuple):
    """Heights of the four lip edges at some distances from the middle of the mouth."""

    upper_outer: Float[np.ndarray, "*points"]
    upper_inner: Float[np.ndarray, "*points"]
    lower_inner: Float[np.ndarray, "*points"]
    lower_outer: Float[np.ndarray, "*points"]


def lift(xy: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points 3"]:
    """Put points of the front view onto the front of the ellipsoid."""
    inside = 1.0 - np.sum((xy / SEMI_AXES[:2]) ** 2, axis=-1, keepdims=True)
    return np.concatenate([xy, SEMI_AXES[2] * np.sqrt(np.maximum(inside, 0.0))], axis=-1)


def mouth_half_width(expression: Expression) -> float:
    """From the middle of the mouth to a corner; a stretched mouth is wider, an open one a little narrower."""
    return MOUTH_HALF_WIDTH * (1.0 + 0.25 * expression.mouth_stretch - 0.08 * expression.mouth_open)


def lips(x: Float[np.ndarray, "*points"], expression: Expression) -> Lips:
    """Lip edges at ``x``; in the middle the inner ones are ``MAX_GAP * mouth_open`` apart."""
    half = mouth_half_width(expression)
    shape = np.maximum(1.0 - (x / half) ** 2, 0.0)
    gap = MAX_GAP * expression.mouth_open * shape
    upper, lower = MOUTH_Y + 0.3 * gap, MOUTH_Y - 0.7 * gap
    return Lips(upper + 0.0065 * np.sqrt(shape), upper, lower, lower - 0.0085 * np.sqrt(shape))


def lids(
    x: Float[np.ndarray, "*points"], blink: float
) -> tuple[Float[np.ndarray, "*points"], Float[np.ndarray, "*points"]]:
    """Upper and lower lid edge at ``x`` from the eye's middle; a blink brings the upper one down."""
    shape = np.maximum(1.0 - (x / EYE_HALF_WIDTH) ** 2, 0.0)
    lower = EYE[1] - EYE_LOWER * shape
    return lower + (1.0 - blink) * (EYE_UPPER + EYE_LOWER) * shape, lower


def landmarks(expression: Expression) -> Float[np.ndarray, "478 3"]:
    """All 478 points of the Face Landmarker's topology on the head's surface.

    Eyes, irises, brows, lips, outline, nose ridge and some cheek points lie where the paint is; the others
    fill the face evenly and are only good for being finite and rigid.
    """
    xy = _filling()
    for index, point in _FIXED.items():
        xy[index] = point
    angles = np.arange(36) * (2 * np.pi / 36)
    xy[list(FACE_OVAL)] = np.stack([0.068 * np.sin(angles), -0.010 + 0.100 * np.cos(angles)], axis=-1)
    for side, sign in (("right", -1.0), ("left", 1.0)):
        for lid, edge in ((list(_UPPER_LIDS[side]), 0), (list(_LOWER_LIDS[side]), 1)):
            x = np.linspace(1.0, -1.0, len(lid) + 2 * edge)[edge : edge + len(lid)] * EYE_HALF_WIDTH
            xy[lid] = np.stack([sign * (EYE[0] + x), lids(x, expression.blink)[edge]], axis=-1)
        for brow, height in zip(_BROWS[side], (0.0025, -0.0025), strict=True):
            x = np.linspace(1.0, -1.0, 5) * 0.017
            xy[list(brow)] = np.stack([sign * (EYE[0] + x), _brow_height(x, expression.brow) + height], -1)
        first = 468 if side == "right" else 473
        ring = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]) * 0.006
        xy[first : first + 5] = ring + np.array([sign * EYE[0], EYE[1] + 0.001])
    half = mouth_half_width(expression)
    for indices, edge, trim in (
        (_UPPER_LIP_OUTER, 0, 0),
        (_UPPER_LIP_INNER, 1, 0),
        (_LOWER_LIP_INNER, 2, 1),
        (_LOWER_LIP_OUTER, 3, 1),
    ):
        reach = half * (0.9 if edge in {1, 2} else 1.0)
        x = np.linspace(-reach, reach, 11)[trim : 11 - trim]
        xy[list(indices)] = np.stack([x, lips(x, expression)[edge]], axis=-1)
    return lift(xy)


def paint(
    points: Float[np.ndarray, "*pixels 3"], expression: Expression, *, sharpness: float
) -> Float[np.ndarray, "*pixels 3"]:
    """Colour in [0, 1] of points on the surface.

    Args:
        points: on the ellipsoid, metres.
        expression: what the face does.
        sharpness: width in metres over which one colour turns into the next; about half a pixel's footprint.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    front = _edge(z, sharpness)

    mottle = noise(points, frequency=90.0, seed=1)
    rgb = np.array([0.80, 0.60, 0.50]) * (1.0 + 0.07 * mottle)[..., None]

    def over(colour: tuple[float, float, float], cover: Float[np.ndarray, "*pixels"]) -> None:
        rgb[...] += (np.array(colour) - rgb) * cover[..., None]

    rgb[..., 1:] -= (
        0.05 * np.exp(-(((np.abs(x) - 0.045) / 0.016) ** 2) - ((y + 0.022) / 0.016) ** 2)[..., None]
    )
    ridge = np.exp(-((x / 0.006) ** 2)) - 1.2 * np.exp(-(((np.abs(x) - 0.013) / 0.005) ** 2))
    rgb += (0.10 * ridge * _edge(0.020 - y, 0.008) * _edge(y + 0.026, 0.004) * front)[..., None]
    over((0.30, 0.14, 0.11), front * _edge(0.003 - np.hypot((np.abs(x) - 0.008) / 1.4, y + 0.026), sharpness))

    ex = np.abs(x) - EYE[0]
    upper, lower = lids(ex, expression.blink)
    inside = front * _edge(EYE_HALF_WIDTH - np.abs(ex), sharpness)
    eye = inside * _edge(upper - y, sharpness) * _edge(y - lower, sharpness)
    over((0.93, 0.92, 0.90), eye)
    from_pupil = np.hypot(ex, y - EYE[1] - 0.001)
    over((0.20, 0.33, 0.42), eye * _edge(0.0060 - from_pupil, sharpness))
    over((0.03, 0.03, 0.04), eye * _edge(0.0028 - from_pupil, sharpness))
    over((0.16, 0.09, 0.07), inside * _edge(0.0011 - np.abs(y - upper), sharpness))
    brow = np.abs(y - _brow_height(ex, expression.brow))
    over((0.24, 0.15, 0.10), front * _edge(0.0028 - brow, sharpness) * _edge(0.017 - np.abs(ex), sharpness))

    edges, half = lips(x, expression), mouth_half_width(expression)
    mouth = front * _edge(half - np.abs(x), sharpness)
    lip = mouth * _edge(edges.upper_outer - y, sharpness) * _edge(y - edges.lower_outer, sharpness)
    over((0.66, 0.29, 0.29), lip)
    line = mouth * _edge(0.0009 - np.abs(y - edges.upper_inner), sharpness)
    over((0.38, 0.13, 0.13), line)
    gap = edges.upper_inner - edges.lower_inner
    cavity = mouth * _edge(edges.upper_inner - y, sharpness) * _edge(y - edges.lower_inner, sharpness)
    cavity *= _edge(gap - 0.001, 0.001)
    over((0.20, 0.05, 0.06), cavity)
    over((0.88, 0.86, 0.80), cavity * _edge(y - edges.upper_inner + np.minimum(0.3 * gap, 0.004), sharpness))

    hairline = (
        0.068 - 0.35 * np.abs(x) + 0.004 * np.sin(210.0 * x) - 0.9 * np.maximum(np.abs(x) - 0.055, 0.0) * 3.0
    )
    strands = 1.0 + 0.35 * noise(points * np.array([3.0, 0.8, 1.0]), frequency=160.0, seed=2)
    hair = np.maximum(_edge(y - hairline, 2 * sharpness), 1.0 - _edge(z + 0.01, 0.005))
    rgb += (np.array([0.22, 0.14, 0.09]) * strands[..., None] - rgb) * hair[..., None]

    normals = points / SEMI_AXES**2
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    light = np.array([-0.35, 0.45, 0.82])
    return np.asarray(np.clip(rgb * (0.62 + 0.42 * np.maximum(normals @ light, 0.0))[..., None], 0.0, 1.0))


def intersect(
    origin: Float[np.ndarray, "3"], directions: Float[np.ndarray, "*pixels 3"]
) -> tuple[Bool[np.ndarray, "*pixels"], Float[np.ndarray, "*pixels 3"]]:
    """Where rays first meet the head: whether, and the point (zeros where they miss).

    Solves ``|(o + s d) / axes| = 1`` for the smaller ``s``.
    """
    start, along = origin / SEMI_AXES, directions / SEMI_AXES
    a = np.sum(along**2, axis=-1)
    b = np.sum(start * along, axis=-1)
    root = b**2 - a * (start @ start - 1.0)
    hit = root > 0
    distance = (-b - np.sqrt(np.where(hit, root, 0.0))) / a
    return hit, np.where(hit[..., None], origin + distance[..., None] * directions, 0.0)


def noise(
    points: Float[np.ndarray, "*pixels dims"], *, frequency: float, seed: int
) -> Float[np.ndarray, "*pixels"]:
    """Smooth texture about in [-1, 1]: eight plane waves of about ``frequency`` radians a unit."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(points.shape[-1], 8)) * frequency
    return np.asarray(np.sum(np.sin(points @ waves + rng.uniform(0, 2 * np.pi, 8)), axis=-1) / 4.0)


def _edge(distance: Float[np.ndarray, "*pixels"], width: float) -> Float[np.ndarray, "*pixels"]:
    """0 well outside, 1 well inside, smooth over ``width`` on both sides of zero."""
    t = np.clip(0.5 + 0.5 * distance / width, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _brow_height(x: Float[np.ndarray, "*points"], raised: float) -> Float[np.ndarray, "*points"]:
    return np.asarray(EYE[1] + 0.0185 + 0.004 * raised - 10.0 * (x - 0.003) ** 2)


def _filling() -> Float[np.ndarray, "478 2"]:
    """A sunflower pattern over the face."""
    index = np.arange(478)
    radius, angle = np.sqrt((index + 0.5) / 478) * 0.9, index * np.pi * (3.0 - np.sqrt(5.0))
    return np.stack([0.068 * radius * np.cos(angle), -0.010 + 0.100 * radius * np.sin(angle)], axis=-1)

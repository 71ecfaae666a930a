"""Hair: where it grows, how far it stands off the scalp, and its colour strand by strand.

Short hair is the scalp itself, pushed outwards and painted; longer cuts add a curtain that falls from it. All
places are canonical (``HeadMesh.canonical``), so that every head has its hairline at its own forehead.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32
from scipy import ndimage

from nerf_ad.dataset.synthetic.identity import HairStyle, Identity
from nerf_ad.dataset.synthetic.light import to_linear
from nerf_ad.dataset.synthetic.noise import smoothstep, value_noise

_HAIRLINE: Final = np.array(
    [
        (0, 0.090), (18, 0.092), (34, 0.087), (46, 0.074), (56, 0.052), (64, 0.030), (71, 0.004),
        (78, -0.008), (84, 0.016), (98, 0.020), (108, -0.004), (122, -0.042), (150, -0.064), (180, -0.070),
    ]
)  # fmt: skip
"""Degrees from straight ahead, and height in metres above which hair grows."""
_CROWN: Final = np.array([0.0, 0.118, -0.045])


class Cut(NamedTuple):
    """The shape of a hair style; lengths in metres."""

    side: float
    """How far hair stands off at the sides and the back."""
    top: float
    """The same on top."""
    lift: float
    """Added at the front, above the forehead."""
    clump: float
    """Height of the locks."""
    parting: float
    """Where the parting is, from the middle to the left; locks fall away from it."""
    fall: float
    """Height down to which the curtain falls; positive for none."""


CUTS: Final[dict[HairStyle, Cut]] = {
    "crop": Cut(side=0.003, top=0.005, lift=0.0, clump=0.0006, parting=0.0, fall=1.0),
    "short": Cut(side=0.007, top=0.017, lift=0.006, clump=0.0030, parting=0.030, fall=1.0),
    "swept": Cut(side=0.008, top=0.020, lift=0.010, clump=0.0028, parting=-0.034, fall=1.0),
    "bun": Cut(side=0.006, top=0.009, lift=0.0, clump=0.0012, parting=0.0, fall=1.0),
    "bob": Cut(side=0.009, top=0.015, lift=0.004, clump=0.0020, parting=0.022, fall=-0.088),
    "long": Cut(side=0.009, top=0.013, lift=0.002, clump=0.0018, parting=0.0, fall=-0.185),
}


class Curtain(NamedTuple):
    """Hair that hangs."""

    vertices: Float32[np.ndarray, "vertices 3"]
    """Metres, in the head's axes."""
    strand: Float32[np.ndarray, "vertices 2"]
    """Across and along the hair in [0, 1]."""
    quads: Int32[np.ndarray, "quads 4"]


def hair_height(places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """How far a place lies above the hairline, metres; negative on bare skin."""
    degrees = np.degrees(np.arctan2(np.abs(places[:, 0]), places[:, 2]))
    return np.asarray(places[:, 1] - np.interp(degrees, _HAIRLINE[:, 0], _HAIRLINE[:, 1]))


def hair_cover(
    places: Float[np.ndarray, "points 3"], ears: Float[np.ndarray, "points"], *, seed: int
) -> Float32[np.ndarray, "points"]:
    """How much of the skin hair hides, in [0, 1]: strands first, then all of it."""
    fine = value_noise(places, (1000.0, 110.0, 1000.0), seed=seed)
    above = hair_height(places) + 0.0025 * value_noise(places, 90.0, seed=seed + 1)
    cover = smoothstep(-0.0045, 0.0050, above + 0.0040 * fine) * (1.0 - smoothstep(0.1, 0.6, ears))
    return cover.astype(np.float32)


def hair_offset(
    identity: Identity,
    places: Float[np.ndarray, "points 3"],
    normals: Float[np.ndarray, "points 3"],
    ears: Float[np.ndarray, "points"],
) -> Float32[np.ndarray, "points 3"]:
    """How far the scalp is pushed out, metres."""
    cut = CUTS[identity.hair_style]
    above = hair_height(places)
    grown = smoothstep(0.0, 0.026, above) * (1.0 - smoothstep(0.05, 0.5, ears))
    up = smoothstep(0.045, 0.115, places[:, 1])
    front = smoothstep(0.02, 0.075, places[:, 2]) * smoothstep(0.06, 0.1, places[:, 1])
    tall = cut.side + (cut.top - cut.side) * up + cut.lift * front
    locks = value_noise(lock_space(places, cut), (1.0, 1.0, 1.0), seed=identity.seed + 11)
    groove = cut.top * 0.35 * np.exp(-(((places[:, 0] - cut.parting) / 0.0045) ** 2)) * up
    if identity.hair_style in {"crop", "bun"}:
        groove = np.zeros_like(groove)
    tall = np.maximum(tall + cut.clump * locks - groove, 0.0)
    offset = (grown * tall)[:, None] * normals
    if cut.fall < 0.0:  # hanging hair lays the ears to the head
        offset[:, 0] -= 0.014 * smoothstep(0.1, 0.7, ears) * np.sign(places[:, 0])
    return offset.astype(np.float32)


def strand_space(places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Coordinates that change quickly across the strands and slowly along them: a whorl around the crown."""
    away = places - _CROWN
    polar = np.arctan2(np.hypot(away[:, 0], away[:, 2] + 0.3 * away[:, 1]), 0.09 + away[:, 1])
    around = np.arctan2(away[:, 0], away[:, 2]) + 0.5 * polar
    return np.stack([38.0 * np.cos(around), 38.0 * np.sin(around), 4.0 * polar], axis=-1)


def lock_space(places: Float[np.ndarray, "points 3"], cut: Cut) -> Float[np.ndarray, "points 3"]:
    """The same for locks combed away from the parting and back."""
    side = places[:, 0] - cut.parting
    comb = places[:, 2] + 0.45 * np.abs(side)
    along = np.hypot(side, 0.11 - places[:, 1])
    return np.stack([95.0 * comb, 14.0 * along, 6.0 * np.sign(side)], axis=-1)


def paint_hair(
    identity: Identity, strands: Float[np.ndarray, "points 3"], depth: Float[np.ndarray, "points"]
) -> Float[np.ndarray, "points 4"]:
    """Colour (linear) and gloss of hair.

    Args:
        identity: whose.
        strands: coordinates as of ``strand_space``.
        depth: how far along the strand, 0 at the root and 1 at the tip.
    """
    colour = to_linear(np.asarray(identity.hair))
    fine = value_noise(strands, (6.3, 6.3, 1.3), seed=identity.seed + 21)
    middle = value_noise(strands, (2.3, 2.3, 0.8), seed=identity.seed + 22)
    broad = value_noise(strands, (0.55, 0.55, 0.5), seed=identity.seed + 23)
    bright = np.exp(0.55 * fine + 0.40 * middle + 0.25 * broad) * (0.72 + 0.40 * depth)
    warm = 1.0 + np.array([0.08, 0.0, -0.08]) * broad[:, None]
    gloss = np.clip(0.085 + 0.13 * fine + 0.08 * middle, 0.0, 0.4)
    return np.concatenate([colour * bright[:, None] * warm, gloss[:, None]], axis=1)


def hang_curtain(
    identity: Identity,
    scalp: Float[np.ndarray, "points 3"],
    *,
    columns: int = 180,
    rows: int = 40,
) -> Curtain | None:
    """The hair that falls around head and neck, or None for cuts without it.

    Args:
        identity: whose.
        scalp: head and hair at rest, without the face, metres in the head's axes.
        columns: across.
        rows: along.
    """
    cut = CUTS[identity.hair_style]
    if cut.fall > 0.0:
        return None
    rng = np.random.default_rng(identity.seed + 31)
    across, along = np.linspace(0.0, 1.0, columns), np.linspace(0.0, 1.0, rows)
    s, t = np.meshgrid(across, along, indexing="ij")
    ragged = ndimage.gaussian_filter1d(rng.normal(size=columns), 0.6)[:, None] * 0.0035
    top = 0.105
    y = top + (cut.fall + ragged - top) * t
    # The curtain opens for the face: widest at the cheekbones, closing a little towards the chin.
    gap = np.radians(np.interp(y, [-0.18, -0.09, -0.03, 0.03, 0.07, 0.105], [50, 60, 70, 66, 48, 26]))
    around = gap + s * (2.0 * np.pi - 2.0 * gap)
    radius = _support(scalp)(around, np.maximum(y, -0.005))
    below = np.maximum(-0.005 - y, 0.0)
    locks = ndimage.gaussian_filter(rng.normal(size=(columns, rows)), (2.2, 9.0))
    locks /= np.abs(locks).max()
    emerge = smoothstep(0.0, 0.22, t)
    radius = radius - 0.004 + 0.011 * emerge + 0.0045 * locks * emerge - 0.16 * below * (cut.fall > -0.12)
    shape = np.stack([radius * np.sin(around), y, radius * np.cos(around) - 0.012], axis=-1)
    return Curtain(
        shape.reshape(-1, 3).astype(np.float32),
        np.stack([s, t], axis=-1).reshape(-1, 2).astype(np.float32),
        _grid(columns, rows),
    )


def tie_bun(identity: Identity, scalp: Float[np.ndarray, "points 3"], *, steps: int = 40) -> Curtain | None:
    """The knot on top of the head, or None for cuts without it; arguments as of ``hang_curtain``."""
    if identity.hair_style != "bun":
        return None
    turn, down = np.meshgrid(np.linspace(0.0, 1.0, steps), np.linspace(0.0, 1.0, steps), indexing="ij")
    around, polar = 2.0 * np.pi * turn, np.pi * down
    twist = 1.0 + 0.07 * np.sin(3.0 * around + 7.0 * down)
    ball = np.stack(
        [np.sin(polar) * np.sin(around), 0.78 * np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1
    )
    top = scalp[np.argmax(scalp[:, 1] - 0.6 * scalp[:, 2])]
    vertices = np.array([0.0, top[1] + 0.010, top[2] - 0.004]) + 0.034 * twist[..., None] * ball
    strand = np.stack([(1.5 * turn + 0.5 * down) % 1.0, down], axis=-1)
    return Curtain(
        vertices.reshape(-1, 3).astype(np.float32),
        strand.reshape(-1, 2).astype(np.float32),
        _grid(steps, steps),
    )


def _grid(columns: int, rows: int) -> Int32[np.ndarray, "quads 4"]:
    """Quads between the points of a grid, seen from outside when columns run round to the left."""
    index = np.arange(columns * rows, dtype=np.int32).reshape(columns, rows)
    corners = [index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]]
    return np.stack(corners, axis=-1).reshape(-1, 4)


class _support:  # noqa: N801 - used as a function
    """How far the head reaches from its vertical axis, by direction and height."""

    def __init__(self, scalp: Float[np.ndarray, "points 3"]) -> None:
        radius = np.hypot(scalp[:, 0], scalp[:, 2] + 0.012)
        around = np.arctan2(scalp[:, 0], scalp[:, 2] + 0.012) % (2 * np.pi)
        table = np.zeros((36, 14))
        row = np.clip(((scalp[:, 1] + 0.01) / 0.01).astype(int), 0, 13)
        np.maximum.at(table, ((around / (2 * np.pi) * 36).astype(int) % 36, row), radius)
        table[table == 0.0] = np.nan
        filled = np.where(np.isnan(table), np.nanmean(table, axis=0), table)
        filled = ndimage.maximum_filter(filled, (3, 1), mode=("wrap", "nearest"))
        self._table = ndimage.gaussian_filter(filled, (1.2, 1.0), mode=("wrap", "nearest"))

    def __call__(
        self, around: Float[np.ndarray, "columns rows"], y: Float[np.ndarray, "columns rows"]
    ) -> Float[np.ndarray, "columns rows"]:
        places = [around / (2 * np.pi) * 36 - 0.5, (y + 0.01) / 0.01 - 0.5]
        return np.asarray(ndimage.map_coordinates(self._table, places, order=1, mode="grid-wrap"))

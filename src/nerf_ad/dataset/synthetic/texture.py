"""The picture that is wrapped around a person: skin, hair and cloth, with the part that each texel shows."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.dataset.synthetic.clothes import below_collar, paint_cloth
from nerf_ad.dataset.synthetic.figure import CURTAIN_ROWS
from nerf_ad.dataset.synthetic.hair import CUTS, hair_cover, lock_space, paint_hair, strand_space
from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.light import to_screen
from nerf_ad.dataset.synthetic.noise import fractal_noise, smoothstep
from nerf_ad.dataset.synthetic.skin import Masks, paint_skin
from nerf_ad.dataset.synthetic.surface import SIDE, load_surface, spread
from nerf_ad.face.parsing import Part

HAIR: Final = 4
"""What ``Texture.part`` says of hair, beside the values of ``Part``."""


class Texture(NamedTuple):
    """One person's, laid flat."""

    colour: UInt8[np.ndarray, "rows columns 4"]
    """Red, green, blue as on a screen (``light.to_screen``), and gloss."""
    part: UInt8[np.ndarray, "rows columns"]
    """``Part`` or ``HAIR``."""


def paint_texture(identity: Identity) -> Texture:
    """Paint a person; two or three seconds."""
    surface = load_surface()
    places = surface.places
    paint = np.zeros((len(places), 4), dtype=np.float32)
    covered = hair_cover(places, surface.masks.ears, seed=identity.seed + 71)
    clothed = below_collar(identity.neckline, places) > 0.0
    bare = ~clothed & (covered < 1.0)
    paint[clothed] = paint_cloth(identity, places[clothed])
    masks = Masks(*(mask[bare] for mask in surface.masks))
    paint[bare] = paint_skin(identity, places[bare], masks)
    hairy = covered > 0.0
    strands = _strands(identity, places[hairy])
    ends = smoothstep(0.02, 0.10, places[hairy, 1])
    share = covered[hairy, None]
    paint[hairy] += (paint_hair(identity, strands, ends) - paint[hairy]) * share
    part = np.where(_above_jaw(places), Part.HEAD, Part.NECK)
    part = np.where(covered > 0.5, HAIR, np.where(clothed, Part.TORSO, part))

    colour = np.zeros((SIDE + CURTAIN_ROWS, SIDE, 4), dtype=np.uint8)
    parts = np.full((SIDE + CURTAIN_ROWS, SIDE, 1), HAIR, dtype=np.uint8)
    colour[surface.row, surface.column] = _to_bytes(paint)
    parts[surface.row, surface.column, 0] = part
    spread(colour, surface.row, surface.column)
    spread(parts, surface.row, surface.column)
    if identity.hair_style in {"bun", "bob", "long"}:
        colour[SIDE:] = _to_bytes(_curtain(identity)).reshape(CURTAIN_ROWS, SIDE, 4)
    return Texture(colour, parts[..., 0])


def _strands(identity: Identity, places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Along which way hair is combed: from the parting on top, around the crown elsewhere."""
    if identity.hair_style == "crop":
        return places * 420.0  # too short to lie down
    around = strand_space(places)
    if identity.hair_style == "bun":
        return around
    combed = lock_space(places, CUTS[identity.hair_style]) * np.array([4.2, 0.5, 1.0])
    return np.where((places[:, 1] > 0.03)[:, None], combed, around)


def _curtain(identity: Identity) -> Float[np.ndarray, "points 4"]:
    """Hanging hair: strands run straight down, darker between the locks."""
    across, along = np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, CURTAIN_ROWS))
    flat = np.stack([across, along, np.zeros_like(along)], axis=-1).reshape(-1, 3)
    wavy = flat[:, 0] + 0.004 * fractal_noise(flat * np.array([3.0, 1.0, 1.0]), 4.0, seed=identity.seed + 72)
    strands = np.stack([wavy * 160.0, flat[:, 1] * 4.0, np.zeros(len(flat))], axis=-1)
    return paint_hair(identity, strands, flat[:, 1])


def _above_jaw(places: Float[np.ndarray, "points 3"]) -> np.ndarray:
    """Whether a place belongs to the head, not to the neck: above a plane through chin and jaw's corners."""
    return np.asarray(places[:, 1] > -0.098 + 0.5 * np.maximum(0.08 - places[:, 2], -0.02))


def _to_bytes(paint: Float[np.ndarray, "points 4"]) -> UInt8[np.ndarray, "points 4"]:
    shown = np.clip(paint, 0.0, 1.0)
    shown[:, :3] = to_screen(shown[:, :3])
    return (shown * 255.0 + 0.5).astype(np.uint8)

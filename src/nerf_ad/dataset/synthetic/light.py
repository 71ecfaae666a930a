"""Light in the room: a soft key, a weaker fill, the sky, and what the body itself hides.

Everything is worked out at the vertices and interpolated. Directions are in the resting camera's axes, so
that a turning head moves through standing light.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int
from scipy import ndimage

from nerf_ad.dataset.synthetic.head_mesh import split_quads
from nerf_ad.dataset.synthetic.rasteriser import rasterise

_KEY: Final = np.array([-0.50, 0.48, 0.72])
_FILL: Final = np.array([0.75, 0.10, 0.65])
_RIM: Final = np.array([0.62, 0.55, -0.55])
_KEY_COLOUR: Final = np.array([1.02, 0.95, 0.86])
_FILL_COLOUR: Final = np.array([0.27, 0.30, 0.35])
_RIM_COLOUR: Final = np.array([0.22, 0.23, 0.25])
_SKY: Final = np.array([0.40, 0.41, 0.43])
_GROUND: Final = np.array([0.24, 0.20, 0.18])
_WRAP: Final = np.array([0.34, 0.22, 0.18])
"""How far light creeps past the edge of a shadow; red the furthest, as in skin."""


def to_linear(screen: Float[np.ndarray, "*pixels"]) -> Float[np.ndarray, "*pixels"]:
    """Amount of light from a colour as on a screen: gamma 2, near enough to sRGB and quick to undo."""
    return np.asarray(screen * screen)


def to_screen(light: Float[np.ndarray, "*pixels"]) -> Float[np.ndarray, "*pixels"]:
    """Colour as on a screen from an amount of light."""
    return np.asarray(np.sqrt(light))


class Lighting(NamedTuple):
    """Light at each vertex."""

    diffuse: Float32[np.ndarray, "vertices 3"]
    """Multiplies linear colour."""
    gloss: Float32[np.ndarray, "vertices"]
    """Multiplies gloss, and is added."""


def illuminate(
    normals: Float[np.ndarray, "vertices 3"],
    towards_camera: Float[np.ndarray, "vertices 3"],
    visibility: Float[np.ndarray, "vertices"],
) -> Lighting:
    """Light at vertices.

    Args:
        normals: unit vectors.
        towards_camera: unit vectors.
        visibility: share of the sky that is seen, in [0, 1].
    """
    seen = visibility[:, None]
    diffuse = seen**1.2 * (_GROUND + (_SKY - _GROUND) * (0.5 + 0.5 * normals[:, 1:2]))
    gloss = np.zeros(len(normals))
    for direction, colour, strength in (
        (_KEY, _KEY_COLOUR, 1.0),
        (_FILL, _FILL_COLOUR, 0.3),
        (_RIM, _RIM_COLOUR, 0.3),
    ):
        unit = direction / np.linalg.norm(direction)
        facing = (normals @ unit)[:, None]
        wrapped = np.clip((facing + _WRAP) / (1.0 + _WRAP), 0.0, 1.0)
        diffuse = diffuse + colour * wrapped * (0.25 + 0.75 * seen)
        half = towards_camera + unit
        half /= np.linalg.norm(half, axis=1, keepdims=True)
        gloss += strength * np.maximum(np.einsum("vd,vd->v", normals, half), 0.0) ** 26
    grazing = (1.0 - np.clip(np.einsum("vd,vd->v", normals, towards_camera), 0.0, 1.0)) ** 4
    gloss = (gloss + 0.25 * grazing) * visibility
    return Lighting(diffuse.astype(np.float32), gloss.astype(np.float32))


def shine(normals: Float32[np.ndarray, "pixels 3"]) -> Float32[np.ndarray, "pixels"]:
    """The mirrored lamps that make an eye look wet: bright where it reflects the key or the fill."""
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    total = np.zeros(len(unit))
    for direction, strength in ((_KEY, 0.95), (_FILL, 0.15)):
        half = direction / np.linalg.norm(direction) + np.array([0.0, 0.0, 1.0])
        facing = unit @ (half / np.linalg.norm(half))
        total += strength * np.clip((facing - 0.985) / 0.010, 0.0, 1.0)
    return total.astype(np.float32)


def sky_visibility(
    vertices: Float[np.ndarray, "vertices 3"],
    normals: Float[np.ndarray, "vertices 3"],
    quads: Int[np.ndarray, "quads 4"],
    *,
    num_directions: int = 48,
    side: int = 160,
) -> Float32[np.ndarray, "vertices"]:
    """Share of the sky that each vertex sees: shadow maps from many directions, weighted by the cosine.

    Args:
        vertices: metres.
        normals: unit vectors.
        quads: the surface.
        num_directions: spread evenly over the sphere (a Fibonacci spiral); those from behind, which light
            nothing that the camera sees, are left out.
        side: texels across each shadow map.
    """
    index = np.arange(num_directions) + 0.5
    height = 1.0 - 2.0 * index / num_directions
    turn = index * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - height**2)
    triangles = split_quads(quads)
    total, seen = np.zeros(len(vertices)), np.zeros(len(vertices))
    directions = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=-1)
    for direction in directions[directions[:, 2] > -0.4]:
        cosine = np.maximum(normals @ direction, 0.0)
        right = np.cross([0.0, 1.0, 0.1], direction)
        right /= np.linalg.norm(right)
        up = np.cross(direction, right)
        flat = np.stack([vertices @ right, vertices @ up], axis=-1)
        low, high = flat.min(axis=0), flat.max(axis=0)
        scale = side / (high - low).max()
        away = 2.0 - vertices @ direction
        screen = np.stack([(flat[:, 0] - low[0]) * scale, (high[1] - flat[:, 1]) * scale, away], axis=-1)
        # The rays are parallel, so that depth is linear and 1 / depth is not; on small triangles no matter.
        shadow = rasterise(screen, triangles, height=side, width=side, two_sided=True).depth
        shadow = np.where(np.isfinite(shadow), shadow, 9.0)
        place = [screen[:, 1] - 0.5, screen[:, 0] - 0.5]
        nearest = ndimage.map_coordinates(shadow, place, order=1, mode="nearest")
        open_sky = 1.0 - np.clip((away - nearest - 0.003) / 0.006, 0.0, 1.0)
        total += cosine
        seen += cosine * open_sky
    return (seen / np.maximum(total, 1e-6)).astype(np.float32)

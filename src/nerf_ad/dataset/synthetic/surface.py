"""The body's surface laid flat: which place on the body each texel of the texture shows."""

import functools
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image
from scipy import ndimage

from nerf_ad.core import weights
from nerf_ad.dataset.synthetic.head_mesh import GROUPS, HeadMesh, load_head_mesh, split_quads
from nerf_ad.dataset.synthetic.rasteriser import rasterise
from nerf_ad.dataset.synthetic.skin import Masks

SIDE: Final = 2048
"""Texels across the texture: about half a millimetre each on the face."""


class Surface(NamedTuple):
    """The texels that show body; the same for everybody."""

    row: Int32[np.ndarray, "points"]
    column: Int32[np.ndarray, "points"]
    places: Float32[np.ndarray, "points 3"]
    """Canonical places, metres."""
    masks: Masks


def texture_corners(mesh: HeadMesh) -> Float32[np.ndarray, "quads 4 2"]:
    """Where each quad's corners lie in the texture: texels right and down."""
    uv = mesh.uv[mesh.uv_quads]
    return np.stack([uv[..., 0], 1.0 - uv[..., 1]], axis=-1).astype(np.float32) * SIDE


@functools.cache
def load_surface() -> Surface:
    """Draw the body of the mesh into its texture; half a second the first time."""
    mesh = load_head_mesh()
    body = mesh.group == GROUPS.index("body")
    corners = texture_corners(mesh)[body]
    flat = np.concatenate([corners.reshape(-1, 2), np.ones((corners.size // 2, 1))], axis=1)
    triangles = split_quads(np.arange(len(flat)).reshape(-1, 4))
    drawn = rasterise(flat, triangles, height=SIDE, width=SIDE, two_sided=True)
    row, column = np.nonzero(drawn.triangle >= 0)
    places = mesh.canonical[mesh.quads[body].ravel()]
    chosen = places[triangles[drawn.triangle[row, column]]]
    mixed = np.einsum("pcd,pc->pd", chosen, drawn.barycentric[row, column])
    masks = Masks(*(load_mask(name)[row, column] for name in ("lips", "inside-mouth", "ears", "eyelids")))
    return Surface(row.astype(np.int32), column.astype(np.int32), mixed.astype(np.float32), masks)


def at_vertices(
    mesh: HeadMesh, image: Float32[np.ndarray, "rows columns"]
) -> Float32[np.ndarray, "vertices"]:
    """Read a texture at every vertex of the body; elsewhere zero."""
    body = mesh.group == GROUPS.index("body")
    corners = texture_corners(mesh)[body].reshape(-1, 2)
    values = ndimage.map_coordinates(image, [corners[:, 1] - 0.5, corners[:, 0] - 0.5], order=1)
    result = np.zeros(len(mesh.base), dtype=np.float32)
    result[mesh.quads[body].ravel()] = values
    return result


def spread(
    image: UInt8[np.ndarray, "rows columns channels"],
    row: Int32[np.ndarray, "points"],
    column: Int32[np.ndarray, "points"],
) -> None:
    """Let the painted texels overflow a little, so that no seam shows what is between the parts."""
    painted = np.zeros(image.shape[:2], dtype=bool)
    painted[row, column] = True
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)) * 2:
        moved = np.roll(painted, shift, axis) & ~painted
        image[moved] = np.roll(image, shift, axis)[moved]
        painted |= moved


@functools.cache
def load_mask(name: str) -> Float32[np.ndarray, "rows columns"]:
    """One of MakeHuman's masks at the size of the texture, softened."""
    with Image.open(weights.locate("head-masks") / f"mpfb_{name}.jpg") as image:
        grey = np.asarray(image.convert("L").resize((SIDE, SIDE)), dtype=np.float32) / 255.0
    return np.asarray(ndimage.gaussian_filter(grey, 1.5), dtype=np.float32)

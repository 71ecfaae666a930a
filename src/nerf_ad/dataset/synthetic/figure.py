"""The person as geometry: rest shape with hair and clothes, what follows the head, and every pose of it."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32

from nerf_ad.dataset.synthetic.clothes import cloth_offset
from nerf_ad.dataset.synthetic.hair import Curtain, hair_height, hair_offset, hang_curtain, tie_bun
from nerf_ad.dataset.synthetic.head_mesh import GROUPS, UNIT_NAMES, HeadMesh, smooth_normals
from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.light import sky_visibility
from nerf_ad.dataset.synthetic.noise import smoothstep
from nerf_ad.dataset.synthetic.surface import SIDE, at_vertices, load_mask, texture_corners

CURTAIN_ROWS = 384
"""Rows that hanging hair adds at the bottom of the texture."""
_SEAL = 0.035
"""Weight of mouthClose at rest: the base mesh leaves a slit at the corners of the mouth."""


class Material(IntEnum):
    """How a quad is painted."""

    TEXTURE = 0
    EYE = 1
    UPPER_TEETH = 2
    LOWER_TEETH = 3
    TONGUE = 4
    LASHES = 5


class Figure(NamedTuple):
    """One person; lengths in metres in the head's axes."""

    rest: Float32[np.ndarray, "vertices 3"]
    quads: Int32[np.ndarray, "quads 4"]
    texels: Float32[np.ndarray, "quads 4 2"]
    """Where corners lie in the texture, right and down."""
    material: Int32[np.ndarray, "quads"]
    units: Float32[np.ndarray, "52 moving 3"]
    """Movement of the first vertices at weight 1."""
    follows: Float32[np.ndarray, "vertices"]
    """1 for what moves with the head, 0 with the torso, between on the neck."""
    visibility: Float32[np.ndarray, "vertices"]
    """Share of the sky seen at rest."""
    places: Float32[np.ndarray, "vertices 3"]
    """Canonical places; for eyes the direction from the eyeball's centre, the pupil at +z; for lashes how far
    along the lid and how far out, in [0, 1]."""

    def posed(
        self,
        units: Float[np.ndarray, "52"],
        head: Float[np.ndarray, "4 4"],
        torso: Float[np.ndarray, "4 4"],
    ) -> Float32[np.ndarray, "vertices 3"]:
        """Vertices after expression, head motion and torso motion, both rigid and away from rest."""
        moved = self.rest.astype(np.float64)
        num_moving = self.units.shape[1]
        for index in np.flatnonzero(units):
            moved[:num_moving] += units[index] * self.units[index]
        with_head = moved @ head[:3, :3].T + head[:3, 3]
        with_torso = moved @ torso[:3, :3].T + torso[:3, 3]
        share = self.follows[:, None]
        return (share * with_head + (1.0 - share) * with_torso).astype(np.float32)

    def normals(self, vertices: Float[np.ndarray, "vertices 3"]) -> Float32[np.ndarray, "vertices 3"]:
        """Unit normals of posed vertices."""
        return smooth_normals(vertices, self.quads)


def build_figure(identity: Identity, mesh: HeadMesh) -> Figure:
    """Shape a person, dress it and give it hair."""
    shape = mesh.in_head_axes(mesh.shape(identity.shape_targets()))
    shape = shape + _SEAL * mesh.units[UNIT_NAMES.index("mouthClose")]
    places = mesh.canonical
    shape = _lower_arms(shape, places)
    body = mesh.vertices_of("body")
    bare = smooth_normals(shape, mesh.quads)
    ears = at_vertices(mesh, load_mask("ears"))
    dressed = shape.copy()
    dressed[body] += hair_offset(identity, places[body], bare[body], ears[body])
    dressed[body] += cloth_offset(identity, places[body], bare[body])
    # Upper teeth are seen only below the lip; those of the base mesh end too high.
    dressed[mesh.vertices_of("upper-teeth"), 1] -= 0.0045
    # The tongue of the base mesh fills the mouth: it lies flatter and further back here.
    tongue = mesh.vertices_of("tongue")
    dressed[tongue] += np.array([0.0, -0.004, -0.006], np.float32)
    units = mesh.units.copy()
    jaw = UNIT_NAMES.index("jawOpen")
    units[jaw, tongue] += np.array([0.0, -0.007, -0.003], np.float32) * smoothstep(
        0.0, 0.08, places[tongue, 2:]
    )

    scalp = body[(hair_height(places[body]) > 0.0) | (ears[body] > 0.5)]
    curtain = hang_curtain(identity, dressed[scalp]) or tie_bun(identity, dressed[scalp])
    material = _MATERIALS[mesh.group]
    local = _eyes(mesh, dressed, places)
    parts = [(dressed, mesh.quads, texture_corners(mesh), material, _follows(places), local)]
    if curtain is not None:
        parts += _curtain_parts(curtain, num_vertices=len(dressed), width=SIDE)
    rest, quads, texels, material, follows, local = (
        np.concatenate([part[index] for part in parts]) for index in range(6)
    )
    opaque = quads[material != Material.LASHES]
    visibility = sky_visibility(rest, smooth_normals(rest, opaque), opaque)
    # At rest lips hide what is behind them; look.py darkens it by depth instead.
    visibility[mesh.vertices_of("upper-teeth", "lower-teeth", "tongue")] = 0.8
    if curtain is not None:
        visibility[-len(curtain.vertices) :] *= 0.25  # the inside of hanging hair
    return Figure(
        rest=rest.astype(np.float32),
        quads=quads.astype(np.int32),
        texels=texels.astype(np.float32),
        material=material.astype(np.int32),
        units=units,
        follows=follows.astype(np.float32),
        visibility=visibility,
        places=local.astype(np.float32),
    )


_MATERIALS = np.array(
    [
        {
            "body": Material.TEXTURE,
            "l-eye": Material.EYE,
            "r-eye": Material.EYE,
            "upper-teeth": Material.UPPER_TEETH,
            "lower-teeth": Material.LOWER_TEETH,
            "tongue": Material.TONGUE,
        }.get(name, Material.LASHES)
        for name in GROUPS
    ]
)

_Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _lower_arms(
    shape: Float[np.ndarray, "points 3"], places: Float[np.ndarray, "points 3"]
) -> Float32[np.ndarray, "points 3"]:
    """Let the arms hang: the base mesh holds them out. A turn around each shoulder, growing along it."""
    side = np.where(places[:, 0] >= 0.0, 1.0, -1.0)
    angle = -side * np.radians(34.0) * smoothstep(0.085, 0.215, np.abs(places[:, 0]))
    angle = angle * smoothstep(-0.10, -0.15, places[:, 1])
    pivot = np.stack([side * 0.135, np.full_like(side, -0.185)], axis=-1)
    x, y = (shape[:, :2] - pivot).T
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    return np.concatenate([turned + pivot, shape[:, 2:]], axis=1).astype(np.float32)


def _follows(places: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points"]:
    """All of the head above the throat and the nape, none of the body below the collar."""
    return smoothstep(-0.165, -0.080, places[:, 1] + 0.35 * places[:, 2])


def _curtain_parts(curtain: Curtain, *, num_vertices: int, width: int) -> list[_Part]:
    """Outside and inside of hanging hair."""
    scale = np.array([width - 1.0, CURTAIN_ROWS - 1.0], np.float32)
    texels = (curtain.strand * scale + np.array([0.5, width + 0.5], np.float32))[curtain.quads]
    y = curtain.vertices[:, 1]
    follows = smoothstep(-0.20, -0.06, y)
    material = np.full(len(curtain.quads), Material.TEXTURE)
    count = len(curtain.vertices)
    outside = (curtain.vertices, curtain.quads + num_vertices, texels, material, follows, curtain.vertices)
    inside = (
        curtain.vertices,
        curtain.quads[:, ::-1] + num_vertices + count,
        texels[:, ::-1],
        material,
        follows,
        curtain.vertices,
    )
    return [outside, inside]


def _eyes(
    mesh: HeadMesh, rest: Float[np.ndarray, "vertices 3"], places: Float32[np.ndarray, "vertices 3"]
) -> Float32[np.ndarray, "vertices 3"]:
    """``Figure.places`` of the mesh."""
    local = places.copy()
    for side in "lr":
        chosen = mesh.vertices_of(f"{side}-eye")
        ball = rest[chosen]
        middle = (ball.max(axis=0) + ball.min(axis=0)) / 2
        radius = np.ptp(ball[:, 0]) / 2
        middle[2] = ball[:, 2].min() + radius  # the cornea bulges, the back does not
        away = ball - middle
        local[chosen] = away / np.linalg.norm(away, axis=1, keepdims=True)
        for name in (f"{side}-eyelashes-1", f"{side}-eyelashes-2"):
            lashes = mesh.vertices_of(name)
            out = np.linalg.norm(rest[lashes] - middle, axis=1)
            local[lashes] = 0.0
            local[lashes, 0] = (rest[lashes, 0] - rest[lashes, 0].min()) / np.ptp(rest[lashes, 0])
            local[lashes, 1] = (out - out.min()) / np.ptp(out)
    return local

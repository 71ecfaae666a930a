"""How a synthetic person looks in one frame, with the truth about it: colour, parts, depth and landmarks.

The person sits before a still camera in a room: head and torso move in it, light and background do not. As
everywhere, poses are given as the camera's before a resting head.
"""

import copy
import functools
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Shaped, UInt8

from nerf_ad.dataset.synthetic.backdrop import paint_backdrop
from nerf_ad.dataset.synthetic.eyes import lash_cover, paint_eye, paint_teeth, paint_tongue
from nerf_ad.dataset.synthetic.face_points import FacePoints, load_face_points
from nerf_ad.dataset.synthetic.figure import Figure, Material, build_figure
from nerf_ad.dataset.synthetic.head_mesh import load_head_mesh, split_quads
from nerf_ad.dataset.synthetic.identity import Identity
from nerf_ad.dataset.synthetic.light import illuminate, shine, to_linear, to_screen
from nerf_ad.dataset.synthetic.noise import smoothstep
from nerf_ad.dataset.synthetic.rasteriser import NOTHING, Fragments, rasterise
from nerf_ad.dataset.synthetic.texture import HAIR, paint_texture
from nerf_ad.face.landmarks import IBUG_68, LOWER_LIP_INNER, UPPER_LIP_INNER
from nerf_ad.face.parsing import Part
from nerf_ad.geometry.camera import Intrinsics, project

DISTANCE: Final = 1.1
"""From the resting head to the camera, metres."""
FOCAL: Final = 2.4
"""Focal length over picture size."""
_DROP: Final = 0.045
"""The camera stands this far below the head's origin, metres, so that shoulders are seen."""
_SAMPLES: Final = 2
"""Samples across each pixel, and down."""
_CHUNK: Final = 1 << 14
"""Samples that are shaded at a time, so that they stay in the processor's cache."""
_LINEAR: Final = to_linear((np.arange(256) / 255.0).astype(np.float32))


class Rendered(NamedTuple):
    """One frame and what is true of it."""

    rgb: UInt8[np.ndarray, "size size 3"]
    labels: UInt8[np.ndarray, "size size"]
    """``Part`` of every pixel; hair is head."""
    hair: Bool[np.ndarray, "size size"]
    """Where hair is seen."""
    depth: Float32[np.ndarray, "size size"]
    """Metres along the viewing axis; infinite on the background."""
    landmarks478: Float32[np.ndarray, "478 3"]
    """The Face Landmarker's points: pixels right and down, and depth behind the head's origin, same scale."""
    landmarks68: Float32[np.ndarray, "68 2"]
    """iBUG's points, pixels."""
    lip_gap: float
    """Between the middles of the inner lips, metres; 0 when they touch."""


def resting_camera() -> Float[np.ndarray, "4 4"]:
    """``camera_to_world`` of the camera that sees a head at rest."""
    pose = np.eye(4)
    pose[:3, 3] = (0.0, -_DROP, DISTANCE)
    return pose


class SyntheticLook:
    """One person before one background; building it takes some seconds, a frame a fraction of one."""

    def __init__(self, identity: Identity, size: int) -> None:
        """Shape, dress and paint the person.

        Args:
            identity: who.
            size: width and height of the pictures in pixels.

        Raises:
            WeightsError: head-mesh, face-units, head-shapes or head-masks are not in the cache.
        """
        self.identity = identity
        self.size = size
        self.background = paint_backdrop(identity, size)
        self.intrinsics = Intrinsics.centred(FOCAL * size, size, size)
        self.figure = build_figure(identity, load_head_mesh())
        self._texture = paint_texture(identity)
        self.points: FacePoints = load_face_points()
        self._rest_gap = _lip_distance(self._locate(np.zeros(self.figure.units.shape[0])))
        is_lash = self.figure.material == Material.LASHES
        self._solid, self._lashes = (_Part.of(self.figure, chosen) for chosen in (~is_lash, is_lash))

    def reshaped(self, identity: Identity) -> "SyntheticLook":
        """The same skin, hair and clothes on the head of another: a tenth of the work of a new look.

        Hanging hair stays where it was, and so does the shade.
        """
        mesh = load_head_mesh()
        old, new = (mesh.in_head_axes(mesh.shape(who.shape_targets())) for who in (self.identity, identity))
        rest = self.figure.rest.copy()
        rest[: len(old)] += new - old
        twin = copy.copy(self)
        twin.figure = self.figure._replace(rest=rest)
        twin._rest_gap = _lip_distance(twin._locate(np.zeros(self.figure.units.shape[0])))
        return twin

    def render(
        self,
        units: Float[np.ndarray, "52"],
        camera_to_world: Float[np.ndarray, "4 4"],
        torso_pose: Float[np.ndarray, "4 4"] | None = None,
    ) -> Rendered:
        """One frame.

        Args:
            units: weights of the face units in [0, 1], in the order of ``UNIT_NAMES``.
            camera_to_world: the camera before a resting head, metres, OpenGL axes.
            torso_pose: rigid motion of the torso in the room, away from rest; None leaves it there.
        """
        still = resting_camera()
        head = still @ np.linalg.inv(camera_to_world)
        posed = self.figure.posed(units, head, np.eye(4) if torso_pose is None else torso_pose)
        seen = project(posed.astype(np.float64), still, self.intrinsics)
        screen = np.concatenate([seen.pixels * _SAMPLES, seen.depth[:, None]], axis=1)
        fine = self.size * _SAMPLES
        drawn = rasterise(screen, self._solid.triangles, height=fine, width=fine)
        hit = np.flatnonzero(drawn.triangle != NOTHING)
        colour, part = self._shade(posed, drawn, hit)
        picture = np.repeat(np.repeat(self.background, _SAMPLES, 0), _SAMPLES, 1).astype(np.float32) / 255.0
        picture.reshape(-1, 3)[hit] = colour
        self._draw_lashes(picture, screen, drawn.depth)
        parts = np.zeros((fine, fine), np.uint8)
        parts.ravel()[hit] = part
        labels, hair = _vote(parts)
        points = self._locate(units)
        landmarks = _see(points, camera_to_world, self.intrinsics)
        return Rendered(
            rgb=(_shrink(picture) * 255.0 + 0.5).astype(np.uint8),
            labels=labels,
            hair=hair,
            depth=_nearest(drawn.depth),
            landmarks478=landmarks,
            landmarks68=landmarks[list(IBUG_68), :2],
            lip_gap=max(_lip_distance(points) - self._rest_gap, 0.0),
        )

    def _locate(self, units: Float[np.ndarray, "52"]) -> Float[np.ndarray, "478 3"]:
        """The face's points in the head's axes, metres."""
        return self.points.locate(self.figure.posed(units, np.eye(4), np.eye(4)), self.figure.quads)

    def _shade(
        self, posed: Float32[np.ndarray, "vertices 3"], drawn: Fragments, hit: Int[np.ndarray, "pixels"]
    ) -> tuple[Float32[np.ndarray, "pixels 3"], UInt8[np.ndarray, "pixels"]]:
        """Colour on the screen in [0, 1] and part of the samples that show something."""
        solid = self._solid
        normals = self.figure.normals(posed)
        towards = resting_camera()[:3, 3] - posed
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        lighting = illuminate(normals, towards, self.figure.visibility)
        light = np.concatenate([lighting.diffuse, lighting.gloss[:, None]], axis=1)
        table = np.concatenate([light[solid.triangles], solid.texels], axis=2)
        triangle, weights = drawn.triangle.ravel()[hit], drawn.barycentric.reshape(-1, 3)[hit]
        colour, part = np.empty((len(hit), 3), np.float32), np.empty(len(hit), np.uint8)
        limit = np.array(self._texture.part.shape[::-1], np.float32) - 1
        for first in range(0, len(hit), _CHUNK):
            here = slice(first, first + _CHUNK)
            mixed = np.einsum("pcd,pc->pd", table[triangle[here]], weights[here])
            column, row = np.clip(mixed[:, 4:], 0, limit).astype(np.int32).T
            paint = self._texture.colour[row, column]
            gloss = paint[:, 3] * (mixed[:, 3] / np.float32(255.0))
            colour[here] = _LINEAR[paint[:, :3]] * mixed[:, :3] + gloss[:, None]
            part[here] = self._texture.part[row, column]
        special = np.flatnonzero(solid.material[triangle] != Material.TEXTURE)
        if len(special):
            corners, share = solid.triangles[triangle[special]], weights[special]
            material, places = solid.material[triangle[special]], _mix(self.figure.places, corners, share)
            lit = _mix(light, corners, share) * _in_the_mouth(material, places)[:, None]
            is_eye = (material == Material.EYE)[:, None]
            wet = np.where(is_eye, shine(_mix(normals, corners, share))[:, None], 0.3 * lit[:, 3:])
            colour[special] = self._paint_special(material, places) * lit[:, :3] + wet
            part[special] = Part.HEAD
        return to_screen(np.clip(colour, 0.0, 1.0)), part

    def _paint_special(
        self, material: Int32[np.ndarray, "pixels"], places: Float32[np.ndarray, "pixels 3"]
    ) -> Float32[np.ndarray, "pixels 3"]:
        """Eyes, teeth and tongue."""
        albedo = np.zeros_like(places)
        for kind in Material:
            chosen = material == kind
            if not chosen.any():
                continue
            where = places[chosen]
            match kind:
                case Material.EYE:
                    unit = where / np.linalg.norm(where, axis=1, keepdims=True)
                    albedo[chosen] = paint_eye(self.identity, unit)
                case Material.UPPER_TEETH | Material.LOWER_TEETH:
                    albedo[chosen] = paint_teeth(where, upper=kind == Material.UPPER_TEETH)
                case Material.TONGUE:
                    albedo[chosen] = paint_tongue(self.identity, where)
                case Material.TEXTURE | Material.LASHES:
                    pass
        return albedo

    def _draw_lashes(
        self,
        picture: Float32[np.ndarray, "rows columns 3"],
        screen: Float[np.ndarray, "vertices 3"],
        depth: Float32[np.ndarray, "rows columns"],
    ) -> None:
        """Blend the lashes over the picture where nothing is before them."""
        height, width = depth.shape
        drawn = rasterise(screen, self._lashes.triangles, height=height, width=width, two_sided=True)
        hit = (drawn.triangle != NOTHING) & (drawn.depth < depth + 0.001)
        corners = self._lashes.triangles[drawn.triangle[hit]]
        places = _mix(self.figure.places, corners, drawn.barycentric[hit])
        cover = lash_cover(places[:, 0], places[:, 1])
        picture[hit] *= (1.0 - 0.85 * cover)[:, None].astype(np.float32)


class _Part(NamedTuple):
    """Some of the figure as triangles."""

    triangles: Int32[np.ndarray, "triangles 3"]
    texels: Float32[np.ndarray, "triangles 3 2"]
    material: Int32[np.ndarray, "triangles"]

    @staticmethod
    def of(figure: Figure, chosen: Bool[np.ndarray, "quads"]) -> "_Part":
        texels = figure.texels[chosen][:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3, 2)
        return _Part(split_quads(figure.quads[chosen]), texels, np.repeat(figure.material[chosen], 2))


def _mix(
    values: Float32[np.ndarray, "vertices channels"],
    corners: Int[np.ndarray, "pixels 3"],
    weights: Float32[np.ndarray, "pixels 3"],
) -> Float32[np.ndarray, "pixels channels"]:
    """Interpolate over triangles."""
    mixed = values[corners[:, 0]] * weights[:, :1]
    mixed += values[corners[:, 1]] * weights[:, 1:2]
    mixed += values[corners[:, 2]] * weights[:, 2:]
    return np.asarray(mixed)


def _in_the_mouth(
    material: Int32[np.ndarray, "pixels"], places: Float32[np.ndarray, "pixels 3"]
) -> Float32[np.ndarray, "pixels"]:
    """Teeth and tongue get darker the further behind the lips they are."""
    dark = 0.05 + 0.95 * smoothstep(0.050, 0.098, places[:, 2]) * smoothstep(
        0.030, 0.012, np.abs(places[:, 0])
    )
    return np.where(material == Material.EYE, 1.0, dark).astype(np.float32)


def _lip_distance(points: Float[np.ndarray, "478 3"]) -> float:
    """How far the upper inner lip lies above the lower one, metres; not quite 0 for closed, round lips."""
    return float(points[UPPER_LIP_INNER, 1] - points[LOWER_LIP_INNER, 1])


def _see(
    points: Float[np.ndarray, "points 3"], camera_to_world: Float[np.ndarray, "4 4"], intrinsics: Intrinsics
) -> Float32[np.ndarray, "points 3"]:
    """Pixels, and depth behind the head's origin in the same scale."""
    seen = project(points, camera_to_world, intrinsics)
    origin = float(np.linalg.norm(camera_to_world[:3, 3]))
    depth = (seen.depth - origin) * intrinsics.fx / origin
    return np.concatenate([seen.pixels, depth[:, None]], axis=1).astype(np.float32)


def _shrink(fine: Float[np.ndarray, "rows columns 3"]) -> Float[np.ndarray, "size size 3"]:
    """Mean of the samples of each pixel."""
    return np.asarray(sum(_samples(fine)) / np.float32(_SAMPLES**2))


def _nearest(fine: Float32[np.ndarray, "rows columns"]) -> Float32[np.ndarray, "size size"]:
    return functools.reduce(np.minimum, _samples(fine))


def _vote(
    fine: UInt8[np.ndarray, "rows columns"],
) -> tuple[UInt8[np.ndarray, "size size"], Bool[np.ndarray, "size size"]]:
    """The part that most samples of a pixel show, and whether hair is it."""
    samples = _samples(fine)
    counts = np.stack(
        [sum((sample == value).astype(np.uint8) for sample in samples) for value in range(HAIR + 1)]
    )
    hair = counts[HAIR] * 2 > _SAMPLES**2
    counts[Part.HEAD] += counts[HAIR]
    return counts[:HAIR].argmax(axis=0).astype(np.uint8), hair


def _samples(
    fine: Shaped[np.ndarray, "rows columns *channels"],
) -> list[Shaped[np.ndarray, "size size *channels"]]:
    """The first sample of every pixel, the second, and so on."""
    return [fine[row::_SAMPLES, column::_SAMPLES] for row in range(_SAMPLES) for column in range(_SAMPLES)]

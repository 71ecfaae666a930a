"""The mesh of the synthetic person: MakeHuman's base mesh (CC0) with its shape and expression targets.

Read as plain text from the weights ``head-mesh``, ``face-units`` and ``head-shapes``. Kept are head, neck,
shoulders, eyes, teeth, tongue and eyelashes; everything is subdivided once after Catmull and Clark, targets
included, because subdivision is linear. Vertices = base + sum of weight times target.

Files hold decimetres; here lengths are metres with y up and z out of the face, x to the person's left.
"""

import functools
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32
from scipy import sparse

from nerf_ad.core import weights
from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.synthetic.subdivision import subdivide
from nerf_ad.face.landmarks import BLENDSHAPE_NAMES

UNIT_NAMES: Final = (*BLENDSHAPE_NAMES[1:], "tongueOut")
"""The 52 face units: the landmarker's blendshapes without the neutral one, and the tongue, which it lacks."""
GROUPS: Final = (
    "body", "l-eye", "r-eye", "upper-teeth", "lower-teeth", "tongue",
    "l-eyelashes-1", "l-eyelashes-2", "r-eyelashes-1", "r-eyelashes-2",
)  # fmt: skip
"""What is kept, in the order of ``HeadMesh.group``; lashes 1 are the lower ones."""
_UNIT: Final = 0.1
"""Metres in one unit of the files."""
_FLOOR: Final = 0.30
"""Metres above the files' origin below which the body is cut off: mid chest."""
_REACH: Final = 0.32
"""Metres from the middle beyond which the arms are cut off."""
_ORIGIN: Final = (0.0, -0.018, -0.073)
"""From the middle between the eyeballs to the head's origin, metres: about the middle of the skull, placed as
in the analytic person."""


class HeadMesh(NamedTuple):
    """What does not change from person to person."""

    base: Float32[np.ndarray, "vertices 3"]
    """Metres, in the files' axes."""
    quads: Int32[np.ndarray, "quads 4"]
    """Corners, counter-clockwise from outside."""
    uv_quads: Int32[np.ndarray, "quads 4"]
    """The same corners in the texture."""
    uv: Float32[np.ndarray, "texels 2"]
    """Right and up in [0, 1]."""
    group: Int32[np.ndarray, "quads"]
    """Which of ``GROUPS`` each quad belongs to."""
    units: Float32[np.ndarray, "52 vertices 3"]
    """Movement of every vertex at weight 1, metres."""
    refine: sparse.csr_array
    """From the vertices of the file to those here."""
    joints: dict[str, Float[np.ndarray, "8"]]
    """The file's vertices whose mean is a joint."""

    @property
    def canonical(self) -> Float32[np.ndarray, "vertices 3"]:
        """The base mesh in the head's own axes: where on the body a vertex is, whoever the person is."""
        return self.in_head_axes(self.base)

    def in_head_axes(self, vertices: Float[np.ndarray, "vertices 3"]) -> Float32[np.ndarray, "vertices 3"]:
        """Move a person so that the head's origin is at zero."""
        eyes = [vertices[self.vertices_of(f"{side}-eye")].mean(axis=0) for side in "lr"]
        return (vertices - (sum(eyes) / 2 + np.array(_ORIGIN))).astype(np.float32)

    def vertices_of(self, *names: str) -> Int[np.ndarray, "chosen"]:
        """Indices of the vertices of some groups."""
        chosen = np.isin(self.group, [GROUPS.index(name) for name in names])
        return np.unique(self.quads[chosen])

    def shape(self, targets: Mapping[str, float]) -> Float32[np.ndarray, "vertices 3"]:
        """A person at rest, metres, in the files' axes.

        Args:
            targets: weights by name below the folder of targets, such as ``nose/nose-hump-incr``.

        Raises:
            FormatError: no target has one of the names.
        """
        moved = np.zeros((self.refine.shape[1], 3))
        for name, weight in targets.items():
            indices, offsets = read_target(weights.locate("head-shapes") / f"{name}.target.gz")
            moved[indices] += weight * offsets
        return (self.base + self.refine @ moved).astype(np.float32)


@functools.cache
def load_head_mesh() -> HeadMesh:
    """Read mesh and face units; a second or two the first time.

    Raises:
        WeightsError: they are not in the cache.
        FormatError: they are damaged.
    """
    vertices, uv, faces, joints = _read_obj(weights.locate("head-mesh"))
    quads, uv_quads, group = _keep(vertices, faces)
    refined = subdivide(quads, len(vertices))
    refined_uv = subdivide(uv_quads, len(uv), smooth=False)
    folder = weights.locate("face-units")
    units = np.zeros((len(UNIT_NAMES), refined.matrix.shape[0], 3), dtype=np.float32)
    for index, name in enumerate(UNIT_NAMES):
        rows, offsets = read_target(folder / f"{name}.target")
        moved = np.zeros_like(vertices)
        moved[rows] = offsets
        units[index] = refined.matrix @ moved
    return HeadMesh(
        base=(refined.matrix @ vertices).astype(np.float32),
        quads=refined.quads,
        uv_quads=refined_uv.quads,
        uv=(refined_uv.matrix @ uv).astype(np.float32),
        group=np.repeat(group, 4),
        units=units,
        refine=refined.matrix,
        joints=joints,
    )


def read_target(path: Path) -> tuple[Int[np.ndarray, "rows"], Float[np.ndarray, "rows 3"]]:
    """Which vertices a ``.target`` or ``.target.gz`` file moves, and by how much, metres.

    Raises:
        FormatError: there is no such file, or its lines are not ``index dx dy dz``.
    """
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
        table = np.array([line.split() for line in lines], dtype=np.float64).reshape(len(lines), 4)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"{path} cannot be read as a target: {error}") from error
    return table[:, 0].astype(np.int64), table[:, 1:] * _UNIT


def split_quads(quads: Int[np.ndarray, "quads 4"]) -> Int32[np.ndarray, "triangles 3"]:
    """Two triangles for each quad."""
    return quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3).astype(np.int32)


def smooth_normals(
    vertices: Float[np.ndarray, "vertices 3"], quads: Int[np.ndarray, "quads 4"]
) -> Float32[np.ndarray, "vertices 3"]:
    """Unit normals: the mean of the quads around each vertex, weighted by area."""
    corners = vertices[quads]
    normal = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    total = np.stack(
        [
            np.bincount(quads.ravel(), np.repeat(normal[:, axis], 4), minlength=len(vertices))
            for axis in range(3)
        ],
        axis=-1,
    )
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


_Faces = dict[str, tuple[list[list[int]], list[list[int]]]]


def _read_obj(
    path: Path,
) -> tuple[Float[np.ndarray, "vertices 3"], Float[np.ndarray, "texels 2"], _Faces, dict[str, np.ndarray]]:
    """Vertices in metres, texture coordinates, corners by group, and the vertices of each joint."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    faces: _Faces = {}
    group: tuple[list[list[int]], list[list[int]]] = ([], [])
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                match line.split():
                    case ["v", *numbers]:
                        vertices.append([float(number) for number in numbers[:3]])
                    case ["vt", *numbers]:
                        uv.append([float(number) for number in numbers[:2]])
                    case ["g", name, *_]:
                        group = faces.setdefault(name.removeprefix("helper-"), ([], []))
                    case ["f", *corners]:
                        pairs = [[int(part) - 1 for part in corner.split("/")[:2]] for corner in corners]
                        group[0].append([pair[0] for pair in pairs])
                        group[1].append([pair[1] for pair in pairs])
    except (OSError, ValueError, IndexError) as error:
        raise FormatError(f"{path} cannot be read as a mesh: {error}") from error
    if missing := [name for name in GROUPS if name not in faces]:
        raise FormatError(f"{path} has no group {missing[0]}")
    joints = {
        name.removeprefix("joint-"): np.unique(corners[0])
        for name, corners in faces.items()
        if name.startswith("joint-")
    }
    return np.array(vertices) * _UNIT, np.array(uv), faces, joints


def _keep(
    vertices: Float[np.ndarray, "vertices 3"], faces: _Faces
) -> tuple[Int[np.ndarray, "quads 4"], Int[np.ndarray, "quads 4"], Int32[np.ndarray, "quads"]]:
    """The quads of ``GROUPS`` above the floor, without arms."""
    kept, kept_uv, group = [], [], []
    for index, name in enumerate(GROUPS):
        quads, uv_quads = (np.array(corners) for corners in faces[name])
        corners = vertices[quads]
        above = (corners[..., 1].min(axis=1) > _FLOOR) & (np.abs(corners[..., 0]).max(axis=1) < _REACH)
        kept.append(quads[above])
        kept_uv.append(uv_quads[above])
        group.append(np.full(int(above.sum()), index, dtype=np.int32))
    return np.concatenate(kept), np.concatenate(kept_uv), np.concatenate(group)

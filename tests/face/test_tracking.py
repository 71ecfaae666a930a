"""A synthetic head whose rigid points, pose path and focal length are known."""

from typing import Any

import numpy as np
import pytest

from nerf_ad.core.errors import MediaError
from nerf_ad.face.head_shape import RIGID_POINTS
from nerf_ad.face.tracking import TrackingConfig, track_head
from nerf_ad.geometry.camera import Intrinsics, invert_pose, pose_matrix, project
from nerf_ad.geometry.rotations import geodesic_distance, matrix_from_euler

SIZE, FRAMES, FOCAL = 512, 240, 1100.0


def make_head() -> Any:
    """478 points on the front of an ellipsoid, the few named ones where faces have them."""
    random = np.random.default_rng(0)
    x, y = random.uniform(-0.07, 0.07, 478), random.uniform(-0.09, 0.09, 478)
    named = {33: (-0.0445, 0.03), 263: (0.0445, 0.03), 10: (0, 0.09), 152: (0, -0.09), 133: (-0.018, 0.03)}
    named |= {362: (0.018, 0.03), 234: (-0.075, 0.01), 454: (0.075, 0.01), 168: (0, 0.035), 4: (0, -0.005)}
    pairs = ((127, 356, 0.073, 0.03), (21, 251, 0.068, 0.05), (54, 284, 0.06, 0.07), (103, 332, 0.045, 0.08))
    for right, left, across, up in (*pairs, (116, 345, 0.055, 0.0)):
        named |= {right: (-across, up), left: (across, up)}
    for index, (across, up) in named.items():
        x[index], y[index] = across, up
    z = 0.1 * np.sqrt(np.maximum(0.05, 1 - (x / 0.08) ** 2 - (y / 0.12) ** 2)) - 0.02
    z += 0.025 * np.exp(-((x / 0.012) ** 2) - ((y + 0.005) / 0.025) ** 2)
    z[[234, 454]] = -0.01
    return np.stack([x, y, z], axis=1)


def make_clip(*, noise: Any = 0.5, seed: Any = 1, nod: Any = True, cut: Any = None) -> Any:
    """Landmarks, head-to-world truth. The jaw (not rigid) moves by centimetres."""
    random = np.random.default_rng(seed)
    time = np.arange(FRAMES) / 25
    yaw, pitch, roll = 0.25 * np.sin(0.9 * time), 0.08 * np.sin(1.3 * time + 1), 0.05 * np.sin(0.7 * time)
    if nod:
        pitch = pitch + 0.12 * np.exp(-(((np.arange(FRAMES) - 120) / 3.0) ** 2))
    place = np.stack([0.02 * np.sin(time), 0.01 * np.cos(time), -0.75 + 0.02 * np.sin(0.8 * time)], axis=1)
    if cut:
        yaw[cut:], place[cut:] = yaw[cut:] - 0.4, place[cut:] + np.array([0.05, 0.03, -0.2])
    head_to_camera = pose_matrix(matrix_from_euler(np.stack([yaw, pitch, roll], axis=1)), place)
    camera = invert_pose(head_to_camera)
    head = np.repeat(make_head()[None], FRAMES, axis=0)
    jaw = np.setdiff1d(np.arange(478), RIGID_POINTS)
    head[:, jaw, 1] -= 0.02 * np.abs(np.sin(5 * time))[:, None] * (head[:, jaw, 1] < 0)
    pixels, depth = project(head, camera[:, None], Intrinsics.centred(FOCAL, SIZE, SIZE))
    relative = (depth - depth.mean(axis=1, keepdims=True)) * FOCAL / 0.75
    points = np.concatenate([pixels, relative[..., None]], axis=2)
    return (points + random.normal(size=points.shape) * [noise, noise, 2 * noise]).astype(np.float32), camera


def relative_rotation_error(result: Any, camera: Any) -> Any:
    """Degrees, after the constant turn between the two definitions of a frontal head is taken away."""
    found, true = result.camera_to_world[:, :3, :3].astype(np.float64), camera[:, :3, :3]
    between = np.einsum("fij,fkj->ik", found, true)
    left, _, right = np.linalg.svd(between)
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    return np.degrees(geodesic_distance(found, turn @ true))


ONES = np.ones(FRAMES, np.float32)


@pytest.fixture(name="tracked", scope="module")
def tracked_clip() -> Any:
    points, camera = make_clip()
    return track_head(points, ONES, SIZE, (0,), TrackingConfig()), camera, points


def test_pose_is_found(tracked: Any) -> None:
    result, camera, _ = tracked
    assert relative_rotation_error(result, camera).max() < 0.5
    found = project(
        result.head_points.astype(float),
        result.camera_to_world[:, None].astype(float),
        Intrinsics.from_array(result.intrinsics),
    )
    truth = project(make_head()[RIGID_POINTS], camera[:, None], Intrinsics.centred(FOCAL, SIZE, SIZE))
    assert np.sqrt(((found.pixels - truth.pixels) ** 2).sum(axis=2).mean()) < 0.3
    ratio = np.linalg.norm(result.camera_to_world[:, :3, 3], axis=1) / np.linalg.norm(
        camera[:, :3, 3], axis=1
    )
    assert (
        np.ptp(ratio) < 0.02
    )  # one scale for the whole clip: focal length and depth trade against each other
    assert 0.6 * FOCAL < result.intrinsics[0] < 1.9 * FOCAL


def test_errors_are_reported(tracked: Any) -> None:
    result, _, _ = tracked
    assert 0.3 < np.median(result.reprojection_error) < 0.8
    assert np.median(result.jitter) < np.median(result.jitter_raw)


def test_world_axes(tracked: Any) -> None:
    result, _, _ = tracked
    rows = {int(index): row for row, index in enumerate(result.point_indices)}
    points = result.head_points
    assert np.linalg.norm(points[rows[33]] - points[rows[263]]) == pytest.approx(0.089, rel=1e-3)
    assert points[rows[263]][0] > points[rows[33]][0]
    assert points[rows[10]][1] > points[rows[4]][1]
    assert points[rows[4]][2] > points[rows[234]][2]
    assert (result.camera_to_world[:, 2, 3] > 0.3).all()


def test_fast_nod_is_neither_late_nor_flat(tracked: Any) -> None:
    result, camera, _ = tracked
    window = slice(100, 141)
    found, true = (-np.asarray(c[window, 1, 2], float) for c in (result.camera_to_world, camera))
    found, true = found - found.mean(), true - true.mean()
    scores = [float(found[5 + lag : 36 + lag] @ true[5:36]) for lag in range(-4, 5)]
    assert int(np.argmax(scores)) - 4 == 0
    assert np.ptp(found) > 0.93 * np.ptp(true)


def test_smoothing_stays_inside_shots() -> None:
    points, camera = make_clip(cut=100, nod=False)
    result = track_head(points, ONES, SIZE, (0, 100), TrackingConfig())
    assert relative_rotation_error(result, camera)[95:105].max() < 0.6
    assert (result.jitter[[99, 100]] == 0).all()


def test_missing_faces_are_interpolated() -> None:
    points, camera = make_clip(nod=False)
    confidence = ONES.copy()
    confidence[50:56] = 0
    confidence[:3] = 0
    points[confidence == 0] = 7.0
    result = track_head(points, confidence, SIZE, (0,), TrackingConfig())
    error = relative_rotation_error(result, camera)
    assert error[48:58].max() < 1.0
    assert error[:3].max() < 3.0


def test_another_picture_size_gives_the_same_poses(tracked: Any) -> None:
    result, _, points = tracked
    half = track_head(points / 2, ONES, SIZE // 2, (0,), TrackingConfig())
    assert (
        np.degrees(
            geodesic_distance(half.camera_to_world[:, :3, :3], result.camera_to_world[:, :3, :3])
        ).max()
        < 0.05
    )
    np.testing.assert_allclose(half.intrinsics * 2, result.intrinsics, rtol=1e-2)


def test_no_face_is_an_error() -> None:
    points, _ = make_clip()
    with pytest.raises(MediaError, match="no face"):
        track_head(points, np.zeros(FRAMES, np.float32), SIZE, (0,), TrackingConfig())

"""A textured plane instead of a face: every picture is exact, by intersecting rays with it."""

import numpy as np
import pytest

from nerf_ad.face.head_shape import RIGID_POINTS
from nerf_ad.face.photometric import Patches, PhotometricConfig, _maps, refine_poses
from nerf_ad.face.tracking import TrackingResult
from nerf_ad.geometry.camera import Intrinsics, invert_pose, pose_matrix, project
from nerf_ad.geometry.rotations import matrix_from_axis_angle, matrix_from_euler

Clip = tuple[list[np.ndarray], np.ndarray, TrackingResult, np.ndarray]
SIZE, FRAMES = 160, 40
CAMERA = Intrinsics.centred(320.0, SIZE, SIZE)


def texture(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    waves = np.random.default_rng(3)
    total = np.zeros_like(x)
    for _ in range(24):
        along, across, phase = waves.uniform(-350, 350), waves.uniform(-350, 350), waves.uniform(0, 6.3)
        total += np.sin(along * x + across * y + phase)
    return 128 + 12 * total


def render(head_to_camera: np.ndarray) -> np.ndarray:
    """Grey picture of the world's plane z = 0."""
    camera = invert_pose(head_to_camera)
    v, u = np.mgrid[:SIZE, :SIZE] + 0.5
    local = np.stack([(u - CAMERA.cx) / CAMERA.fx, -(v - CAMERA.cy) / CAMERA.fy, -np.ones_like(u)], axis=-1)
    rays = local @ camera[:3, :3].T
    point = camera[:3, 3] - rays * (camera[2, 3] / rays[..., 2:])
    return np.repeat(
        np.clip(texture(point[..., 0], point[..., 1]), 0, 255).astype(np.uint8)[..., None], 3, axis=2
    )


def head_plane() -> np.ndarray:
    place = np.random.default_rng(0).uniform(-0.07, 0.07, (len(RIGID_POINTS), 2))
    for index, where in {
        33: (-0.045, 0.04),
        133: (-0.018, 0.04),
        263: (0.045, 0.04),
        362: (0.018, 0.04),
    }.items():
        place[np.searchsorted(RIGID_POINTS, index)] = where
    return np.concatenate([place, np.zeros((len(place), 1))], axis=1)


@pytest.fixture(name="clip", scope="module")
def make_clip() -> Clip:
    time, random = np.arange(FRAMES) / 25, np.random.default_rng(1)
    rotation = matrix_from_euler(
        np.stack([0.2 * np.sin(2 * time), 0.1 * np.cos(3 * time), 0.05 * np.sin(time)], axis=1)
    )
    place = np.stack([0.01 * np.sin(3 * time), 0.01 * np.cos(2 * time), -0.5 + 0.02 * np.sin(time)], axis=1)
    true = pose_matrix(rotation, place)
    shaken = pose_matrix(
        matrix_from_axis_angle(0.008 * random.normal(size=(FRAMES, 3))) @ rotation,
        place + random.normal(size=(FRAMES, 3)) * np.array([0.0008, 0.0008, 0.003]),
    )
    head = head_plane()
    points = np.zeros((FRAMES, 478, 3), np.float32)
    points[:, RIGID_POINTS, :2] = project(head[None], invert_pose(true)[:, None], CAMERA).pixels
    nothing = np.ones(FRAMES, np.float32)
    tracked = TrackingResult(
        invert_pose(shaken).astype(np.float32),
        CAMERA.array(),
        head.astype(np.float32),
        RIGID_POINTS,
        nothing,
        nothing,
        nothing,
    )
    return [render(pose) for pose in true], points, tracked, invert_pose(true)


def picture_error(camera_to_world: np.ndarray, truth: np.ndarray) -> float:
    """Pixels by which the head's points move against each other over time: a constant offset is no error."""
    head = head_plane()
    found = project(head[None], camera_to_world[:, None].astype(np.float64), CAMERA).pixels
    offset = found - project(head[None], truth[:, None], CAMERA).pixels
    return float(np.sqrt(((offset - offset.mean(axis=0)) ** 2).sum(axis=2).mean()))


def test_alignment_removes_the_shake(clip: Clip) -> None:
    frames, points, tracked, truth = clip
    config = PhotometricConfig(num_points=600, rounds=4, steps=3)
    refined = refine_poses(iter(frames), points, np.ones(FRAMES, np.float32), tracked, (0,), config)
    assert refined.kept
    assert refined.unsteadiness[1] < 0.5 * refined.unsteadiness[0]
    before = picture_error(tracked.camera_to_world, truth)
    assert picture_error(refined.tracking.camera_to_world, truth) < 0.3 * before
    assert np.median(refined.tracking.reprojection_error) < 1.0


def test_pictures_that_say_nothing_change_nothing(clip: Clip) -> None:
    frames, points, tracked, _ = clip
    noise = [
        np.random.default_rng(i).integers(0, 255, frame.shape, np.uint8) for i, frame in enumerate(frames)
    ]
    config = PhotometricConfig(num_points=300, rounds=1)
    refined = refine_poses(noise, points, np.ones(FRAMES, np.float32), tracked, (0,), config)
    assert not refined.kept
    assert refined.tracking is tracked


def test_a_face_too_small_to_tell_anything_is_left_to_its_landmarks(clip: Clip) -> None:
    frames, points, tracked, _ = clip  # the face is some 90 pixels wide
    config = PhotometricConfig(num_points=300, least_face_pixels=100)
    refined = refine_poses(iter(frames), points, np.ones(FRAMES, np.float32), tracked, (0,), config)
    assert not refined.kept
    assert refined.tracking is tracked


def test_as_much_shading_is_removed_from_a_narrow_face() -> None:
    left = []
    for width in (150, 75):
        place = np.arange(2 * width) / width
        grey = (128 + 60 * np.sin(3 * place) + np.zeros((2 * width, 1))).astype(np.uint8)
        patches = Patches(grey[None], np.zeros((1, 2)), 1.0, float(width))
        detail = _maps(patches, np.array([0]), PhotometricConfig())[0, 0]
        left.append(detail[width // 2 : -width // 2, width // 2 : -width // 2].std())
    assert left[1] == pytest.approx(left[0], rel=0.1)

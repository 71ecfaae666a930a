"""The synthetic person against truths found by another route."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core.files import sha256_file
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.synthetic.analytic import make_person, person_truth, project
from nerf_ad.dataset.synthetic.analytic_face import MAX_GAP, SEMI_AXES, Expression, landmarks

REST = Expression(0.0, 0.0, 0.0, 0.5)


def test_dataset_is_complete_and_reads_back(person: Dataset) -> None:
    assert (person.num_frames, person.size) == (100, 96)
    assert person.frame(0).shape == (96, 96, 3)
    assert set(np.unique(person.labels(50))) == {0, 1, 2, 3}
    assert person.torso(99).shape == (96, 96, 4)
    assert person.background().shape == (96, 96, 3)
    assert person.landmarks().points.shape == (100, 478, 3)
    assert np.isfinite(person.landmarks().points).all()
    assert person.split().train == range(90)
    assert person.split().test == range(90, 100)
    assert person.layout.audio.is_file()


def test_every_label_is_a_part(person: Dataset) -> None:
    part = pytest.importorskip("nerf_ad.face.parsing").Part
    centre = person.labels(0)[[1, 38, 68, 90], [1, 48, 48, 48]]
    assert list(centre) == [part.BACKGROUND, part.HEAD, part.NECK, part.TORSO]


def test_poses_are_rotations_before_the_face(person: Dataset) -> None:
    poses = person.tracking().camera_to_world.astype(np.float64)
    rotation = poses[:, :3, :3]
    assert np.allclose(rotation @ rotation.transpose(0, 2, 1), np.eye(3), atol=1e-6)
    assert np.allclose(np.linalg.det(rotation), 1.0, atol=1e-6)
    yaw = np.degrees(np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2]))
    assert 10.0 < np.abs(yaw).max() < 13.0
    assert (poses[:, 2, 3] > 0.9).all()


def test_rigid_points_project_onto_their_landmarks(person: Dataset) -> None:
    tracking, points = person.tracking(), person.landmarks().points
    for index in (0, 33, 99):
        seen = project(
            tracking.head_points.astype(float),
            tracking.camera_to_world[index].astype(float),
            tracking.intrinsics,
        )
        assert np.abs(seen - points[index, tracking.point_indices]).max() < 1e-3


def test_landmarks_lie_on_the_head_and_the_sides_are_right(person: Dataset) -> None:
    shape = landmarks(REST)
    assert np.allclose(np.sum((shape / SEMI_AXES) ** 2, axis=-1), 1.0)
    assert shape[33, 0] < 0 < shape[263, 0]  # the person's right eye is on the left of the picture
    points = person.landmarks().points[0]
    assert points[33, 0] < points[263, 0]
    assert points[10, 1] < points[168, 1] < points[1, 1] < points[13, 1] < points[152, 1]
    assert points[1, 2] < points[234, 2]  # the nose is nearer than the temple


def test_silhouette_matches_the_ellipsoid_formula(person: Dataset) -> None:
    """A point of the projected outline satisfies the dual quadric; its area is that of the label mask."""
    tracking = person.tracking()
    pose = tracking.camera_to_world[10].astype(float)
    fx, fy, cx, cy = (float(value) for value in tracking.intrinsics)
    to_camera = np.linalg.inv(pose)[:3]
    matrix = np.array([[fx, 0, -cx], [0, -fy, -cy], [0, 0, -1.0]])
    dual = matrix @ to_camera @ np.diag([*SEMI_AXES**2, -1.0]) @ to_camera.T @ matrix.T
    conic = np.linalg.inv(dual)
    minor = np.linalg.det(conic[:2, :2])
    area = np.pi * abs(np.linalg.det(conic)) / minor**1.5
    assert np.sum(person.labels(10) == 1) == pytest.approx(area, rel=0.02)


def test_mouth_and_lids_move_as_told() -> None:
    shut, wide = landmarks(REST), landmarks(REST._replace(mouth_open=1.0))
    assert np.linalg.norm(shut[13] - shut[14]) < 1e-9
    assert wide[13, 1] - wide[14, 1] == pytest.approx(MAX_GAP)
    closed = landmarks(REST._replace(blink=1.0))
    assert np.linalg.norm(closed[159] - closed[145]) < 0.2 * np.linalg.norm(shut[159] - shut[145])
    stretched = landmarks(REST._replace(mouth_stretch=1.0))
    assert stretched[291, 0] - stretched[61, 0] > 1.2 * (shut[291, 0] - shut[61, 0])


def test_open_mouth_is_dark_and_visible(person: Dataset) -> None:
    truth = person_truth()
    points = person.landmarks().points

    def darkness(index: int) -> float:
        x, y = points[index, [13, 14], :2].mean(axis=0)
        return 255.0 - float(person.frame(index)[int(y), int(x)].mean())

    order = np.argsort(truth.mouth_open)
    open_frames, shut_frames = order[-10:].tolist(), order[:10].tolist()
    assert np.mean([darkness(i) for i in open_frames]) > 40 + np.mean([darkness(i) for i in shut_frames])


def test_sound_is_as_loud_as_the_mouth_is_open() -> None:
    truth = person_truth(num_frames=250)
    energy = np.sqrt(np.mean(truth.waveform.reshape(250, -1) ** 2, axis=1))
    opening = truth.mouth_open
    shifted = {lag: np.corrcoef(np.roll(energy, lag), opening)[0, 1] for lag in range(-5, 6)}
    assert shifted[0] > 0.9 or shifted[-1] > 0.9
    assert max(shifted, key=lambda lag: float(shifted[lag])) in {0, 1}


def test_torso_over_plate_is_the_frame_outside_the_head(person: Dataset) -> None:
    torso, labels = person.torso(20).astype(float), person.labels(20)
    alpha = torso[..., 3:] / 255.0
    below = alpha * torso[..., :3] + (1.0 - alpha) * person.background()
    far = np.ones_like(labels, dtype=bool)
    rows, columns = np.nonzero(labels == 1)
    far[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2] = False
    assert np.abs(below - person.frame(20))[far].max() <= 2.0


def test_same_seed_same_bytes_other_seed_other_motion(tmp_path: Path) -> None:
    first = make_person(tmp_path / "a.dataset", size=32, num_frames=22, seed=5)
    second = make_person(tmp_path / "b.dataset", size=32, num_frames=22, seed=5)
    for path in (first.layout.frame(7), first.layout.audio, first.layout.tracking):
        assert sha256_file(path) == sha256_file(second.root / path.relative_to(first.root))
    assert not np.array_equal(person_truth(seed=5).camera_to_world, person_truth(seed=6).camera_to_world)


def test_too_short_a_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few"):
        make_person(tmp_path / "short.dataset", num_frames=10)

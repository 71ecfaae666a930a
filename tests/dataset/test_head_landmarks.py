"""Landmarks lifted piece by piece are those lifted at once, and no more of them are held than asked for."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core.rows import FileRows
from nerf_ad.dataset import expression, head_landmarks
from nerf_ad.dataset.dataset import Dataset, Tracking
from nerf_ad.dataset.expression import encode_expression, fit_expression_basis
from nerf_ad.dataset.head_landmarks import AT_ONCE, HeadLandmarks, face_shape, lifted, mean_of
from nerf_ad.dataset.hull import touched

Work = Callable[[HeadLandmarks], object]


def lengthened(person: Dataset, folder: Path, num_frames: int) -> HeadLandmarks:
    """The person's landmarks again and again, in a file."""
    rows = np.arange(num_frames) % person.num_frames
    np.savez(folder / "points.npz", points=person.landmarks().points[rows])
    tracking = person.tracking()
    poses: Tracking = tracking._replace(camera_to_world=tracking.camera_to_world[rows])
    return HeadLandmarks(FileRows.of_npz(folder / "points.npz", "points"), poses)


def test_points_that_do_not_move_stay_where_they_are(person: Dataset) -> None:
    tracking = person.tracking()
    landmarks = HeadLandmarks.of(person).read(tracking.point_indices.tolist())
    assert np.abs(landmarks[:, :, :2] - tracking.head_points[:, :2]).mean() < 0.003


def test_pieces_are_what_is_lifted_at_once(person: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lifted(person.landmarks().points, person.tracking())
    monkeypatch.setattr(head_landmarks, "AT_ONCE", 7)
    landmarks = HeadLandmarks.of(person)
    blocks = list(landmarks.blocks())
    assert {len(block) for block in blocks} == {7, len(whole) % 7}
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(landmarks.read((13, 14), range(5, 31)), whole[5:31, [13, 14]])


def test_face_shape_is_numpy_s_to_the_bit(person: Dataset) -> None:
    whole = lifted(person.landmarks().points, person.tracking())
    shape = face_shape(np.array_split(whole, 6))
    np.testing.assert_array_equal(shape.mean, whole.mean(axis=0))
    np.testing.assert_array_equal(shape.low, whole.min(axis=(0, 1)))
    np.testing.assert_array_equal(shape.high, whole.max(axis=(0, 1)))
    np.testing.assert_array_equal(mean_of(np.array_split(whole, 6)), whole.mean(axis=0))
    with pytest.raises(ValueError, match="no frames"):
        mean_of([])


def fit(landmarks: HeadLandmarks) -> object:
    return fit_expression_basis(landmarks, range(len(landmarks)), mouth_dim=6)


def shape(landmarks: HeadLandmarks) -> object:
    return face_shape(landmarks.blocks())


def touch(landmarks: HeadLandmarks) -> object:
    return touched(landmarks.blocks(), np.full(3, -0.2), np.full(3, 0.2), 16)


def encode(landmarks: HeadLandmarks) -> object:
    basis = fit_expression_basis(landmarks, range(50), mouth_dim=6)
    return encode_expression(landmarks, basis)


@pytest.mark.parametrize("work", [fit, shape, touch, encode])
def test_memory_does_not_grow_with_the_clip(
    work: Work, person: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays of all frames' landmarks would be 5.7 kB a frame, doubles of all mouths 1.2 kB."""
    monkeypatch.setattr(expression, "MOST_ROWS", 4 * AT_ONCE)
    peaks = []
    short, long = 8 * AT_ONCE, 20 * AT_ONCE
    for num_frames in (short, long):
        landmarks = lengthened(person, tmp_path, num_frames)
        tracemalloc.start()
        work(landmarks)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = (peaks[1] - peaks[0]) / (long - short)
    assert grown < 200  # bytes a frame: codes, eye states, poses

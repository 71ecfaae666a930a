"""The carved hull holds the whole head, whatever it does, and little else."""

import numpy as np

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.head_landmarks import HeadLandmarks, face_shape
from nerf_ad.dataset.hull import SKIN, Hull, carve, touched
from nerf_ad.dataset.pixels import PixelCache, open_pixels, pixels_folder
from nerf_ad.dataset.synthetic.analytic_face import SEMI_AXES


def cells_at(hull: Hull, points: np.ndarray) -> np.ndarray:
    """Whether points lie in cells that are kept."""
    resolution = len(hull.cells)
    index = np.floor((points - hull.low) / (hull.high - hull.low) * resolution).astype(int)
    inside = ((index >= 0) & (index < resolution)).all(axis=-1)
    return inside & hull.cells[tuple(np.moveaxis(np.clip(index, 0, resolution - 1), -1, 0))]


def train_landmarks(person: Dataset) -> np.ndarray:
    return np.concatenate(list(HeadLandmarks.of(person).blocks(person.split().train)))


def carved(person: Dataset, landmarks: np.ndarray) -> Hull:
    list(open_pixels(person, person.size))
    cache = PixelCache(pixels_folder(person, person.size), num_frames=person.num_frames, size=person.size)
    tracking, train = person.tracking(), person.split().train
    blocks = np.array_split(landmarks, 3)
    camera = tracking.camera_to_world, tracking.intrinsics
    return carve(cache, *camera, blocks, face_shape(blocks), train=train, resolution=32)


def test_the_head_s_surface_is_kept_and_far_space_is_not(person: Dataset) -> None:
    landmarks = train_landmarks(person)
    hull = carved(person, landmarks)
    angles = np.linspace(-0.9, 0.9, 9)
    x, y = (grid.ravel() for grid in np.meshgrid(np.sin(angles), np.sin(angles)))
    front = np.stack([x, y, np.sqrt(np.maximum(1 - x**2 - y**2, 0))], axis=1)[x**2 + y**2 < 0.9]
    assert cells_at(hull, front * SEMI_AXES).mean() > 0.98
    assert not cells_at(hull, np.array([[0.2, 0.0, 0.1], [0.0, 0.2, 0.1], [0.0, 0.0, 0.25]])).any()


def test_a_chin_that_drops_for_a_moment_is_kept(person: Dataset) -> None:
    landmarks = train_landmarks(person)
    usual = carved(person, landmarks)
    dropped = landmarks[5, 152] - np.array([0.0, 0.03, 0.0])
    assert not cells_at(usual, dropped[None]).any()
    landmarks[5, 152] = dropped
    assert cells_at(carved(person, landmarks), dropped[None]).all()


def test_touched_is_a_ball_around_every_landmark() -> None:
    low, high = np.full(3, -0.02), np.full(3, 0.02)
    cells = touched([np.zeros((1, 1, 3))], low, high, 40)
    volume = cells.sum() * 0.001**3
    assert 0.8 < volume / (4 / 3 * np.pi * SKIN**3) < 1.2
    assert not touched([np.full((1, 1, 3), 9.0)], low, high, 8).any()

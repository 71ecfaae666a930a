"""Face crops: boxes that hold the face, square, calm and inside the picture; a cache made whole or again."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.face_crops import crops_folder, face_boxes, make_face_crops, open_face_crops
from nerf_ad.dataset.synthetic import make_person


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_person(tmp_path_factory.mktemp("crops") / "small.dataset", size=48, num_frames=40)


def square_face(frames: int, *, centre: tuple[float, float], side: float) -> np.ndarray:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    return np.tile(np.array(centre) + corners, (frames, 1, 1))


def test_a_resting_face_has_the_box_of_the_formula() -> None:
    points = square_face(9, centre=(60.0, 52.0), side=40.0)
    boxes = face_boxes(points, (0,), size=128, smoothing=2.0, margin=0.15)
    np.testing.assert_array_equal(boxes, np.tile([37, 29, 83, 75], (9, 1)))  # 46 = 1.15 * 40


def test_a_box_that_leaves_the_picture_is_shifted_not_squeezed() -> None:
    points = square_face(3, centre=(5.0, 120.0), side=40.0)
    np.testing.assert_array_equal(face_boxes(points, (0,), size=128, smoothing=0.0)[0], [0, 82, 46, 128])
    points = square_face(3, centre=(64.0, 64.0), side=200.0)
    np.testing.assert_array_equal(face_boxes(points, (0,), size=128, smoothing=0.0)[0], [0, 0, 128, 128])


def test_boxes_are_calm_within_shots_and_jump_between_them(rng: np.random.Generator) -> None:
    shake = rng.normal(scale=3.0, size=(200, 1, 2))
    points = square_face(200, centre=(60.0, 60.0), side=40.0) + shake
    points[100:] += 30.0
    boxes = face_boxes(points, (0, 100), size=160, smoothing=5.0)
    assert np.abs(np.diff(boxes[:100, 0])).mean() < 0.4 * np.abs(np.diff(shake[:100, 0, 0])).mean()
    assert boxes[100, 0] - boxes[99, 0] > 22  # a smooth path across the cut would take several frames
    one_shot = face_boxes(points, (0,), size=160, smoothing=5.0)
    assert one_shot[100, 0] - one_shot[99, 0] < 10


def test_boxes_hold_every_landmark_and_are_square(person: Dataset) -> None:
    points = person.landmarks().points[:, :, :2].astype(np.float64)
    boxes = face_boxes(points, person.manifest.shots, size=person.size, smoothing=5.0)
    assert (boxes[:, 2] - boxes[:, 0] == boxes[:, 3] - boxes[:, 1]).all()
    assert (boxes[:, None, :2] <= points).all()
    assert (boxes[:, None, 2:] >= points).all()
    assert boxes.min() >= 0
    assert boxes.max() <= person.size


def test_crops_are_the_pixels_inside_the_boxes(small: Dataset) -> None:
    crops = open_face_crops(small, 16)
    for frame in (0, 21, 39):
        left, top, right, bottom = (int(edge) for edge in crops.boxes[frame])
        picture = Image.fromarray(small.frame(frame)).crop((left, top, right, bottom))
        expected = np.asarray(picture.resize((16, 16), Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(crops.crop(frame), expected)
    batch = crops.batch(np.array([21, 3]))
    assert batch.shape == (2, 3, 16, 16)
    torch.testing.assert_close(
        batch[0].permute(1, 2, 0), torch.from_numpy(crops.crop(21)).float() / 255, rtol=0, atol=0
    )


def test_the_cache_is_used_and_a_half_made_one_is_made_again(tmp_path: Path) -> None:
    small = make_person(tmp_path / "small.dataset", size=32, num_frames=22)
    folder = crops_folder(small, 16)
    folder.mkdir(parents=True)
    (folder / "crops.raw").write_bytes(b"half")
    assert len(list(make_face_crops(small, 16))) > 0
    assert list(make_face_crops(small, 16)) == []
    assert open_face_crops(small, 16).pixels.shape == (22, 16, 16, 3)
    assert crops_folder(small, 24) != folder
    os.truncate(folder / "crops.raw", 22 * 16 * 16 * 3 - 1)
    with pytest.raises(FormatError, match=r"crops\.raw is cut short") as told:
        open_face_crops(small, 16)
    assert told.value.hint == f"delete {folder}; it is made again"
    again = make_person(tmp_path / "small.dataset", size=32, num_frames=22, seed=1)
    assert crops_folder(again, 16) != folder

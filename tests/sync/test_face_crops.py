"""Crops against SyncNet's own recipe, written out once more, and against pictures that tell their place."""

import numpy as np
import pytest

from nerf_ad.sync.face_crops import FaceCrops, cut, place_of
from nerf_ad.sync.syncnet import SIDE


def by_their_recipe(picture: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """``crop_video`` of SyncNet's ``run_pipeline.py``: pad with 110, then slice."""
    share = 0.40
    pad = int(half * (1 + 2 * share))
    padded = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)), "constant", constant_values=110)
    my, mx = y + pad, x + pad
    rows = slice(int(my - half), int(my + half * (1 + 2 * share)))
    return padded[rows, int(mx - half * (1 + share)) : int(mx + half * (1 + share))]


@pytest.mark.parametrize("middle", [(200, 150), (60, 40), (330, 270)])
def test_a_crop_is_the_square_that_syncnet_was_evaluated_on(
    middle: tuple[int, int], rng: np.random.Generator
) -> None:
    """With a half side of 80 the square has 224 and is not resized; at two places it leaves the picture."""
    picture = rng.integers(0, 256, (300, 400, 3), np.uint8)
    assert np.array_equal(
        cut(picture, (float(middle[0]), float(middle[1]), 80.0)), by_their_recipe(picture, *middle, 80.0)
    )


def test_a_box_that_lies_beside_the_picture_is_grey(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (50, 50, 3), np.uint8)
    assert (cut(picture, (1000.0, -900.0, 20.0)) == 110).all()


def test_the_box_is_that_of_all_points() -> None:
    assert place_of(np.array([[10.0, 20], [30, 90], [20, 50]])) == (20, 55, 35)


def test_every_picture_has_its_crop_wherever_the_face_was_missed() -> None:
    """A face at rest, its level the frame's number; two detections fail and one is wild."""
    face = np.array([[60.0, 40], [140, 120]])
    crops, found = FaceCrops(), []
    for index in range(20):
        points = None if index in {0, 11} else face + (500 if index == 7 else 0)
        found += crops.add(np.full((200, 200, 3), index, np.uint8), points)
    found += crops.finish()
    assert len(found) == 20
    expected = cut(np.ones((200, 200, 3), np.uint8), (100.0, 80.0, 40.0)) == 1
    for index, crop in enumerate(found):
        assert crop.shape == (SIDE, SIDE, 3)
        assert np.array_equal(crop == index, expected)


def test_a_moving_face_is_followed_without_delay() -> None:
    """The median of a straight movement is its middle: away from both ends crops show the same."""
    crops, found = FaceCrops(), []
    for index in range(30):
        picture = np.zeros((300, 500, 3), np.uint8)
        picture[100:110, 100 + 5 * index : 110 + 5 * index] = 255
        found += crops.add(picture, np.array([[60.0, 60], [140, 140]]) + np.array([5 * index, 0]))
    found += crops.finish()
    assert all(np.array_equal(found[8], crop) for crop in found[8:22])


def test_without_any_face_the_middle_is_taken() -> None:
    crops = FaceCrops()
    crops.add(np.full((100, 100, 3), 9, np.uint8), None)
    (crop,) = crops.finish()
    assert crop[:100, 100:120].mean() == 9

"""The mask's measure on masks whose means are known."""

import numpy as np
import pytest

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.face_crops import face_boxes
from nerf_ad.evaluation.mask_locality import FaceRegions, face_regions, inside, mask_locality

SIZE = 32


@pytest.fixture(scope="module")
def regions(person: Dataset) -> FaceRegions:
    points = person.landmarks().points[:6, :, :2].astype(np.float64)
    boxes = face_boxes(points, (0,), size=person.size, smoothing=0.0)
    return face_regions(points, boxes, size=SIZE)


def test_a_box_holds_the_pixels_whose_centres_it_holds() -> None:
    where = inside(np.array([[1.0, 2.0, 3.4, 3.6]]), 5)
    assert [tuple(place) for place in np.argwhere(where[0])] == [(2, 1), (2, 2), (3, 1), (3, 2)]


def test_regions_lie_where_their_names_say(regions: FaceRegions) -> None:
    mouth, forehead, right, left = regions
    assert (forehead[:, 3] < mouth[:, 1]).all()
    assert (right[:, 2] < mouth[:, 0]).all()  # the person's right is the picture's left
    assert (left[:, 0] > mouth[:, 2]).all()
    for box in regions:
        assert (box[:, 2] - box[:, 0] > 2).all()
        assert (box[:, 3] - box[:, 1] > 2).all()
        assert box.min() >= 0
        assert box.max() <= SIZE


def test_a_mask_open_at_the_mouth_alone(regions: FaceRegions) -> None:
    masks = np.where(inside(regions.mouth, SIZE), 0.2, 0.9)
    found = mask_locality(masks, regions)
    assert found.mouth == pytest.approx(0.8)
    assert found.forehead == pytest.approx(0.1)
    assert found.cheeks == pytest.approx(0.1)
    assert found.ratio == pytest.approx(8.0)


def test_the_worse_place_counts(regions: FaceRegions) -> None:
    masks = np.where(inside(regions.mouth, SIZE), 0.2, 0.9)
    masks[inside(regions.left_cheek, SIZE)] = 0.5  # one side: the mean of both is 0.3
    found = mask_locality(masks, regions)
    assert found.cheeks == pytest.approx(0.3)
    assert found.ratio == pytest.approx(0.8 / 0.3)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_mask_that_is_the_same_everywhere_is_told(regions: FaceRegions, value: float) -> None:
    found = mask_locality(np.full((6, SIZE, SIZE), value), regions)
    assert found.ratio == pytest.approx(0.0 if value == 1.0 else 1.0)

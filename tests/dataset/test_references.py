"""References and the neutral frame: from training frames only, and what they are said to be."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from nerf_ad.core.errors import UsageError
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.references import choose_references, head_directions, neutral_frame
from nerf_ad.dataset.synthetic.analytic import person_truth


class Answers(NamedTuple):
    """What a dataset's method returns instead."""

    value: Any

    def __call__(self) -> Any:
        return self.value


def test_directions_of_known_cameras() -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, :3, 3] = [[0, 0, 2], [1, 0, 1], [0, 1, 1]]
    found = head_directions(poses)
    np.testing.assert_allclose(found.yaw, [0, np.pi / 4, 0], atol=1e-12)
    np.testing.assert_allclose(found.pitch, [0, 0, np.pi / 4], atol=1e-12)


def test_the_neutral_frame_is_closed_open_eyed_and_frontal(person: Dataset) -> None:
    truth = person_truth(num_frames=person.num_frames)
    index = neutral_frame(person)
    train = person.split().train
    assert index in train
    inside = slice(train.start, train.stop)
    assert truth.mouth_open[index] <= np.quantile(truth.mouth_open[inside], 0.25)
    assert truth.blink[index] < 0.3
    directions = head_directions(person.tracking().camera_to_world)
    turned = np.hypot(directions.yaw, directions.pitch)
    assert turned[index] <= np.quantile(turned[inside], 0.8)


def test_the_sharp_one_of_equal_frames_is_taken(person: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    track, tracking = person.landmarks(), person.tracking()
    still = track._replace(points=np.tile(track.points[:1], (len(track.points), 1, 1)))
    resting = tracking._replace(
        camera_to_world=np.tile(tracking.camera_to_world[:1], (len(track.points), 1, 1))
    )
    monkeypatch.setattr(person, "landmarks", Answers(still))
    monkeypatch.setattr(person, "tracking", Answers(resting))
    picture, flat = person.frame(0), np.full((96, 96, 3), 90, np.uint8)
    monkeypatch.setattr(person, "frame", lambda index: picture if index == 7 else flat)
    assert neutral_frame(person) == 7


def test_references_spread_over_the_yaw_of_training_frames(person: Dataset) -> None:
    chosen = choose_references(person, 4)
    train = person.split().train
    assert len(set(chosen)) == 4
    assert set(chosen) <= set(train)
    yaw = head_directions(person.tracking().camera_to_world).yaw
    assert (np.diff(yaw[chosen]) > 0).all()
    inside = yaw[train.start : train.stop]
    low, high = np.percentile(inside, [5, 95])
    assert np.ptp(yaw[chosen]) > 0.75 * (high - low)
    assert np.diff(yaw[chosen]).max() < 0.55 * (high - low)  # a third each, were they spread evenly


def test_one_reference_is_the_usual_view_and_too_many_are_refused(person: Dataset) -> None:
    (middle,) = choose_references(person, 1)
    train = person.split().train
    inside = head_directions(person.tracking().camera_to_world[train.start : train.stop]).yaw
    yaw = head_directions(person.tracking().camera_to_world).yaw[middle]
    assert np.percentile(inside, 40) <= yaw <= np.percentile(inside, 60)
    with pytest.raises(UsageError, match="references"):
        choose_references(person, person.num_frames)

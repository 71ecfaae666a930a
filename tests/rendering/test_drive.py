"""The walk through the clip's poses."""

import numpy as np

from nerf_ad.rendering.drive import walk


def test_the_walk_turns_round_without_a_jump() -> None:
    path = walk(1000, np.array([0, 30, 90]), (0, 120))
    assert path.min() == 30
    assert path.max() == 89
    assert np.abs(np.diff(path)).max() == 1


def test_the_walk_stays_on_training_frames() -> None:
    path = walk(500, np.array([0]), (10, 40))
    assert set(path) == set(range(10, 40))


def test_a_clip_of_one_frame_stands_still() -> None:
    assert set(walk(7, np.array([0]), (3, 4))) == {3}

"""The split of AD-NeRF's demo clip is known: 8000 frames, training 0 to 7271."""

import pytest

from nerf_ad.capture.split import split_frames


def test_published_split() -> None:
    split = split_frames(8000)
    assert (split.train, split.test) == (range(7272), range(7272, 8000))


@pytest.mark.parametrize("num_frames", [11, 25, 100, 1258])
def test_parts_make_the_whole(num_frames: int) -> None:
    split = split_frames(num_frames)
    assert [*split.train, *split.test] == list(range(num_frames))
    assert len(split.test) >= num_frames / 11

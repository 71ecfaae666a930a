"""Positions as waves, against the formula."""

import math

import torch

from nerf_ad.volume.encoding import encode_position, encoded_dim


def test_waves_match_the_formula() -> None:
    value = [0.3, -1.2, 2.0]
    truth = list(value)
    for power in range(4):
        truth += [math.sin(2**power * v) for v in value] + [math.cos(2**power * v) for v in value]
    ours = encode_position(torch.tensor([value]), 4)
    torch.testing.assert_close(ours[0], torch.tensor(truth), atol=1e-5, rtol=0)


def test_sizes_are_the_papers() -> None:
    """paper.md section 6: 3 -> 3 + 6L; 63 for a point, 27 for a direction, 33 for a colour."""
    assert [encoded_dim(3, count) for count in (10, 4, 5, 0)] == [63, 27, 33, 3]
    assert encode_position(torch.zeros(2, 5, 3), 10).shape == (2, 5, 63)

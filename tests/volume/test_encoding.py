"""Positions as waves, against the formula."""

import math

import numpy as np
import torch

from nerf_ad.volume.encoding import NUM_HARMONICS, encode_direction, encode_position, encoded_dim


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


def test_harmonics_are_orthonormal_on_the_sphere() -> None:
    """Exact quadrature for polynomials up to degree 6: Gauss-Legendre in z, equal steps around."""
    z, by_height = np.polynomial.legendre.leggauss(8)
    turn = 2 * np.pi * np.arange(16) / 16
    flat = np.sqrt(1 - z**2)[:, None]
    points = [flat * np.cos(turn), flat * np.sin(turn), z[:, None] + 0 * turn]
    values = encode_direction(torch.from_numpy(np.stack(points, axis=-1)))
    weights = torch.from_numpy(by_height[:, None, None] * 2 * np.pi / 16)
    products = torch.einsum("hta,htb->ab", values * weights, values)
    torch.testing.assert_close(products, torch.eye(NUM_HARMONICS, dtype=torch.float64), atol=1e-12, rtol=0)


def test_harmonics_of_a_degree_change_sign_with_their_parity() -> None:
    there = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    degree = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3])
    torch.testing.assert_close(encode_direction(-there), encode_direction(there) * (-1.0) ** degree)

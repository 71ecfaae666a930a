"""SSIM and MS-SSIM: by another library's figures, window by window from their definition, and by formula."""

import numpy as np
import pytest

from nerf_ad.metrics.structure import SCALE_WEIGHTS, ms_ssim, ssim, ssim_map, ssim_within


def waves(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures that can be made again anywhere."""
    y, x = np.mgrid[:height, :width]
    real = [127 + 100 * np.sin(x / (5 + c) + y * y / 700) for c in range(3)]
    made = [127 + 80 * np.sin((x + 1) / (5 + c) + y * y / 700) + 10 * np.cos(3 * y) for c in range(3)]
    first, second = (np.stack(part, axis=-1).round().astype(np.uint8) for part in (made, real))
    return first, second


def by_definition(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both terms of one channel in [0, 1], window by window."""
    grid = np.arange(11) - 5
    window = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    p, q = (np.lib.stride_tricks.sliding_window_view(part, (11, 11)) for part in (a, b))
    mp, mq = ((window * part).sum(axis=(2, 3)) for part in (p, q))
    away_p, away_q = p - mp[..., None, None], q - mq[..., None, None]
    vp, vq = ((window * part**2).sum(axis=(2, 3)) for part in (away_p, away_q))
    cov = (window * away_p * away_q).sum(axis=(2, 3))
    return (2 * mp * mq + 1e-4) / (mp**2 + mq**2 + 1e-4), (2 * cov + 9e-4) / (vp + vq + 9e-4)


def test_ssim_is_that_of_scikit_image() -> None:
    # scikit-image 0.26: structural_similarity(made, real, channel_axis=2, gaussian_weights=True, sigma=1.5,
    # use_sample_covariance=False, data_range=255, full=True); the second is the mean of its map within a box.
    box = np.zeros((40, 53), bool)
    box[20:30, 10:25] = True
    assert ssim(*waves(40, 53)) == pytest.approx(0.8393987173155667, abs=1e-12)
    assert ssim(*waves(96, 96)) == pytest.approx(0.853718829197711, abs=1e-12)
    assert ssim_within(ssim_map(*waves(40, 53)), box) == pytest.approx(0.7994164189925517, abs=1e-12)


def test_ssim_is_its_definition_at_every_pixel() -> None:
    made, real = waves(19, 23)
    terms = [by_definition(made[..., c] / 255, real[..., c] / 255) for c in range(3)]
    expected = np.mean([luminance * contrast for luminance, contrast in terms], axis=0)
    assert np.allclose(ssim_map(made, real), expected, atol=1e-12)


def test_flat_pictures_are_their_formula() -> None:
    dark, light = (np.full((200, 180, 3), value, np.uint8) for value in (51, 102))
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)
    assert ssim(dark, light) == pytest.approx(expected, abs=1e-9)
    assert ms_ssim(dark, light) == pytest.approx(expected ** SCALE_WEIGHTS[-1], abs=1e-9)


def test_equal_pictures_are_one_and_the_order_does_not_matter() -> None:
    made, real = waves(180, 190)
    assert ssim(real, real) == pytest.approx(1)
    assert ms_ssim(real, real) == pytest.approx(1)
    assert ssim(made, real) == pytest.approx(ssim(real, made), abs=1e-12)
    assert ms_ssim(made, real) == pytest.approx(ms_ssim(real, made), abs=1e-12)


def test_ms_ssim_is_its_definition() -> None:
    made, real = waves(177, 182)
    values = []
    for channel in range(3):
        a, b = made[..., channel] / 255, real[..., channel] / 255
        value = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            if scale:
                a, b = (
                    np.mean([p[i : p.shape[0] // 2 * 2 : 2, j : p.shape[1] // 2 * 2 : 2]
                             for i in (0, 1) for j in (0, 1)], axis=0)
                    for p in (a, b)
                )  # fmt: skip
            luminance, contrast = by_definition(a, b)
            value *= (luminance * contrast if scale == 4 else contrast).mean() ** weight
        values.append(value)
    assert ms_ssim(made, real) == pytest.approx(np.mean(values), abs=1e-10)


def test_what_cannot_be_measured_is_none() -> None:
    assert ms_ssim(*waves(175, 300)) is None
    edge = np.zeros((40, 53), bool)
    edge[:5] = True
    assert ssim_within(ssim_map(*waves(40, 53)), edge) is None


def test_opposite_structure_counts_as_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (176, 176, 3), np.uint8)
    assert ssim(noise, 255 - noise) < 0
    assert ms_ssim(noise, 255 - noise) == 0

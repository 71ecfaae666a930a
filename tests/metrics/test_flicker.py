"""Flicker of constructed clips."""

import numpy as np
import pytest

from nerf_ad.metrics.flicker import FlickerMeter, second_difference, still_pixels


def clip(frames: int = 30, side: int = 40) -> np.ndarray:
    """A grey wall, and a bright block that walks over its lower half."""
    pictures = np.full((frames, side, side, 3), 100, np.uint8)
    for index, picture in enumerate(pictures):
        picture[side // 2 + 4 :, index : index + 6] = 220
    return pictures


def measured(real: np.ndarray, made: np.ndarray) -> list:
    meter = FlickerMeter()
    found = (meter.add(index, *pair) for index, pair in enumerate(zip(real, made, strict=True)))
    return [flicker for flicker in found if flicker is not None]


def test_the_mean_second_difference_of_noise(rng: np.random.Generator) -> None:
    """Of independent normal noise of deviation s it is ``s sqrt(6) sqrt(2 / pi)``."""
    real = clip()
    noise = 6 * rng.normal(size=real.shape)
    made = np.clip(np.round(real + noise), 0, 255).astype(np.uint8)
    found = measured(real, made)
    assert len(found) == len(real) - 2
    assert np.mean([flicker.real for flicker in found]) == 0
    rounded = np.sqrt(6**2 + 1 / 12)
    assert np.mean([flicker.excess for flicker in found]) == pytest.approx(
        rounded * np.sqrt(6) * np.sqrt(2 / np.pi), rel=0.02
    )


def test_motion_and_a_steady_fade_do_not_flicker() -> None:
    real = clip()
    fading = (real + np.arange(len(real), dtype=np.uint8)[:, None, None, None]).astype(np.uint8)
    assert {flicker.made for flicker in measured(real, fading)} == {0}
    assert {flicker.excess for flicker in measured(real, real)} == {0}
    assert not still_pixels(*real[:3])[24:, :8].any()
    assert still_pixels(*real[:3])[:16].all()


def test_the_cameras_own_noise_is_subtracted(rng: np.random.Generator) -> None:
    real = np.clip(clip() + 3 * rng.normal(size=clip().shape), 0, 255).astype(np.uint8)
    still = still_pixels(*real[:3])
    assert still[:16].mean() > 0.9  # noise is not motion
    smooth = measured(real, clip())
    assert all(flicker.excess < 0 for flicker in smooth)


def test_gaps_are_no_flicker() -> None:
    real, meter = clip(), FlickerMeter()
    for index in (0, 1, 5, 6, 9):
        assert meter.add(index, real[index], real[index]) is None
    assert meter.add(10, real[10], real[10]) is None
    assert meter.add(11, real[11], real[11]) is not None


def test_second_difference_by_hand() -> None:
    a, b, c = (np.full((1, 1, 3), value, np.uint8) for value in (10, 250, 20))
    assert second_difference(a, b, c).item() == 470

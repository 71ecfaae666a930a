"""Blinks in constructed curves."""

import numpy as np
import pytest

from nerf_ad.face.action_units import eye_openness
from nerf_ad.face.landmarks import LEFT_EYE, RIGHT_EYE
from nerf_ad.metrics.blinks import blinks_per_minute, find_blinks

FPS = 25


def test_blinks_are_counted(rng: np.random.Generator) -> None:
    openness = 0.3 + 0.01 * rng.normal(size=60 * FPS)
    starts = [100, 300, 320, 900, 1400]
    for start in starts:
        openness[start : start + 6] *= [0.6, 0.2, 0.1, 0.1, 0.3, 0.6]
    assert find_blinks(openness, FPS) == [range(start, start + 6) for start in starts]
    assert blinks_per_minute(openness, FPS) == 5


def test_looking_down_and_nodding_are_no_blinks() -> None:
    openness = 0.3 + 0.05 * np.sin(np.arange(1000) / 60)
    openness[400:430] *= 0.5  # 1.2 seconds
    assert find_blinks(openness, FPS) == []
    openness[410:] *= 0.55  # the head stays down: the usual is another one
    assert blinks_per_minute(openness[500:], FPS) == 0


def test_an_open_frame_in_between_is_the_same_blink() -> None:
    openness = np.full(200, 0.3)
    openness[[50, 51, 53, 54]] = 0.1
    assert find_blinks(openness, FPS) == [range(50, 55)]


def test_frames_without_a_face_are_no_time() -> None:
    openness = np.full(50 * FPS, 0.3)
    openness[100:103] = 0.05
    openness[200:950] = np.nan
    assert blinks_per_minute(openness, FPS) == pytest.approx(60 / 20)
    assert blinks_per_minute(np.full(9, np.nan), FPS) == 0


def test_the_aspect_ratio_of_drawn_eyes() -> None:
    """An ellipse of half axes 10 and 3: lids at x = -5, 0, 5 are 6 sqrt(1 - x^2/100) apart."""
    points = np.zeros((478, 3))
    for rim in (RIGHT_EYE, LEFT_EYE):
        for place, index in enumerate(rim):
            x = -10 + 2.5 * (place if place <= 8 else 16 - place)
            y = 3 * np.sqrt(1 - (x / 10) ** 2) * (1 if place <= 8 else -1)
            points[index, :2] = x, y
    height = np.mean([6 * np.sqrt(1 - (x / 10) ** 2) for x in (-2.5, 0, 2.5)])
    assert eye_openness(points) == pytest.approx(height / 20)

"""Cuts are lonely changes; gestures, flashes and repeated frames are not."""

import numpy as np
import pytest

from nerf_ad.capture.shots import THRESHOLD, ShotDetector, cut_scores, find_shots


def scene(rng: np.random.Generator) -> np.ndarray:
    return np.kron(rng.integers(60, 200, (8, 8, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))


def watch(frames: list[np.ndarray]) -> tuple[int, ...]:
    detector = ShotDetector()
    for frame in frames:
        detector.push(frame)
    return detector.finish()


def noisy(picture: np.ndarray, rng: np.random.Generator, shift: int = 0) -> np.ndarray:
    moved = np.roll(picture, shift, axis=1).astype(np.int16)
    return np.asarray(np.clip(moved + rng.integers(-4, 5, picture.shape), 0, 255), np.uint8)


def test_jump_cuts_are_found_where_they_are(rng: np.random.Generator) -> None:
    picture = scene(rng)
    shifts = [0] * 40 + [6] * 30 + [1] * 30
    frames = [noisy(picture, rng, shift + index % 2) for index, shift in enumerate(shifts)]
    assert watch(frames) == (0, 40, 70)


def test_motion_and_flashes_are_no_cuts(rng: np.random.Generator) -> None:
    picture = scene(rng)
    sway = [noisy(picture, rng, round(12 * np.sin(index / 5) ** 3)) for index in range(100)]
    assert watch(sway) == (0,)
    flash = [noisy(picture, rng) for _ in range(60)]
    flash[30] = np.full_like(picture, 255)
    assert watch(flash) == (0,)


def test_repeated_frames_do_not_hide_or_make_cuts(rng: np.random.Generator) -> None:
    first, second = scene(rng), scene(rng)
    slow = [noisy(first if index < 12 else second, rng, index % 3) for index in range(24)]
    frames = [frame for frame in slow for _ in range(5)]  # 5 fps shown at 25
    assert watch(frames) == (0, 60)


def test_short_and_still_clips(rng: np.random.Generator) -> None:
    assert watch([]) == (0,)
    assert watch([scene(rng)] * 50) == (0,)


def test_landmarks_are_averaged_in(rng: np.random.Generator) -> None:
    differences = np.abs(rng.normal(0.5, 0.05, 60))
    differences[30] = 3.0  # something moved behind the person: the face did not
    face = rng.normal(100, 20, (1, 478, 3)) + rng.normal(0, 0.02, (60, 478, 3))
    assert find_shots(differences) == (0, 30)
    assert find_shots(differences, face) == (0,)
    face[30:] += 15
    assert find_shots(differences, face) == (0, 30)
    assert cut_scores(differences, face)[30] > THRESHOLD
    face[10] = np.nan
    assert find_shots(differences, face) == (0, 30)


@pytest.mark.parametrize("fps", [25])
def test_real_cuts(fps: int) -> None:
    """The test clip with four jump cuts of one speaker, where it is present."""
    from pathlib import Path

    from nerf_ad.media.isolated import decode_isolated

    clip = Path(__file__).parents[3] / "shared/data/clips/dfrf_cnn2.mp4"
    if not clip.is_file():
        pytest.skip(f"{clip.name} is not here")
    detector = ShotDetector()
    for index, frame in enumerate(decode_isolated(clip, fps, size=128)):
        if index == 800:
            break
        detector.push(frame)
    assert detector.finish() == (0, 176, 702)

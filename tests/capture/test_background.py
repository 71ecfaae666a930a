"""The plate against a painted background that nobody but the test has seen whole."""

import numpy as np
import pytest

from nerf_ad.capture.background import (
    BackgroundConfig,
    Plate,
    build_plate,
    fill_from,
    fill_smoothly,
    plan_shots,
    sample_frames,
)

SIZE = 96


def painted(rows: int = SIZE, columns: int = SIZE) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    return np.stack([60 + x, 40 + y, 200 - 0.5 * x - 0.5 * y], axis=-1)


def scene(frame: int, *, noise: float = 6.0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A red disc that walks over the painting, a body that never leaves, a red fringe about the disc."""
    generator = np.random.default_rng(frame)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    distance = np.hypot(x - (28 + 2 * frame), y - 34)
    body = (y > 70) & (np.abs(x - 48) < 26)
    person = (distance < 14) | body
    picture = painted() + offset + generator.normal(0, noise, (SIZE, SIZE, 3))
    picture[(distance < 14.5) | body] = (230, 20, 20)
    return np.clip(picture, 0, 255).round().astype(np.uint8), person


def test_equals_the_painting_where_it_was_seen() -> None:
    plate = build_plate(list(range(24)), scene, lambda _: 0, BackgroundConfig())
    error = np.abs(plate.picture.astype(float) - painted())
    assert plate.seen.mean() > 0.75
    assert error[plate.seen].mean() < 2.0  # 4.8 in a single frame: the median takes the noise out
    assert error[plate.seen].max() < 30


def test_hidden_pixels_are_filled_without_the_person() -> None:
    plate = build_plate(list(range(24)), scene, lambda _: 0, BackgroundConfig())
    hidden = ~plate.seen
    assert np.abs(plate.picture.astype(float) - painted())[hidden].mean() < 15
    assert plate.picture[hidden][:, 0].max() < 200  # the person is red


def test_one_frame_takes_what_is_clear() -> None:
    plate = build_plate([3], lambda frame: scene(frame, noise=0), lambda _: 0, BackgroundConfig(clearance=12))
    assert np.abs(plate.picture.astype(float) - painted())[plate.seen].max() <= 0.5


def test_nothing_in_front_is_all_seen() -> None:
    empty = np.zeros((SIZE, SIZE), bool)
    plate = build_plate([0], lambda _: (scene(0)[0], empty), lambda _: 0, BackgroundConfig())
    assert plate.seen.all()


def test_nothing_behind_is_grey() -> None:
    full = np.ones((SIZE, SIZE), bool)
    plate = build_plate([0], lambda _: (scene(0)[0], full), lambda _: 0, BackgroundConfig())
    assert not plate.seen.any()
    assert (plate.picture == 128).all()


def test_shot_with_another_background_stands_out() -> None:
    def read(frame: int) -> tuple[np.ndarray, np.ndarray]:
        return scene(frame, noise=0, offset=40.0 if frame >= 18 else 0.0)

    plate = build_plate(list(range(24)), read, lambda frame: int(frame >= 18), BackgroundConfig())
    same, other = plate.shot_differences[0], plate.shot_differences[1]
    assert same < 0.05  # pixels that only the other shot shows
    assert other > 0.9


def test_rare_clear_frames_do_not_outvote_the_many_beside_the_person() -> None:
    _, x = np.mgrid[0:SIZE, 0:SIZE]

    def read(frame: int) -> tuple[np.ndarray, np.ndarray]:
        person = x < (30 if frame < 22 else 10)  # two frames of another shot are clear of the pixel at 31
        picture = np.full((SIZE, SIZE, 3), 50 if frame < 22 else 200, np.uint8)
        return np.where(person[..., None], 255, picture).astype(np.uint8), person

    config = BackgroundConfig(clearance=10)
    assert (build_plate(list(range(24)), read, lambda _: 0, config).picture[:, 31] == 50).all()
    assert (build_plate(list(range(24)), read, lambda _: 0, config).picture[:, 15] == 200).all()


def test_fill_keeps_what_is_known_and_stays_within_it() -> None:
    generator = np.random.default_rng(0)
    known = generator.random((37, 53)) < 0.1
    picture = painted(37, 53).astype(np.float32)
    filled = fill_smoothly(np.where(known[..., None], picture, 0), known)
    assert np.array_equal(filled[known], picture[known])
    for channel in range(3):
        values = picture[known][:, channel]
        assert values.min() - 1e-3 <= filled[..., channel].min()
        assert filled[..., channel].max() <= values.max() + 1e-3
    assert np.abs(filled - picture).mean() < 3  # a linear painting from a tenth of its pixels


@pytest.mark.parametrize(("num_frames", "count"), [(1, 1), (20, 1), (21, 2), (100_000, 96)])
def test_samples(num_frames: int, count: int) -> None:
    frames = sample_frames(num_frames, 512, BackgroundConfig())
    assert len(sample_frames(num_frames, 1024, BackgroundConfig())) == min(count, 24)
    assert len(frames) == len(set(frames)) == count
    assert frames[0] == 0
    assert frames[-1] < num_frames


def test_every_shot_gets_its_own_frames() -> None:
    config = BackgroundConfig(shot_samples=4, max_shots=2)
    assert plan_shots((0,), 100, 96, config) == {}
    planned = plan_shots((0, 10, 12, 60), 100, 96, config)
    assert list(planned) == [2, 3]
    assert planned[2] == [12, 28, 43, 59]
    assert planned[3] == [60, 73, 86, 99]


def test_a_shot_takes_what_it_never_shows_from_the_whole_clip() -> None:
    seen = np.zeros((4, 4), bool)
    seen[:, :2] = True
    single = Plate(np.full((4, 4, 3), 10, np.uint8), seen, {})
    whole = Plate(np.full((4, 4, 3), 200, np.uint8), np.ones((4, 4), bool), {})
    filled = fill_from(single, whole)
    assert (filled[:, :2] == 10).all()
    assert (filled[:, 2:] == 200).all()

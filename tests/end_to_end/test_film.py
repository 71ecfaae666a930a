"""The film: what is seen and heard is what its truth says. The other stages' tests lean on both."""

import numpy as np
from tests.talker import FPS, SIZE, Film, best_lag, darkness, decibels, mouth_windows, sound_lag

from nerf_ad.face.parsing import Part
from nerf_ad.media.audio import read_audio
from nerf_ad.media.video import decode


def test_truth_and_pictures_are_equally_many(film: Film) -> None:
    pictures = np.stack(list(decode(film.video, FPS)))
    assert pictures.shape == (len(film.truth.lip_gap), SIZE, SIZE, 3)
    assert len(pictures) == len(film.truth.points) == len(film.truth.labels)
    assert 100 <= len(pictures) <= 125  # 4 seconds is the shortest clip that is fit


def test_an_open_mouth_is_dark_in_the_frame_in_which_it_is_open(film: Film) -> None:
    pictures = np.stack(list(decode(film.video, FPS)))
    lag, correlation = best_lag(darkness(pictures, mouth_windows(film.truth)), film.truth.lip_gap)
    assert lag == 0
    assert correlation > 0.9  # figure 0.95, analytic 0.96


def test_the_room_is_where_nobody_stands(film: Film) -> None:
    truth = film.truth
    for index, picture in enumerate(decode(film.video, FPS)):
        if index % 20 == 0:
            empty = truth.labels[index] == Part.BACKGROUND
            assert 0.2 < empty.mean() < 0.8
            assert decibels(picture[empty], truth.background[empty]) > 25
            assert decibels(picture[~empty], truth.background[~empty]) < 18


def test_sound_begins_with_the_pictures(film: Film) -> None:
    assert abs(sound_lag(read_audio(film.video), film.truth.sound)) < 0.005

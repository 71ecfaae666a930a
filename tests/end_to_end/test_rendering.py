"""The avatar speaks the film's own sound: as long as the sound, and lips that move with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.talker import FPS, SIZE, Film, best_lag, darkness, make_once, mouth_windows, sound_lag

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.video import decode, probe
from nerf_ad.rendering.drive import drive_with_audio
from nerf_ad.rendering.render import draw, render

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spoken(film: Film, avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        render(avatar, film.sound, folder / "spoken.mp4", device=torch.device("cpu"))

    return make_once(tmp_path_factory, f"{film.kind}.spoken", make) / "spoken.mp4"


def test_it_lasts_as_long_as_its_sound(film: Film, spoken: Path) -> None:
    pictures = list(decode(spoken, FPS))
    assert len(pictures) == len(film.truth.lip_gap)
    assert pictures[0].shape == (SIZE, SIZE, 3)
    assert probe(spoken).fps == FPS
    assert read_audio(spoken).seconds == pytest.approx(len(pictures) / FPS, abs=0.05)


def test_its_sound_begins_with_its_pictures(film: Film, spoken: Path) -> None:
    assert abs(sound_lag(read_audio(spoken), film.truth.sound)) < 0.005


def test_lips_part_when_the_true_ones_do(film: Film, spoken: Path, avatar: Avatar) -> None:
    """Through the training frames, the head takes the poses that it has in the film."""
    first, last = (int(edge) for edge in avatar.motion.train_frames)
    assert (first, last) == (0, len(film.truth.lip_gap) * 10 // 11)
    pictures = np.stack(list(decode(spoken, FPS)))[:last]
    opening = darkness(pictures, mouth_windows(film.truth)[:last])
    lag, correlation = best_lag(opening, film.truth.lip_gap[:last])
    assert lag == 0
    assert correlation > {"figure": 0.75, "analytic": 0.5}[film.kind]  # 0.92 and 0.68


def test_in_silence_the_mouth_stays_shut(film: Film, spoken: Path, avatar: Avatar) -> None:
    last = int(avatar.motion.train_frames[1])
    wide = np.argsort(film.truth.lip_gap[:last])[-3:]
    silence = drive_with_audio(avatar, Waveform(np.zeros(last * 16_000 // FPS, np.float32), 16_000))
    chosen = silence.only(wide)  # the same poses as in speech
    windows = mouth_windows(film.truth)
    silent = darkness(np.stack(list(draw(avatar, chosen))), windows[wide])
    talking, filmed = (np.stack(list(decode(video, FPS)))[:last] for video in (spoken, film.video))
    opened = darkness(filmed, windows[:last])
    difference = darkness(talking[wide], windows[wide]) - silent
    # The share of what is filmed: figure 1.1, analytic 0.39.
    assert difference.mean() > 0.2 * (opened.max() - np.median(opened))

"""What ``train tiny`` learned from the film: better than doing nothing, on frames that it never saw."""

import numpy as np
import pytest
from jaxtyping import UInt8
from tests.talker import FPS, Film, darkness, decibels, mouth_windows

from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import encode_expression
from nerf_ad.dataset.head_landmarks import HeadLandmarks
from nerf_ad.evaluation.held_out import drive_with_recording
from nerf_ad.face.parsing import Part
from nerf_ad.media.video import decode
from nerf_ad.rendering.drive import Drive
from nerf_ad.rendering.render import draw

pytestmark = pytest.mark.slow

Pictures = UInt8[np.ndarray, "frames size size 3"]


@pytest.fixture(scope="module")
def pictures(film: Film) -> Pictures:
    return np.stack(list(decode(film.video, FPS)))


@pytest.fixture(scope="module")
def tail(avatar: FastAvatar, talker: Dataset) -> Pictures:
    """The held-out frames as the avatar draws them, driven by their own sound."""
    return np.stack(list(draw(avatar, drive_with_recording(avatar, talker)[0])))


def test_frames_never_seen_look_better_than_the_mean_picture(
    film: Film, tail: Pictures, pictures: Pictures
) -> None:
    held = len(pictures) - len(tail)
    mean, parts = pictures[:held].mean(axis=0), film.truth.labels[held:]
    # All: figure 26.3 dB for 21.6, analytic 31.3 for 25.3; head: 24.2 for 15.8, 26.2 for 17.7.
    for where, margin in ((parts >= 0, 2.5), (parts == Part.HEAD, 4.5)):
        made, real = tail[where], pictures[held:][where]
        nothing = np.repeat(mean[None], len(tail), axis=0)[where]
        assert decibels(made, real) > decibels(nothing, real) + margin


def test_the_head_is_more_than_its_background(film: Film, tail: Pictures, pictures: Pictures) -> None:
    held = len(pictures) - len(tail)
    head = film.truth.labels[held:] == Part.HEAD
    room = np.repeat(film.truth.background[None], len(tail), axis=0)
    # Figure 24.2 dB for 9.8, analytic 26.2 for 11.2.
    assert decibels(tail[head], pictures[held:][head]) > decibels(room[head], pictures[held:][head]) + 9


def test_the_mouth_and_only_the_mouth_follows_its_code(
    film: Film, avatar: FastAvatar, talker: Dataset, pictures: Pictures
) -> None:
    """One pose, one pair of eyes; the codes of frames whose lips are farthest apart and closest in truth."""
    train = talker.split().train
    codes = encode_expression(HeadLandmarks.of(talker), avatar.basis).mouth
    order = np.argsort(film.truth.lip_gap[: train.stop])
    mouth = np.stack([codes[order[-3:]].mean(axis=0), codes[order[:3]].mean(axis=0)]).astype(np.float32)
    frame = train.stop // 2
    both = [frame, frame]
    pose, eyes = talker.tracking().camera_to_world[both], avatar.motion.eyes[both]
    drawn = np.stack(list(draw(avatar, Drive(mouth, eyes, pose, np.zeros(2, np.int64)))))

    windows = mouth_windows(film.truth)
    wide, shut = darkness(drawn, windows[both])
    filmed = darkness(pictures, windows)
    # The share of what is filmed: figure 0.87, analytic 0.41.
    assert wide - shut > 0.25 * (filmed[order[-3:]].mean() - filmed[order[:3]].mean())
    change = np.abs(drawn[0].astype(float) - drawn[1]).mean(axis=-1)
    left, top, right, bottom = windows[frame]
    brow = round(film.truth.points[frame, [105, 334], 1].min())
    assert change[top:bottom, left:right].mean() > 5  # of 255; figure 62, analytic 12
    assert change[:brow].mean() < 0.5
    assert change[film.truth.labels[frame] == Part.BACKGROUND].mean() < 0.5

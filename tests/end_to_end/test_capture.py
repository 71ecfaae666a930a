"""What capture finds in the film, against the truth. Figures measured are beside their bounds."""

import numpy as np
import pytest
from jaxtyping import Float
from scipy import ndimage
from tests.talker import FPS, SIZE, Film, best_lag, decibels, sound_lag

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.face.parsing import Part
from nerf_ad.media.audio import read_audio
from nerf_ad.media.video import decode

UPPER_LIP, LOWER_LIP = 13, 14
"""Middle of the inner lips."""


def rotation_errors(
    found: Float[np.ndarray, "frames 3 3"], true: Float[np.ndarray, "frames 3 3"]
) -> Float[np.ndarray, "frames"]:
    """Degrees, after the constant turn between the two ideas of a head at rest."""
    left, _, right = np.linalg.svd(np.einsum("fij,fkj->ik", found, true))
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    cosine = (np.einsum("fij,fij->f", found, turn @ true) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def overlap(found: np.ndarray, true: np.ndarray) -> Float[np.ndarray, "frames"]:
    """Intersection over union, frame by frame."""
    return np.asarray((found & true).sum(axis=(1, 2)) / (found | true).sum(axis=(1, 2)))


@pytest.fixture(scope="module")
def labels(talker: Dataset) -> np.ndarray:
    return np.stack([talker.labels(index) for index in range(talker.num_frames)])


def test_every_frame_is_taken_in_order(film: Film, talker: Dataset) -> None:
    assert talker.num_frames == len(film.truth.lip_gap)
    assert talker.size == SIZE
    assert talker.manifest.shots == (0,)
    for index, picture in enumerate(decode(film.video, FPS)):
        assert np.array_equal(talker.frame(index), picture)


def test_the_head_turns_as_it_does(film: Film, talker: Dataset) -> None:
    found = talker.tracking().camera_to_world[:, :3, :3].astype(np.float64)
    true = film.truth.camera_to_world[:, :3, :3].astype(np.float64)
    errors = rotation_errors(found, true)
    assert errors.mean() < 1.6  # figure 0.95, analytic 0.40
    assert errors.max() < 4.0  # figure 2.1, analytic 0.9
    still = rotation_errors(np.repeat(found[:1], len(found), axis=0), true)
    assert still.mean() > 2 * errors.mean()  # figure 4.3, analytic 6.1: a head that is told not to move


def test_landmarks_lie_where_they_are(film: Film, talker: Dataset) -> None:
    offset = talker.landmarks().points[:, :, :2] - film.truth.points
    assert np.linalg.norm(offset, axis=-1).mean() < 1.5  # pixels of 96; figure 0.88, analytic 0.38
    moving = np.linalg.norm(offset - offset.mean(axis=0), axis=-1).mean()
    assert moving < 0.6  # figure 0.21, analytic 0.37
    motion = film.truth.points - film.truth.points.mean(axis=0)
    assert np.linalg.norm(motion, axis=-1).mean() > 3 * moving  # figure 1.9, analytic 2.4


def test_lips_part_when_they_do(film: Film, talker: Dataset) -> None:
    points = talker.landmarks().points[:, :, :2]
    gap = np.linalg.norm(points[:, UPPER_LIP] - points[:, LOWER_LIP], axis=-1).astype(np.float64)
    lag, correlation = best_lag(gap, film.truth.lip_gap)
    assert lag == 0
    assert correlation > 0.65  # of lips at most 4 pixels apart; figure 0.81, analytic 0.93


def test_an_open_mouth_is_an_action_unit(film: Film, talker: Dataset) -> None:
    lag, correlation = best_lag(talker.action_units().channel("AU25").astype(np.float64), film.truth.lip_gap)
    assert abs(lag) <= 1
    assert correlation > 0.6  # figure 0.79, analytic 0.95


def test_parts_cover_what_they_name(film: Film, labels: np.ndarray) -> None:
    # The figure's parts come from the network, the analytic head's from hulls of its landmarks, without hair.
    least = {"figure": (0.88, 0.88, 0.85), "analytic": (0.55, 0.60, 0.60)}[film.kind]
    true = film.truth.labels
    assert overlap(labels == Part.HEAD, true == Part.HEAD).mean() > least[0]  # figure 0.95, analytic 0.65
    assert overlap(labels > 0, true > 0).mean() > least[1]  # figure 0.95, analytic 0.69
    assert overlap(labels >= Part.NECK, true >= Part.NECK).mean() > least[2]  # figure 0.94, analytic 0.72


def test_the_plate_is_the_room(film: Film, talker: Dataset) -> None:
    seen = (film.truth.labels == Part.BACKGROUND).any(axis=0)
    assert 0.3 < seen.mean() < 0.9
    assert decibels(talker.background()[seen], film.truth.background[seen]) > 23  # figure 28.2, analytic 30.8


def test_the_torso_has_no_head(film: Film, talker: Dataset) -> None:
    for index in range(0, talker.num_frames, 20):
        alpha, true = talker.torso(index)[..., 3] / 255, film.truth.labels[index]
        face = ndimage.binary_erosion(true == Part.HEAD, iterations=12)
        clothes = ndimage.binary_erosion(true == Part.TORSO, iterations=6)
        assert alpha[face].mean() < 0.05
        assert alpha[clothes].mean() > 0.9


def test_sound_begins_with_the_frames(film: Film, talker: Dataset) -> None:
    sound = read_audio(talker.layout.audio)
    assert len(sound.samples) == talker.num_frames * sound.rate // FPS
    assert abs(sound_lag(sound, film.truth.sound)) < 0.005
    told = talker.manifest.av_offset_ms
    assert told is None or abs(told) <= 1000 / FPS  # 4 seconds are rarely enough to be sure


def test_split_holds_the_tail_out(talker: Dataset) -> None:
    split = talker.split()
    assert (split.train.start, split.test.stop) == (0, talker.num_frames)
    assert split.train.stop == split.test.start
    assert len(split.test) == pytest.approx(talker.num_frames / 11, abs=1)

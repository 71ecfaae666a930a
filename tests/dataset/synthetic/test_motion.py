"""A performance: within its limits, smooth, repeatable, and tied to the sound only where it should be."""

# ruff: noqa: RUF001 - phonetic letters look like others

import numpy as np
import pytest

from nerf_ad.dataset.synthetic.articulation import UNIT_INDEX
from nerf_ad.dataset.synthetic.bearing import held_postures, nods
from nerf_ad.dataset.synthetic.behaviour import BLINK, gaze
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES
from nerf_ad.dataset.synthetic.motion import HEAD_LIMITS, PRESENCE, Motion, action_unit_truth, effort, perform
from nerf_ad.dataset.synthetic.script import SENTENCES
from nerf_ad.dataset.synthetic.voice import PAUSE, Phoneme, ToneConfig, Utterance, build_voice, recite


@pytest.fixture(scope="module")
def said() -> Utterance:
    return recite(build_voice(ToneConfig(speed=1.4)), SENTENCES[:40], seed=0)


@pytest.fixture(scope="module")
def motion(said: Utterance) -> Motion:
    return perform(said, seed=5)


def unit(motion: Motion, name: str) -> np.ndarray:
    return motion.units[:, UNIT_INDEX[name]]


def test_shapes_and_ranges(said: Utterance, motion: Motion) -> None:
    num_frames = round(said.seconds * 25)
    assert [part.shape for part in motion] == [(num_frames, size) for size in (52, 3, 3, 6)]
    assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in motion)
    assert motion.units.min() >= 0
    assert motion.units.max() <= 1
    assert len(perform(said, seed=5, fps=30).units) == round(said.seconds * 30)


def test_the_same_seed_gives_the_same_bytes(said: Utterance, motion: Motion) -> None:
    again, other = perform(said, seed=5), perform(said, seed=6)
    assert [part.tobytes() for part in again] == [part.tobytes() for part in motion]
    assert not np.allclose(other.angles, motion.angles)


@pytest.mark.parametrize("seed", range(4))
def test_lips_meet_whatever_the_face_does(said: Utterance, seed: int) -> None:
    motion = perform(said, seed=seed)
    times = np.arange(len(motion.units)) / 25
    jaw, press, upper = (unit(motion, name) for name in ("jawOpen", "mouthPressLeft", "mouthUpperUpLeft"))
    for _, start, end, _ in (p for p in said.phonemes if p.symbol in "pbm"):
        near = np.abs(times - (start + end) / 2) <= 1 / 25
        assert ((jaw[near] <= 0.02) & (press[near] > 0.4) & (upper[near] <= 0.02)).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_head_is_held_still_and_turned_smoothly(said: Utterance, seed: int) -> None:
    degrees = np.degrees(perform(said, seed=seed).angles)
    assert (np.abs(degrees) <= np.array(HEAD_LIMITS) + 1e-3).all()
    assert degrees[:, 0].std() > 2.5
    steps = np.abs(np.diff(degrees, axis=0))
    at_rest = np.median(steps, axis=0)
    assert (at_rest < 0.15).all()
    assert ((steps < 0.15).mean(axis=0) > 0.55).all()
    assert steps.max() < 1.5
    # Jitter would alternate: consecutive steps in opposite directions.
    yaw_steps = np.diff(degrees[:, 0])
    assert np.corrcoef(yaw_steps[1:], yaw_steps[:-1])[0, 1] > 0.95


def test_torso_and_head_go_together_but_not_as_one(motion: Motion) -> None:
    for axis in range(3):
        assert 0.1 < np.corrcoef(motion.offset[:, axis], motion.torso[:, 3 + axis])[0, 1] < 0.99
    assert np.corrcoef(motion.angles[:, 0], motion.torso[:, 0])[0, 1] > 0
    assert np.degrees(np.abs(motion.torso[:, :3])).max() < 6
    assert np.abs(motion.torso[:, 3:]).max() < 0.02
    assert np.abs(motion.offset).max() < 0.03


def test_blinks_come_every_few_seconds(motion: Motion) -> None:
    lids = unit(motion, "eyeBlinkLeft")
    closed = np.flatnonzero(lids > 0.99)
    assert len(closed) > 10
    gaps = np.diff(closed) / 25
    assert gaps.min() >= 2.0 - 0.04
    assert gaps.max() <= 6.0 + 0.04
    for peak in closed:
        whole = lids[peak - 2 : peak + 5]
        np.testing.assert_allclose(whole, BLINK[: len(whole)], atol=0.02)
    assert (lids == 0).mean() > 0.8
    assert np.abs(lids - unit(motion, "eyeBlinkRight")).max() < 0.07


def test_expressions_visit_the_units_and_ignore_the_sound(said: Utterance, motion: Motion) -> None:
    open_mouth = unit(motion, "jawOpen")
    for name in ("mouthSmileLeft", "mouthFrownLeft", "cheekSquintRight", "browInnerUp", "noseSneerLeft"):
        course = unit(motion, name)
        assert course.max() > 0.2
        assert abs(np.corrcoef(course, open_mouth)[0, 1]) < 0.2
    for name in ("mouthDimpleLeft", "mouthStretchLeft", "mouthUpperUpLeft"):
        assert (unit(motion, name) > 0.25).mean() > 0.01
    still = Utterance(np.zeros_like(said.samples), (Phoneme(PAUSE, 0.0, said.seconds),), ())
    silent = perform(still, seed=5)
    np.testing.assert_allclose(unit(silent, "mouthSmileLeft"), unit(motion, "mouthSmileLeft"), atol=1e-6)
    np.testing.assert_allclose(silent.angles[:, 0], motion.angles[:, 0])
    assert unit(silent, "jawOpen").max() == 0


def test_the_mouth_moves_with_the_sound(said: Utterance, motion: Motion) -> None:
    size = 24_000 // 25
    middle = np.pad(said.samples, (size // 2, 0))[: len(said.samples)]  # a frame's window is about its time
    loud = np.sqrt((middle.reshape(-1, size) ** 2).mean(axis=1))
    jaw = unit(motion, "jawOpen")
    lags = {lag: np.corrcoef(np.roll(loud, lag)[20:-20], jaw[20:-20])[0, 1] for lag in range(-8, 9)}
    assert -1 <= max(lags, key=lambda lag: lags[lag]) <= 1
    assert lags[0] > 0.3


def test_nods_fall_on_stressed_vowels() -> None:
    phonemes = tuple(
        Phoneme("ɑ", at, at + 0.1, stress=2 * (k % 2)) for k, at in enumerate(np.arange(0, 60, 0.4))
    )
    times = np.arange(1500) / 25
    path = nods(phonemes, times, np.random.default_rng(0))
    peaks = times[1:-1][(path[1:-1] > path[:-2]) & (path[1:-1] >= path[2:]) & (path[1:-1] > 0.2)]
    assert len(peaks) > 20
    stressed = np.array([p.start_seconds + 0.05 for p in phonemes if p.stress == 2])
    assert np.abs(peaks[:, None] - stressed).min(axis=1).max() <= 0.04
    assert 0 <= path.min() <= path.max() <= 1


def test_postures_stay_inside_their_range() -> None:
    path = held_postures(np.arange(5000) / 25, np.random.default_rng(3), parts=4)
    assert np.abs(path).max() <= 1
    assert np.abs(np.diff(path, n=2, axis=0)).max() < 0.02


def test_eyes_stay_on_the_camera() -> None:
    times = np.arange(2000) / 25
    turned = np.zeros((2000, 3))
    turned[:, 0] = np.radians(9.0)  # to the person's left: the eyes go right
    units = gaze(times, turned, np.random.default_rng(0))
    assert np.median(units[:, UNIT_INDEX["eyeLookInLeft"]]) == pytest.approx(0.3, abs=0.05)
    assert np.median(units[:, UNIT_INDEX["eyeLookOutRight"]]) == pytest.approx(0.3, abs=0.05)
    both = units[:, UNIT_INDEX["eyeLookInLeft"]] * units[:, UNIT_INDEX["eyeLookOutLeft"]]
    assert not both.any()


def test_loud_sounds_open_wider(said: Utterance) -> None:
    times = np.arange(int(said.seconds * 25)) / 25
    gain = effort(said, times)
    assert 0.8 <= gain.min() < 0.95 < 1.02 < gain.max() <= 1.2
    assert effort(said._replace(samples=said.samples * 0.5), times) == pytest.approx(gain, abs=0.02)


def test_true_action_units_are_the_weights() -> None:
    units = np.zeros((2, 52))
    for name, weight in (
        ("mouthUpperUpLeft", 0.4),
        ("mouthUpperUpRight", 0.2),
        ("jawOpen", 0.5),
        ("eyeBlinkLeft", 1.0),
        ("eyeBlinkRight", 1.0),
        ("mouthDimpleLeft", 0.2),
    ):
        units[1, UNIT_NAMES.index(name)] = weight
    intensity, names = action_unit_truth(units, np.array([0.002, 0.008]))
    truth = dict(zip(names, intensity[1], strict=True))
    expected = {"AU10": 0.3, "AU14": 0.1, "AU20": 0.0, "AU25": 1.0, "AU26": 0.5, "AU45": 1.0}
    assert {name: truth[name] for name in expected} == pytest.approx(expected)
    assert intensity[0, names.index("AU25")] == pytest.approx(0.25)
    assert {"AU1", "AU2", "AU4", "AU5", "AU6", "AU7", "AU9", "AU12", "AU15", "AU17", "AU18"} <= set(names)
    assert PRESENCE == 0.2
    shut, _ = action_unit_truth(units, np.zeros(2))
    assert not shut[:, names.index("AU25")].any()

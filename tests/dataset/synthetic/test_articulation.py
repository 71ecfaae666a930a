"""Lips: they follow the sounds, run into one another, and close where they must."""

# ruff: noqa: RUF001 - phonetic letters look like others

import numpy as np
import pytest

from nerf_ad.dataset.synthetic.articulation import (
    SIGMA_SECONDS,
    TARGETS,
    UNIT_INDEX,
    Style,
    articulate,
    blend_phonemes,
    contact,
    draw_style,
    seal_lips,
)
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES
from nerf_ad.dataset.synthetic.pronunciation import CONSONANTS, DIPHTHONGS, VOWELS
from nerf_ad.dataset.synthetic.script import SENTENCES
from nerf_ad.dataset.synthetic.voice import PAUSE, Phoneme, ToneConfig, Utterance, build_voice, recite
from nerf_ad.face.landmarks import BLENDSHAPE_NAMES


@pytest.fixture(scope="module")
def said() -> Utterance:
    return recite(build_voice(ToneConfig(speed=1.4)), SENTENCES[:12], seed=0)


def times_of(utterance: Utterance) -> np.ndarray:
    return np.arange(int(utterance.seconds * 25)) / 25


def table(*parts: tuple[str, float]) -> tuple[Phoneme, ...]:
    phonemes, at = [], 0.0
    for symbol, length in parts:
        phonemes.append(Phoneme(symbol, at, at + length))
        at += length
    return tuple(phonemes)


def test_names_are_arkits_in_mediapipes_order() -> None:
    assert len(UNIT_NAMES) == 52
    assert UNIT_NAMES[:51] == BLENDSHAPE_NAMES[1:]
    assert UNIT_NAMES[51] == "tongueOut"


def test_every_sound_has_a_shape() -> None:
    assert set(VOWELS + CONSONANTS + PAUSE) <= set(TARGETS) | set(DIPHTHONGS)
    known = set(UNIT_NAMES) | {name.removesuffix("Left") for name in UNIT_NAMES}
    assert all(set(shape) <= known for shape in TARGETS.values())
    assert all(set(pair) <= set(TARGETS) for pair in DIPHTHONGS.values())


def test_blending_equals_a_numerical_convolution() -> None:
    phonemes = table((PAUSE, 0.3), ("ɑ", 0.2), ("u", 0.1), ("s", 0.15), (PAUSE, 0.3))
    step = 0.0005
    fine = (np.arange(round(1.05 / step)) + 0.5) * step
    held = np.zeros(len(fine))
    for symbol, start, end, _ in phonemes:
        held[(fine >= start) & (fine < end)] = TARGETS[symbol].get("jawOpen", 0.0)
    times = np.arange(26) / 25
    kernel = np.exp(-0.5 * ((times[:, None] - fine) / SIGMA_SECONDS) ** 2)
    numeric = kernel @ held * step / (SIGMA_SECONDS * np.sqrt(2 * np.pi))
    blended = blend_phonemes(phonemes, times, Style())[:, UNIT_INDEX["jawOpen"]]
    np.testing.assert_allclose(blended, numeric, atol=1e-3)


def test_long_recordings_are_blended_in_blocks(said: Utterance) -> None:
    times = times_of(said)
    whole = blend_phonemes(said.phonemes, times, Style())
    assert len(times) > 600
    for index in (0, 511, 512, 513, len(times) - 1):
        np.testing.assert_allclose(
            blend_phonemes(said.phonemes, times[index : index + 1], Style())[0], whole[index], atol=1e-5
        )


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_lips_meet_at_every_bilabial(said: Utterance, seed: int | None) -> None:
    style = Style() if seed is None else draw_style(np.random.default_rng(seed))
    times = times_of(said)
    units = articulate(said.phonemes, times, style=style)
    bilabials = [p for p in said.phonemes if p.symbol in "pbm"]
    assert len(bilabials) > 40
    for _, start, end, _ in bilabials:
        near = np.abs(times - (start + end) / 2) <= 1 / 25
        closed = units[near, UNIT_INDEX["jawOpen"]] <= 0.02
        assert (units[near][closed][:, UNIT_INDEX["mouthPressLeft"]] > 0.4).any()
        assert (units[near][closed][:, UNIT_INDEX["mouthUpperUpRight"]] < 0.02).any()
    for _, start, end, _ in (p for p in said.phonemes if p.symbol in "fv"):
        near = np.abs(times - (start + end) / 2) <= 1 / 25
        assert units[near, UNIT_INDEX["mouthRollLower"]].max() > 0.45


def test_what_is_between_closures_stays_open() -> None:
    phonemes = table((PAUSE, 0.5), ("m", 0.06), ("ɑ", 0.2), ("m", 0.06), (PAUSE, 0.5))
    jaw = articulate(phonemes, np.arange(33) / 25)[:, UNIT_INDEX["jawOpen"]]
    assert jaw.max() > 0.35
    assert jaw[[0, 13, 14, -1]].max() <= 0.02


def test_a_smile_lives_on_while_the_lips_meet() -> None:
    phonemes = table(("m", 0.2))
    times = np.array([0.1])
    units = np.full((1, 52), 0.7)
    sealed = seal_lips(units, phonemes, times, Style())[0]
    assert sealed[UNIT_INDEX["mouthSmileLeft"]] == 0.7
    assert sealed[UNIT_INDEX["mouthUpperUpLeft"]] == sealed[UNIT_INDEX["jawOpen"]] == 0
    assert (units == 0.7).all()


def test_contact_is_whole_in_the_middle_and_gone_outside() -> None:
    phonemes = table((PAUSE, 0.4), ("b", 0.05), (PAUSE, 0.4))
    times = np.linspace(0, 0.85, 86)
    weight = contact(phonemes, times, "pbm")
    assert weight[42] == weight[43] == 1
    assert not weight[np.abs(times - 0.425) > 0.085].any()
    assert not contact(phonemes, times, "fv").any()
    assert np.abs(np.diff(weight)).max() < 0.3


def test_sounds_move_their_own_units(said: Utterance) -> None:
    times = times_of(said)
    units = articulate(said.phonemes, times)
    assert units.min() >= 0
    assert units.max() <= 1

    def mean(symbols: str, unit: str) -> float:
        at = [(p.start_seconds + p.end_seconds) / 2 for p in said.phonemes if p.symbol in symbols]
        return float(np.mean(np.interp(at, times, units[:, UNIT_INDEX[unit]])))

    assert mean("ɑæ", "jawOpen") > 2 * mean("isu", "jawOpen")
    assert mean("uw", "mouthPucker") > 3 * mean("iɛæs", "mouthPucker")
    assert mean("ʃʧʤ", "mouthFunnel") > 3 * mean("iɛæs", "mouthFunnel")
    assert mean("i", "mouthStretchLeft") > 2 * mean("uɑ", "mouthStretchLeft")


def test_people_differ_and_effort_opens() -> None:
    phonemes, times = table((PAUSE, 0.2), ("æ", 0.3), (PAUSE, 0.2)), np.arange(17) / 25
    plain = articulate(phonemes, times)
    styles = [draw_style(np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert styles[0] == styles[1] != styles[2]
    jaw, left, right = (UNIT_INDEX[name] for name in ("jawOpen", "mouthStretchLeft", "mouthStretchRight"))
    skewed = articulate(phonemes, times, style=Style(jaw=1.2, skew=0.1))
    np.testing.assert_allclose(skewed[:, jaw], 1.2 * plain[:, jaw])
    assert skewed[9, left] > skewed[9, right]
    louder = articulate(phonemes, times, effort=np.full(17, 1.1))
    np.testing.assert_allclose(louder[:, jaw], 1.1 * plain[:, jaw])

"""Presets with other speech features."""

from typing import get_args

import pytest

from nerf_ad.presets import PRESETS, as_row
from nerf_ad.speech.encoder import SpeechConfig, SpeechKind, WhisperConfig, speech_config
from nerf_ad.training.config import with_speech
from nerf_ad.training.fast_ad import FastAdTrainConfig
from nerf_ad.training.paper.config import PaperTrainConfig

KINDS: tuple[SpeechKind, ...] = get_args(SpeechKind)


def test_every_member_of_the_union_has_its_kind() -> None:
    union = get_args(SpeechConfig)[0]
    assert {member().kind for member in get_args(union)} == set(KINDS)
    assert [speech_config(kind).kind for kind in KINDS] == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_hears_every_kind(name: str, kind: SpeechKind) -> None:
    preset = PRESETS[name]
    chosen = with_speech(preset, kind)
    assert chosen.speech == speech_config(kind)
    assert type(chosen) is type(preset)
    networks = {"speech", "model", "conditions"}
    assert chosen.model_dump(exclude=networks) == preset.model_dump(exclude=networks)


def test_the_paper_takes_deepspeech_s_logits_as_they_are() -> None:
    paper = PRESETS["paper"]
    assert isinstance(paper, PaperTrainConfig)
    for kind in KINDS:
        audio = with_speech(as_row(paper, "no-audio-face"), kind).model.conditions.audio
        assert audio.normalised == (kind != "deepspeech")


def test_both_that_paint_faces_share_their_stages_whatever_they_hear() -> None:
    fast_ad, small = PRESETS["fast-ad"], PRESETS["paper-small"]
    assert isinstance(fast_ad, FastAdTrainConfig)
    assert isinstance(small, PaperTrainConfig)
    for kind in KINDS:
        chosen = with_speech(fast_ad, kind), with_speech(small, kind)
        assert chosen[0].stage_facts("fusion") == chosen[1].stage_facts("fusion")


def test_what_is_chosen_already_stays() -> None:
    layers = WhisperConfig(layers=("block3", "final"))
    config = type(PRESETS["fast"]).model_validate({**PRESETS["fast"].model_dump(), "speech": layers})
    assert with_speech(config, "whisper") is config
    assert with_speech(config, None) is config

"""What training does to the sound and to the mouth code."""

import pytest
import torch
from tests.models.paper.test_mouth_code import MOUTH, make_mouth

from nerf_ad.models.paper.audio_face import AudioFace
from nerf_ad.training.hearing import (
    HeardConditions,
    HearingConfig,
    features_of,
    heard_badly,
    hearing_parameters,
)

EYES, SHOTS = torch.rand(30, 5), torch.zeros(30, dtype=torch.int64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_noise_has_its_deviation_and_silence_its_share() -> None:
    around = torch.ones(50, 4, 6, 200)
    noisy = heard_badly(around, noise=0.5, dropout=0.0, generator=generator()) - 1
    assert abs(float(noisy.std()) - 0.5) < 0.01
    quiet = heard_badly(around, noise=0.0, dropout=0.3, generator=generator())
    kept = quiet != 0
    assert abs(float(kept.float().mean()) - 0.7) < 0.02
    torch.testing.assert_close(quiet[kept], torch.full((int(kept.sum()),), 1 / 0.7))
    # A channel is silent for all steps and neighbours of a frame, or for none.
    assert bool((kept == kept[:, :1, :1]).all())
    assert heard_badly(around, noise=0.0, dropout=0.0, generator=generator()) is around


def test_undisturbed_frames_are_those_of_rendering() -> None:
    mouth = make_mouth()
    conditions = HeardConditions(HearingConfig(), mouth, EYES, SHOTS, code_noise=0.0)
    frames = torch.tensor([2, 9, 17])
    shown = conditions.show(frames)
    before = mouth.mean.clone(), mouth.variance.clone()
    drawn = conditions.draw(frames, generator())
    assert not torch.equal(mouth.mean, before[0])  # training follows; rendering does not
    mouth.mean.copy_(before[0])
    mouth.variance.copy_(before[1])
    torch.testing.assert_close(shown.mouth, mouth(frames))
    torch.testing.assert_close(shown.eyes, EYES[frames])
    assert drawn.mouth.shape == (3, MOUTH)
    assert drawn.shot is None


def test_the_same_draw_repeats_itself() -> None:
    config = HearingConfig(feature_noise=0.5, feature_dropout=0.3)
    made = []
    for _ in range(2):
        conditions = HeardConditions(config, make_mouth(), EYES, SHOTS, code_noise=0.1)
        made.append(conditions.draw(torch.tensor([1, 5]), generator()).mouth)
    torch.testing.assert_close(made[0], made[1], rtol=0, atol=0)


def test_every_learner_has_one_rate_and_the_frozen_have_none() -> None:
    mouth = make_mouth()
    assert isinstance(mouth.conditions, AudioFace)
    mouth.conditions.freeze_fusion()
    groups = hearing_parameters(mouth, HearingConfig(audio_rate=1e-3, attention_factor=5, reader_rate=2e-3))
    rates, total = dict[int, object](), 0
    for group in groups:
        values = group["params"]
        assert isinstance(values, list)
        total += len(values)
        rates |= {id(value): group["rate"] for value in values}
    assert len(rates) == total
    wanted = {"conditions.audio.net": 1e-3, "conditions.audio.attention": 5e-3, "conditions.reader": 2e-3}
    for name, value in mouth.named_parameters():
        if name.startswith("conditions.fusion"):
            assert id(value) not in rates
        else:
            start = next((part for part in wanted if name.startswith(part)), None)
            assert rates[id(value)] == pytest.approx(wanted.get(start or "", 2e-3))


def test_features_are_gone_through_piece_by_piece() -> None:
    mouth = make_mouth()
    frames = torch.arange(30)
    whole = mouth.feature(mouth.conditions(frames, is_smoothed=True)).detach()
    torch.testing.assert_close(features_of(mouth, frames, batch_size=7), whole)

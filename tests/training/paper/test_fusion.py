"""Stage 2 on faces whose truth is known: a dark mouth that opens as far as the speech says."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.models.paper.au_classifier import AuClassifierConfig, AuClassifiers
from nerf_ad.models.paper.audio import AudioBranch, AudioConfig
from nerf_ad.models.paper.fusion import FaceFusion, FusionConfig
from nerf_ad.training.hearing import heard_badly
from nerf_ad.training.paper.fusion import (
    FusionModule,
    FusionTrainingConfig,
    FusionTruth,
    collect_audio_faces,
    decode_faces,
    fit_fusion,
    fusion_loss,
    fusion_optimiser,
    inner_split,
)
from nerf_ad.training.paper.losses import bce_loss, dice_loss, unit_weights
from nerf_ad.training.stage import StageState

SIZE, NUM_FRAMES = 32, 120
FACE = FusionConfig(
    crop_size=SIZE,
    encoder_widths=(4, 6, 8, 10),
    encoder_hidden=12,
    face_code_dim=8,
    gru_dim=16,
    seed_width=8,
    decoder_widths=(8, 8, 6, 6),
    output_width=4,
    start="scaled",
)
JUDGE = AuClassifierConfig(crop_size=SIZE, block_widths=((4, 6),), hidden=(8,))
CONFIG = FusionTrainingConfig(num_steps=6, batch_size=4, validate_every=2)


def make_truth() -> FusionTruth:
    """The first of three speech features is the mouth's opening; the others are noise."""
    generator = torch.Generator().manual_seed(3)
    time = torch.arange(NUM_FRAMES)
    opening = 0.5 + 0.25 * torch.sin(time / 1.7) + 0.25 * torch.sin(time / 2.9)
    rows = torch.arange(SIZE)[:, None]
    middle = torch.arange(SIZE)[None, :]
    faces = torch.zeros(NUM_FRAMES, 3, SIZE, SIZE, dtype=torch.uint8)
    for frame in range(NUM_FRAMES):
        inside = ((rows - 20).abs() <= 2 + 8 * opening[frame]) & ((middle - 16).abs() < 10)
        faces[frame] = torch.where(inside, 200, 0).to(torch.uint8)
    features = torch.randn(2 * NUM_FRAMES, 3, generator=generator)
    features[:, 0] = torch.repeat_interleave(4 * opening - 2, 2)
    windows = AudioBranch(AudioConfig(), 3).windows(features, 50.0, NUM_FRAMES, 25.0)
    presence = torch.stack([opening > 0.5, opening > 0.8], dim=-1)
    still = faces[:1].float() / 255
    return FusionTruth(faces, still, windows, presence, *inner_split(range(100), 0.2))


def make_state(path: Path, config: FusionTrainingConfig) -> StageState:
    torch.manual_seed(0)
    module = FusionModule(AudioBranch(AudioConfig(), 3), FaceFusion(FACE))
    optimiser = fusion_optimiser(config, module)
    state = StageState(path, module, optimiser, average_decay=0.0, seed=0, fingerprint="x")
    state.resume()
    return state


def make_judge() -> AuClassifiers:
    torch.manual_seed(1)
    judge = AuClassifiers(JUDGE, ("AU25", "AU26"))
    judge.freeze()
    return judge


def fit(state: StageState, config: FusionTrainingConfig, judge: AuClassifiers | None = None) -> list[Event]:
    module = state.module
    assert isinstance(module, FusionModule)
    return list(fit_fusion(config, module, state, make_truth(), judge))


def parts_of(state: StageState):
    assert isinstance(state.module, FusionModule)
    return state.module.parts


def test_inner_split_takes_the_last_frames() -> None:
    assert inner_split(range(10, 110), 0.1) == (range(10, 100), range(100, 110))
    assert inner_split(range(2), 0.1) == (range(1), range(1, 2))


def test_audio_faces_are_what_the_mask_leaves() -> None:
    rng = np.random.default_rng(0)
    crops = rng.random((5, 3, SIZE, SIZE)).astype(np.float32)
    units = torch.from_numpy(rng.random((5, 2)).astype(np.float32))

    def mask(batch: torch.Tensor, units: torch.Tensor) -> torch.Tensor:
        return units[:, :1, None, None].expand(-1, -1, SIZE, SIZE)

    events = collect_audio_faces(lambda frames: torch.from_numpy(crops[frames]), mask, units, batch_size=2)
    told = []
    while True:
        try:
            told.append(next(events))
        except StopIteration as stop:
            faces = stop.value
            break
    assert [event.done for event in told if isinstance(event, Progress)] == [2, 4, 5]
    wanted = (1 - units[:, 0].numpy())[:, None, None, None] * crops
    np.testing.assert_allclose(faces.numpy() / 255, wanted, atol=0.5 / 255 + 1e-6)


def test_loss_is_the_sum_of_the_papers_parts(tmp_path: Path) -> None:
    config = FusionTrainingConfig(batch_size=4, au_weight=0.3)
    truth, judge = make_truth(), make_judge()
    rates = truth.presence[truth.train.start : truth.train.stop].float().mean(dim=0)
    weights = unit_weights(rates)
    state = make_state(tmp_path / "fusion.safetensors", config)
    held = state.torch.get_state()
    losses = fusion_loss(config, parts_of(state), truth, judge, weights, state)
    state.torch.set_state(held)
    chosen = torch.randint(0, 80, (4,), generator=state.torch)
    around = parts_of(state).audio.around(truth.windows, chosen, smooth=True)
    decoded = parts_of(state)(parts_of(state).face.encoder(truth.still), around, None)
    l_rec = (decoded - truth.faces[chosen] / 255).abs().mean()
    probability, label = judge(decoded), truth.presence[chosen]
    units = bce_loss(probability, label, weights) + dice_loss(probability, label, weights)
    torch.testing.assert_close(losses.total, l_rec + 0.3 * units)
    torch.testing.assert_close(losses.reconstruction, l_rec)


def test_without_classifiers_the_loss_is_l_rec(tmp_path: Path) -> None:
    config = FusionTrainingConfig(batch_size=4)
    state = make_state(tmp_path / "fusion.safetensors", config)
    losses = fusion_loss(config, parts_of(state), make_truth(), None, torch.ones(2), state)
    assert torch.equal(losses.total, losses.reconstruction)


def test_classifiers_stay_as_they_are_and_still_teach(tmp_path: Path) -> None:
    judge = make_judge()
    before = {name: value.clone() for name, value in judge.state_dict().items()}
    states = {}
    for weight in (0.0, 1.0):
        config = FusionTrainingConfig.model_validate({**CONFIG.model_dump(), "au_weight": weight})
        states[weight] = make_state(tmp_path / f"{weight}.safetensors", config)
        fit(states[weight], config, judge)
    assert all(torch.equal(value, before[name]) for name, value in judge.state_dict().items())
    with_units, without = (parts_of(states[weight]).state_dict() for weight in (1.0, 0.0))
    assert any(not torch.equal(with_units[name], without[name]) for name in with_units)


def test_every_part_is_trained(tmp_path: Path) -> None:
    state = make_state(tmp_path / "fusion.safetensors", CONFIG)
    before = {name: value.detach().clone() for name, value in parts_of(state).named_parameters()}
    fit(state, CONFIG)
    still = [name for name, value in parts_of(state).named_parameters() if torch.equal(value, before[name])]
    assert still == ["face.gru.weight_hh_l0"], "the GRU's state is zero: only its memory cannot learn"


def test_attention_has_its_own_rate(tmp_path: Path) -> None:
    state = make_state(tmp_path / "fusion.safetensors", CONFIG)
    fit(state, CONFIG)
    others, attention = state.optimiser.param_groups
    assert attention["lr"] == pytest.approx(5 * others["lr"])
    assert len(attention["params"]) == len(list(parts_of(state).audio.attention.parameters()))


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_resuming_equals_never_stopping(tmp_path: Path, noise: float) -> None:
    config = FusionTrainingConfig.model_validate(
        {**CONFIG.model_dump(), "feature_noise": noise, "feature_dropout": noise}
    )
    judge = make_judge()
    whole = make_state(tmp_path / "whole.safetensors", config)
    fit(whole, config, judge)

    first = make_state(tmp_path / "parts.safetensors", config)
    assert isinstance(first.module, FusionModule)
    events = fit_fusion(config, first.module, first, make_truth(), judge)
    for event in events:
        if isinstance(event, Metric) and event.name == "fusion validation" and event.step == 4:
            break
    events.close()  # type: ignore[attr-defined]
    second = make_state(tmp_path / "parts.safetensors", config)
    assert second.step == 4
    fit(second, config, judge)
    for name, value in whole.module.state_dict().items():
        assert torch.equal(second.module.state_dict()[name], value), name


def test_ends_with_the_parameters_that_did_best(tmp_path: Path) -> None:
    """And stops once the validation loss has not fallen for ``patience`` looks."""
    config = FusionTrainingConfig(num_steps=500, batch_size=2, rate=0.05, validate_every=1, patience=3)
    state = make_state(tmp_path / "fusion.safetensors", config)
    losses = {
        event.step: event.value
        for event in fit(state, config)
        if isinstance(event, Metric) and event.name == "fusion validation"
    }
    best = min(losses, key=lambda step: losses[step])
    assert state.step == best + 3
    assert state.step < 500
    truth = make_truth()
    made = decode_faces(parts_of(state), truth, truth.validation)
    target = truth.faces[truth.validation.start : truth.validation.stop].float() / 255
    assert float((made - target).abs().mean()) == pytest.approx(losses[best], rel=1e-5)
    assert fit(state, config) == []
    assert state.step == best + 3, "a finished stage stays finished"


def test_learns_to_open_the_mouth_from_speech(tmp_path: Path) -> None:
    """Frames that were never seen come out nearer than the mean face, from the sound alone."""
    config = FusionTrainingConfig(num_steps=320, batch_size=12, rate=4e-3, validate_every=40)
    state = make_state(tmp_path / "fusion.safetensors", config)
    fit(state, config)
    truth = make_truth()
    made = decode_faces(parts_of(state), truth, range(100, 120))
    target = truth.faces[100:].float() / 255
    mean = truth.faces[:100].float().mean(dim=0) / 255
    assert float((made - target).abs().mean()) < 0.75 * float((mean - target).abs().mean())


def test_speech_that_is_not_finite_does_not_break_the_events(tmp_path: Path) -> None:
    state = make_state(tmp_path / "fusion.safetensors", CONFIG)
    truth = make_truth()
    broken = truth._replace(windows=torch.full_like(truth.windows, torch.nan))
    assert isinstance(state.module, FusionModule)
    assert "not finite" in str(next(fit_fusion(CONFIG, state.module, state, broken, None)))


def test_channels_are_silenced_and_the_rest_made_louder() -> None:
    generator = torch.Generator().manual_seed(0)
    heard = heard_badly(torch.ones(64, 2, 16, 50), noise=0.0, dropout=0.25, generator=generator)
    assert sorted({round(value, 4) for value in heard.unique().tolist()}) == [0.0, 1.3333]
    assert float(heard.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(heard, heard[:, :1, :1].expand(-1, 2, 16, -1)), "for the whole surroundings of a frame"


def test_faces_are_brought_to_rest_after_the_mask() -> None:
    """A crop shifted by two pixels, mask and all, gives the same audio face."""
    torch.manual_seed(0)
    face = torch.zeros(1, 3, SIZE, SIZE)
    face[:, :, 8:20, 8:20] = torch.rand(1, 3, 12, 12)
    crops = torch.cat([face, torch.roll(face, 2, dims=3)])
    masks = (crops.mean(dim=1, keepdim=True) < 0.3).float()
    moves = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 0.0, 4 / SIZE], [0.0, 1.0, 0.0]]])
    events = collect_audio_faces(
        lambda frames: crops[torch.from_numpy(frames)], lambda *_: masks, torch.zeros(2, 5), moves=moves
    )
    while True:
        try:
            next(events)
        except StopIteration as stop:
            faces = stop.value
            break
    assert int((faces[0].int() - faces[1].int()).abs().max()) <= 1
    assert int(faces.max()) > 100

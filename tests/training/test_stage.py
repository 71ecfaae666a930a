"""A stage's state: steps that are not finite, and one process for an avatar."""

from pathlib import Path

import pytest
import torch
from torch import nn

from nerf_ad.core.errors import UsageError
from nerf_ad.models.speech_code import SpeechCode, SpeechCodeConfig
from nerf_ad.training.run_log import open_run
from nerf_ad.training.speech import SpeechTrainingConfig, fit_speech
from nerf_ad.training.stage import StageState

CONFIG = SpeechTrainingConfig(num_steps=6, batch_size=4)


def make_state(path: Path, module: nn.Module) -> StageState:
    optimiser = torch.optim.AdamW(module.parameters(), 1e-3)
    return StageState(path, module, optimiser, average_decay=0.9, seed=0, fingerprint="x")


def test_a_step_that_is_not_finite_is_skipped_and_told(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    state = make_state(tmp_path / "head.safetensors", module)
    before = module.weight.detach().clone()
    assert not state.apply(module(torch.full((1, 2), torch.nan)).sum())
    assert "step 1 of head" in state.skipped().message
    assert torch.equal(module.weight, before)
    assert state.apply(module(torch.ones(1, 2)).sum())
    assert not torch.equal(module.weight, before)


def test_features_that_are_not_finite_do_not_break_the_events(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SpeechCode(SpeechCodeConfig(hidden_dim=8, num_heads=2, num_members=1), channels=3, out_dim=2)
    state = make_state(tmp_path / "speech.safetensors", model)
    windows = torch.zeros(5, 17, dtype=torch.int64)
    events = fit_speech(CONFIG, model, state, torch.full((1, 3), torch.nan), windows, torch.zeros(5, 2))
    assert "not finite" in str(next(events))


def test_dropout_is_resumed_too(tmp_path: Path) -> None:
    """Stopped after three steps and resumed equals never stopped, bit for bit."""
    torch.manual_seed(0)
    features, codes = torch.randn(40, 3), torch.randn(20, 2)
    windows = torch.arange(20)[:, None] + torch.arange(17)

    def go_on(path: Path, num_steps: int) -> SpeechCode:
        torch.manual_seed(1)
        model = SpeechCode(SpeechCodeConfig(hidden_dim=8, num_heads=2, num_members=1), channels=3, out_dim=2)
        state = make_state(path, model)
        state.resume()
        for group in state.optimiser.param_groups:
            group["lr"] = 1e-3
        while state.step < num_steps:
            step = state.step + 1
            one = SpeechTrainingConfig(num_steps=step, batch_size=4, rate=1e-3 * step)
            state.finished = False
            list(fit_speech(one, model, state, features, windows, codes))
        return model

    whole = go_on(tmp_path / "whole.safetensors", 6)
    go_on(tmp_path / "parts.safetensors", 3)
    parts = go_on(tmp_path / "parts.safetensors", 6)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], tensor), name


def test_members_side_by_side_learn_what_they_learn_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    features, codes = torch.randn(40, 3), torch.randn(20, 2)
    windows = torch.arange(20)[:, None] + torch.arange(17)
    learnt = []
    for num_threads in (1, 2):
        torch.manual_seed(1)
        model = SpeechCode(SpeechCodeConfig(hidden_dim=8, num_heads=2, num_members=3), channels=3, out_dim=2)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        monkeypatch.setattr(torch, "get_num_threads", lambda num_threads=num_threads: num_threads)
        state = make_state(tmp_path / f"{num_threads}.safetensors", model)
        list(fit_speech(CONFIG, model, state, features, windows, codes))
        monkeypatch.undo()
        assert any(not torch.equal(start[name], value) for name, value in model.state_dict().items())
        learnt.append(model.state_dict())
    for name, value in learnt[0].items():
        assert torch.equal(learnt[1][name], value), name


def test_two_processes_do_not_train_one_avatar(tmp_path: Path) -> None:
    root = tmp_path / "a.avatar"
    with (
        open_run(root, "x", CONFIG),
        pytest.raises(UsageError, match="another process"),
        open_run(root, "x", CONFIG),
    ):
        pass
    with open_run(root, "x", CONFIG):
        pass


def test_a_training_that_could_not_write_its_first_file_may_begin_again(tmp_path: Path) -> None:
    (tmp_path / "a.avatar" / "runs" / "train").mkdir(parents=True)
    with open_run(tmp_path / "a.avatar", "x", CONFIG) as log:
        assert (log.folder / "environment.json").is_file()

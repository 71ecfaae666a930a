"""Stage 2: speech to mouth code."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.core.workers import single_threads
from nerf_ad.models.speech_code import SpeechCode, SpeechCodeMember
from nerf_ad.training.stage import StageState


class SpeechTrainingConfig(Config):
    """Fitting the speech branch."""

    num_steps: int = Field(default=300, ge=1)
    """Optimiser steps; more only learns the clip by heart (docs/decisions/0002)."""
    batch_size: int = Field(default=128, ge=1)
    """Windows per step."""
    rate: float = Field(default=2e-3, gt=0)
    """AdamW's rate, falling linearly to 0."""
    weight_decay: float = Field(default=0.3, ge=0)
    """AdamW's weight decay."""
    noise: float = Field(default=0.3, ge=0)
    """Deviation of the noise added to normalised features."""


def fit_speech(
    config: SpeechTrainingConfig,
    model: SpeechCode,
    state: StageState,
    features: Float[Tensor, "steps channels"],
    windows: Int[Tensor, "frames window"],
    codes: Float[Tensor, "frames units"],
    *,
    stage: str = "speech",
) -> Iterator[Event]:
    """Fit every member of ``model`` to the measured mouth codes of the training frames.

    Args:
        config: the numbers.
        model: its normalisation is in place.
        state: holds ``model`` and an AdamW optimiser.
        features: raw features of the clip; windows are cut out step by step, because all of them together
            are ``window`` times as large.
        windows: steps around each training frame.
        codes: mouth codes of the same frames.
        stage: name for the progress bar.
    """
    ensemble = _Ensemble(model.each, torch.get_num_threads() if codes.device.type == "cpu" else 1)
    model.train()
    try:
        while not state.finished:
            share = state.step / config.num_steps
            for group in state.optimiser.param_groups:
                group["lr"] = config.rate * (1 - share) * state.rate_factor
            chosen = torch.randint(0, len(codes), (config.batch_size,), generator=state.torch).to(
                codes.device
            )
            given = model.normalise(features[windows[chosen]])
            given = given + config.noise * torch.randn(given.shape, generator=state.torch).to(given.device)
            # What dropout draws from is not in the resume file: tie it to what is.
            seeds = torch.randint(2**31, (len(model.members),), generator=state.torch).tolist()
            loss = ensemble.look(_Batch(given, codes[chosen]), seeds)
            is_good = state.apply(loss, has_gradients=True)
            if state.step >= config.num_steps:
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % 10 == 0 or state.finished:
                value = float(loss) / len(model.members)
                yield Metric(name="speech loss", step=state.step, value=value, seconds=state.seconds)
                yield Progress(stage=stage, done=state.step, total=config.num_steps, note=f"loss {value:.3f}")
            if state.save_is_due():
                state.save()
    finally:
        ensemble.close()
        state.save()
    model.eval()


class _Batch(NamedTuple):
    """What a step shows to every member."""

    given: Float[Tensor, "batch steps channels"]
    """Windows of normalised features with noise."""
    wanted: Float[Tensor, "batch units"]
    """Their mouth codes."""


class _Ensemble:
    """Members that look at the same batch, each in a thread with one of torch's where there are several.

    They share nothing, and their operations are too short to be shared by threads (decision 0022).
    """

    def __init__(self, members: list[SpeechCodeMember], num_threads: int) -> None:
        self._members = members
        several = min(num_threads, len(members))
        self._pool = ThreadPoolExecutor(several) if several > 1 else None

    def look(self, batch: _Batch, seeds: list[int]) -> Float[Tensor, ""]:
        """The loss of all, with all gradients in place; ``seeds`` are their dropouts'."""
        tasks = list(zip(self._members, seeds, strict=True))
        if self._pool is None:
            losses = [_learn(batch, *task) for task in tasks]
        else:
            with single_threads():
                losses = list(self._pool.map(lambda task: _learn(batch, *task), tasks))
        return torch.stack(losses).sum()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _learn(batch: _Batch, member: SpeechCodeMember, seed: int) -> Float[Tensor, ""]:
    """A member's loss; its gradients are in place."""
    member.seed(seed)
    learnt = list(member.parameters())
    loss = F.mse_loss(member(batch.given), batch.wanted)
    for value, gradient in zip(learnt, torch.autograd.grad(loss, learnt), strict=True):
        value.grad = gradient
    return loss.detach()

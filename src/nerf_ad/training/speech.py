"""Stage 2: speech to mouth code."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.models.speech_code import SpeechCode
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
    device = codes.device
    model.train()
    try:
        while not state.finished:
            share = state.step / config.num_steps
            for group in state.optimiser.param_groups:
                group["lr"] = config.rate * (1 - share) * state.rate_factor
            chosen = torch.randint(0, len(codes), (config.batch_size,), generator=state.torch).to(device)
            batch = model.normalise(features[windows[chosen]])
            batch = batch + config.noise * torch.randn(batch.shape, generator=state.torch).to(device)
            # Dropout draws from the global generator, which is not in the resume file: tie it to ours.
            torch.manual_seed(int(torch.randint(2**31, (), generator=state.torch)))
            loss = torch.stack([F.mse_loss(member(batch), codes[chosen]) for member in model.members]).sum()
            is_good = state.apply(loss)
            if state.step >= config.num_steps:
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % 10 == 0 or state.finished:
                value = float(loss.detach()) / len(model.members)
                yield Metric(name="speech loss", step=state.step, value=value, seconds=state.seconds)
                yield Progress(stage=stage, done=state.step, total=config.num_steps, note=f"loss {value:.3f}")
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    model.eval()

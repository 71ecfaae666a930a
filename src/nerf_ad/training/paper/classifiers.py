"""Before stage 2: networks that tell which action units an audio face shows; frozen afterwards.

The paper says that a classifier was pre-trained, not on what. Here it sees (1-A)·c of the training frames,
the pictures that it will judge, and learns the presence labels of the dataset. The faces that fusion makes
are softer than recorded ones, so some of the pictures it learns from are blurred.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress, Warned
from nerf_ad.dataset.dataset import ActionUnits
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.models.paper.au_classifier import AuClassifiers
from nerf_ad.training.paper.losses import SMALLEST_RATE
from nerf_ad.training.schedule import decayed
from nerf_ad.training.stage import StageState


class ClassifierTrainingConfig(Config):
    """Fitting the action unit classifiers; the paper gives no numbers, all are ours."""

    num_steps: int = Field(default=2000, ge=1)
    """Optimiser steps (ours)."""
    batch_size: int = Field(default=32, ge=1)
    """Faces per step (ours)."""
    rate: float = Field(default=3e-4, gt=0)
    """Adam's rate (ours)."""
    final_share: float = Field(default=0.05, gt=0, le=1)
    """What is left of the rate at the end (ours)."""
    balance: float = Field(default=0.5, ge=0, le=1)
    """How far rare labels are weighed up: 0 not at all, 1 until both labels count alike (ours)."""
    blurred_share: float = Field(default=0.3, ge=0, le=1)
    """Part of the faces that are blurred, as decoded faces are (ours)."""
    brightness: float = Field(default=0.1, ge=0, lt=1)
    """Largest random change of brightness (ours)."""
    least_frames: int = Field(default=8, ge=1)
    """A unit present, or absent, in fewer training frames is left out (ours)."""


def learnable_units(
    units: ActionUnits, train: range, config: ClassifierTrainingConfig
) -> tuple[tuple[str, ...], list[Warned]]:
    """Speech units that the person both shows and does not show in training, and a word on the others."""
    kept, warnings = [], []
    for unit in SPEECH_UNITS:
        present = int(unit_presence(units, (unit,))[train.start : train.stop].sum())
        if present < config.least_frames:
            what = f"{unit} occurs in {present}"
        elif len(train) - present < config.least_frames:
            what = f"{unit} is absent in {len(train) - present}"
        else:
            kept.append(unit)
            continue
        warnings.append(
            Warned(message=f"{what} of {len(train)} training frames and is left out of the losses")
        )
    return tuple(kept), warnings


def unit_presence(units: ActionUnits, names: tuple[str, ...]) -> Bool[Tensor, "frames units"]:
    """Presence labels of some units, in this order."""
    for name in names:
        units.channel(name)  # says so where a unit is missing
    return torch.from_numpy(units.presence[:, [units.names.index(name) for name in names]].astype(np.bool_))


def label_weights(
    presence: Bool[Tensor, "frames units"], balance: float
) -> tuple[Float[Tensor, "units"], Float[Tensor, "units"]]:
    """Weights of a unit's presence and of its absence, whose mean over the frames is 1.

    In proportion to ``share ** -balance`` of each label; shares count as at least ``SMALLEST_RATE``.
    """
    rate = presence.float().mean(dim=0)
    shown, hidden = (share.clamp_min(SMALLEST_RATE) ** -balance for share in (rate, 1 - rate))
    mean = rate * shown + (1 - rate) * hidden
    return shown / mean, hidden / mean


def fit_classifiers(
    config: ClassifierTrainingConfig,
    model: AuClassifiers,
    state: StageState,
    faces: UInt8[Tensor, "frames 3 size size"],
    presence: Bool[Tensor, "frames units"],
    *,
    train: range,
    validation: range,
) -> Iterator[Event]:
    """Fit every classifier; ends with them frozen.

    Args:
        config: the numbers.
        model: classifiers of the units that ``presence`` has columns for.
        state: holds ``model`` and its Adam optimiser.
        faces: audio faces of all frames.
        presence: labels of all frames.
        train: frames to learn from.
        validation: frames whose accuracy is told.
    """
    device = next(model.parameters()).device
    shown, hidden = (w.to(device) for w in label_weights(presence[train.start : train.stop], config.balance))
    model.train()
    try:
        while not state.finished:
            share = state.step / config.num_steps
            for group in state.optimiser.param_groups:
                group["lr"] = (
                    decayed(config.rate, config.rate * config.final_share, share) * state.rate_factor
                )
            chosen = torch.randint(train.start, train.stop, (config.batch_size,), generator=state.torch)
            batch = varied(faces[chosen].to(device).float() / 255, config, state.torch)
            label = presence[chosen].to(device)
            # Dropout draws from the global generator, which is not in the resume file: tie it to ours.
            torch.manual_seed(int(torch.randint(2**31, (), generator=state.torch)))
            loss = F.binary_cross_entropy_with_logits(
                model.logits(batch), label.float(), weight=torch.where(label, shown, hidden)
            )
            is_good = state.apply(loss)
            if state.step >= config.num_steps:
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % 10 == 0 or state.finished:
                value = float(loss.detach())
                yield Metric(name="classifier loss", step=state.step, value=value, seconds=state.seconds)
                yield Progress(
                    stage="action units", done=state.step, total=config.num_steps, note=f"loss {value:.3f}"
                )
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    model.freeze()
    inside = slice(validation.start, validation.stop)
    right = unit_accuracy(predicted_presence(model, faces[inside]), presence[inside])
    for unit, value in zip(model.units, right.tolist(), strict=True):
        yield Metric(name=f"{unit} classifier accuracy", step=state.step, value=value, seconds=state.seconds)


@torch.no_grad()
def predicted_presence(
    model: AuClassifiers,
    faces: UInt8[Tensor, "frames 3 size size"] | Float[Tensor, "frames 3 size size"],
    *,
    batch_size: int = 64,
) -> Bool[Tensor, "frames units"]:
    """What the classifiers say of audio faces, in [0, 1] or in 256 steps."""
    device = next(model.parameters()).device
    scale = 1.0 if faces.is_floating_point() else 255.0
    parts = [model(part.to(device).float() / scale) > 0.5 for part in torch.split(faces, batch_size)]
    return torch.cat(parts).cpu() if parts else torch.zeros(0, len(model.units), dtype=torch.bool)


def unit_accuracy(
    said: Bool[Tensor, "frames units"], true: Bool[Tensor, "frames units"]
) -> Float[Tensor, "units"]:
    """Part of the frames in which each unit's label is right."""
    return (said == true).float().mean(dim=0)


def varied(
    faces: Float[Tensor, "batch 3 size size"], config: ClassifierTrainingConfig, generator: torch.Generator
) -> Float[Tensor, "batch 3 size size"]:
    """Mirrored, blurred, brighter or darker at random: what does not change an action unit."""
    is_mirrored, is_blurred, brightness = torch.rand(3, len(faces), 1, 1, 1, generator=generator).to(
        faces.device
    )
    faces = torch.where(is_mirrored < 0.5, faces.flip(-1), faces)
    soft = F.avg_pool2d(faces, 3, stride=1, padding=1, count_include_pad=False)
    faces = torch.where(is_blurred < config.blurred_share, soft, faces)
    return faces * (1 + config.brightness * (2 * brightness - 1))

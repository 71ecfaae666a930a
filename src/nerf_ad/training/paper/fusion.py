"""Stage 2 of NeRF-AD: speech paints the audio face (paper.md sections 8 and 9).

From the audio face of one neutral frame and the speech around frame t, E_a, GRU and D paint the audio face of
frame t: ``L = L_rec + au_weight (L_bce + L_dice)``. The stage is described in the paper and absent from its
code, so its numbers are ours except where a source is named.
"""

from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.models.paper.au_classifier import AuClassifiers
from nerf_ad.models.paper.audio import AudioBranch
from nerf_ad.models.paper.disentangle import split_face
from nerf_ad.models.paper.fusion import EncodedFace, FaceFusion, with_pose
from nerf_ad.models.paper.resting_face import at_rest
from nerf_ad.training.hearing import heard_badly
from nerf_ad.training.paper.losses import bce_loss, dice_loss, reconstruction_loss, unit_weights
from nerf_ad.training.schedule import Budget, decayed
from nerf_ad.training.stage import StageState

_NOT_YET = 1e9
"""Stands for a loss that was never measured; resume files hold no infinity."""

CropReader = Callable[[Int[np.ndarray, "batch"]], Float[Tensor, "batch 3 size size"]]
"""Face crops in [0, 1] by frame, such as ``FaceCrops.batch``."""
MaskMaker = Callable[
    [Float[Tensor, "batch 3 size size"], Float[Tensor, "batch units"]], Float[Tensor, "batch 1 size size"]
]
"""The mask A from crops and their own action units, such as ``AuAttention.mask``."""


class FusionTrainingConfig(Config):
    """Fitting E_a, GRU, D, AudioNet and AudioAttNet."""

    num_steps: int = Field(default=400_000, ge=1)
    """Optimiser steps at most (NeRF-AD's code); the validation loss ends it earlier."""
    batch_size: int = Field(default=16, ge=1)
    """Frames per step (ours; one in NeRF-AD's other stages)."""
    rate: float = Field(default=2e-4, gt=0)
    """Adam's rate (ours)."""
    final_share: float = Field(default=0.1, gt=0, le=1)
    """What is left of the rate after ``num_steps`` (ours, after stage 3's decay)."""
    smallest_slope: float = Field(default=1e-8, gt=0)
    """Adam's epsilon (PyTorch's). Where only changes of a face are painted, L_rec's slopes are smaller than
    this and hardly move anything; with a much smaller one, steps are as large as the rate says (ours)."""
    attention_factor: float = Field(default=5.0, gt=0)
    """AudioAttNet's rate over the others' (AD-NeRF's code)."""
    smooth: bool = True
    """Use AudioAttNet, all the time (ours; the late start of AD-NeRF's code belongs to stage 3)."""
    au_weight: float = Field(default=0.002, ge=0)
    """Weight of L_bce + L_dice (NeRF-3DTalker's code; NeRF-AD's own is unknown). 0: L_rec alone, a row of
    the ablations."""
    dice_epsilon: float = Field(default=1.0, gt=0)
    """Epsilon of L_dice (JAA-Net's code)."""
    feature_noise: float = Field(default=0.0, ge=0)
    """Deviation of the noise added to speech features; against learning a short clip by heart (ours)."""
    feature_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Part of the feature channels that a step does not hear, for the same reason (ours)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay (ours)."""
    steadies_mask: bool = False
    """Cut the audio faces out of all frames with one mask, the training frames' mean (ours, an extension:
    ``training.paper.steady_mask``; the paper multiplies every crop by its own mask)."""
    validation_share: float = Field(default=1 / 11, gt=0, lt=0.5)
    """The last part of the training frames, not trained on, whose L_rec ends the stage (ours)."""
    validate_every: int = Field(default=500, ge=1)
    """Steps between two looks at the validation frames (ours)."""
    patience: int = Field(default=20, ge=1)
    """Looks without improvement after which the stage ends (ours)."""


class FusionTruth(NamedTuple):
    """What the stage learns from."""

    faces: UInt8[Tensor, "frames 3 size size"]
    """(1-A_t)·c_t of every frame, the target of L_rec."""
    still: Float[Tensor, "1 3 size size"]
    """(1-A)·c of the neutral frame, what is fed to E_a for every frame."""
    windows: Float[Tensor, "frames window channels"]
    """Speech around every frame, from ``AudioBranch.windows``."""
    presence: Bool[Tensor, "frames units"]
    """Labels of the units that the classifiers know."""
    train: range
    """Frames that are trained on."""
    validation: range
    """Frames whose L_rec ends the stage."""
    poses: Float[Tensor, "frames 4 4"] | None = None
    """Camera-to-world of every frame, where the GRU sees the pose."""


class Best(nn.Module):
    """The parameters that did best on the validation frames, kept among the resume file's tensors."""

    loss: Tensor
    step: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.register_buffer("loss", torch.tensor(_NOT_YET, dtype=torch.float64))
        self.register_buffer("step", torch.tensor(0))
        for name, value in module.named_parameters():
            self.register_buffer(name.replace(".", "/"), value.detach().clone())

    @torch.no_grad()
    def look(self, module: nn.Module, loss: float, step: int) -> bool:
        """Keep the parameters if they are the best so far."""
        if loss >= float(self.loss):
            return False
        self.loss.fill_(loss)
        self.step.fill_(step)
        for name, value in module.named_parameters():
            self.get_buffer(name.replace(".", "/")).copy_(value)
        return True

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Put the best parameters back, if any were measured."""
        if float(self.loss) < _NOT_YET:
            for name, value in module.named_parameters():
                value.copy_(self.get_buffer(name.replace(".", "/")))


class FusionParts(nn.Module):
    """AudioNet and AudioAttNet with E_a, GRU and D: speech to audio face."""

    def __init__(self, audio: AudioBranch, face: FaceFusion) -> None:
        super().__init__()
        self.audio = audio
        self.face = face

    def forward(
        self,
        encoded: EncodedFace,
        around: Float[Tensor, "batch neighbours window channels"],
        poses: Float[Tensor, "batch 4 4"] | None,
    ) -> Float[Tensor, "batch 3 size size"]:
        """Fused audio faces.

        Args:
            encoded: the still face.
            around: what is heard, from ``AudioBranch.around``.
            poses: camera-to-world, where the GRU sees the pose.
        """
        return self.face.fuse(encoded, with_pose(self.audio.codes(around), poses))


class FusionModule(nn.Module):
    """What the stage trains, and the best of it so far."""

    def __init__(self, audio: AudioBranch, face: FaceFusion) -> None:
        super().__init__()
        self.parts = FusionParts(audio, face)
        self.best = Best(self.parts)


def fusion_optimiser(config: FusionTrainingConfig, module: FusionModule) -> torch.optim.Optimizer:
    """AdamW with AudioAttNet in a group of its own; without weight decay it is Adam."""
    attention = list(module.parts.audio.attention.parameters())
    own = {id(value) for value in attention}
    others = [value for value in module.parts.parameters() if id(value) not in own]
    return torch.optim.AdamW(
        [
            {"params": others, "lr": config.rate},
            {"params": attention, "lr": config.rate * config.attention_factor},
        ],
        weight_decay=config.weight_decay,
        eps=config.smallest_slope,
    )


def inner_split(train: range, share: float) -> tuple[range, range]:
    """Frames to train on and, behind them, the frames that say when to stop; at least one of each."""
    count = min(max(1, round(len(train) * share)), len(train) - 1)
    return range(train.start, train.stop - count), range(train.stop - count, train.stop)


def collect_audio_faces(
    crops: CropReader,
    mask: MaskMaker,
    units: Float[Tensor, "frames units"],
    *,
    moves: Float[Tensor, "frames 2 3"] | None = None,
    batch_size: int = 16,
) -> Generator[Event, None, UInt8[Tensor, "frames 3 size size"]]:
    """(1-A_t)·c_t of every frame, with its own action units; made once, because the mask stays as it is.

    Args:
        crops: reads face crops.
        mask: makes A; on the device of ``units``.
        units: action units of every frame.
        moves: brings each frame's face to rest (``resting_face.similarities``); None: as it was cut out.
        batch_size: crops at a time.

    Yields:
        Progress.
    """
    parts = []
    for start in range(0, len(units), batch_size):
        frames = np.arange(start, min(start + batch_size, len(units)))
        batch = crops(frames).to(units.device)
        with torch.no_grad():
            audio = split_face(batch, mask(batch, units[start : start + len(frames)])).audio
            if moves is not None:
                audio = at_rest(audio, moves[start : start + len(frames)].to(audio.device))
        parts.append((audio * 255).round().to(torch.uint8).cpu())
        yield Progress(stage="audio faces", done=start + len(frames), total=len(units))
    return torch.cat(parts)


def fit_fusion(
    config: FusionTrainingConfig,
    module: FusionModule,
    state: StageState,
    truth: FusionTruth,
    classifiers: AuClassifiers | None,
    *,
    seconds: float | None = None,
) -> Iterator[Event]:
    """Fit the audio face; ends with the parameters in place that did best on the validation frames.

    Args:
        config: the numbers.
        module: what is trained.
        state: holds ``module`` and ``fusion_optimiser``'s optimiser.
        truth: what to learn.
        classifiers: frozen; None, or without units: L_rec alone.
        seconds: time budget of the stage.
    """
    budget = Budget(num_steps=config.num_steps, seconds=seconds)
    if not budget.is_spent(state.step, state.seconds) and not _is_hopeless(config, module, state.step):
        state.reopen()
    rates = (config.rate, config.rate * config.attention_factor)
    weights = unit_weights(truth.presence[truth.train.start : truth.train.stop].float().mean(dim=0))
    weights = weights.to(truth.still.device)
    try:
        while not state.finished:
            share = budget.share(state.step, state.seconds)
            for group, rate in zip(state.optimiser.param_groups, rates, strict=True):
                group["lr"] = decayed(rate, rate * config.final_share, share) * state.rate_factor
            losses = fusion_loss(config, module.parts, truth, classifiers, weights, state)
            is_good = state.apply(losses.total)
            if is_good and state.step % config.validate_every == 0:
                yield from _validate(config, module, state, truth)
            if budget.is_spent(state.step, state.seconds) or _is_hopeless(config, module, state.step):
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % 10 == 0 or state.finished:
                yield from _report(state, losses, budget, share)
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    module.best.restore(module.parts)


class FusionLosses(NamedTuple):
    """The loss of one step and its parts."""

    total: Float[Tensor, ""]
    reconstruction: Float[Tensor, ""]
    """L_rec."""
    units: Float[Tensor, ""]
    """L_bce + L_dice, unweighted; 0 where no classifier is given."""


def fusion_loss(
    config: FusionTrainingConfig,
    parts: FusionParts,
    truth: FusionTruth,
    classifiers: AuClassifiers | None,
    weights: Float[Tensor, "units"],
    state: StageState,
) -> FusionLosses:
    """The loss of one batch of training frames."""
    device = truth.still.device
    chosen = torch.randint(truth.train.start, truth.train.stop, (config.batch_size,), generator=state.torch)
    around = parts.audio.around(truth.windows, chosen.to(device), smooth=config.smooth)
    around = heard_badly(
        around, noise=config.feature_noise, dropout=config.feature_dropout, generator=state.torch
    )
    poses = None if truth.poses is None else truth.poses[chosen.to(device)]
    decoded = parts(parts.face.encoder(truth.still), around, poses)
    reconstruction = reconstruction_loss(decoded, truth.faces[chosen].to(device).float() / 255)
    units = torch.zeros((), device=device)
    if classifiers is not None and classifiers.units and config.au_weight > 0:
        probability, label = classifiers(decoded), truth.presence[chosen].to(device)
        units = bce_loss(probability, label, weights) + dice_loss(
            probability, label, weights, epsilon=config.dice_epsilon
        )
    return FusionLosses(reconstruction + config.au_weight * units, reconstruction, units)


@torch.no_grad()
def decode_faces(
    parts: FusionParts,
    truth: FusionTruth,
    frames: range,
    *,
    smooth: bool = True,
    batch_size: int = 32,
) -> Float[Tensor, "frames 3 size size"]:
    """Fused audio faces of some frames, from their sound alone, in [0, 1]."""
    numbers = torch.arange(frames.start, frames.stop, device=truth.still.device)
    encoded = parts.face.encoder(truth.still)
    made = []
    for part in torch.split(numbers, batch_size):
        around = parts.audio.around(truth.windows, part, smooth=smooth)
        poses = None if truth.poses is None else truth.poses[part]
        made.append(parts(encoded, around, poses).clamp(0, 1).cpu())
    return torch.cat(made)


def _validate(
    config: FusionTrainingConfig, module: FusionModule, state: StageState, truth: FusionTruth
) -> Iterator[Event]:
    inside = slice(truth.validation.start, truth.validation.stop)
    made = decode_faces(module.parts, truth, truth.validation, smooth=config.smooth)
    loss = float(reconstruction_loss(made, truth.faces[inside].float() / 255))
    module.best.look(module.parts, loss, state.step)
    yield Metric(name="fusion validation", step=state.step, value=loss, seconds=state.seconds)


def _is_hopeless(config: FusionTrainingConfig, module: FusionModule, step: int) -> bool:
    """Whether the validation loss has not fallen for too long."""
    return step - int(module.best.step) >= config.patience * config.validate_every


def _report(state: StageState, losses: FusionLosses, budget: Budget, share: float) -> Iterator[Event]:
    for name, value in (
        ("fusion loss", losses.total),
        ("fusion l_rec", losses.reconstruction),
        ("fusion au loss", losses.units),
    ):
        yield Metric(name=name, step=state.step, value=float(value.detach()), seconds=state.seconds)
    yield Progress(
        stage="fusion",
        done=round(1000 * share),
        total=1000,
        note=f"l_rec {float(losses.reconstruction.detach()):.4f}",
        seconds_left=budget.seconds_left(state.step, state.seconds),
    )

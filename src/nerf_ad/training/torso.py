"""Stage 1: neck and torso as one bent picture."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.dataset.resident import HEAD, ResidentFrames
from nerf_ad.face.parsing import Part
from nerf_ad.models.talking_head import TalkingHead
from nerf_ad.training.schedule import Budget, decayed
from nerf_ad.training.stage import StageState


class TorsoTrainingConfig(Config):
    """Fitting the torso."""

    num_steps: int = Field(default=4000, ge=1)
    """Optimiser steps."""
    num_frames: int = Field(default=4, ge=1)
    """Whole frames per step."""
    texture_rate: float = Field(default=5e-3, gt=0)
    """Adam's rate for the picture."""
    network_rate: float = Field(default=2e-3, gt=0)
    """Adam's rate for flows and their mixture."""
    alpha_weight: float = Field(default=0.2, ge=0)
    """Weight of the squared error of the torso's alpha."""
    bend_weight: float = Field(default=3.0, ge=0)
    """Weight of the flows' bending: squared second differences of control points (decision 0011)."""
    average_decay: float = Field(default=0.99, ge=0, lt=1)
    """Moving average of the parameters."""


class TorsoBatch(NamedTuple):
    """Whole frames as the torso sees them."""

    frames: Int[Tensor, "batch"]
    """Which frames."""
    picture: Float[Tensor, "batch 3 size size"]
    """The recording, in [0, 1]."""
    alpha: Float[Tensor, "batch 1 size size"]
    """The torso's opacity."""
    seen: Float[Tensor, "batch 1 size size"]
    """1 where the head is not, nor within two pixels."""


class TorsoTruth(ABC):
    """Where whole frames come from."""

    def __init__(self, cache: PixelCache) -> None:
        self.cache = cache

    @abstractmethod
    def draw(self, count: int, state: StageState, device: torch.device) -> TorsoBatch:
        """Some training frames."""

    def one(self, frame: int) -> Float[np.ndarray, "4 size size"]:
        """Premultiplied picture of one frame's torso, to start from: a mean of many would start blurred."""
        rgba = self.cache.torso[frame].astype(np.float32) / 255
        return np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], axis=-1).transpose(2, 0, 1)


class RecordedTruth(TorsoTruth):
    """Frames read from the cache's files."""

    def __init__(self, cache: PixelCache, train: range) -> None:
        super().__init__(cache)
        self.train = train

    def draw(self, count: int, state: StageState, device: torch.device) -> TorsoBatch:
        """Some training frames."""
        frames = np.sort(state.numpy.choice(len(self.train), count) + self.train.start)
        picture = torch.from_numpy(self.cache.frames[frames]).to(device)
        alpha = torch.from_numpy(self.cache.torso[frames, :, :, 3:]).to(device)
        head = torch.from_numpy(self.cache.labels[frames] == Part.HEAD).to(device)
        return TorsoBatch(
            torch.from_numpy(frames).to(device), _planes(picture), _planes(alpha), away_from(head)
        )


class ResidentTruth(TorsoTruth):
    """Frames in the device's memory."""

    def __init__(self, frames: ResidentFrames, cache: PixelCache) -> None:
        super().__init__(cache)
        self.frames = frames

    def draw(self, count: int, state: StageState, device: torch.device) -> TorsoBatch:
        """Some training frames; on their own device, whatever ``device`` says."""
        del device
        self.frames.refresh()
        draw = state.generator
        slots = torch.randint(self.frames.num_slots, (count,), generator=draw, device=draw.device)
        whole, frames = self.frames.pictures(slots)
        head = (whole[..., 7] & HEAD) > 0
        return TorsoBatch(frames, _planes(whole[..., :3]), _planes(whole[..., 6:7]), away_from(head))


def _planes(picture: UInt8[Tensor, "batch size size channels"]) -> Float[Tensor, "batch channels size size"]:
    return picture.permute(0, 3, 1, 2).float() / 255


def away_from(head: Bool[Tensor, "batch size size"]) -> Float[Tensor, "batch 1 size size"]:
    """1 where the head is not, nor within two pixels."""
    return 1 - F.max_pool2d(head.unsqueeze(1).float(), 5, stride=1, padding=2)


def fit_torso(
    config: TorsoTrainingConfig,
    model: TalkingHead,
    state: StageState,
    truth: TorsoTruth,
    poses: Float[Tensor, "frames 4 4"],
    shots: Int[Tensor, "frames"],
    *,
    seconds: float | None,
) -> Iterator[Event]:
    """Fit ``model.torso``; the head's pixels do not count. Ends with the averaged parameters in place."""
    device = poses.device
    budget = Budget(num_steps=config.num_steps, seconds=seconds)
    codes = model.torso_code(poses, shots)
    if not budget.is_spent(state.step, state.seconds):
        state.reopen()
    try:
        while not state.finished:
            share = budget.share(state.step, state.seconds)
            for group, rate in zip(
                state.optimiser.param_groups, (config.texture_rate, config.network_rate), strict=True
            ):
                group["lr"] = decayed(rate, rate * 0.1, share) * state.rate_factor
            frames, picture, alpha, seen = truth.draw(config.num_frames, state, device)
            rgba = model.torso(codes[frames])
            whole = rgba[:, :3] + (1 - rgba[:, 3:]) * model.background(shots[frames])
            colour_error = (seen * (whole - picture).square()).mean()
            alpha_error = (0.1 + 0.9 * seen).mul((rgba[:, 3:] - alpha).square()).mean()
            loss = colour_error + config.alpha_weight * alpha_error
            is_good = state.apply(loss + config.bend_weight * bending(model.torso.flows))
            if budget.is_spent(state.step, state.seconds):
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % 20 == 0 or state.finished:
                psnr = float(-10 * torch.log10(colour_error.detach() / seen.mean().clamp_min(1e-6) + 1e-10))
                yield Metric(name="torso psnr", step=state.step, value=psnr, seconds=state.seconds)
                yield Progress(
                    stage="torso",
                    done=round(1000 * share),
                    total=1000,
                    note=f"psnr {psnr:.1f}",
                    seconds_left=budget.seconds_left(state.step, state.seconds),
                )
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    state.average.swap(model.torso)


def bending(flows: Float[Tensor, "modes 2 rows columns"]) -> Float[Tensor, ""]:
    """Mean squared second difference of flows across their control points; 0 for shifts, turns and scalings.

    A head that turns far asks a short training for more than it can learn; without this the torso ripples.
    """
    across = flows[..., 2:] - 2 * flows[..., 1:-1] + flows[..., :-2]
    down = flows[..., 2:, :] - 2 * flows[..., 1:-1, :] + flows[..., :-2, :]
    return across.square().mean() + down.square().mean()


def torso_parameters(model: TalkingHead, config: TorsoTrainingConfig) -> list[dict[str, object]]:
    """Adam's groups: the picture, and everything that bends it."""
    rest = [value for name, value in model.torso.named_parameters() if name != "texture"]
    return [
        {"params": [model.torso.texture], "lr": config.texture_rate},
        {"params": rest, "lr": config.network_rate},
    ]


def pose_statistics(model: TalkingHead, poses: Float[Tensor, "frames 4 4"]) -> None:
    """Normalise pose codes over the training clip."""
    raw = torch.linalg.inv(poses)[:, :3].flatten(1)
    model.pose_mean.copy_(raw.mean(dim=0))
    model.pose_scale.copy_(raw.std(dim=0).clamp_min(1e-3))

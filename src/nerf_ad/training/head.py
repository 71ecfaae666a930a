"""The last stage of the planes field: the head's radiance field."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.dataset.sampler import RayBatch, RaySampler, RaySamplingConfig
from nerf_ad.models.talking_head import Condition, TalkingHead
from nerf_ad.training.schedule import Budget, decayed
from nerf_ad.training.stage import StageState
from nerf_ad.volume.compositing import over


class HeadTrainingConfig(Config):
    """Fitting the head."""

    num_steps: int = Field(default=60_000, ge=1)
    """Optimiser steps; a time budget usually ends it earlier."""
    least_steps: int = Field(default=0, ge=0)
    """Steps that are made in any case, however little time the budget gives (ours)."""
    rays: RaySamplingConfig = RaySamplingConfig()
    """How rays are drawn."""
    plane_rate: float = Field(default=2e-2, gt=0)
    """Adam's rate for the planes (performance.md section 6)."""
    network_rate: float = Field(default=5e-3, gt=0)
    """Adam's rate for the networks."""
    pose_rate: float = Field(default=2e-4, ge=0)
    """Adam's rate for each frame's pose correction; 0 keeps the tracked poses."""
    pose_weight: float = Field(default=1e-3, ge=0)
    """Weight of the squared correction over 1 degree and 2 mm."""
    final_share: float = Field(default=0.05, gt=0, le=1)
    """What is left of every rate at the end."""
    mask_weight: float = Field(default=0.1, ge=0)
    """Weight of the squared error of opacity against the parsing."""
    code_noise: float = Field(default=0.1, ge=0)
    """Deviation of the noise added to the mouth code, so that nearby codes look alike."""
    average_decay: float = Field(default=0.995, ge=0, lt=1)
    """Moving average of the parameters."""
    prune_every: int = Field(default=16, ge=1)
    """Steps between prunings of the occupancy grid (performance.md section 6)."""
    prune_after: int = Field(default=800, ge=0)
    """Steps before the first pruning."""
    prune_threshold: float = Field(default=0.01, gt=0)
    """Compositing weight below which a cell is empty."""
    prune_decay: float = Field(default=0.985, gt=0, lt=1)
    """How quickly a weight once seen is forgotten; slow, because a wide open mouth is rare."""


class HeadConditions(ABC):
    """What frames of the clip are conditioned on while the head is trained."""

    @abstractmethod
    def draw(self, frames: Int[Tensor, "batch"], generator: torch.Generator) -> Condition:
        """Conditions of a step's frames, disturbed as training wants them; without the shot."""

    @abstractmethod
    def show(self, frames: Int[Tensor, "batch"]) -> Condition:
        """Conditions as rendering has them."""


class MeasuredConditions(HeadConditions):
    """Mouth codes measured in the frames: the field learns what a mouth looks like from the mouth."""

    def __init__(self, every: Condition, *, code_noise: float) -> None:
        """Conditions of every frame, and the deviation of the noise that training adds to mouth codes."""
        self.every = every
        self.code_noise = code_noise

    def draw(self, frames: Int[Tensor, "batch"], generator: torch.Generator) -> Condition:
        """Mouth codes with noise."""
        mouth = self.every.mouth[frames]
        noise = torch.randn(mouth.shape, generator=generator).to(mouth.device)
        return Condition(mouth + self.code_noise * noise, self.every.eyes[frames])

    def show(self, frames: Int[Tensor, "batch"]) -> Condition:
        """What was measured."""
        shot = None if self.every.shot is None else self.every.shot[frames]
        return Condition(self.every.mouth[frames], self.every.eyes[frames], shot)


class PoseCorrections(nn.Module):
    """A small rigid motion of the head for every frame, learned with the picture."""

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(num_frames, 6))

    def forward(
        self, camera_to_world: Float[Tensor, "batch 4 4"], frames: Tensor
    ) -> tuple[Float[Tensor, "batch 4 4"], Float[Tensor, ""]]:
        """Corrected poses, and how far they go (1 is one degree or two millimetres)."""
        delta = self.delta[frames]
        angle, shift = delta[:, :3] * 0.0175, delta[:, 3:] * 0.002
        turn = torch.linalg.matrix_exp(skew(angle))
        upper = torch.cat([turn, shift.unsqueeze(-1)], dim=-1)
        last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(delta), 1, 4)
        return torch.cat([upper, last], dim=1) @ camera_to_world, delta.square().mean()


def skew(vector: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Cross-product matrices."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)


class HeadModule(nn.Module):
    """What the stage trains: the field and the pose corrections. The grid's state goes with them."""

    def __init__(self, model: TalkingHead, num_frames: int, *, speech: nn.Module | None = None) -> None:
        """``speech``: networks that make the mouth code, where they learn with the field."""
        super().__init__()
        self.field = model.field
        self.grid = model.grid
        self.corrections = PoseCorrections(num_frames)
        self.speech = speech


def head_parameters(module: HeadModule, config: HeadTrainingConfig) -> list[dict[str, object]]:
    """Adam's groups, each with the ``rate`` that it starts from: planes, networks, pose corrections."""
    planes = list(module.field.encoding.parameters())
    networks = [value for name, value in module.field.named_parameters() if not name.startswith("encoding.")]
    return [
        {"params": planes, "rate": config.plane_rate},
        {"params": networks, "rate": config.network_rate},
        {"params": [module.corrections.delta], "rate": config.pose_rate},
    ]


def fit_head(
    config: HeadTrainingConfig,
    model: TalkingHead,
    module: HeadModule,
    state: StageState,
    sampler: RaySampler,
    poses: Float[Tensor, "frames 4 4"],
    conditions: HeadConditions,
    *,
    seconds: float | None,
) -> Iterator[Event]:
    """Fit the head. Ends with the averaged parameters in place; pictures are the caller's between events.

    Args:
        config: the numbers.
        model: its background, torso, box and hull are ready.
        module: what is trained.
        state: step, optimiser, generators.
        sampler: rays of the training frames.
        poses: tracked poses of all frames.
        conditions: mouth codes and eye states of the frames.
        seconds: time budget of the stage.
    """
    budget = Budget(num_steps=config.num_steps, seconds=seconds, least_steps=config.least_steps)
    smooth_error = 0.0
    if not budget.is_spent(state.step, state.seconds):
        state.reopen()
    try:
        while not state.finished:
            share = budget.share(state.step, state.seconds)
            for group in state.optimiser.param_groups:
                rate = group["rate"]
                group["lr"] = (
                    decayed(rate, rate * config.final_share, share) * state.rate_factor if rate else 0.0
                )
            batch = sampler.draw()
            loss, error = head_loss(config, model, module, batch, poses, conditions, state)
            is_good = state.apply(loss)
            if state.step >= config.prune_after and state.step % config.prune_every == 0:
                model.grid.prune(threshold=config.prune_threshold, decay=config.prune_decay)
            if budget.is_spent(state.step, state.seconds):
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % 20 == 0 or state.finished:
                value = float(error)
                smooth_error = value if smooth_error == 0.0 else 0.9 * smooth_error + 0.1 * value
                psnr = -10 * torch.log10(torch.tensor(smooth_error + 1e-10)).item()
                yield Metric(name="loss", step=state.step, value=float(loss.detach()), seconds=state.seconds)
                yield Metric(name="psnr", step=state.step, value=psnr, seconds=state.seconds)
                yield Progress(
                    stage="head",
                    done=round(1000 * share),
                    total=1000,
                    note=f"loss {float(loss.detach()):.4f} psnr {psnr:.1f}",
                    seconds_left=budget.seconds_left(state.step, state.seconds),
                )
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    state.average.swap(module)


@torch.no_grad()
def tighten_grid(
    config: HeadTrainingConfig,
    model: TalkingHead,
    sampler: RaySampler,
    poses: Float[Tensor, "frames 4 4"],
    conditions: HeadConditions,
    *,
    num_batches: int = 192,
) -> Iterator[Event]:
    """Forget what the grid was, look at the finished head along fresh rays, and drop cells that show nothing.

    Pruning while training is slow on purpose, and a short training ends with most of its hull; rendering
    pays for every cell that is left (ours).
    """
    device = poses.device
    model.grid.importance.zero_()
    for done in range(1, num_batches + 1):
        batch = sampler.draw()
        frames = torch.from_numpy(batch.frames).to(device)
        head = model.head(
            torch.from_numpy(batch.pixels).to(device),
            torch.from_numpy(batch.slot).to(device),
            poses[frames],
            conditions.show(frames),
        )
        model.grid.observe(head.points, head.weights)
        if done % 16 == 0:
            yield Progress(stage="tightening", done=done, total=num_batches)
    model.grid.prune(threshold=config.prune_threshold, decay=1.0)


def head_loss(
    config: HeadTrainingConfig,
    model: TalkingHead,
    module: HeadModule,
    batch: RayBatch,
    poses: Float[Tensor, "frames 4 4"],
    conditions: HeadConditions,
    state: StageState,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Loss of one batch of rays, and the mean squared colour error for the log."""
    device = poses.device
    frames = torch.from_numpy(batch.frames).to(device)
    slot = torch.from_numpy(batch.slot).to(device)
    rgb, behind = torch.from_numpy(batch.rgb).to(device), torch.from_numpy(batch.behind).to(device)
    inside, certain = torch.from_numpy(batch.head).to(device), torch.from_numpy(batch.certain).to(device)
    condition = conditions.draw(frames, state.torch)
    pose, far = poses[frames], poses.new_zeros(())
    if config.pose_rate > 0:
        pose, far = module.corrections(pose, frames)
    jitter = torch.rand(len(slot), generator=state.torch).to(device)
    head = model.head(
        torch.from_numpy(batch.pixels).to(device),
        slot,
        pose,
        condition,
        jitter=jitter,
    )
    error = (over(head.rgb, head.opacity, behind) - rgb).square().mean()
    mask = (certain * (head.opacity - inside).square()).mean()
    if state.step % 4 == 0:
        model.grid.observe(head.points, head.weights)
    return error + config.mask_weight * mask + config.pose_weight * far, error.detach()

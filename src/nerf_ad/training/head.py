"""The last stage of the planes field: the head's radiance field."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.core.device import multiplies_bfloat16
from nerf_ad.core.events import Event, Metric, Progress, Warned
from nerf_ad.dataset.sampler import RaySamplingConfig, RaySource
from nerf_ad.metrics.perceptual import Lpips
from nerf_ad.models.talking_head import Condition, TalkingHead
from nerf_ad.training.schedule import Budget, decayed
from nerf_ad.training.stage import StageState
from nerf_ad.volume.compositing import over


class HeadOnGpuConfig(Config):
    """What is otherwise where the head is fitted on a GPU; nothing of it matters on a CPU."""

    num_rays: int = Field(default=16_384, ge=64, le=1 << 20)
    """Rays per step (ours)."""
    num_frames: int = Field(default=64, ge=1)
    """Frames that they come from (ours)."""
    resident_megabytes: int = Field(default=2000, ge=16)
    """Memory for training frames, 8 bytes a pixel; where they are more, they take turns (ours)."""
    in_bfloat16: bool = True
    """Matrix products in bfloat16; planes, weights, compositing and Adam stay in float32."""
    in_one_graph: bool = True
    """Launch loss and gradients as one CUDA graph."""
    report_every: int = Field(default=100, ge=1)
    """Steps between two looks at the figures, each of which waits for the GPU (ours)."""


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
    perceptual_weight: float = Field(default=0.02, ge=0)
    """Weight of LPIPS (AlexNet) between a rendered square at mouth or eyes and the recording; 0 asks for none
    (decision 0023)."""
    perceptual_from: float = Field(default=0.6, ge=0, le=1)
    """Part of the budget after which squares are looked at (ours)."""
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
    in_bfloat16: bool = True
    """On a CPU that has them, matrix products in bfloat16; sums over samples stay in float32 (decision
    0022)."""
    on_gpu: HeadOnGpuConfig = HeadOnGpuConfig()
    """What is otherwise on a GPU."""

    @property
    def rays_on_gpu(self) -> RaySamplingConfig:
        """``rays`` with the GPU's numbers."""
        numbers = {"num_rays": self.on_gpu.num_rays, "num_frames": self.on_gpu.num_frames}
        return RaySamplingConfig.model_validate({**self.rays.model_dump(), **numbers})


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
        noise = torch.randn(mouth.shape, generator=generator, device=generator.device).to(mouth.device)
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
        delta = self.delta.index_select(0, frames)
        angle, shift = delta[:, :3] * 0.0175, delta[:, 3:] * 0.002
        upper = torch.cat([turned(angle), shift.unsqueeze(-1)], dim=-1)
        last = torch.zeros_like(upper[:, :1])
        last[..., 3].fill_(1.0)
        return torch.cat([upper, last], dim=1) @ camera_to_world, delta.square().mean()


def turned(angle: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rotations by axis-angle vectors in radians: Rodrigues' formula with series for sine and cosine.

    No division by 0, right to 1e-7 up to 1 rad, and nothing that waits for the host as ``matrix_exp`` does.
    """
    turn = skew(angle)
    square = angle.square().sum(dim=-1)[:, None, None]
    first = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    second = 0.5 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56 * (1 - square / 90))))
    return torch.eye(3, device=turn.device, dtype=turn.dtype) + first * turn + second * (turn @ turn)


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


class HeadLoss(NamedTuple):
    """What a batch of rays says."""

    loss: Float[Tensor, ""]
    """What is lowered."""
    error: Float[Tensor, ""]
    """Mean squared colour error, for the log."""
    points: Float[Tensor, "samples 3"]
    """Where the field was sampled."""
    weights: Float[Tensor, "samples"]
    """What each sample contributed."""


def fit_head(
    config: HeadTrainingConfig,
    model: TalkingHead,
    module: HeadModule,
    state: StageState,
    rays: RaySource,
    poses: Float[Tensor, "frames 4 4"],
    conditions: HeadConditions,
    *,
    seconds: float | None,
    lpips: Lpips | None = None,
) -> Iterator[Event]:
    """Fit the head. Ends with the averaged parameters in place; pictures are the caller's between events.

    Args:
        config: the numbers.
        model: its background, torso, box and hull are ready.
        module: what is trained.
        state: step, optimiser, generators.
        rays: rays of the training frames.
        poses: tracked poses of all frames.
        conditions: mouth codes and eye states of the frames.
        seconds: time budget of the stage.
        lpips: looks at squares of mouth and eyes towards the end; nothing does where absent.
    """
    budget = Budget(num_steps=config.num_steps, seconds=seconds, least_steps=config.least_steps)
    task = HeadTask(config, model, module, state, rays, poses, conditions, lpips)
    is_waiting = poses.device.type != "cuda"
    stepper: HeadStepper = WaitingStepper(task) if is_waiting else StreamingStepper(task)
    report_every = 20 if is_waiting else config.on_gpu.report_every
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
            stepper.with_patch = lpips is not None and share >= config.perceptual_from
            result, is_good = stepper.step()
            if state.step >= config.prune_after and state.step % config.prune_every == 0:
                model.grid.prune(threshold=config.prune_threshold, decay=config.prune_decay)
            if budget.is_spent(state.step, state.seconds):
                state.finish()
            is_due = state.step % report_every == 0 or state.finished
            if is_due and not stepper.look():
                is_good = False
            if not is_good:
                yield state.skipped()
            elif is_due:
                value, loss = float(result.error), float(result.loss.detach())
                smooth_error = value if smooth_error == 0.0 else 0.9 * smooth_error + 0.1 * value
                psnr = -10 * torch.log10(torch.tensor(smooth_error + 1e-10)).item()
                yield Metric(name="loss", step=state.step, value=loss, seconds=state.seconds)
                yield Metric(name="psnr", step=state.step, value=psnr, seconds=state.seconds)
                yield Progress(
                    stage="head",
                    done=round(1000 * share),
                    total=1000,
                    note=f"loss {loss:.4f} psnr {psnr:.1f}",
                    seconds_left=budget.seconds_left(state.step, state.seconds),
                )
            if stepper.complaint:
                yield Warned(message=stepper.complaint)
                stepper.complaint = ""
            if state.save_is_due():
                state.save()
    finally:
        stepper.close()
        state.save()
    state.average.swap(module)


class HeadTask(NamedTuple):
    """Everything that a step of the head needs; see ``fit_head``."""

    config: HeadTrainingConfig
    model: TalkingHead
    module: HeadModule
    state: StageState
    rays: RaySource
    poses: Float[Tensor, "frames 4 4"]
    conditions: HeadConditions
    lpips: Lpips | None = None

    def loss(self, *, in_bfloat16: bool = False, with_patch: bool = False) -> HeadLoss:
        """The loss of freshly drawn rays; ``with_patch``: and of how a square of them looks."""
        return head_loss(self, in_bfloat16=in_bfloat16, with_patch=with_patch)

    def observe(self, result: HeadLoss) -> None:
        """Now and then tell the grid what was seen."""
        if self.state.step % 4 == 0:
            self.model.grid.observe(result.points, result.weights)


class HeadStepper(ABC):
    """How steps are made: with the host waiting for each, or not."""

    with_patch = False
    """Whether a square is looked at; may change between steps."""
    complaint = ""
    """What did not work and was done otherwise."""

    @abstractmethod
    def step(self) -> tuple[HeadLoss, bool]:
        """Make a step; also whether it was taken, as far as is known."""

    def look(self) -> bool:
        """Wait for the steps made; False where one since the last look was not taken."""
        return True

    def close(self) -> None:  # noqa: B027 - only a graph is freed
        """Give back what only steps need."""


class WaitingStepper(HeadStepper):
    """The host sees every loss: on a CPU nothing is lost by it."""

    def __init__(self, task: HeadTask) -> None:
        self.task = task
        self.in_bfloat16 = task.config.in_bfloat16 and multiplies_bfloat16()

    def step(self) -> tuple[HeadLoss, bool]:
        """Draw, look, learn."""
        result = self.task.loss(in_bfloat16=self.in_bfloat16, with_patch=self.with_patch)
        self.task.observe(result)
        return result, self.task.state.apply(result.loss)


class StreamingStepper(HeadStepper):
    """The host only launches. Loss and gradients are one CUDA graph where they can be; else launched singly.

    Sampling and random numbers are part of the graph; Adam, the moving average and the grid are not, so that
    rates may change and roll-backs replace Adam's state.
    """

    def __init__(self, task: HeadTask) -> None:
        """Take the task; networks that make mouth codes keep running statistics, and are not captured."""
        self.task = task
        self.graph: torch.cuda.CUDAGraph | None = None
        is_on_cuda = task.poses.device.type == "cuda"
        self.in_bfloat16 = task.config.on_gpu.in_bfloat16 and is_on_cuda
        self.wants_graph = task.config.on_gpu.in_one_graph and is_on_cuda and task.module.speech is None
        self.captured: HeadLoss | None = None
        self.captures_patch = False

    def step(self) -> tuple[HeadLoss, bool]:
        """Launch a step."""
        task = self.task
        task.rays.refresh()
        if self.graph is not None and self.captures_patch != self.with_patch:
            self.close()
            self.wants_graph = True
        if self.wants_graph and self.graph is None:
            self._try_capture()
        if self.graph is not None and self.captured is not None:
            self.graph.replay()
            result = self.captured
        else:
            result = self._launch()
        task.observe(result)
        task.state.apply_unseen(result.loss)
        return result, True

    def look(self) -> bool:
        """Wait for the GPU."""
        return self.task.state.look()

    def close(self) -> None:
        """Free the graph's memory."""
        self.task.state.optimiser.zero_grad(set_to_none=True)
        self.graph, self.captured = None, None

    def _launch(self) -> HeadLoss:
        self.task.state.optimiser.zero_grad(set_to_none=True)
        result = self.task.loss(in_bfloat16=self.in_bfloat16, with_patch=self.with_patch)
        result.loss.backward()
        return result._replace(loss=result.loss.detach())

    def _try_capture(self) -> None:
        self.wants_graph = False
        graph = torch.cuda.CUDAGraph()
        try:
            graph.register_generator_state(self.task.state.generator)
            stream = torch.cuda.Stream(self.task.poses.device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):  # kernels are compiled and workspaces made before anything is captured
                    self._launch()
            torch.cuda.current_stream().wait_stream(stream)
            self.task.state.optimiser.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.captured = self._launch()
        except RuntimeError as error:
            self.close()
            self.complaint = f"steps are launched one by one: {' '.join(str(error).split())[:200]}"
            return
        self.graph, self.captures_patch = graph, self.with_patch


@torch.no_grad()
def tighten_grid(
    config: HeadTrainingConfig,
    model: TalkingHead,
    rays: RaySource,
    poses: Float[Tensor, "frames 4 4"],
    conditions: HeadConditions,
    *,
    num_batches: int = 192,
) -> Iterator[Event]:
    """Forget what the grid was, look at the finished head along fresh rays, and drop cells that show nothing.

    Pruning while training is slow on purpose, and a short training ends with most of its hull; rendering
    pays for every cell that is left (ours).
    """
    model.grid.importance.zero_()
    for done in range(1, num_batches + 1):
        batch = rays.draw()
        head = model.head(batch.pixels, batch.slot, poses[batch.frames], conditions.show(batch.frames))
        model.grid.observe(head.points, head.weights)
        if done % 16 == 0:
            yield Progress(stage="tightening", done=done, total=num_batches)
    model.grid.prune(threshold=config.prune_threshold, decay=1.0)


def head_loss(task: HeadTask, *, in_bfloat16: bool = False, with_patch: bool = False) -> HeadLoss:
    """Loss of one batch of rays. On a GPU nothing in here waits for the host."""
    config, state = task.config, task.state
    with_patch = with_patch and task.lpips is not None
    batch = task.rays.draw(with_patch=with_patch)
    condition = task.conditions.draw(batch.frames, state.generator)
    pose, far = task.poses.index_select(0, batch.frames), task.poses.new_zeros(())
    if config.pose_rate > 0:
        pose, far = task.module.corrections(pose, batch.frames)
    draw = state.generator
    jitter = torch.rand(len(batch.slot), generator=draw, device=draw.device).to(pose.device)
    precision = (
        torch.autocast(pose.device.type, torch.bfloat16, cache_enabled=False)
        if in_bfloat16
        else contextlib.nullcontext()
    )
    with precision:
        head = task.model.head(batch.pixels, batch.slot, pose, condition, jitter=jitter)
    colour = over(head.rgb, head.opacity, batch.behind)
    rays = len(colour) - (config.rays.patch_size**2 if with_patch else 0)
    error = (colour - batch.rgb)[:rays].square().mean()
    mask = (batch.certain * (head.opacity - batch.head).square())[:rays].mean()
    loss = error + config.mask_weight * mask + config.pose_weight * far
    if with_patch and task.lpips is not None:
        made, real = (part[rays:].T.reshape(1, 3, config.rays.patch_size, -1) for part in (colour, batch.rgb))
        loss = loss + config.perceptual_weight * task.lpips.distances(made, real).mean()
    return HeadLoss(loss, error.detach(), head.points, head.weights)

"""One step of the head's fit: its loss, and how it is made: the host waiting or not, in threads or not."""

import contextlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.core.cuda_graph import recording
from nerf_ad.core.device import multiplies_bfloat16
from nerf_ad.core.workers import single_threads
from nerf_ad.dataset.sampler import DeviceRays, RaySource
from nerf_ad.metrics.perceptual import Lpips
from nerf_ad.models.talking_head import Condition, TalkingHead
from nerf_ad.training.head import HeadConditions, HeadModule, HeadTrainingConfig
from nerf_ad.training.stage import StageState
from nerf_ad.volume.compositing import over


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


class StepWay(NamedTuple):
    """How a step is made; as here where nothing else is said."""

    in_bfloat16: bool = False
    """Matrix products in bfloat16."""
    with_patch: bool = False
    """Whether it is asked, too, how a square of rays looks."""
    learns_poses: bool = True
    """Whether pose corrections learn from it; they are used in any case."""
    stride: int = 1
    """March steps from a sample to the next."""


PLAIN_WAY = StepWay()


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

    def loss(self, way: StepWay = PLAIN_WAY) -> HeadLoss:
        """The loss of freshly drawn rays."""
        return head_loss(self, way)

    def observe(self, result: HeadLoss) -> None:
        """Now and then tell the grid what was seen."""
        if self.state.step % 4 == 0:
            self.model.grid.observe(result.points, result.weights)


class HeadStepper(ABC):
    """How steps are made: with the host waiting for each, or not."""

    with_patch = False
    """Whether a square is looked at; may change between steps."""
    stride = 1
    """March steps from a sample to the next, where the host waits; may change between steps."""
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
    """The host sees every loss: on a CPU nothing is lost by it.

    Where torch has several threads, each takes a part of the rays, forward and back: operations of a tenth of
    a millisecond are too short to be shared by threads that sleep while they wait (decision 0022).
    """

    def __init__(self, task: HeadTask) -> None:
        self.task = task
        is_on_cpu = task.poses.device.type == "cpu"
        self.in_bfloat16 = task.config.in_bfloat16 and is_on_cpu and multiplies_bfloat16()
        self.num_threads = min(torch.get_num_threads(), MOST_THREADS) if is_on_cpu else 1
        self._pool = ThreadPoolExecutor(self.num_threads) if self.num_threads > 1 else None

    def step(self) -> tuple[HeadLoss, bool]:
        """Draw, look, learn."""
        if self._pool is not None:
            with single_threads():
                result = self._side_by_side(self._pool)
            is_good = self.task.state.apply(result.loss, has_gradients=True)
        else:
            result = self.task.loss(self.way)
            is_good = self.task.state.apply(result.loss)
        self.task.observe(result)
        return result, is_good

    @property
    def way(self) -> StepWay:
        """How the step to come is made."""
        learns_poses = self.task.state.step % self.task.config.pose_every == 0
        return StepWay(self.in_bfloat16, self.with_patch, learns_poses, self.stride)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _side_by_side(self, pool: ThreadPoolExecutor) -> HeadLoss:
        """The loss, with all gradients in place."""
        task, way = self.task, self.way
        task.state.optimiser.zero_grad(set_to_none=True)
        drawn = draw_rays(task, way)
        given = [drawn.pose, drawn.condition.mouth, drawn.condition.eyes]
        cut = [value.detach().requires_grad_(value.requires_grad) for value in given]
        apart = drawn._replace(pose=cut[0], condition=drawn.condition._replace(mouth=cut[1], eyes=cut[2]))
        learnt = [value for value in (*task.module.field.parameters(), *cut) if value.requires_grad]

        def look(part: slice) -> tuple[HeadLoss, tuple[Tensor, ...]]:
            result = part_loss(task, apart, part, way)
            gradients = torch.autograd.grad(result.loss, learnt, allow_unused=True, materialize_grads=True)
            return result._replace(loss=result.loss.detach()), gradients

        done = list(pool.map(look, parted(drawn, self.num_threads)))
        for value, *gradients in zip(learnt, *(gradients for _, gradients in done), strict=True):
            value.grad = gradients[0].contiguous()  # what a fused Adam takes for granted
            for gradient in gradients[1:]:
                value.grad += gradient
        far = task.config.pose_weight * drawn.far
        outer = [(value, leaf.grad) for value, leaf in zip(given, cut, strict=True) if leaf.requires_grad]
        if far.requires_grad:
            outer.append((far, None))
        if outer:
            torch.autograd.backward([value for value, _ in outer], [gradient for _, gradient in outer])
        results = [result for result, _ in done]
        return HeadLoss(
            torch.stack([result.loss for result in results]).sum() + far.detach(),
            torch.stack([result.error for result in results]).sum(),
            torch.cat([result.points for result in results]),
            torch.cat([result.weights for result in results]),
        )


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
        result = self.task.loss(StepWay(self.in_bfloat16, self.with_patch))
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
            with recording(graph, generators=[self.task.state.generator]):
                self.captured = self._launch()
        except RuntimeError as error:
            self.close()
            self.complaint = f"steps are launched one by one: {' '.join(str(error).split())[:200]}"
            return
        self.graph, self.captures_patch = graph, self.with_patch


MOST_THREADS = 8
"""With more, a part of the rays fills less than a chunk of samples; two were measured (decision 0022)."""


class DrawnRays(NamedTuple):
    """What a step looks at."""

    batch: DeviceRays
    condition: Condition
    """Of its frames, disturbed as training wants them."""
    pose: Float[Tensor, "batch 4 4"]
    """Of its frames, corrected."""
    far: Float[Tensor, ""]
    """How far the corrections go."""
    jitter: Float[Tensor, "rays"]
    """Where each ray's march begins, in steps."""
    num_plain: int
    """Rays before the square's."""


def draw_rays(task: HeadTask, way: StepWay) -> DrawnRays:
    """A step's rays with everything that they are drawn with."""
    config, draw = task.config, task.state.generator
    with_patch = way.with_patch and task.lpips is not None
    batch = task.rays.draw(with_patch=with_patch)
    condition = task.conditions.draw(batch.frames, draw)
    pose, far = task.poses.index_select(0, batch.frames), task.poses.new_zeros(())
    if config.pose_rate > 0:
        with contextlib.nullcontext() if way.learns_poses else torch.no_grad():
            pose, far = task.module.corrections(pose, batch.frames)
    jitter = torch.rand(len(batch.slot), generator=draw, device=draw.device).to(pose.device)
    num_plain = len(batch.slot) - (config.rays.patch_size**2 if with_patch else 0)
    return DrawnRays(batch, condition, pose, far, jitter, num_plain)


def part_loss(task: HeadTask, drawn: DrawnRays, part: slice, way: StepWay) -> HeadLoss:
    """What some of the rays add to the loss of all; the square, if there is one, is all in or all out."""
    config, batch = task.config, drawn.batch
    device = drawn.pose.device.type
    precision = contextlib.nullcontext() if not way.in_bfloat16 else autocast(device)
    with precision:
        head = task.model.head(
            batch.pixels[part],
            batch.slot[part],
            drawn.pose,
            drawn.condition,
            jitter=drawn.jitter[part],
            stride=way.stride,
        )
    colour = over(head.rgb, head.opacity, batch.behind[part])
    rays = min(part.stop, drawn.num_plain) - part.start
    error = (colour - batch.rgb[part])[:rays].square().sum() / (3 * drawn.num_plain)
    off = batch.certain[part] * (head.opacity - batch.head[part]).square()
    loss = error + config.mask_weight * off[:rays].sum() / drawn.num_plain
    if part.stop > drawn.num_plain and task.lpips is not None:
        side = config.rays.patch_size
        made, real = (whole[rays:].T.reshape(1, 3, side, side) for whole in (colour, batch.rgb[part]))
        loss = loss + config.perceptual_weight * task.lpips.distances(made, real).mean()
    return HeadLoss(loss, error.detach(), head.points, head.weights)


def autocast(device: str) -> torch.autocast:
    """Matrix products in bfloat16; weights are cast anew each time, as they change between steps."""
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)


def head_loss(task: HeadTask, way: StepWay = PLAIN_WAY) -> HeadLoss:
    """Loss of one batch of rays. On a GPU nothing in here waits for the host."""
    drawn = draw_rays(task, way)
    whole = part_loss(task, drawn, slice(0, len(drawn.jitter)), way)
    return whole._replace(loss=whole.loss + task.config.pose_weight * drawn.far)


def parted(drawn: DrawnRays, count: int) -> list[slice]:
    """About equal parts of a step's rays; the square lies in the last one."""
    total = len(drawn.jitter)
    last = min(drawn.num_plain, total - total // count)
    edges = [*(round(last * part / max(count - 1, 1)) for part in range(count)), total]
    return [slice(start, stop) for start, stop in pairwise(edges) if stop > start]

"""One step of stage 3: the loss of one frame's rays and its gradients; on a GPU as one CUDA graph.

A step is some thousand small kernels, and what launches them takes longer than what they do; a graph launches
them together. The host draws, the device does the rest, and neither asks the other anything in between.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerf_ad.core.cuda_graph import recording
from nerf_ad.models.paper.identity import ReferenceMaps
from nerf_ad.models.paper.nerf import ConditionModule, NerfConditions, PaperHead
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig
from nerf_ad.training.paper.nerf_rays import NerfSampler, ReferenceSource
from nerf_ad.training.stage import StageState

WARM_UP = 3
"""Times that a step is made before it is captured, so that libraries have set themselves up (PyTorch's notes
on CUDA graphs)."""
_SEEN = 8
"""Numbers of a drawn ray before its draws: pixel, recorded colour, colour behind."""


class NerfModule(nn.Module):
    """What the stage trains: the head and what makes its conditions."""

    def __init__(self, head: PaperHead, conditions: ConditionModule) -> None:
        super().__init__()
        self.head = head
        self.conditions = conditions


class NerfFigures(NamedTuple):
    """What the log says of a step."""

    error: Float[Tensor, ""]
    """Mean squared error of the second pass."""
    opacity: Float[Tensor, ""]
    """Mean opacity of the head; 0 for good is a field that died (``first_density``)."""


class NerfDraw(NamedTuple):
    """What the host draws for a step, on the device."""

    frame: Int[Tensor, "1"]
    """Frame of the clip that all rays are of."""
    rays: Float[Tensor, "rays numbers"]
    """Pixel (2), recorded colour (3), colour behind (3), draws for the samples of both passes."""
    views: Int[Tensor, "views"]
    """Frames of the references; none where fields read none."""
    pictures: Float[Tensor, "views 3 height width"]
    """Their identity faces."""


class NerfStep(NamedTuple):
    """One step's rays, their draws and what conditions them; maps and conditions have their graph."""

    pixels: Float[Tensor, "rays 2"]
    rgb: Float[Tensor, "rays 3"]
    behind: Float[Tensor, "rays 3"]
    jitter: Float[Tensor, "rays draws"]
    camera_to_world: Float[Tensor, "4 4"]
    conditions: NerfConditions
    maps: ReferenceMaps | None

    def rays(self, part: slice) -> "NerfStep":
        """Some of the rays."""
        return self._replace(
            pixels=self.pixels[part], rgb=self.rgb[part], behind=self.behind[part], jitter=self.jitter[part]
        )


def draw_step(
    head: PaperHead,
    state: StageState,
    sampler: NerfSampler,
    references: ReferenceSource,
    like: Float[Tensor, "frames 4 4"],
) -> NerfDraw:
    """Draw a step's rays and references; ``like`` says where they go and of which type they are."""
    batch = sampler.draw()
    count = head.config.num_references if head.config.uses_references else 0
    views = sampler.references(batch.frame, count) if count else np.zeros(0, np.int64)
    draws = head.config.coarse_samples + head.config.fine_samples
    jitter = torch.rand((len(batch.rgb), draws), generator=state.torch)
    seen = [torch.from_numpy(array) for array in (batch.pixels, batch.rgb, batch.behind)]
    return NerfDraw(
        torch.tensor([batch.frame]).to(like.device),
        torch.cat([*seen, jitter], dim=1).to(like),
        torch.from_numpy(views).to(like.device),
        references(views).to(like) if count else like.new_zeros(0, 3, 1, 1),
    )


def begin_step(
    module: NerfModule, draw: NerfDraw, poses: Float[Tensor, "frames 4 4"], *, is_smoothed: bool
) -> NerfStep:
    """The references' maps and the frame's conditions."""
    head = module.head
    maps = head.maps(draw.pictures, poses[draw.views]) if head.config.uses_references else None
    conditions = module.conditions(draw.frame, is_smoothed=is_smoothed)
    pixels, rgb, behind, jitter = draw.rays.split([2, 3, 3, draw.rays.shape[1] - _SEEN], dim=1)
    return NerfStep(pixels, rgb, behind, jitter, poses[draw.frame][0], conditions, maps)


def step_loss(
    config: NerfTrainingConfig, head: PaperHead, step: NerfStep
) -> tuple[Float[Tensor, ""], NerfFigures]:
    """L_pho of both passes with L_off, on rays of one frame: means over them; and figures for the log."""
    seen = head.rays(
        step.pixels, step.camera_to_world, step.conditions, step.behind, step.maps, jitter=step.jitter
    )
    error = (seen.fine - step.rgb).square().mean()
    loss = error + (seen.coarse - step.rgb).square().mean() + config.offset_weight * seen.offset_loss
    return loss, NerfFigures(error.detach(), seen.opacity.detach().mean())


def add_gradients(
    config: NerfTrainingConfig,
    module: NerfModule,
    draw: NerfDraw,
    poses: Float[Tensor, "frames 4 4"],
    *,
    is_smoothed: bool,
) -> tuple[Float[Tensor, ""], NerfFigures]:
    """Add a step's gradients to the parameters', ``rays_at_once`` at a time; returns its loss and figures.

    Maps and conditions are made once; parts leave their gradients on copies cut off from their graph, which
    is gone through once, at the end.
    """
    step = begin_step(module, draw, poses, is_smoothed=is_smoothed)
    total = len(step.rgb)
    size = config.rays_at_once or total
    if size >= total:
        loss, figures = step_loss(config, module.head, step)
        loss.backward()
        return loss.detach(), figures
    ends: list[tuple[Tensor, Tensor]] = []

    def cut(made: Tensor) -> Tensor:
        if not made.requires_grad:
            return made
        ends.append((made, made.detach().requires_grad_()))
        return ends[-1][1]

    conditions = NerfConditions(*(None if part is None else cut(part) for part in step.conditions))
    maps = None if step.maps is None else step.maps._replace(features=cut(step.maps.features))
    apart = step._replace(conditions=conditions, maps=maps)
    sums = torch.zeros(3, device=poses.device, dtype=poses.dtype)
    for start in range(0, total, size):
        part = apart.rays(slice(start, start + size))
        share = len(part.rgb) / total
        loss, figures = step_loss(config, module.head, part)
        (share * loss).backward()
        sums += share * torch.stack([loss.detach(), *figures])
    read = [(made, end.grad) for made, end in ends if end.grad is not None]
    if read:
        torch.autograd.backward([made for made, _ in read], [grad for _, grad in read])
    return sums[0], NerfFigures(sums[1], sums[2])


class StepGradients:
    """Gradients of one step after another, and nothing left of the step before.

    On a GPU a step is captured once and then replayed; where that fails, it is made anew each time.
    """

    def __init__(
        self, config: NerfTrainingConfig, module: NerfModule, poses: Float[Tensor, "frames 4 4"]
    ) -> None:
        self.config = config
        self.module = module
        self.poses = poses
        self.failure: str | None = None
        """Why steps are not captured although there is a GPU."""
        self._captured: dict[bool, _Captured] = {}

    def __call__(self, draw: NerfDraw, *, is_smoothed: bool) -> tuple[Float[Tensor, ""], NerfFigures]:
        """Loss and figures of a step whose gradients the parameters then hold.

        They are valid until the next call.
        """
        if self.poses.is_cuda and self.failure is None:
            if is_smoothed not in self._captured:
                self._captured.clear()  # the other one's memory, and its gradients
                self._capture(draw, is_smoothed=is_smoothed)
            if self.failure is None:
                return self._captured[is_smoothed].replay(draw)
        self.module.zero_grad(set_to_none=True)
        return add_gradients(self.config, self.module, draw, self.poses, is_smoothed=is_smoothed)

    def _capture(self, draw: NerfDraw, *, is_smoothed: bool) -> None:
        def make(inputs: NerfDraw) -> tuple[Tensor, NerfFigures]:
            return add_gradients(self.config, self.module, inputs, self.poses, is_smoothed=is_smoothed)

        inputs = NerfDraw(*(part.clone() for part in draw))
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    self.module.zero_grad(set_to_none=True)
                    make(inputs)
            torch.cuda.current_stream().wait_stream(stream)
            self.module.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with recording(graph):
                outputs = make(inputs)
        except RuntimeError as error:  # an operation that a graph cannot hold, or no memory for a second copy
            self.failure = " ".join(str(error).split())[:200]
            torch.cuda.empty_cache()
            return
        gradients = [(value, value.grad) for value in self.module.parameters() if value.grad is not None]
        self._captured[is_smoothed] = _Captured(inputs, graph, outputs, gradients)


class _Captured(NamedTuple):
    """A step as a CUDA graph, with the memory that it reads and writes."""

    inputs: NerfDraw
    graph: torch.cuda.CUDAGraph
    outputs: tuple[Tensor, NerfFigures]
    gradients: list[tuple[nn.Parameter, Tensor]]

    def replay(self, draw: NerfDraw) -> tuple[Tensor, NerfFigures]:
        for held, drawn in zip(self.inputs, draw, strict=True):
            held.copy_(drawn)
        self.graph.replay()
        for parameter, gradient in self.gradients:  # whoever cleared them let go of what the graph writes to
            parameter.grad = gradient
        return self.outputs

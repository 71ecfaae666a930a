"""Stage 3: NeRF-AD's radiance fields, on one frame per step.

What frames are conditioned on comes from a ``ConditionModule``, so that this loop is the same for the full
method, its ablations and the methods it is compared with. Gradients flow through the conditions: AudioNet
learns here too, through parts that are frozen (``requires_grad`` off), as in NeRF-AD's code.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.face import landmarks as lm
from nerf_ad.models.paper.identity import ReferenceMaps
from nerf_ad.models.paper.nerf import ConditionModule, NerfConditions, PaperHead
from nerf_ad.training.schedule import Budget
from nerf_ad.training.stage import StageState

RECENT = 0.05
"""Weight of a step in the mean error that the log tells: each step is of another frame (ours)."""

ReferenceSource = Callable[[Int[np.ndarray, "views"]], Float[Tensor, "views 3 height width"]]
"""Identity faces of frames, square, in [0, 1]; on the device where training is."""


class NerfTrainingConfig(Config):
    """Fitting the fields."""

    num_steps: int = Field(default=190_000, ge=1)
    """Optimiser steps (NeRF-AD's code: it ends here, and tests the 143 000th)."""
    num_rays: int = Field(default=1024, ge=16, le=1 << 20)
    """Rays per step, all of one frame (NeRF-AD's code; AD-NeRF 2048, DFRF 850, GeneFace 1600)."""
    face_share: float = Field(default=0.95, ge=0, le=1)
    """Part of the rays inside the rectangle around the face (NeRF-AD's and AD-NeRF's code)."""
    rate: float = Field(default=5e-4, gt=0)
    """Adam's first rate (NeRF-AD's code)."""
    decay: float = Field(default=0.1, gt=0, le=1)
    """What is left of the rate after ``decay_steps`` steps (NeRF-AD's code)."""
    decay_steps: int = Field(default=750_000, ge=1)
    """Steps of one ``decay`` (NeRF-AD's code; AD-NeRF 250 000)."""
    smoothing_rate: float = Field(default=5.0, gt=0)
    """Rate of the temporal attention over neighbouring frames, in ``rate`` (NeRF-AD's and AD-NeRF's code)."""
    smooth_from: int = Field(default=100_000, ge=0)
    """Step from which the temporal attention is used (NeRF-AD's code; AD-NeRF 200 000)."""
    offset_weight: float = Field(default=5e-9, ge=0)
    """Weight of L_off, the offsets' size where nothing is seen (NeRF-AD's code; DFRF 5e-8)."""
    largest_gradient: float = Field(default=10.0, gt=0)
    """Norm that gradients are clipped to: a guard against one bad step, seldom reached (ours)."""
    rays_at_once: int | None = Field(default=None, ge=1)
    """Rays that go through the fields together; gradients are summed over such parts, so that memory is
    bounded and the step the same (ours). All of them by default, as in NeRF-AD's code."""
    average_decay: float = Field(default=0.0, ge=0, lt=1)
    """Moving average of the parameters; 0 is none (NeRF-AD's code has none)."""


class NerfModule(nn.Module):
    """What the stage trains: the head and what makes its conditions."""

    def __init__(self, head: PaperHead, conditions: ConditionModule) -> None:
        super().__init__()
        self.head = head
        self.conditions = conditions


def nerf_parameters(module: NerfModule, config: NerfTrainingConfig) -> list[dict[str, object]]:
    """Adam's groups: everything that is not frozen, and the temporal attention at its own rate."""
    apart = [value for value in module.conditions.smoothing_parameters() if value.requires_grad]
    known = {id(value) for value in apart}
    rest = [value for value in module.parameters() if value.requires_grad and id(value) not in known]
    groups: list[dict[str, object]] = [{"params": rest, "lr": config.rate, "factor": 1.0}]
    if apart:
        rate = config.rate * config.smoothing_rate
        groups.append({"params": apart, "lr": rate, "factor": config.smoothing_rate})
    return groups


def nerf_rate(config: NerfTrainingConfig, step: int) -> float:
    """Learning rate at a step: ``5e-4 * 0.1 ** (step / 750000)``."""
    return config.rate * config.decay ** (step / config.decay_steps)


def is_smoothed(config: NerfTrainingConfig, step: int) -> bool:
    """Whether the temporal attention is used at a step; the avatar keeps the answer of its last."""
    return step >= config.smooth_from


def face_rects(points: Float[np.ndarray, "frames landmarks 2"], size: int) -> Int[np.ndarray, "frames 4"]:
    """Left, top, right, bottom around each face, in pixels of a picture of ``size``, clipped to it.

    AD-NeRF's rule on 68 points: the middle column is the middle of their extent, the middle row is the top of
    the nose (27); 1.5 times the half width, 1.15 times the height down to the chin (8). Of 478 points these
    are the nasion and the chin; the face's outline gives the extent.
    """
    left, right = points[..., 0].min(axis=1), points[..., 0].max(axis=1)
    row = points[:, lm.NASION, 1]
    wide, high = 1.5 * (right - left) / 2, 1.15 * (points[:, lm.CHIN, 1] - row)
    column = (left + right) / 2
    low = np.floor(np.stack([column - wide, row - high], axis=1))
    end = np.ceil(np.stack([column + wide, row + high], axis=1))
    return np.clip(np.concatenate([low, end], axis=1), 0, size).astype(np.int64)


class NerfBatch(NamedTuple):
    """One step's rays with their truth."""

    frame: int
    """Frame of the clip that all rays are of."""
    pixels: Float[np.ndarray, "rays 2"]
    """Pixel centres (u, v)."""
    rgb: Float[np.ndarray, "rays 3"]
    """The recording, in [0, 1]."""
    behind: Float[np.ndarray, "rays 3"]
    """Torso over background, in [0, 1]."""


class NerfTruth:
    """Recorded frames and what is behind their heads."""

    def __init__(
        self,
        cache: PixelCache,
        backgrounds: Float[np.ndarray, "plates size size 3"],
        background_of: Int[np.ndarray, "frames"],
    ) -> None:
        self.cache = cache
        self.size = cache.size
        self.backgrounds = backgrounds.reshape(len(backgrounds), -1, 3)
        self.background_of = background_of

    def read(self, frame: int, flat: Int[np.ndarray, "rays"]) -> NerfBatch:
        """The truth at pixels of one frame, by their flat numbers."""
        row, column = np.divmod(flat, self.size)
        rgb = self.cache.frames[frame, row, column].astype(np.float32) / 255
        pixels = np.stack([column, row], axis=-1).astype(np.float32) + 0.5
        return NerfBatch(frame, pixels, rgb, self.behind(frame, flat))

    def behind(self, frame: int, flat: Int[np.ndarray, "rays"]) -> Float[np.ndarray, "rays 3"]:
        """Torso over background at pixels of one frame."""
        torso = self.cache.torso[frame].reshape(-1, 4)[flat].astype(np.float32) / 255
        plate = self.backgrounds[self.background_of[frame], flat]
        return np.asarray(torso[:, :3] * torso[:, 3:] + (1 - torso[:, 3:]) * plate, np.float32)

    def torso_image(self, frame: int) -> Float[np.ndarray, "size size 3"]:
        """Torso over background, whole: what ``PaperHead.frame`` renders the head before."""
        return self.behind(frame, np.arange(self.size**2)).reshape(self.size, self.size, 3)


class NerfSampler:
    """Draws one frame's rays at a time, most of them around the face."""

    def __init__(
        self,
        config: NerfTrainingConfig,
        truth: NerfTruth,
        *,
        train: range,
        rects: Int[np.ndarray, "frames 4"],
        generator: np.random.Generator,
    ) -> None:
        self.config = config
        self.truth = truth
        self.train = train
        self.rects = rects
        self.generator = generator

    def draw(self) -> NerfBatch:
        """One step's rays."""
        frame = int(self.generator.integers(self.train.start, self.train.stop))
        return self.truth.read(frame, self.pixels(frame))

    def pixels(self, frame: int) -> Int[np.ndarray, "rays"]:
        """Flat numbers of pixels: ``face_share`` of them inside the frame's rectangle, the rest outside.

        Where one of the two is empty the other gives all.
        """
        left, top, right, bottom = self.rects[frame]
        is_inside = np.zeros((self.truth.size, self.truth.size), bool)
        is_inside[top:bottom, left:right] = True  # rows are y, columns x (paper.md section 13, defect 7)
        inside, outside = np.flatnonzero(is_inside), np.flatnonzero(~is_inside)
        number = round(self.config.face_share * self.config.num_rays)
        if len(inside) == 0 or len(outside) == 0:
            number = self.config.num_rays if len(inside) else 0
        return np.concatenate(
            [self._some(inside, number), self._some(outside, self.config.num_rays - number)]
        )

    def references(self, frame: int, count: int) -> Int[np.ndarray, "views"]:
        """Other training frames than this one, at random; repeated only where there are too few."""
        others = len(self.train) - 1
        drawn = self.generator.choice(others, count, replace=others < count) + self.train.start
        return np.asarray(drawn + (drawn >= frame), np.int64)

    def _some(self, pool: np.ndarray[Any, np.dtype[Any]], number: int) -> np.ndarray[Any, np.dtype[Any]]:
        if number == 0:
            return pool[:0]
        return pool[self.generator.choice(len(pool), number, replace=len(pool) < number)]


class ReferencePictures:
    """Identity faces that were made once, since what masks them is frozen; a ``ReferenceSource``."""

    def __init__(
        self,
        pictures: UInt8[np.ndarray, "frames height width 3"],
        *,
        first_frame: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.pictures = pictures
        self.first_frame = first_frame
        self.device = device

    def __call__(self, frames: Int[np.ndarray, "views"]) -> Float[Tensor, "views 3 height width"]:
        """Read some; the array may be a memory map."""
        read = torch.from_numpy(np.ascontiguousarray(self.pictures[frames - self.first_frame]))
        return read.to(self.device or torch.device("cpu")).permute(0, 3, 1, 2).float() / 255


def fit_nerf(
    config: NerfTrainingConfig,
    module: NerfModule,
    state: StageState,
    sampler: NerfSampler,
    poses: Float[Tensor, "frames 4 4"],
    references: ReferenceSource,
    *,
    seconds: float | None,
) -> Iterator[Event]:
    """Fit the fields and what conditions them; pictures are the caller's between events.

    Args:
        config: the numbers.
        module: what is trained; the head's camera is set.
        state: step, optimiser over ``nerf_parameters``, generators.
        sampler: rays of the training frames; it draws from ``state.numpy``.
        poses: tracked poses of all frames.
        references: identity faces of training frames; unused where fields read no references.
        seconds: time budget of the stage.
    """
    budget = Budget(num_steps=config.num_steps, seconds=seconds)
    recent: Tensor | None = None
    if not budget.is_spent(state.step, state.seconds):
        state.reopen()
    try:
        while not state.finished:
            share = budget.share(state.step, state.seconds)
            for group in state.optimiser.param_groups:
                group["lr"] = nerf_rate(config, state.step) * group["factor"] * state.rate_factor
            state.optimiser.zero_grad(set_to_none=True)
            loss, seen = nerf_gradients(config, module, state, sampler, poses, references)
            is_good = state.apply(loss, largest_gradient=config.largest_gradient, has_gradients=True)
            if budget.is_spent(state.step, state.seconds):
                state.finish()
            if is_good:
                recent = seen.error if recent is None else torch.lerp(recent, seen.error, RECENT)
            if not is_good or recent is None:
                yield state.skipped()
            elif state.step % 20 == 0 or state.step <= 20 or state.finished:
                psnr = float(-10 * torch.log10(recent + 1e-10))
                whole = float(loss.detach())
                yield Metric(name="nerf loss", step=state.step, value=whole, seconds=state.seconds)
                yield Metric(name="nerf psnr", step=state.step, value=psnr, seconds=state.seconds)
                opacity = float(seen.opacity)
                yield Metric(name="nerf opacity", step=state.step, value=opacity, seconds=state.seconds)
                yield Progress(
                    stage="nerf",
                    done=round(1000 * share),
                    total=1000,
                    note=f"loss {whole:.4f} psnr {psnr:.1f}",
                    seconds_left=budget.seconds_left(state.step, state.seconds),
                )
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    if config.average_decay > 0:
        state.average.swap(module)


class NerfFigures(NamedTuple):
    """What the log says of a step."""

    error: Float[Tensor, ""]
    """Mean squared error of the second pass."""
    opacity: Float[Tensor, ""]
    """Mean opacity of the head; 0 for good is a field that died (``first_density``)."""


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
    config: NerfTrainingConfig,
    module: NerfModule,
    state: StageState,
    sampler: NerfSampler,
    poses: Float[Tensor, "frames 4 4"],
    references: ReferenceSource,
) -> NerfStep:
    """Draw a step's rays and references, and make the references' maps and the frame's conditions."""
    device, head = poses.device, module.head
    batch = sampler.draw()
    maps = None
    if head.config.uses_references:
        views = sampler.references(batch.frame, head.config.num_references)
        maps = head.maps(references(views), poses[torch.from_numpy(views).to(device)])
    conditions = module.conditions(
        torch.tensor([batch.frame], device=device), is_smoothed=is_smoothed(config, state.step)
    )
    pixels, rgb, behind = (
        torch.from_numpy(array).to(poses) for array in (batch.pixels, batch.rgb, batch.behind)
    )
    draws = head.config.coarse_samples + head.config.fine_samples
    jitter = torch.rand((len(rgb), draws), generator=state.torch).to(poses)
    return NerfStep(pixels, rgb, behind, jitter, poses[batch.frame], conditions, maps)


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


def nerf_gradients(
    config: NerfTrainingConfig,
    module: NerfModule,
    state: StageState,
    sampler: NerfSampler,
    poses: Float[Tensor, "frames 4 4"],
    references: ReferenceSource,
) -> tuple[Float[Tensor, ""], NerfFigures]:
    """Add a step's gradients to the parameters', ``rays_at_once`` at a time; returns its loss and figures.

    Maps and conditions are made once; parts leave their gradients on copies cut off from their graph, which
    is gone through once, at the end.
    """
    step = draw_step(config, module, state, sampler, poses, references)
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

"""Stage 3: NeRF-AD's radiance fields, on one frame per step.

What frames are conditioned on comes from a ``ConditionModule``, so that this loop is the same for the full
method, its ablations and the methods it is compared with. Gradients flow through the conditions: AudioNet
learns here too, through parts that are frozen (``requires_grad`` off), as in NeRF-AD's code.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.core.events import Event, Metric, Progress, Warned
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig
from nerf_ad.training.paper.nerf_rays import NerfSampler, ReferenceSource
from nerf_ad.training.paper.nerf_step import NerfModule, StepGradients, draw_step
from nerf_ad.training.schedule import Budget
from nerf_ad.training.stage import StageState

RECENT = 0.05
"""Weight of a step in the mean error that the log tells: each step is of another frame (ours)."""


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
    gradients, told = StepGradients(config, module, poses), False
    if not budget.is_spent(state.step, state.seconds):
        state.reopen()
    try:
        while not state.finished:
            share = budget.share(state.step, state.seconds)
            for group in state.optimiser.param_groups:
                group["lr"] = nerf_rate(config, state.step) * group["factor"] * state.rate_factor
            draw = draw_step(module.head, state, sampler, references, poses)
            loss, seen = gradients(draw, is_smoothed=is_smoothed(config, state.step))
            if gradients.failure is not None and not told:
                told = True
                yield Warned(
                    message=f"steps are not made as a CUDA graph, which is slower: {gradients.failure}"
                )
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

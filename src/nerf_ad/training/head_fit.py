"""Fitting the head: steps until the budget is spent, and the grid made tight behind them."""

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.core.events import Event, Metric, Progress, Warned
from nerf_ad.core.workers import in_order, single_threads
from nerf_ad.dataset.sampler import DeviceRays, RaySource
from nerf_ad.metrics.perceptual import Lpips
from nerf_ad.models.talking_head import HeadRays, TalkingHead
from nerf_ad.training.head import HeadConditions, HeadModule, HeadTrainingConfig
from nerf_ad.training.head_steps import HeadStepper, HeadTask, StreamingStepper, WaitingStepper
from nerf_ad.training.schedule import Budget, decayed
from nerf_ad.training.stage import StageState


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
            stepper.stride = config.coarse_stride if share < config.coarse_until else 1
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
        try:
            stepper.close()
        finally:
            state.save()
    state.average.swap(module)


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

    @torch.no_grad()
    def look(batch: DeviceRays) -> HeadRays:
        return model.head(batch.pixels, batch.slot, poses[batch.frames], conditions.show(batch.frames))

    workers = torch.get_num_threads() if poses.device.type == "cpu" else 0
    batches = (rays.draw() for _ in range(num_batches))
    with single_threads() if workers else contextlib.nullcontext():
        for done, head in enumerate(in_order(look, batches, num_workers=workers), start=1):
            model.grid.observe(head.points, head.weights)
            if done % 16 == 0:
                yield Progress(stage="tightening", done=done, total=num_batches)
    model.grid.prune(threshold=config.prune_threshold, decay=1.0)

"""Steps that stream ask the host nothing: watched operation by operation on a CPU, and on a GPU itself."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.metrics.test_perceptual import small_network
from torch.utils._python_dispatch import TorchDispatchMode

from nerf_ad.core.events import Metric, Warned
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.dataset.sampler import RaySamplingConfig
from nerf_ad.metrics.perceptual import Lpips
from nerf_ad.models.fields.field import AnyFieldConfig
from nerf_ad.models.fields.hashed_planes import HashedPlaneFieldConfig
from nerf_ad.models.talking_head import Condition, TalkingHead, TalkingHeadConfig
from nerf_ad.presets import TINY
from nerf_ad.training.head import (
    HeadModule,
    HeadOnGpuConfig,
    HeadTrainingConfig,
    MeasuredConditions,
    head_parameters,
)
from nerf_ad.training.head_fit import fit_head
from nerf_ad.training.head_steps import HeadLoss, HeadTask, StreamingStepper
from nerf_ad.training.planes import PlanesBench, open_bench, open_frames, open_rays
from nerf_ad.training.run_log import RunLog

SIZE = 48
CONFIG = HeadTrainingConfig(
    num_steps=60,
    prune_after=8,
    on_gpu=HeadOnGpuConfig(num_rays=512, num_frames=8, resident_megabytes=16, report_every=10),
)
HASHED = HashedPlaneFieldConfig(num_levels=3, base_resolution=8, finest_resolution=32, log2_table_size=8)
ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "repeat_interleave.Tensor")
"""Operations that a GPU answers to the host before the next one can be launched."""


def open_task(
    person: Dataset, folder: Path, device: torch.device, field: AnyFieldConfig
) -> tuple[PlanesBench, HeadTask]:
    torch.manual_seed(0)
    list(open_pixels(person, SIZE))
    model = TalkingHeadConfig(field=field, grid_resolution=24, num_steps=32, num_samples=8, mouth_dim=4)
    log = RunLog(folder / "a.avatar", "x", RaySamplingConfig())
    bench = open_bench(person, model, size=SIZE, seed=0, device=device, log=log, resident_megabytes=16)
    if bench.frames is None:
        bench = bench._replace(frames=open_frames(person, bench.ready, device, megabytes=16, seed=0))
    return bench, make_task(bench)


def make_task(bench: PlanesBench) -> HeadTask:
    device = bench.poses.device
    module = HeadModule(bench.model, bench.dataset.num_frames).to(device)
    optimiser = torch.optim.Adam(head_parameters(module, CONFIG), betas=(0.9, 0.99), eps=1e-15, fused=True)
    state = bench.state("head", module, optimiser, CONFIG.average_decay)
    expression = bench.ready.expression
    mouth, eyes = (torch.from_numpy(part).to(device) for part in (expression.mouth, expression.eyes))
    conditions = MeasuredConditions(Condition(mouth, eyes, bench.shots), code_noise=CONFIG.code_noise)
    for group in optimiser.param_groups:
        group["lr"] = group["rate"]
    lpips = Lpips("alex", small_network("alex", np.random.default_rng(0)), device=device)
    rays = open_rays(bench, CONFIG, state)
    return HeadTask(CONFIG, bench.model, module, state, rays, bench.poses, conditions, lpips)


class Watch(TorchDispatchMode):
    """Notes what a GPU would wait for: answers to the host, and numbers that the host makes for it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = str(func)
        if any(asking in name for asking in ASKING) or "lift_fresh" in name:
            self.asked.append(name)
        places = args[1] if name in ("aten.index.Tensor", "aten.index_put_.default") else []
        if any(one is not None and one.dtype == torch.bool for one in places):
            self.asked.append(f"{name} by what is true")
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=[TINY.model.field, HASHED], ids=["planes", "hashed-planes"])
def streamed(
    request: pytest.FixtureRequest, person: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> HeadTask:
    """A task on a CPU whose head evaluates all samples, as on a GPU."""
    _, task = open_task(person, tmp_path, torch.device("cpu"), request.param)
    monkeypatch.setattr(TalkingHead, "head", functools.partialmethod(TalkingHead.head, is_ragged=False))
    return task


@pytest.mark.parametrize("with_patch", [False, True])
def test_a_streamed_step_asks_the_host_nothing(
    streamed: HeadTask,
    with_patch: bool,  # noqa: FBT001 - pytest's
) -> None:
    stepper = StreamingStepper(streamed)
    stepper.with_patch = with_patch
    stepper.step()  # Adam's state is made, which is no step's habit
    with Watch() as seen:
        stepper.step()
        streamed.model.grid.prune(threshold=0.01, decay=0.9)
    assert not seen.asked
    assert stepper.look()


def test_the_watch_sees_what_a_gpu_would_wait_for() -> None:
    numbers = torch.arange(3.0)
    for wait in (
        lambda: float(numbers.sum()),
        lambda: numbers[numbers > 1],
        lambda: numbers[[0, 1, 0]],
        numbers.nonzero,
        lambda: torch.tensor([1.0, 2.0]),
    ):
        with Watch() as seen:
            wait()
        assert seen.asked


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def on_gpu(person: Dataset, tmp_path: Path) -> tuple[PlanesBench, HeadTask]:
    return open_task(person, tmp_path, torch.device("cuda"), TINY.model.field)


def gradients(task: HeadTask) -> dict[str, torch.Tensor]:
    found = task.module.named_parameters()
    return {name: value.grad.clone() for name, value in found if value.grad is not None}


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_does_not_wait_within_a_step(on_gpu: tuple[PlanesBench, HeadTask]) -> None:
    _, task = on_gpu
    choices = CONFIG.model_dump()
    choices["on_gpu"]["in_one_graph"] = False
    task = task._replace(config=HeadTrainingConfig.model_validate(choices))
    for with_patch in (False, True):
        stepper = StreamingStepper(task)
        stepper.with_patch = with_patch
        stepper.step()  # kernels are compiled, Adam's state is made
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                stepper.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert stepper.look()


@pytest.mark.gpu
@needs_gpu
def test_a_graph_is_captured_anew_when_squares_are_looked_at(on_gpu: tuple[PlanesBench, HeadTask]) -> None:
    """What either graph replays has the loss and the gradients of a step launched with the same draws."""
    _, task = on_gpu
    stepper = StreamingStepper(task)
    before = None
    for with_patch in (False, True, False):
        stepper.with_patch = with_patch
        for _ in range(3):
            stepper.step()
        assert not stepper.complaint
        assert stepper.graph is not None
        assert stepper.graph is not before
        before = stepper.graph
        drawn = task.state.generator.get_state()
        stepper.graph.replay()
        assert stepper.captured is not None
        loss, ours = float(stepper.captured.loss), gradients(task)
        task.state.generator.set_state(drawn)
        kept = {name: value.grad for name, value in task.module.named_parameters()}
        plain = stepper._launch()
        theirs = gradients(task)
        for name, value in task.module.named_parameters():
            value.grad = kept[name]  # the graph writes there
        assert loss == pytest.approx(float(plain.loss), rel=1e-3)
        assert ours.keys() == theirs.keys()
        for name, gradient in theirs.items():
            scale = float(gradient.abs().max())
            torch.testing.assert_close(ours[name], gradient, atol=0.02 * scale, rtol=0.05)
    assert stepper.look()
    stepper.close()


@pytest.mark.gpu
@needs_gpu
def test_what_cannot_be_captured_is_launched_singly(
    on_gpu: tuple[PlanesBench, HeadTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task = on_gpu
    plain = StreamingStepper._launch

    def wait(self: StreamingStepper) -> HeadLoss:
        result = plain(self)
        float(result.loss)
        return result

    monkeypatch.setattr(StreamingStepper, "_launch", wait)
    stepper = StreamingStepper(task)
    for _ in range(3):
        stepper.step()
    assert "launched one by one" in stepper.complaint
    assert stepper.graph is None
    assert stepper.look()
    monkeypatch.undo()
    again = StreamingStepper(task)  # another may be captured
    again.step()
    assert again.graph is not None


@pytest.mark.gpu
@needs_gpu
def test_a_fit_on_a_gpu_learns_with_squares_and_goes_on_where_it_stopped(
    on_gpu: tuple[PlanesBench, HeadTask],
) -> None:
    bench, task = on_gpu

    def fit(held: HeadTask, most: int) -> list[float]:
        figures = []
        events = fit_head(
            held.config,
            held.model,
            held.module,
            held.state,
            held.rays,
            held.poses,
            held.conditions,
            seconds=None,
            lpips=held.lpips,
        )
        for event in events:
            assert not isinstance(event, Warned), event.message
            if isinstance(event, Metric) and event.name == "psnr":
                figures.append(event.value)
                if held.state.step >= most:
                    break
        events.close()  # type: ignore[attr-defined]
        return figures

    first = fit(task, 40)  # past the share at which squares begin
    assert 40 <= task.state.step < CONFIG.num_steps
    again = make_task(bench)
    assert again.state.step == task.state.step
    assert all(group["fused"] for group in again.state.optimiser.param_groups)
    second = fit(again, CONFIG.num_steps)
    assert again.state.finished
    assert second[-1] > first[0]

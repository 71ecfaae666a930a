"""The head's steps as a GPU makes them, on a CPU: one shape, no waiting, the same learning."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.dataset.sampler import RaySamplingConfig
from nerf_ad.metrics.perceptual import Lpips
from nerf_ad.models.talking_head import Condition, TalkingHeadConfig
from nerf_ad.presets import TINY
from nerf_ad.training.head import (
    HeadModule,
    HeadOnGpuConfig,
    HeadTrainingConfig,
    MeasuredConditions,
    head_parameters,
    skew,
    turned,
)
from nerf_ad.training.head_fit import fit_head
from nerf_ad.training.head_steps import HeadTask, StreamingStepper, WaitingStepper
from nerf_ad.training.planes import PlanesBench, open_bench, open_frames, open_rays, teach_torso
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.stage import StageState
from nerf_ad.training.torso import ResidentTruth, TorsoTrainingConfig

SIZE = 48
CONFIG = HeadTrainingConfig(
    num_steps=40,
    prune_after=8,
    in_bfloat16=False,
    on_gpu=HeadOnGpuConfig(num_rays=512, num_frames=8, resident_megabytes=16, report_every=10),
)
MODEL = TalkingHeadConfig(
    field=TINY.model.field, grid_resolution=24, num_steps=32, num_samples=8, mouth_dim=4
)


@pytest.fixture
def bench(person: Dataset, tmp_path: Path) -> PlanesBench:
    torch.manual_seed(0)
    list(open_pixels(person, SIZE))
    log = RunLog(tmp_path / "a.avatar", "x", RaySamplingConfig())
    cpu = torch.device("cpu")
    made = open_bench(person, MODEL, size=SIZE, seed=0, device=cpu, log=log)
    return made._replace(frames=open_frames(person, made.ready, cpu, megabytes=16, seed=0))


def make_task(bench: PlanesBench, *, fused: bool = True) -> HeadTask:
    module = HeadModule(bench.model, bench.dataset.num_frames)
    groups = head_parameters(module, CONFIG)
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=fused or None)
    state = bench.state("head", module, optimiser, CONFIG.average_decay)
    expression = bench.ready.expression
    every = Condition(torch.from_numpy(expression.mouth), torch.from_numpy(expression.eyes), bench.shots)
    conditions = MeasuredConditions(every, code_noise=CONFIG.code_noise)
    rays = open_rays(bench, CONFIG, state)
    for group, rate in zip(optimiser.param_groups, (2e-2, 5e-3, 2e-4), strict=True):
        group["lr"] = rate
    return HeadTask(CONFIG, bench.model, module, state, rays, bench.poses, conditions)


def test_all_samples_give_what_those_that_are_there_give(bench: PlanesBench) -> None:
    task = make_task(bench)
    with torch.no_grad():
        task.module.corrections.delta.normal_(0, 0.5)
        for level in bench.model.planes.encoding.levels:
            level.normal_(0, 0.3)
    batch = task.rays.draw()
    answers = []
    for is_ragged in (True, False):
        condition = task.conditions.draw(batch.frames, torch.Generator().manual_seed(0))
        condition = condition._replace(mouth=condition.mouth.requires_grad_())
        pose, _ = task.module.corrections(bench.poses[batch.frames], batch.frames)
        head = bench.model.head(batch.pixels, batch.slot, pose, condition, is_ragged=is_ragged)
        loss = (head.rgb - batch.rgb).square().mean() + 0.1 * (head.opacity - batch.head).square().mean()
        learnt = [*task.module.field.parameters(), task.module.corrections.delta, condition.mouth]
        answers.append((head, torch.autograd.grad(loss, learnt)))
    (ragged, some), (whole, every) = answers
    assert len(whole.points) == CONFIG.on_gpu.num_rays * MODEL.num_samples > len(ragged.points) > 0
    torch.testing.assert_close(whole.rgb, ragged.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(whole.opacity, ragged.opacity, atol=1e-5, rtol=0)
    for ours, theirs in zip(every, some, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-4)
    seen = []
    for head in (ragged, whole):
        bench.model.grid.importance.zero_()
        bench.model.grid.observe(head.points, head.weights)
        seen.append(bench.model.grid.importance.clone())
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)


def steps(task: HeadTask, stepper: StreamingStepper | WaitingStepper, count: int) -> list[float]:
    return [float(stepper.step()[0].loss.detach()) for _ in range(count)]


def test_streaming_steps_learn_what_waiting_steps_learn(
    bench: PlanesBench, person: Dataset, tmp_path: Path
) -> None:
    start = {name: value.clone() for name, value in bench.model.state_dict().items()}
    streamed = make_task(bench)
    ours = steps(streamed, StreamingStepper(streamed), 30)
    learnt = {name: value.clone() for name, value in bench.model.state_dict().items()}
    average = {name: value.clone() for name, value in streamed.state.average.tensors.items()}
    bench.model.load_state_dict(start)
    every_step = CONFIG.model_copy(update={"pose_every": 1})  # as on a GPU
    waited = make_task(bench, fused=False)._replace(config=every_step)
    theirs = steps(waited, WaitingStepper(waited), 30)
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert ours[-1] < 0.7 * ours[0]
    for name in ("field.colour_out.bias", "field.trunk_in.weight"):
        torch.testing.assert_close(learnt[name], bench.model.state_dict()[name], atol=2e-3, rtol=0)
        torch.testing.assert_close(average[name], waited.state.average.tensors[name], atol=2e-3, rtol=0)


def test_a_streamed_step_that_is_not_finite_changes_nothing_and_is_told(bench: PlanesBench) -> None:
    task = make_task(bench)
    stepper = StreamingStepper(task)
    stepper.step()
    assert stepper.look()
    before = {name: value.clone() for name, value in task.module.state_dict().items() if "grid" not in name}
    numbers = [entry["step"].clone() for entry in task.state.optimiser.state.values()]
    every = task.conditions.every  # type: ignore[attr-defined]
    mouth = every.mouth.clone()
    every.mouth.fill_(torch.nan)
    stepper.step()
    every.mouth.copy_(mouth)
    for name, value in before.items():
        assert torch.equal(task.module.state_dict()[name], value), name
    for entry, number in zip(task.state.optimiser.state.values(), numbers, strict=True):
        assert torch.equal(entry["step"], number)
    assert not stepper.look()
    assert stepper.look()
    stepper.step()
    assert stepper.look()
    assert not torch.equal(task.module.state_dict()["field.colour_out.bias"], before["field.colour_out.bias"])


def test_three_streamed_steps_that_are_not_finite_roll_back(bench: PlanesBench) -> None:
    task = make_task(bench)
    stepper = StreamingStepper(task)
    stepper.step()
    task.state.save()
    stepper.step()
    task.conditions.every.mouth.fill_(torch.nan)  # type: ignore[attr-defined]
    for _ in range(3):
        stepper.step()
    assert not stepper.look()
    assert task.state.step == 1
    assert task.state.rate_factor == 0.5


def test_clipping_is_that_of_apply(tmp_path: Path) -> None:
    """Both clip to the norm 1: one in the gradient, one in fused Adam's scale."""
    made = []
    for is_streamed in (False, True):
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        optimiser = torch.optim.Adam(module.parameters(), 0.1, eps=1.0, fused=is_streamed or None)
        path = tmp_path / f"{is_streamed}.safetensors"
        state = StageState(path, module, optimiser, average_decay=0.9, seed=0, fingerprint="x")
        for _ in range(3):
            loss = 50 * module(torch.ones(4, 3)).square().sum()
            if is_streamed:
                optimiser.zero_grad()
                loss.backward()
                state.apply_unseen(loss)
            else:
                state.apply(loss)
        made.append(module.weight.detach().clone())
    torch.testing.assert_close(made[0], made[1], atol=1e-6, rtol=1e-5)


def streamed_events(bench: PlanesBench, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setattr("nerf_ad.training.head_fit.WaitingStepper", StreamingStepper)
    task = make_task(bench)
    return fit_head(
        CONFIG, bench.model, task.module, task.state, task.rays, bench.poses, task.conditions, seconds=None
    )


def test_a_whole_fit_streams(bench: PlanesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    events = list(streamed_events(bench, monkeypatch))
    assert events
    again = make_task(bench)
    assert again.state.step == CONFIG.num_steps
    assert again.state.finished


def test_the_torso_learns_from_resident_frames(bench: PlanesBench) -> None:
    list(teach_torso(bench, TorsoTrainingConfig(num_steps=3, num_frames=2), None))
    assert bench.frames is not None
    frames = bench.frames
    recorded = ResidentTruth(frames, bench.ready.cache)
    state = bench.state("x", bench.model.torso, torch.optim.Adam(bench.model.torso.parameters()), 0.9)
    drawn = recorded.draw(3, state, torch.device("cpu"))
    for place, frame in enumerate(drawn.frames.tolist()):
        truth = torch.from_numpy(bench.ready.cache.frames[frame].copy()).permute(2, 0, 1) / 255
        torch.testing.assert_close(drawn.picture[place], truth)


def test_turns_by_series_are_the_exponential() -> None:
    angles = torch.randn(200, 3, dtype=torch.float64)
    angles[:50] *= 0.05
    angles[50:] /= angles[50:].norm(dim=-1, keepdim=True)
    angles[0] = 0
    torch.testing.assert_close(turned(angles), torch.linalg.matrix_exp(skew(angles)), atol=1e-7, rtol=0)


class Watching(Lpips):
    """Remembers what it was shown and says a squared difference."""

    def __init__(self) -> None:
        self.shown: list[tuple[torch.Tensor, torch.Tensor]] = []

    def distances(self, made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        self.shown.append((made.detach(), real))
        return (made - real).square().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("stepper", [StreamingStepper, WaitingStepper])
def test_towards_the_end_a_square_is_looked_at(
    bench: PlanesBench, stepper: type[StreamingStepper] | type[WaitingStepper]
) -> None:
    task = make_task(bench)._replace(lpips=Watching())
    made = stepper(task)
    made.step()
    assert isinstance(task.lpips, Watching)
    assert not task.lpips.shown
    made.with_patch = True
    result, _ = made.step()
    ((drawn, recorded),) = task.lpips.shown
    side = CONFIG.rays.patch_size
    assert drawn.shape == recorded.shape == (1, 3, side, side)
    looks = float((drawn - recorded).square().mean())
    plain = float(result.loss.detach()) - CONFIG.perceptual_weight * looks
    assert float(result.error) <= plain < 2 * float(result.error) + 0.2
    frames = torch.from_numpy(np.array(bench.ready.cache.frames)).permute(0, 3, 1, 2).float() / 255
    assert any(  # the recording's own square, somewhere in one of its frames
        torch.allclose(frame[:, top : top + side, left : left + side], recorded[0], atol=1e-6)
        for frame in frames
        for top in range(frame.shape[1] - side + 1)
        for left in range(frame.shape[2] - side + 1)
    )


@pytest.mark.parametrize("num_threads", [2, 3])
@pytest.mark.parametrize("with_patch", [False, True])
def test_threads_side_by_side_make_the_gradients_of_the_whole(
    bench: PlanesBench,
    num_threads: int,
    with_patch: bool,  # noqa: FBT001 - pytest's
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = {name: value.clone() for name, value in bench.model.state_dict().items()}
    seen = []
    for count in (1, num_threads):
        bench.model.load_state_dict(start)
        task = make_task(bench)._replace(lpips=Watching())
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        stepper = WaitingStepper(task)
        monkeypatch.undo()
        stepper.with_patch = with_patch
        with torch.no_grad():
            task.module.corrections.delta.fill_(0.1)
        result, is_good = stepper.step()
        stepper.close()
        assert is_good
        gradients = {
            name: value.grad.clone()
            for name, value in task.module.named_parameters()
            if value.grad is not None
        }
        learnt = {name: value.clone() for name, value in bench.model.field.state_dict().items()}
        seen.append((float(result.loss.detach()), float(result.error), gradients, learnt))
    (loss, error, whole, learnt), (loss_of_parts, error_of_parts, parts, learnt_of_parts) = seen
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    assert error_of_parts == pytest.approx(error, rel=1e-5)
    assert whole.keys() == parts.keys()
    assert whole["corrections.delta"].any()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, atol=1e-5 * float(gradient.abs().max()), rtol=1e-4)
    for name, value in learnt.items():  # Adam's first step is the sign of a gradient, whatever its size
        moved = (learnt_of_parts[name] - value).abs() > 1e-4
        assert moved.float().mean() < 0.02, name


@pytest.mark.parametrize("num_threads", [1, 2])
def test_waiting_steps_learn_poses_every_so_often(
    bench: PlanesBench, num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(bench)
    monkeypatch.setattr(torch, "get_num_threads", lambda: num_threads)
    stepper = WaitingStepper(task)
    monkeypatch.undo()
    moved = []
    for _ in range(2 * CONFIG.pose_every):
        before = task.module.corrections.delta.detach().clone()
        stepper.step()
        moved.append(not torch.equal(before, task.module.corrections.delta))
    stepper.close()
    assert moved == 2 * [True, *[False] * (CONFIG.pose_every - 1)]


def test_the_fit_marches_coarsely_at_first(bench: PlanesBench, monkeypatch: pytest.MonkeyPatch) -> None:
    task, strides = make_task(bench), []
    head = bench.model.head

    def watched(*given: object, stride: int = 1, **more: object) -> object:
        strides.append(stride)
        return head(*given, stride=stride, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.model, "head", watched)
    config = CONFIG.model_copy(update={"num_steps": 10, "coarse_until": 0.3})
    torch.set_num_threads(1)
    for _ in fit_head(
        config, bench.model, task.module, task.state, task.rays, bench.poses, task.conditions, seconds=None
    ):
        pass
    assert strides == [2] * 3 + [1] * 7


def test_what_a_thread_raises_ends_the_fit_with_its_state_saved(
    bench: PlanesBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    task = make_task(bench)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        events = fit_head(
            CONFIG,
            bench.model,
            task.module,
            task.state,
            task.rays,
            bench.poses,
            task.conditions,
            seconds=None,
        )
        next(events)  # some steps go well
        done = task.state.step
        monkeypatch.setattr("nerf_ad.training.head_steps.part_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(events)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert done == task.state.step > 0
    assert task.state.path.is_file()

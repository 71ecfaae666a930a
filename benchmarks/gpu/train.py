"""How quickly the preset ``fast`` learns a person, and where the time of a step goes.

    python benchmarks/gpu/train.py DATASET [--size 512] [--seconds 60] [--device cuda] [--json FILE]

Trains torso, speech and head as ``nerf-ad train fast`` does, within the given seconds from the opened pixel
cache on: reading frames, hull, compiling kernels and capturing the graph count; looking at held-out frames
does not. PSNR is the mean over every fifth held-out frame, with measured mouth codes and tracked poses, of
the whole frame, the head's pixels and the mouth's box. Afterwards parts of a step are timed on their own,
and the same steps with ``grid_sample`` for the kernels, without the graph, and with other numbers of rays.

Where sound and video libraries are missing, stand-ins take their place: nothing here decodes anything.
"""

import argparse
import importlib.util
import json
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

if TYPE_CHECKING:
    from nerf_ad.dataset.dataset import Dataset
    from nerf_ad.metrics.perceptual import Lpips
    from nerf_ad.training.head_steps import HeadTask
    from nerf_ad.training.planes import PlanesBench

MARKS = (2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 1800)
"""Seconds at which held-out frames are looked at, those within the budget."""
DECODERS = {
    "av": ("audio", "audio.stream", "container", "video", "video.stream", "video.reformatter"),
    "soundfile": (),
    "soxr": (),
    "tomli_w": (),
}


def stand_in() -> list[str]:
    """Let the package be imported without the libraries that decode; their names."""
    absent = [name for name in DECODERS if importlib.util.find_spec(name) is None]
    for name in absent:
        for part in (name, *(f"{name}.{module}" for module in DECODERS[name])):
            sys.modules[part] = MagicMock()
    if "tomli_w" in absent:
        sys.modules["tomli_w"].dumps = lambda choices, **_: json.dumps(choices)  # type: ignore[attr-defined]
    return absent


def say(**facts: object) -> None:
    """A line of results."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


class Clock:
    """Seconds of training; stands still while held-out frames are looked at."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.apart = 0.0

    @property
    def seconds(self) -> float:
        """So far."""
        return time.monotonic() - self.start - self.apart


class Meter:
    """Held-out frames against the recording."""

    def __init__(self, dataset: "Dataset", bench: "PlanesBench", *, every: int) -> None:
        import numpy as np

        from nerf_ad.training.planes import part_boxes

        self.bench = bench
        test = dataset.split().test
        self.frames = list(range(test.start, test.stop, every))
        cache = bench.ready.cache
        self.real = [np.array(cache.frames[index]) for index in self.frames]
        self.labels = [np.array(cache.labels[index]) for index in self.frames]
        self.boxes = part_boxes(dataset, bench.ready)[0]

    def look(self, task: "HeadTask") -> dict[str, float]:
        """Mean PSNR of each region, with the averaged parameters."""
        import numpy as np
        import torch

        from nerf_ad.face.parsing import Part
        from nerf_ad.metrics.image import psnr

        values: dict[str, list[float]] = {"whole": [], "head": [], "mouth": []}
        task.state.average.swap(task.module)
        try:
            for index, real, labels in zip(self.frames, self.real, self.labels, strict=True):
                at = torch.tensor([index], device=task.poses.device)
                with torch.no_grad():
                    made = task.model.frame(task.conditions.show(at), task.poses[at])
                picture = (made.clamp(0, 1) * 255).round().byte().cpu().numpy()
                left, top, right, bottom = self.boxes[index]
                box = np.zeros(labels.shape, bool)
                box[top:bottom, left:right] = True
                for name, where in (("whole", None), ("head", labels == Part.HEAD), ("mouth", box)):
                    value = psnr(picture, real, where)
                    if value is not None:
                        values[name].append(value)
        finally:
            task.state.average.swap(task.module)
        return {name: round(float(np.mean(kept)), 3) for name, kept in values.items() if kept}


def prepare_task(arguments: argparse.Namespace, dataset: "Dataset", folder: Path, clock: Clock) -> "HeadTask":
    """Torso and speech, and what the head needs: what ``fast_stages`` does before the head."""
    import torch

    from nerf_ad.core.device import seed_everything
    from nerf_ad.models.speech_code import SpeechCode
    from nerf_ad.models.talking_head import Condition
    from nerf_ad.presets import FAST
    from nerf_ad.training.fast import speech_windows
    from nerf_ad.training.head import HeadModule, MeasuredConditions, head_parameters
    from nerf_ad.training.head_steps import HeadTask
    from nerf_ad.training.planes import open_bench, open_rays, teach_torso
    from nerf_ad.training.run_log import RunLog
    from nerf_ad.training.speech import fit_speech

    seed_everything(0)
    device = torch.device(arguments.device)
    config = choose_head(arguments)
    log = RunLog(folder / "a.avatar", "benchmark", FAST)
    bench = open_bench(
        dataset,
        FAST.model,
        size=arguments.size,
        seed=0,
        device=device,
        log=log,
        resident_megabytes=config.on_gpu.resident_megabytes,
    )
    say(part="opened", seconds=round(clock.seconds, 2))
    taken = drain(teach_torso(bench, FAST.torso, FAST.torso_share * arguments.seconds))
    say(
        part="torso",
        seconds=round(clock.seconds, 2),
        took=round(taken, 2),
        steps=taught_steps(bench, "torso"),
    )
    kind = dataset.speech_names()[0]
    track = dataset.speech(kind)
    features = torch.from_numpy(track.features).float().to(device)
    train = bench.ready.train
    heard = speech_windows(dataset, track, FAST.speech_code)[train.start : train.stop]
    code = SpeechCode(FAST.speech_code, channels=features.shape[1], out_dim=FAST.model.mouth_dim).to(device)
    code.set_normalisation(features[int(heard.min()) : int(heard.max()) + 1])
    rate, decay = FAST.speech_training.rate, FAST.speech_training.weight_decay
    state = bench.state("speech", code, torch.optim.AdamW(code.parameters(), rate, weight_decay=decay), 0.9)
    codes = torch.from_numpy(bench.ready.expression.mouth).to(device)
    own = codes[train.start : train.stop]
    list(fit_speech(FAST.speech_training, code, state, features, heard.to(device), own))
    say(part="speech", seconds=round(clock.seconds, 2), kind=kind, took=round(state.seconds, 2))
    module = HeadModule(bench.model, dataset.num_frames).to(device)
    eyes = torch.from_numpy(bench.ready.expression.eyes).to(device)
    conditions = MeasuredConditions(Condition(codes, eyes, bench.shots), code_noise=config.code_noise)
    is_on_gpu = device.type == "cuda"
    optimiser = torch.optim.Adam(
        head_parameters(module, config), betas=(0.9, 0.99), eps=1e-15, fused=is_on_gpu or None
    )
    held = bench.state("head", module, optimiser, config.average_decay)
    rays = open_rays(bench, config, held)
    say(part="rays", seconds=round(clock.seconds, 2))
    arguments.bench = bench
    return HeadTask(
        config, bench.model, module, held, rays, bench.poses, conditions, find_lpips(config, device)
    )


def find_lpips(config: Any, device: Any) -> "Lpips | None":  # noqa: ANN401 - imported late
    """What looks at squares, if it is wanted and there."""
    from nerf_ad.core.errors import WeightsError
    from nerf_ad.metrics.perceptual import build_lpips

    if config.perceptual_weight == 0:
        return None
    try:
        return build_lpips(device=device)
    except WeightsError as error:
        say(warning=f"no LPIPS: {error}")
        return None


def random_lpips(device: str) -> "Lpips":
    """A network of AlexNet's sizes that has learnt nothing: as quick as the real one, and captured alike."""
    import numpy as np

    from nerf_ad.metrics.perceptual import Lpips

    draw = np.random.default_rng(0)
    layers = [(11, 3, 64), (5, 64, 192), (3, 192, 384), (3, 384, 256), (3, 256, 256)]
    arrays = {}
    for number, (side, before, after) in enumerate(layers):
        kernel = draw.normal(0, (2 / (side * side * before)) ** 0.5, (side, side, before, after))
        arrays[f"AlexNet_0/Conv_{number}/kernel"] = kernel.astype(np.float32)
        arrays[f"AlexNet_0/Conv_{number}/bias"] = np.zeros(after, np.float32)
        arrays[f"NetLinLayer_{number}/Conv_0/kernel"] = np.full((1, 1, after, 1), 1 / after, np.float32)
    return Lpips("alex", arrays, device=device)


def choose_head(arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - imported late
    """The preset's head with what the arguments change."""
    from nerf_ad.presets import FAST
    from nerf_ad.training.head import HeadTrainingConfig

    choices = FAST.head.model_dump()
    on_gpu = {
        "num_rays": arguments.rays,
        "num_frames": arguments.frames,
        "resident_megabytes": arguments.megabytes,
    }
    choices["on_gpu"] |= {name: value for name, value in on_gpu.items() if value is not None}
    choices["on_gpu"]["in_one_graph"] = not arguments.eager
    choices["on_gpu"]["in_bfloat16"] = not arguments.single
    rates = {"plane_rate": arguments.plane_rate, "network_rate": arguments.network_rate}
    choices |= {name: value for name, value in rates.items() if value is not None}
    return HeadTrainingConfig.model_validate(choices)


def drain(stage: Any) -> Any:  # noqa: ANN401 - a generator's result
    """Run a stage to its end."""
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value


def taught_steps(bench: "PlanesBench", name: str) -> int:
    """Steps that a stage's resume file tells of."""
    from nerf_ad.training.checkpoint import load_facts

    return int(load_facts(bench.log.folder / f"{name}.safetensors")["step"])


def train_head(
    arguments: argparse.Namespace, task: "HeadTask", meter: Meter, clock: Clock
) -> list[dict[str, Any]]:
    """Fit the head in what is left of the time, and look at the marks."""
    from nerf_ad.core.events import Warned
    from nerf_ad.training.head_fit import fit_head
    from nerf_ad.training.schedule import Clock as StageClock

    rows: list[dict[str, Any]] = []
    waiting = [mark for mark in MARKS if mark < arguments.seconds - 0.5]
    left = max(1.0, arguments.seconds - clock.seconds)
    events = fit_head(
        task.config,
        task.model,
        task.module,
        task.state,
        task.rays,
        task.poses,
        task.conditions,
        seconds=left,
        lpips=task.lpips,
    )
    is_averaged = False

    def keep(mark: float) -> None:
        task.state.clock.stop()
        begun = time.monotonic()
        at, step = clock.seconds, task.state.step
        synchronise(arguments.device)
        if is_averaged:  # the averages stand in place already
            task.state.average.restart(task.module)
        rows.append(
            {
                "mark": mark,
                "seconds": round(at, 2),
                "head_seconds": round(task.state.seconds, 2),
                "step": step,
                **meter.look(task),
            }
        )
        say(**rows[-1])
        clock.apart += time.monotonic() - begun
        if not task.state.finished:
            task.state.clock = StageClock(task.state.clock.seconds)

    for event in events:
        if isinstance(event, Warned):
            say(warning=event.message)
        if waiting and clock.seconds >= waiting[0] and not task.state.finished:
            keep(waiting[0])
            waiting = [mark for mark in waiting if mark > clock.seconds]
    is_averaged = True
    keep(arguments.seconds)
    return rows


def synchronise(device: str) -> None:
    """Wait for the GPU."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(device: str, work: Callable[[], object], *, repeats: int) -> float:
    """Milliseconds of ``work``, the mean over repeats after a warm-up, from start to end on the GPU."""
    for _ in range(3):
        work()
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        work()
    synchronise(device)
    return round(1000 * (time.perf_counter() - begun) / repeats, 4)


def profile(arguments: argparse.Namespace, task: "HeadTask") -> dict[str, float]:
    """Milliseconds of parts of a step, each launched on its own, host included, and of whole steps."""
    import torch

    repeats = 50 if arguments.device.startswith("cuda") else 2
    model, generator = task.model, task.state.generator
    batch = task.rays.draw()
    condition = task.conditions.draw(batch.frames, generator)
    pose = task.poses[batch.frames]
    in_bfloat16 = task.config.on_gpu.in_bfloat16 and arguments.device.startswith("cuda")

    def loss() -> Any:  # noqa: ANN401
        return task.loss(StepWay(in_bfloat16))

    def learn() -> None:
        task.state.optimiser.zero_grad(set_to_none=True)
        loss().loss.backward()

    from nerf_ad.geometry.rays import pixel_rays
    from nerf_ad.training.head_steps import StepWay
    from nerf_ad.volume.sampling import march

    rays = pixel_rays(batch.pixels, pose.index_select(0, batch.slot), model.intrinsics)
    step, samples = model.step, model.config.num_samples

    def walk() -> Any:  # noqa: ANN401
        return march(
            rays.origins,
            rays.directions,
            model.grid,
            step=step,
            num_steps=model.config.num_steps,
            num_samples=samples,
        )

    there = float((walk().lengths > 0).float().mean())
    with torch.no_grad():
        head = model.head(batch.pixels, batch.slot, pose, condition, is_ragged=False)
    unit = ((head.points - model.grid.low) * (2.0 / (model.grid.high - model.grid.low)) - 1.0).detach()
    unit.requires_grad_()
    encoding = model.field.encoding
    with autocast(arguments.device, is_on=in_bfloat16):
        encoded = encoding(unit)
    gradient = torch.randn_like(encoded)
    where = torch.randn(model.config.mouth_dim + model.config.eye_dim, len(unit), device=unit.device)
    directions = torch.nn.functional.normalize(rays.directions, dim=-1)

    def encode(*, back: bool) -> None:
        with autocast(arguments.device, is_on=in_bfloat16):
            out = encoding(unit)
        if back:
            torch.autograd.grad(out, [unit, *encoding.levels], gradient)

    def shade(*, back: bool) -> None:
        with autocast(arguments.device, is_on=in_bfloat16):
            density, rgb = model.field(unit, where, directions)
        if back:
            (density.sum() + rgb.sum()).backward()

    task.state.optimiser.zero_grad(set_to_none=True)
    found = {
        "samples": len(unit),
        "samples_there": round(there, 4),
        "draw": timed(arguments.device, task.rays.draw, repeats=repeats),
        "march": timed(arguments.device, walk, repeats=repeats),
        "encode": timed(arguments.device, lambda: encode(back=False), repeats=repeats),
        "encode_and_back": timed(arguments.device, lambda: encode(back=True), repeats=repeats),
        "field": timed(arguments.device, lambda: shade(back=False), repeats=repeats),
        "field_and_back": timed(arguments.device, lambda: shade(back=True), repeats=repeats),
        "loss": timed(arguments.device, loss, repeats=repeats),
        "loss_and_back": timed(arguments.device, learn, repeats=repeats),
        "observe": timed(
            arguments.device, lambda: model.grid.observe(head.points, head.weights), repeats=repeats
        ),
    }
    if arguments.device.startswith("cuda"):
        learn()
        zero = torch.zeros((), device=unit.device)
        kept = {name: value.clone() for name, value in task.module.state_dict().items()}
        found["adam_and_average"] = timed(
            arguments.device, lambda: task.state.apply_unseen(zero), repeats=repeats
        )
        task.module.load_state_dict(kept)
    task.state.optimiser.zero_grad(set_to_none=True)
    return found


def autocast(device: str, *, is_on: bool) -> Any:  # noqa: ANN401
    """Bfloat16, or not."""
    import torch

    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_on, cache_enabled=False)


def whole_steps(arguments: argparse.Namespace, task: "HeadTask") -> dict[str, Any]:
    """Milliseconds of whole steps as they are, and otherwise; weights are put back after each."""
    import torch

    from nerf_ad.dataset.resident import ResidentRays
    from nerf_ad.dataset.sampler import RaySamplingConfig, RaySource
    from nerf_ad.training.head import HeadTrainingConfig
    from nerf_ad.training.head_steps import StreamingStepper

    if not isinstance(task.rays, ResidentRays):
        return {}
    resident = task.rays.frames
    kept = {name: value.clone() for name, value in task.module.state_dict().items()}
    found: dict[str, Any] = {}

    def measure(
        name: str,
        *,
        num_rays: int | None = None,
        kernels: bool = True,
        with_patch: bool = False,
        **on_gpu: object,
    ) -> None:
        choices = task.config.model_dump()
        choices["on_gpu"] |= on_gpu
        config = HeadTrainingConfig.model_validate(choices)
        rays: RaySource = task.rays
        if num_rays is not None:
            numbers = {**task.config.rays_on_gpu.model_dump(), "num_rays": num_rays}
            rays = ResidentRays(
                RaySamplingConfig.model_validate(numbers),
                resident,
                task.state.generator,
            )
        task.model.field.encoding.uses_kernels = kernels
        lpips = random_lpips(arguments.device) if with_patch else None
        stepper = StreamingStepper(task._replace(config=config, rays=rays, lpips=lpips))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        try:
            if with_patch:
                stepper.step()  # a graph without a square, that a graph with one follows as in a training
            stepper.with_patch = with_patch
            milliseconds = timed(arguments.device, stepper.step, repeats=100)
            found[name] = {
                "ms": milliseconds,
                "graph": stepper.graph is not None,
                "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6),
                "reserved_mb": round(torch.cuda.max_memory_reserved() / 1e6),
                "rays_per_s": round(1000 * (num_rays or task.config.on_gpu.num_rays) / milliseconds),
            }
            if stepper.complaint:
                found[name]["complaint"] = stepper.complaint
            if name == "as it is":
                found["kernels"] = top_kernels(stepper.step)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            found[name] = {"failed": str(error)[:200]}
        stepper.close()
        task.model.field.encoding.uses_kernels = True
        task.module.load_state_dict(kept)
        say(steps=name, **found[name])

    measure("as it is")
    measure("with a square", with_patch=True)
    found["waits"] = {"of a step launched singly": wait_of_a_step(task, random_lpips(arguments.device))}
    task.module.load_state_dict(kept)
    say(**found["waits"])
    measure("launched singly", in_one_graph=False)
    measure("grid_sample", kernels=False)
    measure("grid_sample, launched singly", kernels=False, in_one_graph=False)
    measure("single precision", in_bfloat16=False)
    for num_rays in (4096, 8192, 16_384, 32_768, 65_536):
        measure(f"{num_rays} rays", num_rays=num_rays)
    return found


def wait_of_a_step(task: "HeadTask", lpips: "Lpips") -> str:
    """Where the host waits for the GPU within a step, or ``none``; of a captured one it could not be seen."""
    import torch

    from nerf_ad.training.head import HeadTrainingConfig
    from nerf_ad.training.head_steps import StreamingStepper

    choices = task.config.model_dump()
    choices["on_gpu"]["in_one_graph"] = False
    config = HeadTrainingConfig.model_validate(choices)
    stepper = StreamingStepper(task._replace(config=config, lpips=lpips))
    stepper.with_patch = True
    try:
        stepper.step()
        torch.cuda.set_sync_debug_mode("error")
        stepper.step()
    except RuntimeError as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if "nerf_ad" in one.filename]
        return f"{' '.join(str(error).split())[:100]}: {frames[-1].filename}:{frames[-1].lineno}"
    finally:
        torch.cuda.set_sync_debug_mode("default")
        stepper.close()
    return "none"


def top_kernels(step: Callable[[], object]) -> list[dict[str, Any]]:
    """What a step's time on the GPU is spent on, by kernel."""
    import torch

    count = 20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(count):
            step()
        torch.cuda.synchronize()
    rows = [
        {
            "kernel": entry.key[:110],
            "us_per_step": round(entry.self_device_time_total / count, 1),
            "calls_per_step": round(entry.count / count, 2),
        }
        for entry in seen.key_averages()
    ]
    rows.sort(key=lambda row: -row["us_per_step"])
    for row in rows[:45]:
        say(**row)
    return rows


def main() -> int:
    """Train, look, time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="folder of a dataset")
    parser.add_argument("--size", type=int, default=512, help="pixels along each side")
    parser.add_argument("--seconds", type=float, default=60.0, help="for the whole training")
    parser.add_argument("--device", default="cuda", help="where to work")
    parser.add_argument("--every", type=int, default=5, help="each so-manieth held-out frame")
    parser.add_argument("--rays", type=int, help="rays a step on a GPU")
    parser.add_argument("--frames", type=int, help="frames that they come from")
    parser.add_argument("--megabytes", type=int, help="memory for frames on a GPU")
    parser.add_argument("--plane-rate", type=float, help="Adam's rate for the planes")
    parser.add_argument("--network-rate", type=float, help="Adam's rate for the networks")
    parser.add_argument("--eager", action="store_true", help="no CUDA graph")
    parser.add_argument("--single", action="store_true", help="single precision throughout")
    parser.add_argument("--no-profile", action="store_true", help="train only")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    arguments = parser.parse_args()
    absent = stand_in()

    import torch

    from nerf_ad.core.device import prepare_cpu
    from nerf_ad.dataset.dataset import Dataset
    from nerf_ad.dataset.pixels import open_pixels

    prepare_cpu()
    dataset = Dataset.open(arguments.dataset)
    begun = time.monotonic()
    list(open_pixels(dataset, arguments.size))
    facts = {
        "seconds": arguments.seconds,
        "device": torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device,
        "torch": torch.__version__,
        "absent": absent,
        "frames": dataset.num_frames,
        "size": arguments.size,
        "pixel_cache_seconds": round(time.monotonic() - begun, 2),
    }
    say(**facts)
    if arguments.device.startswith("cuda"):
        torch.zeros(1, device=arguments.device)  # starting CUDA itself is not training
        torch.cuda.reset_peak_memory_stats()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        task = prepare_task(arguments, dataset, Path(folder), clock)
        stopped = time.monotonic()
        meter = Meter(dataset, arguments.bench, every=arguments.every)
        clock.apart += time.monotonic() - stopped
        rows = train_head(arguments, task, meter, clock)
        results = {**facts, "rows": rows, **dict(totals(arguments, task, rows))}
        say(**{name: value for name, value in results.items() if name != "rows"})
        write(arguments, results)
        if not arguments.no_profile:
            results["parts_ms"] = profile(arguments, task)
            say(**results["parts_ms"])
            if arguments.device.startswith("cuda"):
                results["steps_ms"] = whole_steps(arguments, task)
        write(arguments, results)
    return 0


def write(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Keep all numbers."""
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


def totals(
    arguments: argparse.Namespace, task: "HeadTask", rows: list[dict[str, Any]]
) -> Iterator[tuple[str, object]]:
    """Rates of the head's training, and memory."""
    import torch

    is_on_gpu = arguments.device.startswith("cuda")
    rays = (task.config.rays_on_gpu if is_on_gpu else task.config.rays).num_rays
    seconds, steps = rows[-1]["head_seconds"], rows[-1]["step"]
    yield "sharpened_by_lpips", task.lpips is not None
    yield "rays_per_step", rays
    yield "steps_per_second", round(steps / seconds, 1)
    yield "rays_per_second", round(rays * steps / seconds)
    yield "rays_seen", rays * steps
    yield "samples_per_second", round(rays * steps * task.model.config.num_samples / seconds)
    yield "host_peak_mb", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    if is_on_gpu:
        yield "gpu_peak_mb", round(torch.cuda.max_memory_allocated() / 1e6)
        yield "gpu_reserved_mb", round(torch.cuda.max_memory_reserved() / 1e6)


if __name__ == "__main__":
    raise SystemExit(main())

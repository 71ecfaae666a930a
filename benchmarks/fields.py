"""Rays and samples a second of the radiance fields on a CPU, beside ER-NeRF's field and beside the floor.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/fields.py [--threads 2] [--json FILE] [--plot FILE]

needs no data set: rays of a few poses go through a box of one metre in which everything is occupied, so that
each has all its samples. Every way sees the same rays and samples, in turns, once to warm up and then
``--rounds`` times:

* *planes, kernel*: the fast field as it is trained (``kernels.field_network``), in single precision, and with
  bfloat16 products where the processor has them;
* *planes, plain*: the same field by ``grid_sample``, matrix products and autograd;
* *hashed planes*: ER-NeRF's hashed tri-plane and heads in eager PyTorch (``models.fields.hashed_planes``).

"forward" is the field alone, keeping what gradients need; "forward and backward" adds the gradients of points
and parameters; "step" is a whole training step: rays marched, field, compositing, loss, gradients, the norm,
Adam, moving average, occupancy. No step learns poses, as ER-NeRF's do not; what that costs ours, which learn
them every fourth step, is said by *with poses*. *Hashed planes* make steps as a plain loop does, torch's
threads sharing each operation; all others, and *hashed planes, our steps*, as ``training.head_steps`` does,
each thread taking a part of the rays. How quick the plain loop is hangs on whether threads sleep while
they wait, as ``nerf-ad`` lets them (decision 0010), or spin (``OMP_WAIT_POLICY=ACTIVE``), which is quicker
where nothing else runs: measure both.

**Floor.** What no program of these numbers can be faster than: the larger of operations over the speed of a
2048 x 2048 x 2048 product and bytes over the speed of a large copy, both measured in turns with everything
else. Operations and bytes of a sample are counted by ``count_work``. Caches serve most corners of the planes,
so that the bytes' part is a floor for tables that no cache holds.

Speeds are of the best round and of the median; ratios are medians of what each round's own turns say, for
other work on the machine slows neighbours alike. CPU time is of the round with the least. Memory is the most
that a process of its own held which only trained that way.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nerf_ad.capture.report.curves import draw_bars
from nerf_ad.core.device import multiplies_bfloat16, peak_memory, prepare_cpu
from nerf_ad.core.files import write_bytes
from nerf_ad.dataset.sampler import DeviceRays, RaySource
from nerf_ad.models.fields.field import AnyFieldConfig
from nerf_ad.models.fields.hashed_planes import HashedPlaneFieldConfig
from nerf_ad.models.fields.planes import PlaneFieldConfig
from nerf_ad.models.talking_head import Condition, TalkingHead, TalkingHeadConfig
from nerf_ad.training.head import (
    HeadModule,
    HeadTrainingConfig,
    MeasuredConditions,
    head_parameters,
)
from nerf_ad.training.head_steps import HeadTask, StepWay, WaitingStepper
from nerf_ad.training.stage import StageState

RATIO_WANTED = 3.0
"""Rays a second of a step over the reference's (issue 6)."""
OURS, REFERENCE = "planes, kernel", "hashed planes"
"""The fast field, and what everything is compared with."""
MOST_LOAD = 0.75
"""Processes for each core, before anything is measured, above which figures are not to be trusted (ours)."""
NUM_FRAMES, NUM_BATCHES = 16, 8
"""Frames that a step's rays come from, and batches drawn beforehand that come round."""
SIZE = 256
"""Pixels along each side of the picture that rays go through."""
DISTANCE, FOCAL = 3.0, 3.0 * SIZE
"""Metres from the camera to the box's middle, and pixels: 0.9 of the picture is within the box."""
MEASURES = ("forward", "forward and backward", "step")


class Way(NamedTuple):
    """One way to have a field."""

    config: AnyFieldConfig
    uses_kernels: bool = True
    in_bfloat16: bool = False
    in_plain_steps: bool = False
    learns_poses: bool = False


class Work(NamedTuple):
    """What a sample costs at least."""

    operations: float
    """Floating-point, one multiplication and one addition being two."""
    bytes: float
    """Read and written."""


class Scene(NamedTuple):
    """What every way sees."""

    num_rays: int
    num_samples: int
    seed: int


class Bench(NamedTuple):
    """One way, ready to be measured."""

    model: TalkingHead
    stepper: WaitingStepper
    field_inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    """What a step's field was asked: points, condition, directions and each sample's ray."""
    in_bfloat16: bool
    in_plain_steps: bool

    @property
    def num_samples(self) -> int:
        """Samples a step."""
        return len(self.field_inputs[0])

    def step(self) -> None:
        """Make a training step."""
        if not self.in_plain_steps:
            self.stepper.step()
            return
        task = self.stepper.task
        result = task.loss(StepWay(self.in_bfloat16))
        task.state.apply(result.loss)
        task.observe(result)


class BoxRays(RaySource):
    """Rays through the middle of the picture, of smoothly coloured pixels; batches come round."""

    def __init__(self, scene: Scene) -> None:
        generator = torch.Generator().manual_seed(scene.seed)
        self.batches = [self._batch(scene.num_rays, generator) for _ in range(NUM_BATCHES)]
        self.drawn = 0

    def draw(self, *, with_patch: bool = False) -> DeviceRays:  # noqa: ARG002 - squares are not timed
        """The next batch."""
        self.drawn += 1
        return self.batches[self.drawn % NUM_BATCHES]

    @staticmethod
    def _batch(num_rays: int, generator: torch.Generator) -> DeviceRays:
        # The middle third: rays of turned heads too enter by the front and stay inside for long enough.
        pixels = SIZE * (1 + torch.rand(num_rays, 2, generator=generator)) / 3
        colour = torch.stack([(pixels[:, 0] / 9).sin(), (pixels[:, 1] / 7).cos(), pixels.sum(dim=1).sin()])
        ones = torch.ones(num_rays)
        slot = torch.arange(NUM_FRAMES).repeat_interleave(-(-num_rays // NUM_FRAMES))[:num_rays]
        behind = torch.full((num_rays, 3), 0.5)
        return DeviceRays(
            torch.arange(NUM_FRAMES), slot, pixels, 0.5 + 0.5 * colour.T, behind, ones, torch.ones(num_rays)
        )


def list_ways() -> dict[str, Way]:
    """What is measured on this processor."""
    planes, hashed = PlaneFieldConfig(), HashedPlaneFieldConfig()
    ways = {
        OURS: Way(planes),
        "planes, plain": Way(planes, uses_kernels=False),
        REFERENCE: Way(hashed, in_plain_steps=True),
        f"{REFERENCE}, our steps": Way(hashed),
    }
    if multiplies_bfloat16():
        ways[f"{OURS}, bfloat16"] = Way(planes, in_bfloat16=True)
        ways["the same with poses"] = Way(planes, in_bfloat16=True, learns_poses=True)
        ways[f"{REFERENCE}, bfloat16"] = Way(hashed, in_bfloat16=True, in_plain_steps=True)
    return ways


def make_bench(way: Way, scene: Scene, folder: Path) -> Bench:
    """A head of that field in the box, and what trains it."""
    torch.manual_seed(scene.seed)
    # As in ``fast``: five candidates for each sample that is kept.
    config = TalkingHeadConfig(
        field=way.config, num_samples=scene.num_samples, num_steps=5 * scene.num_samples
    )
    model = TalkingHead(config, size=SIZE)
    model.grid.set_box(torch.full((3,), -0.5), torch.full((3,), 0.5))
    model.intrinsics.copy_(torch.tensor([FOCAL, FOCAL, SIZE / 2, SIZE / 2]))
    if isinstance(way.config, PlaneFieldConfig):
        model.planes.encoding.uses_kernels = way.uses_kernels
    training = HeadTrainingConfig(in_bfloat16=way.in_bfloat16)
    if not way.learns_poses:
        training = training.model_copy(update={"pose_rate": 0.0})
    module = HeadModule(model, NUM_FRAMES)
    groups = head_parameters(module, training)
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15, fused=True)
    for group in optimiser.param_groups:
        group["lr"] = group["rate"]
    state = StageState(
        folder / "head.safetensors",
        module,
        optimiser,
        average_decay=training.average_decay,
        seed=scene.seed,
        fingerprint="",
    )
    every = Condition(
        torch.randn(NUM_FRAMES, model.config.mouth_dim), torch.randn(NUM_FRAMES, model.config.eye_dim)
    )
    conditions = MeasuredConditions(every, code_noise=training.code_noise)
    task = HeadTask(training, model, module, state, BoxRays(scene), make_poses(), conditions)
    asked: list[tuple[Tensor, ...]] = []
    hook = model.field.register_forward_pre_hook(lambda _, given: asked.append(given))
    task.loss()
    hook.remove()
    points, condition, directions, ray = (part.detach() for part in asked[0])
    return Bench(
        model,
        WaitingStepper(task),
        (points.requires_grad_(), condition, directions, ray),
        way.in_bfloat16 and multiplies_bfloat16(),
        way.in_plain_steps,
    )


def make_poses() -> Tensor:
    """Cameras before the box, turned by up to 0.2 radians to either side."""
    turn = torch.linspace(-0.2, 0.2, NUM_FRAMES)
    poses = torch.eye(4).repeat(NUM_FRAMES, 1, 1)
    poses[:, 0, 0], poses[:, 0, 2] = turn.cos(), turn.sin()
    poses[:, 2, 0], poses[:, 2, 2] = -turn.sin(), turn.cos()
    poses[:, :3, 3] = DISTANCE * poses[:, :3, 2]
    return poses


def make_works(bench: Bench) -> dict[str, Callable[[], object]]:
    """Each measure as something to call."""
    model, inputs = bench.model, bench.field_inputs
    generator = torch.Generator().manual_seed(0)
    by_density = torch.randn(bench.num_samples, generator=generator)
    by_rgb = torch.randn(3, bench.num_samples, generator=generator)

    def forward() -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=bench.in_bfloat16, cache_enabled=False):
            density, rgb = model.field(*inputs)
        return density, rgb

    def both() -> None:
        for learnt in (inputs[0], *model.field.parameters()):
            learnt.grad = None
        torch.autograd.backward(forward(), (by_density, by_rgb))

    return dict(zip(MEASURES, (forward, both, bench.step), strict=True))


def count_work(bench: Bench, num_rays: int) -> dict[str, Work]:
    """What a sample costs at least in each measure.

    Networks: a sample is multiplied with each weight once, 2 operations; the gradients of inputs and of
    weights take as many each. The product of the view direction is one for each ray. Encoding: 4 corners of
    each feature, 2 operations each; as many for the gradients of tables and of points each.

    Bytes forward: points, condition and results, a direction a ray, and the 4 corners of each feature; back:
    the gradients of results and points, all inputs and corners again, and the corners' gradients read and
    written. A step asks for no gradients of points, nor for the corners again that these need. Activations
    may stay in a cache and are not counted, nor is the march. A step writes gradients
    (1) and reads them for their norm (1), reads parameter, gradient and both moments and writes three of
    them (7), and reads and writes the average (2): 11 numbers a parameter, shared by its samples.
    """
    field, number = bench.model.field, torch.finfo(torch.float32).bits // 8
    share = num_rays / bench.num_samples
    products = 0.0
    for name, weight in field.named_parameters():
        if weight.dim() == 2 and not name.startswith("encoding."):
            products += weight.numel() * (share if name.startswith("colour_ray.") else 1)
    corners = 4 * field.encoding.out_dim
    units = bench.field_inputs[1].shape[0]
    given, results = 3 + units + 3 * share, 1 + 3
    there = number * (given + corners + results)
    back = number * (given + corners + results + 3 + 2 * corners)
    learnt = sum(value.numel() for value in bench.stepper.task.module.parameters())
    operations = 2 * products + 2 * corners
    return {
        "forward": Work(operations, there),
        "forward and backward": Work(3 * operations, there + back),
        "step": Work(
            3 * operations - 2 * corners,
            there + back - number * (3 + corners) + 11 * number * learnt / bench.num_samples,
        ),
    }


def make_ceilings() -> dict[str, tuple[Callable[[], object], float]]:
    """Something to call for each ceiling of the machine, and its operations or bytes."""
    side, copied = 2048, 1 << 28
    source = torch.ones(copied // 4)
    to, square = torch.ones_like(source), torch.rand(side, side)
    out, small = torch.empty_like(square), square.bfloat16()
    ceilings: dict[str, tuple[Callable[[], object], float]] = {
        "copy": (lambda: to.copy_(source), 2.0 * copied),
        "float32": (lambda: torch.mm(square, square, out=out), 2.0 * side**3),
    }
    if multiplies_bfloat16():
        small_out = torch.empty_like(small)
        ceilings["bfloat16"] = (lambda: torch.mm(small, small, out=small_out), 2.0 * side**3)
    return ceilings


class Timed(NamedTuple):
    """One turn: seconds of wall and of CPU for each call."""

    wall: float
    cpu: float


def take_time(work: Callable[[], object], repeats: int) -> Timed:
    """A turn."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    return Timed((time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats)


def measure_memory(way: Way, scene: Scene, threads: int) -> dict[str, int]:
    """Megabytes of a process that only trains that way: before its first step, and the most."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(train_alone, (way, scene, threads))


def train_alone(way: Way, scene: Scene, threads: int) -> dict[str, int]:
    """A few steps, in a process of its own."""
    prepare_cpu(threads)
    megabytes = {}
    with tempfile.TemporaryDirectory() as folder:
        before = peak_memory(torch.device("cpu"))
        bench = make_bench(way, scene, Path(folder))
        for _ in range(5):
            bench.step()
    most = peak_memory(torch.device("cpu"))
    for name, found in (("before", before), ("most", most)):
        if found is not None:
            megabytes[name] = round(found / 1e6)
    return megabytes


def summarise(
    turns: dict[str, dict[str, list[Timed]]],
    benches: dict[str, Bench],
    ceilings: dict[str, float],
    num_rays: int,
) -> dict[str, Any]:
    """Speeds, ratios and distances from the floor of every way and measure."""
    found: dict[str, Any] = {}
    for name, bench in benches.items():
        samples, works = bench.num_samples, count_work(bench, num_rays)
        products = ceilings["bfloat16" if bench.in_bfloat16 else "float32"]
        row: dict[str, Any] = {"samples_a_ray": samples / num_rays, "samples_a_step": samples}
        for measure in MEASURES:
            walls = [turn.wall for turn in turns[name][measure]]
            theirs = [turn.wall for turn in turns[REFERENCE][measure]]
            best, median, work = min(walls), statistics.median(walls), works[measure]
            by_products, by_bytes = work.operations / products, work.bytes / ceilings["copy"]
            floor = samples * max(by_products, by_bytes)
            ratios = [other / own for own, other in zip(walls, theirs, strict=True)]
            row[measure] = {
                "rays_a_second": {"best": round(num_rays / best), "median": round(num_rays / median)},
                "samples_a_second": {"best": round(samples / best), "median": round(samples / median)},
                "ratio_to_reference": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                "cpu_microseconds_a_sample": round(
                    1e6 * min(turn.cpu for turn in turns[name][measure]) / samples, 3
                ),
                "operations_a_sample": round(work.operations),
                "bytes_a_sample": round(work.bytes),
                "floor_ms": {
                    "products": round(1e3 * samples * by_products, 2),
                    "bytes": round(1e3 * samples * by_bytes, 2),
                },
                "times_the_floor": round(best / floor, 1),
                "ms": {"best": round(1e3 * best, 2), "median": round(1e3 * median, 2)},
            }
        found[name] = row
    return found


def measure(scene: Scene, rounds: int, repeats: int) -> dict[str, Any]:
    """All ways and the machine's ceilings, in turns."""
    ways = list_ways()
    with tempfile.TemporaryDirectory() as folder:
        benches = {name: make_bench(way, scene, Path(folder)) for name, way in ways.items()}
        works = {name: make_works(bench) for name, bench in benches.items()}
        limits = make_ceilings()
        turns: dict[str, dict[str, list[Timed]]] = {name: {part: [] for part in MEASURES} for name in ways}
        reached: dict[str, list[float]] = {name: [] for name in limits}
        for turn in range(rounds + 1):
            for name, (work, amount) in limits.items():
                reached[name].append(amount / take_time(work, repeats).wall)
            for part in MEASURES:
                for name in ways:
                    timed = take_time(works[name][part], repeats)
                    if turn > 0:
                        turns[name][part].append(timed)
            say(f"round {turn} of {rounds}")
    ceilings = {name: max(speeds) for name, speeds in reached.items()}
    return {
        "ceilings_g_a_second": {name: round(speed / 1e9, 1) for name, speed in ceilings.items()},
        "ways": summarise(turns, benches, ceilings, scene.num_rays),
    }


def compare_steps(ways: dict[str, Any]) -> list[dict[str, Any]]:
    """Rays a second of our steps over the plain loop's with ER-NeRF's field, by precision and across."""
    found = []
    for own, other in (
        (OURS, REFERENCE),
        (f"{OURS}, bfloat16", f"{REFERENCE}, bfloat16"),
        (f"{OURS}, bfloat16", REFERENCE),
    ):
        if own in ways and other in ways:
            # Both ratios are medians over the same rounds; the reference's own is 1.
            times = ways[own]["step"]["ratio_to_reference"] / ways[other]["step"]["ratio_to_reference"]
            found.append({"way": own, "than": other, "times": round(times, 2)})
    return found


def describe(results: dict[str, Any]) -> str:
    """A short table."""
    head = f"{'':32}{'rays/s':>10}{'samples/s':>12}{'ratio':>8}{'CPU us':>8}{'x floor':>9}{'MB':>7}"
    lines = []
    for part in MEASURES:
        lines += ["", f"{part:32}" + head[32:]]
        for name, row in results["ways"].items():
            own = row[part]
            lines.append(
                f"  {name:30}{own['rays_a_second']['best']:>10,}{own['samples_a_second']['best']:>12,}"
                f"{own['ratio_to_reference']:>8.2f}{own['cpu_microseconds_a_sample']:>8.2f}"
                f"{own['times_the_floor']:>9.1f}{row['memory_mb'].get('most', 0):>7}"
            )
    limits = ", ".join(f"{name} {speed:g}" for name, speed in results["ceilings_g_a_second"].items())
    lines += ["", f"10^9 operations or bytes a second: {limits}; load {results['load_after'][0]:.1f}"]
    for row in results["steps_compared"]:
        lines += [f"a step of {row['way']}: {row['times']} times the rays of {row['than']}"]
    lines += [f"(wanted: {RATIO_WANTED:g} times the eager hashed planes')"]
    busy = results["load_before"][0] / max(results["cores"], 1)
    if busy > MOST_LOAD:
        lines += [f"other work had {busy:.1f} processes for each core: none of this is to be trusted"]
    return "\n".join(lines[1:]) + "\n"


def plot(results: dict[str, Any]) -> bytes:
    """Thousands of rays a second of every way, best round."""
    groups = {
        part: {name: row[part]["rays_a_second"]["best"] / 1000 for name, row in results["ways"].items()}
        for part in reversed(MEASURES)
    }
    most = max(speed for bars in groups.values() for speed in bars.values())
    return draw_bars(groups, y_label="thousand rays a second", limits=(0.0, 1.2 * most), legend="upper left")


def say(line: str) -> None:
    """Talk, beside the results."""
    sys.stderr.write(line + "\n")


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--rays", type=int, default=2048, help="a step")
    parser.add_argument("--samples", type=int, default=16, help="a ray")
    parser.add_argument("--rounds", type=int, default=9, help="after a warm-up")
    parser.add_argument("--repeats", type=int, default=4, help="calls a turn; every fourth step learns poses")
    parser.add_argument("--seed", type=int, default=0, help="of rays and weights")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--plot", type=Path, help="where to draw rays a second (.png)")
    arguments = parser.parse_args()
    prepare_cpu(arguments.threads)
    scene = Scene(arguments.rays, arguments.samples, arguments.seed)
    results: dict[str, Any] = {
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_products": multiplies_bfloat16(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "rays": scene.num_rays,
        "rounds": arguments.rounds,
        "load_before": os.getloadavg(),
    }
    # First, for a process that is made later begins with what this one holds by then.
    memory = {name: measure_memory(way, scene, arguments.threads) for name, way in list_ways().items()}
    results |= measure(scene, arguments.rounds, arguments.repeats)
    results["load_after"] = os.getloadavg()
    for name, row in results["ways"].items():
        row["memory_mb"] = memory[name]
    results["steps_compared"] = compare_steps(results["ways"])
    sys.stdout.write(describe(results))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.plot is not None:
        write_bytes(arguments.plot, plot(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

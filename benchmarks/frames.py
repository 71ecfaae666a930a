"""Frames a second on a CPU: the reference path, the whole renderer and the one by layers.

    python benchmarks/frames.py AVATAR [--sizes 128 256 512] [--dataset DATASET] [--json FILE] [--plot FILE]

Each way makes the same frames of the avatar's own motion, in turns, once to warm up and then ``--rounds``
times; the best round counts, since other work on the machine only ever makes one slower. "1 worker" draws in
one thread (with encoding: in a second one, as ``nerf-ad render`` does), "2 workers" two frames side by side.
Layers are made before: their cost is the row "making layers". A picture of another size than the avatar's
own has its camera, torso and plate brought to that size. Mouth codes are those of ``--dataset``'s own sound,
else a smooth random walk. PSNR is against the reference path, over the first twelve frames. "One at a time"
is what a live listener waits for: the clock from a frame's condition to its pixels, drawn in one thread with
nothing beside it; the sound's own way to a condition is not in it. Where other work takes the cores, "fps"
says little: "fps_on_free_cores" is what the CPU time of a frame would allow.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.avatar.planes import PlanesBody
from nerf_ad.capture.report.curves import draw_bars
from nerf_ad.core.device import prepare_cpu
from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.files import write_bytes
from nerf_ad.core.workers import in_order, single_threads
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.media.encoder import VideoWriter
from nerf_ad.models.layered_renderer import LayeredRenderer, can_layer
from nerf_ad.models.talking_head import Condition, TalkingHead

SLOW_FRAMES = 12
"""Frames a round of the ways that take long; filling and draining the threads matters less for them."""

Draw = Callable[[int], Tensor]


class Scene(NamedTuple):
    """The frames to draw."""

    head: TalkingHead
    conditions: list[Condition]
    poses: list[Tensor]


def resized(head: TalkingHead, size: int) -> TalkingHead:
    """The same head in a picture of another size."""
    if size == head.size:
        return head
    other, state = TalkingHead(head.config, size=size), dict(head.state_dict())
    state["intrinsics"] = state["intrinsics"] * (size / head.size)
    state["torso.texture"] = F.interpolate(state["torso.texture"][None], (size, size), mode="area")[0]
    other.load_state_dict(state)
    other.set_backgrounds(
        F.interpolate(head.backgrounds, (size, size), mode="area"), head.background_of.tolist()
    )
    return other.eval()


def make_scene(body: PlanesBody, codes: np.ndarray, size: int, count: int) -> Scene:
    """Frames spread over the clip's training part, each with the mouth of another moment."""
    first, last = (int(edge) for edge in body.motion.train_frames)
    places = np.linspace(first, last - 1, count).astype(int)
    said = np.roll(places, count // 2) % len(codes)
    shots = torch.as_tensor(np.asarray(body.shots))
    conditions = [
        Condition(
            torch.from_numpy(codes[j : j + 1]).float(),
            torch.from_numpy(body.motion.eyes[i : i + 1]).float(),
            shots[i : i + 1],
        )
        for i, j in zip(places, said, strict=True)
    ]
    poses = [torch.from_numpy(body.motion.camera_to_world[i : i + 1]).float() for i in places]
    return Scene(resized(body.head, size), conditions, poses)


def random_walk(count: int, units: int) -> np.ndarray:
    """Smooth codes of unit variance."""
    steps = np.random.default_rng(0).normal(size=(count + 8, units))
    kernel = np.ones(9) / 3.0
    return np.stack([np.convolve(steps[:, unit], kernel, "valid") for unit in range(units)], axis=1)


def timed(draw: Draw, count: int, size: int, *, workers: int, encode: bool) -> tuple[float, float]:
    """Frames a second by the clock, and CPU milliseconds a frame."""

    def one(index: int) -> np.ndarray:
        return (draw(index).clamp(0, 1) * 255).round().byte().numpy()

    def frames() -> Iterator[np.ndarray]:
        if workers == 1 and not encode:
            yield from map(one, range(count))
        else:
            yield from in_order(one, range(count), num_workers=workers)

    with tempfile.TemporaryDirectory() as folder, single_threads():
        wall, cpu = time.perf_counter(), time.process_time()
        if encode:
            with VideoWriter(Path(folder) / "video.mp4", size=(size, size)) as writer:
                for frame in frames():
                    writer.write(frame)
        else:
            for _ in frames():
                pass
        return count / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / count


def waited(draw: Draw, count: int) -> dict[str, float]:
    """Milliseconds from asking for a frame to having it: the median and the 95th percentile."""
    spent = []
    for index in range(count):
        start = time.perf_counter()
        draw(index)
        spent.append(1000 * (time.perf_counter() - start))
    return {"median": round(float(np.median(spent)), 1), "p95": round(float(np.percentile(spent, 95)), 1)}


def measure(body: PlanesBody, codes: np.ndarray, size: int, count: int, rounds: int) -> dict[str, Any]:
    """All ways at one size."""
    scene = make_scene(body, codes, size, count)
    conditions, poses = scene.conditions, scene.poses
    renderer = LayeredRenderer(scene.head)
    quiet = [one._replace(mouth=torch.zeros_like(one.mouth)) for one in conditions]
    layers = [renderer.layers(c, p) for c, p in zip(quiet, poses, strict=True)]

    def making(index: int) -> Tensor:
        renderer.layers(quiet[index], poses[index])
        return scene.head.backgrounds[0].permute(1, 2, 0)

    ways: dict[str, Draw] = {
        "reference": lambda i: scene.head.frame(conditions[i], poses[i]),
        "whole": lambda i: renderer.draw(conditions[i], poses[i]),
        "by layers": lambda i: renderer.speak(layers[i], conditions[i], poses[i]),
        "making layers": making,
    }
    compared = min(count, SLOW_FRAMES)
    wanted = [ways["reference"](i) for i in range(compared)]
    found: dict[str, Any] = {
        "frames": count,
        "layers_bytes_a_pose": sum(one.num_bytes for one in layers) / count,
        "rays_near_the_mouth": sum(len(one.num_steps) for one in layers) / count,
        "ways": {},
    }
    for name in ("whole", "by layers"):
        made = [ways[name](i) for i in range(compared)]
        off = [(a - b).abs().max() for a, b in zip(made, wanted, strict=True)]
        mse = float(torch.stack([F.mse_loss(a, b) for a, b in zip(made, wanted, strict=True)]).mean())
        found["ways"][name] = {
            "psnr_against_reference": round(-10 * float(np.log10(max(mse, 1e-12))), 2),
            "largest_difference_of_255": round(255 * float(torch.stack(off).max()), 3),
        }
    for name in ("whole", "by layers"):
        found["ways"][name]["one at a time, ms"] = waited(ways[name], count)
    kinds = [(workers, encode) for workers in (1, 2) for encode in (False, True)]
    for turn in range(rounds + 1):
        for name, draw in ways.items():
            for workers, encode in kinds:
                if name == "making layers" and encode:
                    continue
                if name == "reference" and encode != (workers == 2):
                    continue  # it takes long, and nobody renders with it
                frames = count if name == "by layers" else min(count, SLOW_FRAMES)
                fps, cpu = timed(draw, frames, size, workers=workers, encode=encode)
                row = (
                    found["ways"]
                    .setdefault(name, {})
                    .setdefault(
                        f"{workers} workers{', encoded' if encode else ''}", {"fps": 0.0, "cpu_ms": 1e9}
                    )
                )
                if turn > 0:
                    row["fps"] = round(max(row["fps"], fps), 2)
                    row["cpu_ms"] = round(min(row["cpu_ms"], cpu), 2)
                    row["fps_on_free_cores"] = round(1000 * workers / row["cpu_ms"], 2)
    return found


def plot(results: dict[str, Any], sizes: list[int]) -> bytes:
    """Frames a second of every way on two workers, encoding included."""
    kind = "2 workers, encoded"
    groups = {
        f"{size} x {size}": {
            name: row[kind]["fps"] for name, row in results[str(size)]["ways"].items() if kind in row
        }
        for size in sizes
    }
    most = max(fps for bars in groups.values() for fps in bars.values())
    return draw_bars(groups, y_label="frames a second, two threads, encoded", limits=(0.0, 1.1 * most))


def main() -> int:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("avatar", type=Path, help="of the fast or fast-ad method")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512], help="pixels")
    parser.add_argument("--dataset", type=Path, help="whose sound moves the mouth")
    parser.add_argument("--frames", type=int, default=48, help="a round")
    parser.add_argument("--rounds", type=int, default=3, help="after a warm-up")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--plot", type=Path, help="where to draw frames a second (.png)")
    arguments = parser.parse_args()
    prepare_cpu(1)
    torch.set_grad_enabled(False)
    try:
        avatar = Avatar.load(arguments.avatar)
    except NerfAdError as error:
        sys.stderr.write(f"error: {error.with_hint}\n")
        return 2
    body = getattr(avatar, "body", None)
    if not isinstance(body, PlanesBody):
        sys.stderr.write(f"error: {arguments.avatar} is not an avatar of the planes field\n")
        return 2
    if not can_layer(body.head):
        sys.stderr.write(f"error: the field of {arguments.avatar} has no layers to draw by\n")
        return 2
    if arguments.dataset is None:
        codes = random_walk(len(body.motion.eyes), body.head.config.mouth_dim)
    else:
        codes = avatar.codes_of(Dataset.open(arguments.dataset))
    results: dict[str, Any] = {
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_before": os.getloadavg(),
    }
    for size in arguments.sizes:
        results[str(size)] = measure(body, codes, size, arguments.frames, arguments.rounds)
    results["load_after"] = os.getloadavg()
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if arguments.plot is not None:
        write_bytes(arguments.plot, plot(results, arguments.sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())

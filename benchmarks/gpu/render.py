"""How fast the head's kernels draw, next to plain PyTorch and to the card's own ceilings, in one run.

    python benchmarks/gpu/render.py AVATAR [--json FILE]
    python benchmarks/gpu/render.py --synthetic [--sizes 256 512] [--density 0] [--json FILE]
    python benchmarks/gpu/render.py --check

``--synthetic`` takes a head of random weights: a ball that fills 40 % of the picture, as dense as a fog
(``--density 0``: every ray takes its whole budget of samples, which no trained head does) or denser.
``--check`` compares the kernels with plain PyTorch in Triton's interpreter, without a GPU.

Times are medians of CUDA events after a warm-up. A frame begins with its pose and condition on the GPU and
ends with its bytes there ("graph", "plain") or in main memory ("to the host", inputs from the host too).
"H.264 alone" is what ``nerf-ad render`` encodes with, on the CPU, apart from making frames. Bytes are those
that samples ask for, mostly served by caches; operations are those of the networks alone.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from nerf_ad.models.frame_renderer import FrameRenderer, Frames
    from nerf_ad.models.talking_head import TalkingHead

CORNERS = 4
CHOICES = [
    (64, 4, None),
    (64, 4, 168),
    (64, 4, 128),
    (64, 8, 128),
    (128, 8, None),
    (128, 8, 128),
    (128, 4, None),
]
"""Rays, warps and registers that ``shade`` is tried with."""


def say(line: str) -> None:
    """A line of results."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Measure, or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("avatar", type=Path, nargs="?", help="folder of a fast avatar")
    parser.add_argument("--synthetic", action="store_true", help="a head of random weights")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="of synthetic frames")
    parser.add_argument("--density", type=float, default=0.0, help="of the synthetic fog, a logarithm")
    parser.add_argument("--repeats", type=int, default=50, help="measurements of which the median is told")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--check", action="store_true", help="compare in the interpreter, on a CPU")
    arguments = parser.parse_args()
    if arguments.check:
        os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
        return check()

    import torch

    if not torch.cuda.is_available():
        sys.stderr.write("benchmarks/gpu/render.py needs a CUDA device; --check works without.\n")
        return 2
    if arguments.avatar is None and not arguments.synthetic:
        parser.error("give an avatar, or --synthetic")
    found: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    found["ceilings"] = ceilings(arguments.repeats)
    say(f"{found['device']}, torch {found['torch']}")
    say("ceilings: " + ", ".join(f"{name} {value:.0f}" for name, value in found["ceilings"].items()))
    found["heads"] = []
    if arguments.synthetic:
        heads = [synthetic_head(size, arguments.density) for size in arguments.sizes]
    else:
        heads = [avatar_head(arguments.avatar)]
    for model, frames in heads:
        found["heads"].append(measure(model.cuda(), frames, arguments.repeats))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def synthetic_head(size: int, density: float, *, small: bool = False) -> "tuple[TalkingHead, Frames]":
    """A ball of fog, and what 8 frames of it are made from."""
    import torch

    from nerf_ad.models.fields.planes import PlaneFieldConfig
    from nerf_ad.models.frame_renderer import Frames
    from nerf_ad.models.talking_head import Condition, TalkingHead, TalkingHeadConfig

    torch.manual_seed(0)
    config = TalkingHeadConfig()
    if small:
        field = PlaneFieldConfig(resolutions=(8, 16), hidden_dim=32)
        config = TalkingHeadConfig(field=field, grid_resolution=16, num_steps=24, num_samples=8)
    model = TalkingHead(config, size=size).requires_grad_(requires_grad=False)
    model.grid.set_box(torch.full((3,), -0.15), torch.full((3,), 0.15))
    model.grid.set_cells(model.grid.centres().norm(dim=-1) < 0.12)
    model.intrinsics.copy_(torch.tensor([2.35, 2.35, 0.5, 0.5]) * size)
    for part, height in (("mouth", -0.05), ("eye", 0.05)):
        getattr(model, f"{part}_centre").copy_(torch.tensor([0.0, height, 0.1]))
        getattr(model, f"{part}_extent").copy_(torch.tensor([0.04, 0.03, 0.05]))
    for table in model.field.encoding.levels:
        table.normal_(std=0.5)
    model.field.trunk_out.bias[0] = density
    model.set_backgrounds(torch.rand(1, 3, size, size), [0])
    model.torso.texture.uniform_(0, 0.5)
    poses = torch.eye(4).repeat(8, 1, 1)
    poses[:, 2, 3] = 0.8
    poses[:, 0, 3] = torch.linspace(-0.02, 0.02, 8)
    condition = Condition(torch.randn(8, config.mouth_dim), torch.randn(8, config.eye_dim))
    return model, Frames(condition, poses)


def avatar_head(root: Path) -> "tuple[TalkingHead, Frames]":
    """An avatar's head, and 8 frames of its own motion with random mouths."""
    import numpy as np
    import torch

    from nerf_ad.avatar.folder import read_manifest
    from nerf_ad.avatar.manifest import PaperManifest
    from nerf_ad.avatar.planes import PlanesBody
    from nerf_ad.models.frame_renderer import Frames
    from nerf_ad.models.talking_head import Condition

    manifest = read_manifest(root)
    if isinstance(manifest, PaperManifest):
        raise SystemExit(f"{root} is an avatar of the paper's field, which has no kernels")
    body = PlanesBody.read(root, manifest, device="cpu")
    chosen = np.linspace(0, len(body.motion.eyes) - 1, 8).astype(int)
    eyes = torch.from_numpy(body.motion.eyes[chosen]).float()
    poses = torch.from_numpy(body.motion.camera_to_world[chosen]).float()
    shots = torch.from_numpy(np.asarray(body.shots)[chosen])
    mouth = torch.randn(8, manifest.head.mouth_dim, generator=torch.Generator().manual_seed(0))
    return body.head.requires_grad_(requires_grad=False), Frames(Condition(mouth, eyes, shots), poses)


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Milliseconds on the GPU."""
    import torch

    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return statistics.median(times)


def ceilings(repeats: int) -> dict[str, float]:
    """What the card reaches in this run."""
    import torch

    source = torch.rand(1 << 28, device="cuda")
    target = torch.empty_like(source)
    copy = median_ms(lambda: target.copy_(source), min(repeats, 20))
    left, right = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = median_ms(lambda: left @ right, min(repeats, 20))
    return {"copy_gb_s": 2 * source.nbytes / copy / 1e6, "matmul_tflop_s": 2 * 8192**3 / product / 1e9}


def one(frames: "Frames", index: int, device: str = "cuda") -> "Frames":
    """One of the frames, elsewhere."""
    part = slice(index, index + 1)
    condition = type(frames.condition)(
        *(row if row is None else row[part].to(device) for row in frames.condition)
    )
    return frames._replace(condition=condition, camera_to_world=frames.camera_to_world[part].to(device))


def measure(model: "TalkingHead", frames: "Frames", repeats: int) -> dict[str, Any]:
    """All numbers of one head."""
    import torch

    from nerf_ad.models.frame_renderer import FrameRenderer

    size, config = model.size, model.config
    renderer = FrameRenderer(model)
    plain = FrameRenderer(model, graphs=False)
    first = one(frames, 0)
    whole = type(frames)(
        type(frames.condition)(*(row if row is None else row.cuda() for row in frames.condition)),
        frames.camera_to_world.cuda(),
    )
    found: dict[str, Any] = {"size": size, **compare(model, renderer, frames)}
    found["kernels_ms"] = kernels(model, plain, first, repeats)
    renderer.draw_bytes(first)
    found["graph_works"] = renderer.graphs
    times = {"plain, 1 frame": median_ms(lambda: plain.draw_bytes(first), repeats)}
    times["plain, 8 frames"] = median_ms(lambda: plain.draw_bytes(whole), repeats)
    if found["graph_works"]:
        times["graph, 1 frame"] = median_ms(lambda: renderer.draw_bytes(first), repeats)
        times["graph, 8 frames"] = median_ms(lambda: renderer.draw_bytes(whole), repeats)
    found["ms"] = times
    found["fps"] = {
        name: (8 if "8 frames" in name else 1) * 1000 / milliseconds for name, milliseconds in times.items()
    }
    fastest = renderer if found["graph_works"] else plain
    found["fps"]["to the host, 1 frame"] = host_fps(
        lambda index: fastest.draw_bytes(one(frames, index)).cpu(), 4 * repeats
    )
    found["fps"]["eager reference"] = host_fps(
        lambda index: (reference(model, frames, index).clamp(0, 1) * 255).round().byte().cpu(), 8
    )
    pictures = renderer.draw_bytes(whole).cpu().numpy()
    found["encoding"] = attempt(lambda: {"H.264 alone, fps": encoded_fps(pictures)})
    found.update(rates(found["fps"], rays=size**2, samples=found["samples_per_frame"]))
    field = config.field
    width = renderer.model.field.encoding.out_dim
    hidden, rows = field.hidden_dim, config.mouth_dim + config.eye_dim
    macs = (width + rows) * hidden + hidden * (hidden + 1) + (hidden + rows) * hidden + 3 * hidden
    shade = found["kernels_ms"]["shade"]
    samples = found["samples_per_frame"]
    found["shade_gb_s"] = samples * width * CORNERS * 2 / shade / 1e6
    found["shade_tflop_s"] = samples * 2 * macs / shade / 1e9
    found["resources"] = attempt(resources)
    found["peak_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    told(found)
    return found


def rates(fps: dict[str, float], *, rays: int, samples: float) -> dict[str, float]:
    """Rays and samples a second of what was measured, from those of a frame."""
    return {
        f"{what}_per_s, {name}": fps[name] * number
        for name in ("graph, 1 frame", "eager reference")
        if name in fps
        for what, number in (("rays", rays), ("samples", samples))
    }


def reference(model: "TalkingHead", frames: "Frames", index: int) -> "Tensor":
    """A frame by plain PyTorch alone, single precision, as a CPU renders it."""
    part = one(frames, index)
    model.field.encoding.uses_kernels = False
    return model.frame(part.condition, part.camera_to_world)


def compare(model: "TalkingHead", renderer: "FrameRenderer", frames: "Frames") -> dict[str, float]:
    """Both paths' frames, and how many samples the plain one evaluates."""
    import torch

    counted = []
    hook = model.field.register_forward_pre_hook(lambda _, given: counted.append(len(given[0])))
    wanted = torch.stack([reference(model, frames, index) for index in range(2)])
    hook.remove()
    drawn = torch.cat([renderer.draw(one(frames, index)) for index in range(2)])
    error = (drawn - wanted).double()
    marched = sum(int(march_counts(renderer, one(frames, index)).sum()) for index in range(2))
    exact = type(renderer)(model, dtype=torch.float32, graphs=False)
    attempted = attempt(lambda: (exact.draw(one(frames, 0)) - wanted[:1]).abs().max().item())
    return {
        "samples_per_frame": sum(counted) / 2,
        "marched_per_frame": marched / 2,
        "largest_difference": float(error.abs().max()),
        "psnr_db": float(-10 * torch.log10(error.square().mean())),
        "largest_difference_single": attempted,
        "reference_spread": float(wanted.std()),
    }


def march_counts(renderer: "FrameRenderer", frames: "Frames") -> "Tensor":
    """Samples of every ray."""
    from nerf_ad.kernels import head_render

    return head_render.march(renderer.scene(frames.camera_to_world)).counts


def attempt(work: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What it gives, or what went wrong in words: one failure must not cost the whole run."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is written down
        sys.stderr.write(f"failed: {type(error).__name__}: {error}\n")
        return f"{type(error).__name__}: {error}"


def kernels(
    model: "TalkingHead", renderer: "FrameRenderer", frames: "Frames", repeats: int
) -> dict[str, Any]:
    """Milliseconds of each part of one frame, and of ``shade`` with other blocks."""
    import torch

    from nerf_ad.kernels import head_render
    from nerf_ad.models.talking_head import OPAQUE

    scene = renderer.scene(frames.camera_to_world)
    marched = head_render.march(scene)
    condition, behind = renderer.products(frames.condition), renderer.behind(frames)
    out = torch.empty(1, model.size, model.size, 3, device="cuda", dtype=torch.uint8)

    def shade(**choices: int | None) -> None:
        head_render.shade(scene, marched, renderer.packed, condition, behind, out, opaque=OPAQUE, **choices)

    found: dict[str, Any] = {
        "march": recorded_ms(lambda: head_render.march(scene), repeats),
        "products": recorded_ms(lambda: renderer.products(frames.condition), repeats),
        "behind": recorded_ms(lambda: renderer.behind(frames), repeats),
        "shade": recorded_ms(shade, repeats),
    }
    for block, num_warps, registers in CHOICES:
        choices = {"block": block, "num_warps": num_warps, "registers": registers}
        name = f"shade, {block} rays, {num_warps} warps, {registers} registers"
        found[name] = attempt(lambda choices=choices: recorded_ms(lambda: shade(**choices), repeats))
    return found


def recorded_ms(work: Callable[[], object], repeats: int) -> float:
    """Milliseconds of a part, ten times in a CUDA graph, so that launching costs nothing."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(10):
            work()
    return median_ms(graph.replay, repeats) / 10


def resources() -> dict[str, list[dict[str, Any]]]:
    """Registers, shared memory and occupancy of the forms of both kernels that were launched."""
    from occupancy import made_kernels

    from nerf_ad.kernels import head_render

    return {
        kernel.__name__: made_kernels(kernel)
        for kernel in (head_render.march_kernel, head_render.shade_kernel)
    }


def encoded_fps(pictures: Any, *, count: int = 100) -> float:  # noqa: ANN401 - NumPy is imported late
    """Frames a second of the encoder."""
    from nerf_ad.media.encoder import VideoWriter

    height, width = pictures.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        with VideoWriter(Path(folder) / "a.mp4", (width, height)) as writer:
            for index in range(count):
                writer.write(pictures[index % len(pictures)])
        return count / (time.perf_counter() - begun)


def host_fps(draw: Callable[[int], object], count: int) -> float:
    """Frames a second by the clock of the host."""
    import torch

    for index in range(3):
        draw(index)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for index in range(count):
        draw(index % 8)
    torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def told(found: dict[str, Any]) -> None:
    """Print one head's numbers."""
    say(f"\n{found['size']}x{found['size']}")
    for name, value in found.items():
        if isinstance(value, dict):
            say(f"  {name}")
            for key, number in value.items():
                say(f"    {key:40} {number if isinstance(number, str | list) else format(number, '.3f')}")
        elif name != "size":
            say(f"  {name:34} {value if isinstance(value, bool | str) else format(value, '.5g')}")


def check() -> int:
    """Compare in the interpreter: 24 x 24 pixels."""
    import torch

    from nerf_ad.models.frame_renderer import FrameRenderer

    model, frames = synthetic_head(24, 0.5, small=True)
    part = one(frames, 0, "cpu")
    wanted = model.frame(part.condition, part.camera_to_world)
    good = True
    for dtype, most in ((torch.float32, 1e-5), (torch.float16, 1 / 255)):
        error = float((FrameRenderer(model, dtype=dtype).draw(part)[0] - wanted).abs().max())
        say(f"{dtype}: largest difference {error:.2e} of at most {most:.2e}")
        good = good and error <= most
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())

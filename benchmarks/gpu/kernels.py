"""The plane encoding's kernels beside ``grid_sample``, and the networks' products, beside the card's ceiling.

    python benchmarks/gpu/kernels.py [--samples 1048576] [--json FILE]
    ncu --section SpeedOfLight --section Occupancy --csv ... python benchmarks/gpu/kernels.py --once

Times are medians of CUDA events. Points are samples along rays through a box, 16 on each, as a training has
them. Bytes are those asked for: corners, points, results and gradients; caches serve most corners.
Occupancy is how much of a multiprocessor's warps the compiled kernel leaves room for; ``--once`` launches
each kernel of encoding and rendering once, for a profiler that counts what happens.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from occupancy import made_kernels
from torch import Tensor

from nerf_ad.kernels import plane_encode
from nerf_ad.models.fields.plane_encoding import PlaneEncoding
from nerf_ad.models.fields.planes import PlaneFieldConfig, Radiance

PER_RAY = 16


def median_ms(work: Callable[[], object], *, repeats: int = 30) -> float:
    """Median milliseconds on the GPU after a warm-up."""
    for _ in range(5):
        work()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return round(statistics.median(times), 4)


def along_rays(count: int, device: torch.device) -> Tensor:
    """Points on random rays from the front, 16 short steps apart."""
    generator = torch.Generator(device).manual_seed(0)
    rays = count // PER_RAY
    across = torch.rand(rays, 2, generator=generator, device=device) * 1.6 - 0.8
    first = torch.rand(rays, generator=generator, device=device) * 0.8 - 0.6
    slope = torch.randn(rays, 2, generator=generator, device=device) * 0.1
    depth = first[:, None] + torch.arange(PER_RAY, device=device) * 0.025
    sideways = across[:, None] + slope[:, None] * depth[..., None]
    return torch.cat([sideways, depth[..., None]], dim=-1).reshape(-1, 3)


def measure_encoding(resolutions: tuple[int, ...], points: Tensor) -> dict[str, Any]:
    """Both ways of reading planes, and how far they are apart."""
    encoding = PlaneEncoding(resolutions, 8).to(points.device)
    points = points.clone().requires_grad_()
    learnt = [points, *encoding.levels]
    found: dict[str, Any] = {"resolutions": resolutions, "samples": len(points)}
    answers = []
    for name, uses_kernels in (("grid_sample", False), ("triton", True)):
        encoding.uses_kernels = uses_kernels
        out = encoding(points)
        gradient = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out)
        answers.append((out.detach(), *torch.autograd.grad(out, learnt, gradient)))
        for dtype in (torch.float32, torch.bfloat16):
            is_half = dtype == torch.bfloat16
            if is_half and not uses_kernels:
                continue
            with torch.autocast("cuda", torch.bfloat16, enabled=is_half, cache_enabled=False):
                forward = median_ms(lambda: encoding(points))
                kept = encoding(points)
                back = gradient.to(kept.dtype)
                backward = median_ms(
                    lambda kept=kept, back=back: torch.autograd.grad(kept, learnt, back, retain_graph=True)
                )
                tables = median_ms(
                    lambda kept=kept, back=back: torch.autograd.grad(
                        kept, learnt[1:], back, retain_graph=True
                    )
                )
            numbers = len(points) * encoding.out_dim
            moved = 4 * 4 * numbers + numbers * kept.element_size() + points.nbytes
            # Backward each of four corners is read and written where it is added to, and read for the points.
            added = 4 * 4 * numbers * 3 + numbers * kept.element_size() + 2 * points.nbytes
            found[f"{name} {'bfloat16' if is_half else 'float32'}"] = {
                "forward_ms": forward,
                "backward_ms": backward,
                "backward_of_tables_ms": tables,
                "forward_gb_per_s": round(moved / forward / 1e6),
                "backward_gb_per_s": round(added / backward / 1e6),
                "forward_samples_per_s": round(len(points) / forward * 1e3),
                "backward_samples_per_s": round(len(points) / backward * 1e3),
            }
    found["largest_difference"] = {
        part: float((ours - theirs).abs().max() / theirs.abs().max())
        for part, theirs, ours in zip(
            ("features", "points", *(f"table {r}" for r in resolutions)), *answers, strict=True
        )
    }
    return found


def measure_networks(points: Tensor) -> dict[str, Any]:
    """The networks behind the encoding, bfloat16 and single precision, without and with gradients."""
    field = Radiance(PlaneFieldConfig(), condition_dim=17).to(points.device)
    condition = torch.randn(17, len(points), device=points.device)
    directions = torch.nn.functional.normalize(torch.randn(len(points) // PER_RAY, 3, device=points.device))
    found = {}
    for name, is_half in (("bfloat16", True), ("float32", False)):
        with torch.autocast("cuda", torch.bfloat16, enabled=is_half, cache_enabled=False):

            def forward() -> Tensor:
                density, rgb = field(points, condition, directions)
                return density.sum() + rgb.sum()

            with torch.no_grad():
                found[f"field {name}"] = {"forward_ms": median_ms(forward)}
            found[f"field {name}"]["forward_and_backward_ms"] = median_ms(lambda: forward().backward())
        field.zero_grad(set_to_none=True)
    return found


def measure_ceiling(device: torch.device) -> dict[str, float]:
    """Copy bandwidth, and the speed of a large product."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device=device)
    to = torch.empty_like(source)
    copy = median_ms(lambda: to.copy_(source))
    del source, to
    square = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    product = median_ms(lambda: square @ square, repeats=10)
    return {
        "copy_gb_per_s": round(2 * (1 << 30) / copy / 1e6),
        "bfloat16_tflops": round(2 * 8192**3 / product / 1e9),
    }


def launch_once(samples: int) -> None:
    """Each kernel a few times and nothing else of ours, for a profiler."""
    from render import synthetic_head

    from nerf_ad.models.frame_renderer import FrameRenderer

    encoding = PlaneEncoding(PlaneFieldConfig().resolutions, 8).cuda()
    points = along_rays(samples, torch.device("cuda")).requires_grad_()
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        encoding(points).float().sum().backward()
    model, frames = synthetic_head(512, 2.0)
    model, condition = model.cuda(), frames.condition
    part = type(frames)(
        type(condition)(condition.mouth[:1].cuda(), condition.eyes[:1].cuda()),
        frames.camera_to_world[:1].cuda(),
    )
    FrameRenderer(model, graphs=False).draw_bytes(part)
    torch.cuda.synchronize()


def main() -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1 << 20, help="points")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    parser.add_argument("--once", action="store_true", help="launch each kernel once, for a profiler")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.stderr.write("benchmarks/gpu/kernels.py needs a CUDA device.\n")
        return 2
    if arguments.once:
        launch_once(arguments.samples)
        return 0
    device = torch.device("cuda")
    points = along_rays(arguments.samples, device)
    results: dict[str, Any] = {"device": torch.cuda.get_device_name(), **measure_ceiling(device)}
    usual = PlaneFieldConfig().resolutions
    more = (*usual, 2 * usual[-1] - 1)  # cells half as wide
    results["encoding"] = [measure_encoding(resolutions, points) for resolutions in (usual, more)]
    results["kernels"] = {
        kernel.__name__: made_kernels(kernel)
        for kernel in (plane_encode.read_level, plane_encode.spread_level)
    }
    results["networks"] = measure_networks(points)
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

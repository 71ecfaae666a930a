"""A short table of what ``benchmarks/gpu.sh`` found in its folder, beside what is hoped for.

    python benchmarks/gpu/summary.py OUT

Prints, and writes OUT/summary.md. Parts that failed or were left out are named; the rest is told.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

QUALITY = {"whole": 29.0, "head": 30.2, "mouth": 29.4}
"""PSNR of ``dfrf_french`` after 30 minutes on two CPU cores at 256x256 (decision 0020); of others unknown."""
MOST_MEGABYTES = 4000
"""Of GPU memory in a training at 512x512."""
MOST_SECONDS = 600
"""For everything."""
ENDS = {"0": "", "124": ", ran out of time", "137": ", ran out of time", "skipped": ", left out"}
"""How a part ended, by its exit status."""


class Line(NamedTuple):
    """A row of the table."""

    what: str
    found: str
    hoped: str = ""

    @property
    def text(self) -> str:
        """In Markdown."""
        return f"| {self.what} | {self.found} | {self.hoped} |"


def main() -> int:
    """Tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder that gpu.sh wrote into")
    out = parser.parse_args().out
    text = "\n".join(["| | found | hoped for |", "|---|---|---|", *(line.text for line in lines(out))]) + "\n"
    table = out / "evaluate.log"
    if table.is_file():
        text += f"\nHeld-out frames, by `nerf-ad evaluate`:\n\n```\n{last_lines(table, 40)}\n```\n"
    (out / "summary.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


def lines(out: Path) -> Iterator[Line]:
    """All rows."""
    kernels, training, frames = (read(out / f"{name}.json") for name in ("kernels", "train", "render"))
    device = kernels.get("device") or training.get("device") or frames.get("device")
    yield Line("card", str(device or "unknown"))
    yield from told_parts(out / "parts.tsv")
    yield from told_training(training)
    yield from told_steps(training.get("steps_ms", {}))
    yield from told_frames(frames)
    yield from told_kernels(kernels, frames)
    yield from told_counters(out / "counters.csv")


def read(path: Path) -> dict[str, Any]:
    """A part's numbers; none where it did not come so far."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def last_lines(path: Path, count: int) -> str:
    """The end of a log, without events."""
    rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([row for row in rows if not row.startswith("{")][-count:])


def told_parts(path: Path) -> Iterator[Line]:
    """Seconds of each part, and which failed: name, exit status and seconds, a line each."""
    if not path.is_file():
        return
    total = 0
    for row in path.read_text(encoding="utf-8").splitlines():
        name, status, seconds = row.split("\t")
        total += int(seconds)
        how = ENDS.get(status, f", failed ({status})")
        yield Line(f"part: {name}", f"{seconds} s{how}")
    yield Line("all parts", f"{total} s", f"<= {MOST_SECONDS} s")


def told_training(found: dict[str, Any]) -> Iterator[Line]:
    """Quality after the minute, speed and memory."""
    rows = found.get("rows", [])
    if rows:
        last = rows[-1]
        yield Line("training, seconds / steps", f"{last['seconds']} / {last['step']}")
        for name, hoped in QUALITY.items():
            if name in last:
                yield Line(
                    f"held-out PSNR, {name} (measured mouth)",
                    f"{last[name]:.2f} dB",
                    f">= {hoped} dB (dfrf_french, 30 CPU minutes)",
                )
            reached = [row["seconds"] for row in rows if row.get(name, 0.0) >= hoped]
            yield Line(f"seconds until then, {name}", f"{reached[0]}" if reached else "not reached", "<= 60")
    for name, what in (
        ("rays_per_second", "training, million rays/s"),
        ("samples_per_second", "training, million samples/s"),
    ):
        if name in found:
            yield Line(what, f"{found[name] / 1e6:.2f}")
    for name, what in (("gpu_peak_mb", "GPU memory in use"), ("gpu_reserved_mb", "GPU memory reserved")):
        if name in found:
            yield Line(f"training, {what}", f"{found[name]} MB", f"<= {MOST_MEGABYTES} MB")
    if "sharpened_by_lpips" in found:
        yield Line(
            "training, LPIPS learnt from", "yes" if found["sharpened_by_lpips"] else "no weights there"
        )


def told_steps(found: dict[str, Any]) -> Iterator[Line]:
    """Whole steps, as they are and otherwise."""
    for name, row in found.items():
        if name == "waits":
            yield from (Line(f"waits {what}", where, "none") for what, where in row.items())
        elif isinstance(row, dict) and "ms" in row:
            how = "graph" if row["graph"] else f"no graph {row.get('complaint', '')}".strip()
            rate = f", {row['rays_per_s'] / 1e6:.2f} M rays/s" if "rays_per_s" in row else ""
            yield Line(f"step, {name}", f"{row['ms']} ms{rate} ({how})")
        elif isinstance(row, dict) and "failed" in row:
            yield Line(f"step, {name}", f"failed: {row['failed']}")


def told_frames(found: dict[str, Any]) -> Iterator[Line]:
    """Frames a second, by kernels and by plain PyTorch; encoding apart."""
    for head in found.get("heads", []):
        size = head["size"]
        for name, fps in head["fps"].items():
            yield Line(f"frames/s at {size}, {name}", f"{fps:.1f}")
        encoding = head.get("encoding")
        if isinstance(encoding, dict):
            yield from (Line(f"{name} at {size}", f"{fps:.1f}") for name, fps in encoding.items())
        for name, value in head.items():
            if name.startswith(("rays_per_s", "samples_per_s")):
                yield Line(f"frames at {size}, million {name}", f"{value / 1e6:.1f}")
        yield Line(f"kernels against PyTorch at {size}", f"{head['psnr_db']:.1f} dB")


def told_kernels(kernels: dict[str, Any], frames: dict[str, Any]) -> Iterator[Line]:
    """Each kernel's time, bandwidth and products beside the card's ceilings, and its occupancy."""
    copy, products = kernels.get("copy_gb_per_s"), kernels.get("bfloat16_tflops")
    if copy:
        yield Line("ceilings: copy, bfloat16 product", f"{copy} GB/s, {products} TFLOP/s")
    for row in kernels.get("encoding", []):
        for name, part in row.items():
            if not isinstance(part, dict) or "forward_ms" not in part:
                continue
            for way in ("forward", "backward"):
                rate = part.get(f"{way}_gb_per_s")
                share = f" = {100 * rate / copy:.0f} % of a copy" if rate and copy else ""
                what = f"{len(row['resolutions'])} levels, {name}, {way}"
                yield Line(what, f"{part[f'{way}_ms']} ms, {rate} GB/s asked for{share}")
    for head in frames.get("heads", []):
        ms, ceilings = head["kernels_ms"], frames["ceilings"]
        tflops, rate = head["shade_tflop_s"], head["shade_gb_s"]
        of_products, of_copy = tflops / ceilings["matmul_tflop_s"], rate / ceilings["copy_gb_s"]
        yield Line(f"march at {head['size']}", f"{ms['march']:.4f} ms")
        yield Line(
            f"shade at {head['size']}",
            f"{ms['shade']:.4f} ms, {tflops:.1f} TFLOP/s = {100 * of_products:.0f} %, "
            f"{rate:.0f} GB/s asked for = {100 * of_copy:.0f} % of a copy",
        )
        if isinstance(head.get("resources"), dict):
            yield from told_resources(head["resources"])
    yield from told_resources(kernels.get("kernels", {}))


def told_resources(found: dict[str, list[dict[str, Any]]]) -> Iterator[Line]:
    """What forms of kernels take of a multiprocessor."""
    for name, forms in found.items():
        for form in forms:
            yield Line(
                f"room for {name}, {form['warps']} warps",
                f"{100 * form['occupancy']:.0f} % of the warps ({form['registers']} registers, "
                f"{form['spilled']} spilled, {form['shared_bytes']} bytes shared)",
            )


def told_counters(path: Path) -> Iterator[Line]:
    """What Nsight Compute counted, where it was there: its CSV of details, one metric a row."""
    import csv

    if not path.is_file():
        return
    rows = [
        line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line[:1] == '"'
    ]
    wanted = (
        "Duration",
        "Achieved Occupancy",
        "DRAM Throughput",
        "L2 Cache Throughput",
        "Compute (SM) Throughput",
    )
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for row in csv.DictReader(rows):
        if row.get("Metric Name") in wanted:
            kernel = seen.setdefault((row.get("ID", ""), row.get("Kernel Name", "")[:40]), {})
            kernel[row["Metric Name"]] = f"{row['Metric Value']} {row.get('Metric Unit', '')}".strip()
    for (number, name), metrics in seen.items():
        yield Line(
            f"counted: {name} #{number}", ", ".join(f"{key} {value}" for key, value in metrics.items())
        )


if __name__ == "__main__":
    raise SystemExit(main())

"""Capture, step by step: seconds, CPU seconds, share of the cores, memory and frames a second of each step.

    python benchmarks/capture.py VIDEO OUT [--size 512] [--speech whisper]

``nerf-ad capture``'s own steps run in a process of their own into ``OUT/dataset``, anew each time. A step
lasts until it is in the manifest. "first look" is what comes before them: probing, hashing, and looking for
faces and a crop. CPU seconds count the process and the decoders that it started and waited for; "cores" is
CPU over wall seconds, of those that this process may use. Memory is the process's own peak of each step, and
what its children held at most, in MB of a million bytes. Where other work takes the cores, CPU seconds say
more than seconds. Writes ``OUT/capture.json`` and ``OUT/capture.png``.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from child_process import MemoryWatch, answer, call

NAMES = ("seconds", "cpu_seconds", "cores", "peak_mb", "children_mb", "frames_per_second")


def cpu_seconds() -> float:
    """Of this process and of its children that ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def capture_steps(task: dict[str, Any], watch: MemoryWatch) -> dict[str, Any]:
    """The child's work."""
    from nerf_ad.capture.capture import capture_events
    from nerf_ad.capture.recipe import CaptureConfig
    from nerf_ad.core.events import Progress, Saved
    from nerf_ad.dataset.dataset import read_manifest
    from nerf_ad.dataset.layout import Layout
    from nerf_ad.speech.encoder import speech_config

    root = Path(task["dataset"])
    shutil.rmtree(root, ignore_errors=True)
    config = CaptureConfig(speech=speech_config(task["speech"]))
    rows: dict[str, dict[str, float]] = {}
    watch.restart()
    begun = time.perf_counter(), cpu_seconds()

    def close(name: str) -> None:
        nonlocal begun
        now = time.perf_counter(), cpu_seconds()
        wall, cpu = now[0] - begun[0], now[1] - begun[1]
        rows[name] = {"seconds": round(wall, 3), "cpu_seconds": round(cpu, 3), **watch.peaks()}
        watch.restart()
        begun = time.perf_counter(), cpu_seconds()

    layout = Layout(root)
    for event in capture_events(Path(task["video"]), root, size=task["size"], config=config):
        if isinstance(event, Progress) and not rows and event.stage != "first look":
            close("first look")  # a moment late: the first frames are decoded already
        if isinstance(event, Saved):
            done = [name for name in read_manifest(layout).steps if name not in rows]
            for name in done:
                close(name)
    manifest = read_manifest(layout)
    return {"frames": manifest.num_frames, "size": manifest.size, "steps": rows}


def finish(found: dict[str, Any], cores: int) -> dict[str, Any]:
    """Derived figures, and the sum over all steps."""
    steps, frames = found["steps"], found["frames"]
    steps["all"] = {
        **{name: sum(row[name] for row in steps.values()) for name in ("seconds", "cpu_seconds")},
        **{name: max(row.get(name, 0.0) for row in steps.values()) for name in ("peak_mb", "children_mb")},
    }
    for row in steps.values():
        row["cores"] = round(row["cpu_seconds"] / max(row["seconds"], 1e-3), 2)
        row["share_of_cores"] = round(row["cores"] / cores, 3)
        row["frames_per_second"] = round(frames / max(row["seconds"], 1e-3), 1)
    return found


def table(found: dict[str, Any]) -> str:
    """Rows for the terminal."""
    heads = ("step", "seconds", "CPU s", f"cores of {found['cores']}", "peak MB", "children MB", "frames/s")
    lines = ["".join(f"{head:>13}" for head in heads)]
    for name, row in found["steps"].items():
        cells = [f"{row.get(key, 0.0):13.2f}" for key in NAMES]
        lines.append(f"{name:>13}" + "".join(cells))
    return "\n".join(lines) + "\n"


def plot(found: dict[str, Any]) -> bytes:
    """Seconds and CPU seconds, and memory, of every step."""
    from panel_plot import draw_bar_panels

    steps = {name: row for name, row in found["steps"].items() if name != "all"}
    panels = [
        ("seconds", {"wall": "seconds", f"CPU over {found['cores']} cores": "cpu_share"}),
        ("MB", {"process": "peak_mb", "its children": "children_mb"}),
    ]
    values = {name: {**row, "cpu_share": row["cpu_seconds"] / found["cores"]} for name, row in steps.items()}
    return draw_bar_panels(
        list(steps),
        [
            (label, {what: [values[name].get(key, 0.0) for name in steps] for what, key in bars.items()})
            for label, bars in panels
        ],
    )


def main() -> int:
    """Capture, print, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path, help="one person who speaks")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--size", type=int, default=512, help="pixels along each side of the data set")
    parser.add_argument("--speech", default="whisper", choices=("whisper", "phonemes", "mel"))
    if sys.argv[1:2] == ["--child"]:
        answer(json.loads(sys.argv[2]), capture_steps)
        return 0
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    task = {
        "video": str(arguments.video),
        "dataset": str(arguments.out / "dataset"),
        "size": arguments.size,
        "speech": arguments.speech,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()
    found = call(Path(__file__), task)
    if "failed" in found:
        sys.stderr.write(f"error: capture {found['failed']}\n")
        return 1
    found |= {"video": arguments.video.name, "cores": cores, "load_before": load}
    found["load_after"] = os.getloadavg()
    finish(found, cores)
    from nerf_ad.core.files import write_bytes, write_json

    write_json(arguments.out / "capture.json", found)
    write_bytes(arguments.out / "capture.png", plot(found))
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

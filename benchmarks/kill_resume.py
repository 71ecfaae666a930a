"""Kill a training at random moments and go on: how much is lost, and does every resume work?

    python benchmarks/kill_resume.py DATASET AVATAR [--kills 10] [--minutes 4] [--seed 0]

Prints a line of JSON per kill and a summary. The lost time is the last event's training clock minus that
of the resume file. Goal R1: at most 60 seconds, and never a run that will not load.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors import safe_open


def clock_of(path: Path) -> float:
    """Seconds of work in a resume file."""
    if not path.is_file():
        return 0.0
    with safe_open(path, framework="pt") as file:
        return float(json.loads(file.metadata()["facts"])["seconds"])


def last_event_seconds(events: Path, names: tuple[str, ...]) -> float:
    """Training clock of the last metric of a stage."""
    if not events.is_file():
        return 0.0
    seconds = 0.0
    for line in events.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if event.get("event") == "metric" and event["name"] in names:
            seconds = event["seconds"]
    return seconds


def wait_for_growth(events: Path, process: "subprocess.Popen[str]") -> None:
    """Until the training says something, so that the kill falls into it and not into its start."""
    before = events.stat().st_size if events.is_file() else 0
    while process.poll() is None and (events.stat().st_size if events.is_file() else 0) <= before:
        time.sleep(0.2)


def main() -> int:
    """Run the kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)  # noqa: S311 - moments to kill at
    command = [
        sys.executable,
        "-m",
        "nerf_ad",
        "train",
        "fast",
        str(arguments.dataset),
        str(arguments.avatar),
    ]
    command += ["--minutes", str(arguments.minutes)]
    run = arguments.avatar / "runs" / "train"
    worst, failed = 0.0, 0
    for kill in range(arguments.kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for_growth(run / "events.jsonl", process)
        time.sleep(draw.uniform(0, 40))
        died_by_itself = process.poll() not in {None, 0}
        process.send_signal(signal.SIGKILL)
        process.wait()
        stages = {"torso": ("torso psnr",), "speech": ("speech loss",), "head": ("psnr",)}
        lost = {
            name: last_event_seconds(run / "events.jsonl", metrics) - clock_of(run / f"{name}.safetensors")
            for name, metrics in stages.items()
        }
        worst, failed = max(worst, *lost.values()), failed + died_by_itself
        line = {
            "kill": kill,
            "lost_seconds": {k: round(v, 1) for k, v in lost.items()},
            "failed": died_by_itself,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    final = subprocess.run(command, check=False, capture_output=True)
    summary = {"kills": arguments.kills, "failed_resumes": failed, "worst_lost_seconds": round(worst, 1)}
    summary["finished"] = final.returncode == 0 and (arguments.avatar / "avatar.toml").is_file()
    sys.stdout.write(json.dumps(summary) + "\n")
    return 0 if failed == 0 and summary["finished"] and worst <= 60 else 1


if __name__ == "__main__":
    sys.exit(main())

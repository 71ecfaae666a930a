"""Quality over time: how good a method is after so many seconds of training, against an AD-NeRF-size field.

    python benchmarks/quality.py DATASET OUT [--methods fast fast-ad paper-small ad-nerf] [--size 128]
        [--budgets 15 30 60 120 240 480] [--slow-minutes 20] [--every 10]

One after the other on the same machine, each by ``nerf-ad``'s own verbs in processes of their own:

* ``fast``, ``fast-ad``: a training of its own for every budget, because their learning rates follow the
  budget: a fresh avatar, torso, speech (or attention, classifiers, fusion) and head included.
* ``paper-small``, ``paper``: NeRF-AD. The shares of its stages 1 and 2 follow the budget, so this is a fresh
  avatar for every budget too (``--paper-budgets``).
* ``ad-nerf``: one run, stopped at 1/16, 1/8, 1/4, 1/2 and all of ``--slow-minutes`` (``--slow-parts``),
  measured, gone on with: its rate follows the step alone. It is the row ad-nerf-head of the preset paper with
  AD-NeRF's rays a step, decay and start of smoothing: two fields (coarse, fine) of 8 layers of 256 and 3 of
  128 for colour, 10 and 4 frequencies, 64 + 128 samples a ray, AudioNet of 64, one frame a step, 95 % of its
  rays around the face, Adam at 5e-4. It has none of NeRF-AD's stages, faces, masks or references.

What of ``ad-nerf`` is not AD-NeRF's: it hears the data set's features (Whisper's, normalised) instead of
DeepSpeech's; it stands on the recorded torso of the same frame instead of a torso field, which costs it
nothing; depths reach from 0.2 m before to 0.4 m behind the head (NeRF-AD's); density starts positive;
gradients are clipped at 10; a step's rays go through in parts of 256, with the same gradients; pixels whose
rays miss the head's box are not rendered. These help it, or change nothing in 20 minutes.

Two clocks. "stages" is what the stages' own clocks say, "process" the whole of ``nerf-ad train``: imports,
hull, previews, tightening and saving as well. The pixel cache, which all share, is made before. In factors
the quick method is charged with its process and the slow one with its stages. What is measured is not timed.

Measuring is ``nerf-ad evaluate`` on every ``--every``-th held-out frame: head and mouth of the recording's
parsing and landmarks; LMD in the pixels of the size, centred; frames in which no face is found have none.
PSNR of the whole frame is over an own torso for fast and fast-ad and over the recorded one for the others:
compare
"over torso" instead. fast also has the tail's eye states; the paper's field has no eyes. The rows truth and
still say what the instruments give at best and what a photograph would get.

Frames: whole frames of poses never seen before, and of poses seen once (layers are kept), as many side by
side as there are threads; without encoding.

A point that is in OUT is not made again; a training that was stopped begins anew, the run of ad-nerf goes on.
Writes ``quality.json``, ``quality.png`` and ``factors.txt``. OUT holds pictures of the person: keep it out of
the repository.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from child_process import MemoryWatch, answer, call
from sooner import Point, compare, sentence

from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.events import Event, Progress, Warned
from nerf_ad.core.files import read_json, write_bytes, write_json, write_text
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.evaluation.method_process import Cost, run_verb

FIGURES = (
    "psnr",
    "psnr_head",
    "psnr_mouth",
    "lpips",
    "lpips_mouth",
    "mouth_lmd_68_px",
    "lip_gap_correlation",
)
"""Columns of the table."""
AD_NERF = "ad-nerf"
COMPARED = (("psnr_head",), ("mouth_lmd_68_px",), ("psnr_head", "mouth_lmd_68_px"))
"""Figures that factors are of, the last of both at once."""


class Method(NamedTuple):
    """How to train."""

    name: str
    words: tuple[str, ...]
    """After ``nerf-ad train``."""
    marks: tuple[float, ...]
    """Seconds."""
    goes_on: bool
    """Whether one run is stopped and gone on with; else each mark is a training of its own."""


def methods(arguments: argparse.Namespace) -> list[Method]:
    """What is to be trained, in order."""
    end = 60 * arguments.slow_minutes
    ad_nerf = ("--row", "ad-nerf-head", "--nerf.num-rays", str(arguments.slow_rays))
    ad_nerf += ("--nerf.decay-steps", "250000", "--nerf.smooth-from", "200000")  # AD-NeRF's code
    quick, paper = tuple(sorted(arguments.budgets)), tuple(sorted(arguments.paper_budgets))
    known = {
        "fast": Method("fast", ("fast",), quick, goes_on=False),
        "fast-ad": Method("fast-ad", ("fast-ad",), quick, goes_on=False),
        "paper-small": Method("paper-small", ("paper-small",), paper, goes_on=False),
        "paper": Method("paper", ("paper",), paper, goes_on=False),
        AD_NERF: Method(
            AD_NERF,
            ("paper", *ad_nerf),
            tuple(end / part for part in sorted(arguments.slow_parts, reverse=True)),
            goes_on=True,
        ),
    }
    return [known[name] for name in arguments.methods]


class Place(NamedTuple):
    """Where a point lies."""

    folder: Path
    avatar: Path

    @property
    def point(self) -> Path:
        """Its result; comes last."""
        return self.folder / "point.json"

    @property
    def trained(self) -> Path:
        """What its training took."""
        return self.folder / "trained.json"


def place_of(out: Path, method: Method, mark: float) -> Place:
    """Folders of a point; an avatar that is gone on with has one of its own."""
    folder = out / method.name / f"{mark:g}s"
    return Place(folder, out / method.name / "avatar" if method.goes_on else folder / "avatar")


def drain(title: str, events: Generator[Event, None, Cost]) -> tuple[Cost, list[str]]:
    """Run a verb to its end, saying a line a stage."""
    stage, warnings = "", []
    try:
        while True:
            event = next(events)
            if isinstance(event, Progress) and event.stage != stage:
                stage = event.stage
                sys.stderr.write(f"{title}: {stage}\n")
            if isinstance(event, Warned):
                warnings.append(event.message)
    except StopIteration as end:
        return end.value, warnings
    finally:
        events.close()


class Bench:
    """The data set, the folder, and how points are made."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        self.dataset = Dataset.open(arguments.dataset)
        self.size = arguments.size or min(128, self.dataset.size)
        self.settings = {
            "source_sha256": self.dataset.manifest.source.sha256,
            "size": self.size,
            "every": arguments.every,
            "seed": arguments.seed,
            "slow_rays": arguments.slow_rays,
            "threads": os.environ.get("OMP_NUM_THREADS"),
        }
        path = self.out / "settings.json"
        if path.is_file() and read_json(path) != self.settings:
            raise NerfAdError(f"{self.out} holds points of other settings", hint="choose another folder")
        write_json(path, self.settings)

    def prepare(self) -> None:
        """Make the pixel cache, which is nobody's training."""
        begun = time.monotonic()
        for _ in open_pixels(self.dataset, self.size):
            pass
        sys.stderr.write(f"pixel cache: {time.monotonic() - begun:.1f} s\n")

    def make(self, method: Method, mark: float) -> None:
        """Train up to a mark and measure, unless it was done."""
        place = place_of(self.out, method, mark)
        if place.point.is_file():
            return
        title = f"{method.name} {mark:g} s"
        if not place.trained.is_file():
            self._train(method, mark, place, title)
        words = ["evaluate", str(place.avatar), str(self.dataset.root), "--out", str(place.folder)]
        _, warnings = drain(
            title, run_verb([*words, "--every", str(self.arguments.every), "--device", "cpu"])
        )
        trained = read_json(place.trained)
        metrics = read_json(place.folder / "metrics.json")
        write_json(place.point, {**trained, "metrics": metrics, "warnings": warnings})

    def _train(self, method: Method, mark: float, place: Place, title: str) -> None:
        if not method.goes_on:
            shutil.rmtree(place.avatar, ignore_errors=True)
        words = ["train", method.words[0], str(self.dataset.root), str(place.avatar), *method.words[1:]]
        words += ["--size", str(self.size), "--minutes", repr(mark / 60), "--device", "cpu"]
        cost, warnings = drain(title, run_verb([*words, "--seed", str(self.arguments.seed)]))
        stages = read_json(place.avatar / "runs" / "train" / "stages.json")
        seconds = sum(stage["seconds"] for stage in stages.values())
        if method.goes_on and seconds > 1.25 * mark + 60:
            raise NerfAdError(
                f"{place.avatar} is past {mark:g} s: it was trained for {seconds:.0f} s already"
            )
        place.folder.mkdir(parents=True, exist_ok=True)
        write_json(
            place.trained,
            {
                "method": method.name,
                "asked_seconds": mark,
                "stage_seconds": round(seconds, 2),
                # Of one run that was stopped and gone on with this is the last piece's alone.
                "process_seconds": None if method.goes_on else round(cost.wall_seconds, 2),
                "cpu_seconds": cost.cpu_seconds,
                "peak_memory_bytes": cost.peak_memory_bytes,
                "stages": stages,
                "load": os.getloadavg()[0],
                "training_warnings": warnings,
            },
        )

    def frames(self, method: Method) -> None:
        """Time frames of the method's last avatar, unless it was done."""
        path = self.out / method.name / "frames.json"
        done = [mark for mark in method.marks if place_of(self.out, method, mark).point.is_file()]
        if path.is_file() or not done:
            return
        count = self.arguments.slow_frames if method.words[0].startswith("paper") else self.arguments.frames
        task = {"dataset": str(self.dataset.root), "avatar": str(place_of(self.out, method, done[-1]).avatar)}
        found = call(Path(__file__), {**task, "count": count})
        if "failed" not in found:
            write_json(path, found)


def time_frames(task: dict[str, Any], watch: MemoryWatch) -> dict[str, Any]:
    """The child's work: seconds of a frame of poses never seen before, and of poses seen once."""
    del watch
    import numpy as np

    from nerf_ad.avatar.avatar import Avatar
    from nerf_ad.core.device import prepare_cpu
    from nerf_ad.evaluation.held_out import drive_with_recording
    from nerf_ad.rendering.render import draw

    prepare_cpu()
    avatar = Avatar.load(Path(task["avatar"]), device="cpu")
    drive, frames = drive_with_recording(avatar, Dataset.open(task["dataset"]))
    count = min(task["count"], len(frames))
    if not avatar.borrows_torso:  # a first frame sets things up; it is one of the others'
        for _ in draw(avatar, drive.only(np.arange(len(frames) - 2, len(frames)))):
            pass
    begun = time.monotonic()
    made = sum(1 for _ in draw(avatar, drive.only(np.arange(count))))
    found = {"count": made, "seconds_per_new_frame": (time.monotonic() - begun) / made}
    if not avatar.borrows_torso:
        twice = draw(avatar, drive.only(np.tile(np.arange(count), 3)))
        for _ in range(count + 4):  # more than what the threads have begun
            next(twice)
        begun = time.monotonic()
        made = sum(1 for _ in twice)
        found["seconds_per_frame_again"] = (time.monotonic() - begun) / made
    return found


def load_points(out: Path, method: Method) -> list[dict[str, Any]]:
    """All points of a method that are there, ascending, also of marks that are not asked for now."""
    found = [read_json(path) for path in (out / method.name).glob("*s/point.json")]
    return sorted(found, key=lambda point: float(point["stage_seconds"]))


def figures_of(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """The table's figures; None where one was not measured."""
    return {name: metrics.get(name) for name in FIGURES}


def charged(points: list[dict[str, Any]], clock: str) -> list[Point]:
    """Points by one of the clocks."""
    return [Point(float(point[clock]), figures_of(point["metrics"])) for point in points]


def table(points: Mapping[str, list[dict[str, Any]]]) -> str:
    """Rows for the terminal."""
    heads = (
        "stages s",
        "process s",
        "PSNR",
        "over torso",
        "head",
        "mouth",
        "LPIPS",
        "of mouth",
        "LMD px",
        "lips r",
    )
    lines = [f"{'':>12}" + "".join(f"{head:>11}" for head in (*heads, "no face"))]

    def line(name: str, clocks: tuple[float | None, float | None], metrics: Mapping[str, Any]) -> None:
        over = metrics.get("rows", {}).get("head_over_recorded_torso", {}).get("psnr")
        figures = list(figures_of(metrics).values())
        cells = [*clocks, figures[0], over, *figures[1:]]
        text = "".join(f"{'-':>11}" if cell is None else f"{cell:11.3f}" for cell in cells)
        lines.append(f"{name:>12}{text}{metrics.get('frames_without_face', 0):>11}")

    for name, rows in points.items():
        for point in rows:
            line(name, (point["stage_seconds"], point["process_seconds"]), point["metrics"])
    last = next((rows[-1] for rows in points.values() if rows), None)
    for name, row in (("truth", "ground_truth"), ("still", "static")):
        if last is not None:
            line(name, (None, None), last["metrics"]["rows"][row])
    return "\n".join(lines) + "\n"


def factors(
    points: Mapping[str, list[dict[str, Any]]], frames: Mapping[str, Any]
) -> tuple[list[str], list[Any]]:
    """Sentences, and the numbers behind them."""
    lines, numbers = [], []
    slow = charged(points.get(AD_NERF, []), "stage_seconds")
    for quick in ("fast", "fast-ad"):
        for names in COMPARED if quick in points else ():
            factor = compare(charged(points[quick], "process_seconds"), slow, names)
            lines.append(sentence(factor, quick, "the AD-NeRF-size field"))
            numbers.append({"quick": quick, **factor._asdict(), "times": factor.times})
    theirs = frames.get(AD_NERF, {}).get("seconds_per_new_frame")
    for name, row in frames.items():
        if theirs is None or name == AD_NERF:
            continue
        new, old = row["seconds_per_new_frame"], row.get("seconds_per_frame_again")
        said = (
            f"{name}: {1 / new:.2f} frames/s of new poses, {theirs / new:.0f} times the AD-NeRF-size field's"
        )
        if old is not None:
            said += f"; {1 / old:.2f} of poses seen before, {theirs / old:.0f} times"
        lines.append(f"{said} ({theirs:.2f} s a frame)")
    return lines, numbers


def plot(points: Mapping[str, list[dict[str, Any]]]) -> bytes:
    """PSNR of the head and LMD of the mouth over seconds of training."""
    from panel_plot import draw_log_panels

    panels, levels = [], []
    for figure, label in (("psnr_head", "PSNR of the head, dB"), ("mouth_lmd_68_px", "LMD of the mouth, px")):
        curves = {}
        for name, rows in points.items():
            known = [
                (row["process_seconds"] or row["stage_seconds"], row["metrics"][figure])
                for row in rows
                if row["metrics"].get(figure) is not None
            ]
            if known:
                curves[name] = ([x for x, _ in known], [y for _, y in known])
        still = next((rows[-1]["metrics"]["rows"]["static"] for rows in points.values() if rows), {})
        panels.append(("seconds of training (ad-nerf: of its stage, others: of the process)", label, curves))
        levels.append({"still": still[figure]} if still.get(figure) is not None else {})
    return draw_log_panels(panels, level=levels)


def report(bench: Bench, chosen: list[Method]) -> str:
    """Write what is there so far; returns the table with its factors."""
    points = {method.name: load_points(bench.out, method) for method in chosen}
    frames = {}
    for method in chosen:
        with contextlib.suppress(NerfAdError):
            frames[method.name] = read_json(bench.out / method.name / "frames.json")
    lines, numbers = factors(points, frames)
    text = table(points) + "".join(f"{line}\n" for line in lines)
    result = {"settings": bench.settings, "cores": os.cpu_count(), "points": points, "frames": frames}
    write_json(bench.out / "quality.json", {**result, "factors": numbers})
    write_bytes(bench.out / "quality.png", plot(points))
    write_text(bench.out / "factors.txt", text)
    return text


def main() -> int:
    """Make the points that are missing; print and write after each."""
    if sys.argv[1:2] == ["--child"]:
        answer(json.loads(sys.argv[2]), time_frames)
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", type=Path, help="folder of a data set")
    parser.add_argument("out", type=Path, help="folder to write to, and to go on in")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=("fast", "fast-ad", "paper-small", "paper", AD_NERF),
        default=["fast", "fast-ad", "paper-small", AD_NERF],
    )
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[15, 30, 60, 120, 240, 480], help="seconds"
    )
    parser.add_argument("--paper-budgets", type=float, nargs="+", default=[240, 480, 960], help="seconds")
    parser.add_argument("--slow-minutes", type=float, default=20, help="of the AD-NeRF-size field")
    parser.add_argument(
        "--slow-parts", type=float, nargs="+", default=[16, 8, 4, 2, 1], help="where its run is measured"
    )
    parser.add_argument("--slow-rays", type=int, default=2048, help="of a step (AD-NeRF's code: 2048)")
    parser.add_argument("--size", type=int, help="pixels along each side (default 128, or the data set's)")
    parser.add_argument("--every", type=int, default=10, help="each so-manieth held-out frame")
    parser.add_argument("--frames", type=int, default=40, help="timed of fast and fast-ad")
    parser.add_argument("--slow-frames", type=int, default=2, help="timed of the others")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if min(arguments.slow_parts) < 1:
        parser.error("--slow-parts are at least 1: the run is measured after a so-manieth of --slow-minutes")
    text, failed = "", False
    try:
        bench, chosen = Bench(arguments), methods(arguments)
        bench.prepare()
    except NerfAdError as error:
        sys.stderr.write(f"error: {error.with_hint}\n")
        return 2
    for method in chosen:
        for mark in method.marks:
            try:
                bench.make(method, mark)
            except NerfAdError as error:
                failed = True
                sys.stderr.write(f"{method.name} {mark:g} s failed: {error.message}\n")
                if method.goes_on:
                    break  # what comes later would leave this mark behind
            text = report(bench, chosen)
        bench.frames(method)
        text = report(bench, chosen)
    sys.stdout.write(text)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())

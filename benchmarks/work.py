"""What work costs: clip length, picture size and length of the sound, each with its memory.

    python benchmarks/work.py OUT [--dataset DATASET] [--parts clip size sound]
        [--clip-seconds 10 30 60 180 600] [--sizes 128 256 512 1024] [--sound-seconds 1 10 60 600 3600]

The clip is a short synthetic person, filmed and captured into ``OUT`` (10 s at 256x256), or ``--dataset``;
longer and larger ones are made of it (``longer_clip``: the same frames again and again; a size above its own
is enlarged). ``fast`` trains on each with few steps in a process of its own: seconds of 100 steps of the
head, and the most main memory. A short training sees few frames of a long clip, so rays are drawn
``--draws`` times more, which touches what a long training does. The sound is spoken by ``nerf-ad render``'s
own code, stopped after ``--frames`` frames; the frames of all of it are that rate times their number, no
more than an estimate, and a high one: poses that come again later are quicker.

Memory is the largest resident set of the process, by the kernel (``ru_maxrss``): anonymous memory and pages
of mapped files, which the kernel may take back at any time and yet counts. Both parts are told apart by
looking 50 times a second. MB are a million bytes. The bar: at most 2000 MB, and flat from 10 s to 10 min,
taken as: the longest clip's peak is at most 1.1 times the shortest's. Live sessions (1 to 16 of them) are
left out: there are none yet.

What is in ``OUT/work.json`` is not done again. Also writes ``OUT/work.png``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from child_process import answer, call
from memory_bar import HOST_MB, most, rows_of, verdict

PARTS = ("clip", "size", "sound")


class Sheet:
    """Rows that are done, on disk."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if kept and kept["settings"] != settings:
            message = f"{path} was made with {kept['settings']}, not {settings}: choose another folder"
            raise SystemExit(message)
        self.rows: dict[str, dict[str, Any]] = kept.get("rows", {})
        self.settings = settings

    def has(self, name: str) -> bool:
        """Whether a row is there that did not fail."""
        return name in self.rows and "failed" not in self.rows[name]

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Write it down, whole."""
        from nerf_ad.core.files import write_json

        self.rows[name] = row
        write_json(self.path, {"settings": self.settings, "cores": os.cpu_count(), "rows": self.rows})


def run_verb(*words: str) -> None:
    """A verb of the command; its failure ends the benchmark."""
    subprocess.run([sys.executable, "-m", "nerf_ad", *words], check=True, stdout=subprocess.DEVNULL)


def make_source(out: Path) -> Path:
    """Film and capture a synthetic person."""
    film, dataset = out / "source.mp4", out / "source.dataset"
    if not film.is_file():
        run_verb("synthesize", str(film), "--seconds", "10", "--size", "256", "--voice", "hibari", "--yes")
    run_verb("capture", str(film), str(dataset), "--size", "256")
    return dataset


class Bench:
    """Where everything lies, and how it is measured."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.out: Path = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.source = arguments.dataset or make_source(self.out)
        settings = {
            "source": str(self.source),
            **{name: getattr(arguments, name) for name in ("steps", "draws", "frames", "size")},
        }
        self.sheet = Sheet(self.out / "work.json", settings)

    def run(self, name: str, **task: Any) -> bool:  # noqa: ANN401 - JSON
        """A task of its own process, unless its row is there; says whether there is a result."""
        if not self.sheet.has(name):
            sys.stderr.write(f"{name} ...\n")
            found = call(Path(__file__), task)
            self.sheet.keep(name, {**found, "load": os.getloadavg()[0]})
        return self.sheet.has(name)

    def clip(self, seconds: int, size: int) -> Path:
        """A data set of a length and a size."""
        root = self.out / f"{seconds}s-{size}.dataset"
        task = {"part": "make", "source": str(self.source), "root": str(root)}
        made = call(Path(__file__), {**task, "num_frames": 25 * seconds, "size": size})
        if "failed" in made:
            message = f"error: {root}: {made['failed']}"
            raise SystemExit(message)
        return root

    def train(self, name: str, seconds: int, size: int, avatar: Path) -> None:
        """A row of clip or size; its data set and, but for one, its avatar are removed afterwards."""
        if self.sheet.has(name):
            return
        dataset = self.clip(seconds, size)
        shutil.rmtree(avatar, ignore_errors=True)
        numbers = {name: getattr(self.arguments, name) for name in ("steps", "draws", "frames")}
        self.run(name, part="train", dataset=str(dataset), avatar=str(avatar), **numbers)
        if not self.arguments.keep:
            shutil.rmtree(dataset)  # ten minutes at 128x128 are 2.5 GB of pixel cache

    def clips(self) -> None:
        """Cost by clip length."""
        for seconds in self.arguments.clip_seconds:
            self.train(f"clip {seconds}", seconds, self.arguments.size, self.out / "clip.avatar")

    def sizes(self) -> None:
        """Cost by picture size."""
        for size in self.arguments.sizes:
            self.train(f"size {size}", 10, size, self.out / "size.avatar")

    def sounds(self) -> None:
        """Cost by length of the sound."""
        avatar = self.out / "sound.avatar"
        if not (avatar / "avatar.toml").is_file():
            self.train("avatar that speaks", 10, self.arguments.size, avatar)
        for seconds in self.arguments.sound_seconds:
            name, path = f"sound {seconds}", self.out / f"{seconds}s.wav"
            if self.sheet.has(name):
                continue
            call(
                Path(__file__),
                {"part": "sound", "dataset": str(self.source), "path": str(path), "seconds": seconds},
            )
            task = {"avatar": str(avatar), "sound": str(path), "video": str(self.out / "sound.mp4")}
            self.run(name, part="speak", **task, frames=self.arguments.frames)
            path.unlink(missing_ok=True)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Rows for the terminal."""
    heads = ("piece", "peak MB", "anonymous", "of files", "s/100 steps", "ms/draw", "ms/frame", "pixels s")
    lines = ["".join(f"{head:>{18 if place == 0 else 12}}" for place, head in enumerate(heads))]
    for name, row in rows.items():
        if "failed" in row:
            lines.append(f"{name:>18}  failed: {row['failed']}")
            continue
        figures = [
            row["peak_mb"],
            most(row, "anonymous_mb"),
            most(row, "files_mb"),
            row.get("seconds_per_100_steps"),
            None if "seconds_per_draw" not in row else 1000 * row["seconds_per_draw"],
            1000 * row["seconds_per_frame"],
            row["stages"].get("pixels", {}).get("seconds"),
        ]
        cells = ["".rjust(12) if value is None else f"{value:12.2f}" for value in figures]
        lines.append(f"{name:>18}" + "".join(cells))
    for seconds, row in rows_of(rows, "sound").items():
        if "failed" in row:
            continue
        stages, frames = row["stages"], row["frames_in_all"]
        whole = stages["reading"]["seconds"] + stages["listening"]["seconds"]
        lines.append(
            f"{seconds} s of sound: read in {stages['reading']['seconds']:.1f} s, heard in "
            f"{stages['listening']['seconds']:.1f} s, about "
            f"{whole + frames * row['seconds_per_frame']:.0f} s with all {frames} frames "
            f"(from {row['frames_made']})"
        )
    return "\n".join(lines) + "\n"


def plot(rows: dict[str, dict[str, Any]]) -> bytes:
    """Memory and time over clip length, picture size, and length of the sound."""
    from panel_plot import draw_log_panels

    panels, levels = [], []
    for part, label in (
        ("clip", "seconds of clip"),
        ("size", "pixels along each side"),
        ("sound", "seconds of sound"),
    ):
        good = {number: row for number, row in rows_of(rows, part).items() if "failed" not in row}
        if not good:
            continue
        x = list(good)
        memory = {
            "most": (x, [row["peak_mb"] for row in good.values()]),
            "anonymous": (x, [most(row, "anonymous_mb") for row in good.values()]),
            "of files": (x, [most(row, "files_mb") for row in good.values()]),
        }
        panels.append((label, "MB", memory))
        levels.append({"2 GB": HOST_MB})
        if part == "sound":
            heard = [row["stages"]["listening"]["seconds"] for row in good.values()]
            panels.append((label, "seconds", {"features and codes": (x, heard)}))
        else:
            known = {number: row.get("seconds_per_100_steps") for number, row in good.items()}
            taken = {number: seconds for number, seconds in known.items() if seconds is not None}
            curve = (list(taken), list(taken.values()))
            panels.append((label, "seconds", {"100 steps of the head": curve}))
        levels.append({})
    return draw_log_panels(panels, level=levels)


def main() -> int:
    """Measure what is missing, print, and write."""
    if sys.argv[1:2] == ["--child"]:
        from work_parts import perform

        answer(json.loads(sys.argv[2]), perform)
        return 0
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder to write to, and to go on in")
    parser.add_argument("--dataset", type=Path, help="a short data set instead of a synthetic person's")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--clip-seconds", type=int, nargs="+", default=[10, 30, 60, 180, 600])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512, 1024], help="pixels")
    parser.add_argument("--sound-seconds", type=int, nargs="+", default=[1, 10, 60, 600, 3600])
    parser.add_argument(
        "--size", type=int, default=128, help="pixels of the clips and of the avatar that speaks"
    )
    parser.add_argument("--steps", type=int, default=300, help="of the head in each training, from 40")
    parser.add_argument("--draws", type=int, default=4000, help="of rays after each training, 16 frames each")
    parser.add_argument("--frames", type=int, default=48, help="rendered for each row")
    parser.add_argument("--keep", action="store_true", help="keep the data sets")
    bench = Bench(parser.parse_args())
    work = {"clip": bench.clips, "size": bench.sizes, "sound": bench.sounds}
    for part in bench.arguments.parts:
        work[part]()
    from nerf_ad.core.files import write_bytes, write_json

    rows = bench.sheet.rows
    said = verdict(rows_of(rows, "clip"), rows)
    write_json(bench.out / "verdict.json", said)
    write_bytes(bench.out / "work.png", plot(rows))
    sys.stdout.write(table(rows) + json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

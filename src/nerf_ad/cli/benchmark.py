"""``nerf-ad benchmark capture FOLDER`` and ``nerf-ad benchmark methods DATASET... OUT``."""

import math
import sys
from pathlib import Path
from typing import Annotated

import tyro

from nerf_ad.cli.progress import ProgressPrinter


def benchmark_capture(
    folder: Path,
    *,
    identities: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    seconds: float = 20.0,
    size: int = 256,
    seed: int = 10,
    yes: bool = False,
) -> int:
    """Measure capture against truth: film synthetic people, capture them, compare.

    Continues where it stopped. Prints a table; every figure is in FOLDER/capture.json, with plots in
    FOLDER/index.html.

    Args:
        folder: where films, datasets and figures go.
        identities: which of the synthetic people, from 0.
        seconds: length of each film.
        size: width and height of the datasets' frames in pixels.
        seed: of identity 0's film; each next identity has the next seed.
        yes: Fetch missing third-party weights without asking.
    """
    from nerf_ad.capture.recipe import CaptureConfig, required_weights
    from nerf_ad.cli.capture import fetch_missing
    from nerf_ad.core.files import read_json
    from nerf_ad.dataset.synthetic.film import film_weights
    from nerf_ad.evaluation.capture_benchmark import (
        CaptureBenchmarkConfig,
        benchmark_capture_events,
        place_of,
    )
    from nerf_ad.evaluation.capture_page import table_text
    from nerf_ad.evaluation.capture_summary import summarise

    config = CaptureBenchmarkConfig.from_mapping(
        {"identities": identities, "seconds": seconds, "size": size, "seed": seed}, source="the command line"
    )
    filmed = film_weights(config.film(config.identities[0]))
    fetch_missing((*filmed, *required_weights(CaptureConfig())), yes=yes)
    with ProgressPrinter() as on_event:
        for event in benchmark_capture_events(folder, config):
            on_event(event)
    people = {identity: read_json(place_of(folder, identity).errors) for identity in config.identities}
    sys.stdout.write(table_text(list(people), summarise(people)))
    sys.stderr.write(f"look at {folder / 'index.html'}\n")
    return 0


def benchmark_methods(
    folders: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DATASET... OUT")],
    *,
    preset: str = "paper-small",
    rows: str | None = None,
    iterations: str = "4000,10000",
    minutes: float | None = None,
    every: int = 1,
    seed: int = 0,
    device: str = "auto",
) -> int:
    """Compare methods on your own clips: the paper's method, its ablations, its rivals, and the fast ones.

    Every row trains on every data set with the same rays, seed and iterations and is measured at each count.
    Continues where it stopped; what is finished is not done again, and the same command may run several times
    at once to share the work. Prints the tables; they are also in OUT/table.md, with pictures in
    OUT/index.html and every figure in OUT/methods.json.

    Args:
        folders: data sets that nerf-ad capture made, and last the folder to write to: DATASET... OUT.
        preset: sizes and numbers of the paper's rows: paper or paper-small.
        rows: which rows, with commas between; without one of the paper's, --minutes must be given (default:
            all of the paper's and the fast presets).
        iterations: of stage 3 at which every row is measured, with commas between.
        minutes: of each row that is no row of the paper's (default: what all stages of the row full took).
        every: measure only each so-manieth held-out frame.
        seed: of every training.
        device: auto, cpu or cuda.
    """
    from nerf_ad.core.errors import UsageError
    from nerf_ad.evaluation.method_benchmark import benchmark_methods_events
    from nerf_ad.evaluation.method_page import read_groups, summarise_groups
    from nerf_ad.evaluation.method_plan import MethodBenchmarkConfig, name_of
    from nerf_ad.presets import PRESETS, ROWS
    from nerf_ad.training.fast_ad import FastAdTrainConfig
    from nerf_ad.training.paper.config import PaperTrainConfig

    if len(folders) < 2:
        raise UsageError("a data set or the folder to write to is missing", hint="DATASET... OUT")
    *datasets, out = folders
    sizes = PRESETS.get(preset)
    if not isinstance(sizes, PaperTrainConfig):
        known = ", ".join(name for name, found in PRESETS.items() if isinstance(found, PaperTrainConfig))
        raise UsageError(f"--preset must be one of {known}")
    others = [name for name, found in PRESETS.items() if not isinstance(found, PaperTrainConfig)]
    asked = _words(rows) if rows is not None else [*ROWS, *(name for name in others if name != "tiny")]
    for row in asked:
        if row not in ROWS and row not in others:
            raise UsageError(f"there is no row {row!r}", hint=f"rows: {', '.join((*ROWS, *others))}")
    if not asked:
        raise UsageError("--rows is empty", hint=f"rows: {', '.join((*ROWS, *others))}")
    if minutes is None and not any(row in ROWS for row in asked):
        raise UsageError(
            "--rows names none of the paper's rows, so nothing says how long the others may train",
            hint=f"give --minutes, or add one of {', '.join(ROWS)}",
        )
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(
            f"--minutes must be a number above 0, not {minutes}",
            hint="such as --minutes 30; without it the fast rows get as long as the row full took",
        )
    if every < 1:
        raise UsageError(
            f"--every must be a whole number from 1, not {every}", hint="--every 1 measures all frames"
        )
    if not _words(iterations):
        raise UsageError("--iterations is empty", hint="such as 4000,10000")
    config = MethodBenchmarkConfig.from_mapping(
        {
            "preset": preset,
            "rows": [row for row in asked if row in ROWS],
            "timed_rows": [row for row in asked if row in others],
            "sharing_rows": [row for row in asked if isinstance(PRESETS.get(row), FastAdTrainConfig)],
            "iterations": [_count(word) for word in _words(iterations)],
            "minutes": minutes,
            "every": every,
            "size": sizes.size,
            "seed": seed,
            "device": device,
        },
        source="the command line",
    )
    try:
        with ProgressPrinter() as on_event:
            for event in benchmark_methods_events(datasets, out, config):
                on_event(event)
    finally:  # also where a row failed or was interrupted
        groups = read_groups(out, [name_of(path) for path in datasets], config)
        sys.stdout.write("\n".join(table.text() for table in summarise_groups(groups, config)))
    sys.stderr.write(f"look at {out / 'index.html'}\n")
    return 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _count(word: str) -> int:
    from nerf_ad.core.errors import UsageError

    if not word.isascii() or not word.isdigit() or int(word) == 0:
        raise UsageError(f"--iterations: {word!r} is not a whole number above 0", hint="such as 4000,10000")
    return int(word)

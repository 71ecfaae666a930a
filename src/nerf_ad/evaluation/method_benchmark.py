"""Methods against each other on the user's clips: the paper's Tables 1 to 3.

Every row of the paper's method trains on every data set with the same rays, seed and iterations, is measured
at each count on the same held-out frames, and goes on from there. Rows of other methods have no iterations
to compare; they get minutes. What is finished is not done again; several processes may share the work.
"""

import contextlib
import gc
import shutil
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from nerf_ad import __version__
from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.device import choose_device, prepare_cpu
from nerf_ad.core.errors import BadInputError, FormatError, NerfAdError, UsageError
from nerf_ad.core.events import Event, Progress, Saved, Warned
from nerf_ad.core.files import explained, locked, read_json, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.evaluation.held_out import drive_with_recording
from nerf_ad.evaluation.method_page import write_report
from nerf_ad.evaluation.method_plan import (
    FORMAT,
    FULL,
    CellPlace,
    MethodBenchmarkConfig,
    RowPlace,
    name_of,
    row_place,
)
from nerf_ad.evaluation.method_plots import shown_frames
from nerf_ad.evaluation.method_process import Cost, Perform, run_verb
from nerf_ad.media.images import write_image
from nerf_ad.rendering.render import draw


class Job(NamedTuple):
    """One row on one data set."""

    dataset: Dataset
    name: str
    """Of the data set."""
    row: str
    place: RowPlace

    @property
    def title(self) -> str:
        """For bars and sentences."""
        return f"{self.name} {self.row}"


def benchmark_methods_events(
    datasets: Sequence[Path], out: Path, config: MethodBenchmarkConfig, *, perform: Perform = run_verb
) -> Generator[Event, None, None]:
    """Train and measure every row on every data set; write ``methods.json``, ``table.md``, ``index.html``.

    Args:
        datasets: what ``capture`` made, with action units.
        out: folder of everything; see ``method_plan``.
        config: the choices.
        perform: how a verb of the command is done.

    Raises:
        BadInputError: the folder holds a benchmark of other settings, or cannot be written.
        NerfAdError: at the end, where a row failed.
    """
    choose_device(config.device)  # refuses what is not there before anything is written
    people = _open(datasets)
    _settle(out, config)
    prepare_cpu()
    jobs = [
        Job(dataset, name, row, row_place(out, name, row))
        for name, dataset in people.items()
        for row in config.all_rows
    ]
    for job in jobs:
        _refuse_strangers(job, config)
    started, told = time.time(), 0
    later: list[Job] = []
    for may_wait in (False, True):
        for job in later if may_wait else jobs:
            yield Progress(stage="rows", done=told, total=len(jobs), note=job.title)
            if not may_wait and _lacks_time(job, config):
                later.append(job)
                continue
            with locked(job.place.lock, wait=may_wait) as is_ours:
                if not is_ours:
                    later.append(job)
                    continue
                if _is_done(job, config):
                    job.place.failed.unlink(missing_ok=True)
                elif not _failed_since(job, started):
                    yield from _attempt(job, out, config, perform)
                    write_report(out, people, config, only=job.name)
            told += 1
    yield Progress(stage="rows", done=len(jobs), total=len(jobs))
    write_report(out, people, config)
    yield Saved(path=str(out / "methods.json"))
    yield Saved(path=str(out / "index.html"))
    failed = [job.title for job in jobs if job.place.failure() is not None]
    if failed:
        raise NerfAdError(
            f"{len(failed)} of {len(jobs)} rows failed: {', '.join(failed)}",
            hint=f"{out / 'index.html'} says why; the same command tries them again",
        )


def _open(datasets: Sequence[Path]) -> dict[str, Dataset]:
    people: dict[str, Dataset] = {}
    for path in datasets:
        name = name_of(path)
        if name in people or name == "parts":
            raise UsageError(f"two folders would be called {name}", hint="rename a data set's folder")
        people[name] = Dataset.open(path)
    if not people:
        raise UsageError("no data set is given", hint="give data sets and then the folder to write to")
    return people


def _settle(out: Path, config: MethodBenchmarkConfig) -> None:
    """Keep what all cells have in common, or refuse a folder with other choices."""
    common = config.model_dump(mode="json", include={"preset", "minutes", "every", "size", "seed"})
    with explained(out):
        if out.exists() and not out.is_dir():
            raise BadInputError(f"{out} is a file, not a folder", hint="choose another folder")
        out.mkdir(parents=True, exist_ok=True)
    path = out / "settings.json"
    if not path.is_file():
        if any(out.iterdir()):
            raise BadInputError(f"{out} holds other things than a benchmark", hint="choose another folder")
        write_json(path, common)
    found = read_json(path)
    for name, wanted in common.items():
        was = found.get(name) if isinstance(found, dict) else None
        if was != wanted:
            raise FormatError(
                f"{out} holds a benchmark whose {name} is {was}, not {wanted}", hint="choose another folder"
            )


def _refuse_strangers(job: Job, config: MethodBenchmarkConfig) -> None:
    for count in config.counts_of(job.row):
        facts = job.place.cell(count).read()
        if facts is not None and facts["source_sha256"] != job.dataset.manifest.source.sha256:
            raise FormatError(
                f"{job.place.root} was made with another data set called {job.name}",
                hint="rename the data set's folder, or choose another folder to write to",
            )


def _is_done(job: Job, config: MethodBenchmarkConfig) -> bool:
    return all(job.place.cell(count).read() is not None for count in config.counts_of(job.row))


def _failed_since(job: Job, started: float) -> bool:
    """Whether another process tried and failed meanwhile."""
    with contextlib.suppress(OSError):
        return job.place.failed.stat().st_mtime >= started
    return False


def _lacks_time(job: Job, config: MethodBenchmarkConfig) -> bool:
    """Whether a row waits for another one to say how long it may train."""
    if job.row not in config.timed_rows or _is_done(job, config):
        return False
    return _minutes(job, config) is None


def _minutes(job: Job, config: MethodBenchmarkConfig) -> float | None:
    if config.minutes is not None:
        return config.minutes
    full = row_place(job.place.root.parents[1], job.name, FULL).cell(config.counts[-1]).read()
    return None if full is None else round(full["seconds"] / 60, 3)


def _attempt(
    job: Job, out: Path, config: MethodBenchmarkConfig, perform: Perform
) -> Generator[Event, None, None]:
    """Work on a row; its failure is kept and told, and the other rows go on."""
    try:
        job.place.failed.unlink(missing_ok=True)
        yield from _work(job, out, config, perform)
    except (NerfAdError, RuntimeError, MemoryError) as error:
        message = error.message if isinstance(error, NerfAdError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, NerfAdError) else None
        write_json(job.place.failed, {"message": message, "hint": hint})
        yield Warned(message=f"{job.title} failed: {message}")


def _work(
    job: Job, out: Path, config: MethodBenchmarkConfig, perform: Perform
) -> Generator[Event, None, None]:
    with locked(job.place.avatar / "runs" / "train.lock", wait=True):
        pass  # a process that outlived its parent saves and ends first
    counts = config.counts_of(job.row)
    minutes = _minutes(job, config) if job.row in config.timed_rows else None
    for index, count in enumerate(counts):
        cell = job.place.cell(count)
        if cell.read() is not None:
            continue
        done = (2 * index, 2 * len(counts))
        yield from _costed(job, "train", done, perform(_train_words(job, out, config, count, minutes)))
        stages = _stages(job, count)
        done = (done[0] + 1, done[1])
        yield from _costed(job, "evaluate", done, perform(_evaluate_words(job, config)))
        _show(job, cell, config)
        _keep(job, cell, config, stages=stages, count=count, minutes=minutes)
        gc.collect()
        yield Saved(path=str(cell.facts))
    yield Progress(stage=job.title, done=2 * len(counts), total=2 * len(counts))


def _train_words(
    job: Job, out: Path, config: MethodBenchmarkConfig, count: int | None, minutes: float | None
) -> list[str]:
    where = [str(job.dataset.root), str(job.place.avatar)]
    common = ["--device", config.device, "--seed", str(config.seed)]
    shared = ["--parts", str(out / "parts")]
    if count is not None:
        own = ["--row", job.row, "--nerf.num-steps", str(count), *shared]
        return ["train", config.preset, *where, *common, *own]
    if minutes is None:
        raise UsageError(
            f"nothing says how long {job.row} may train: the row {FULL} is not there", hint="give --minutes"
        )
    size = min(config.size or job.dataset.size, job.dataset.size)
    own = [
        "--minutes",
        f"{minutes:g}",
        "--size",
        str(size),
        *(shared if job.row in config.sharing_rows else ()),
    ]
    return ["train", job.row, *where, *common, *own]


def _evaluate_words(job: Job, config: MethodBenchmarkConfig) -> list[str]:
    words = ["evaluate", str(job.place.avatar), str(job.dataset.root), "--device", config.device]
    return words if config.every == 1 else [*words, "--every", str(config.every)]


def _costed(
    job: Job, verb: str, done: tuple[int, int], events: Generator[Event, None, Cost]
) -> Generator[Event, None, None]:
    """A verb's events as the row's own; its cost is added to what is on the disk, also when it is stopped."""
    started, cost = time.monotonic(), None
    try:
        cost = yield from _as_row(job.title, done, events)
    finally:
        known = read_json(job.place.costs) if job.place.costs.is_file() else {}
        spent = cost or Cost(time.monotonic() - started, None, None)
        whole = Cost(**known[verb]).plus(spent) if verb in known and verb == "train" else spent
        write_json(job.place.costs, {**known, verb: whole._asdict()})


def _as_row(
    title: str, done: tuple[int, int], events: Generator[Event, None, Cost]
) -> Generator[Event, None, Cost]:
    """One bar for the whole row: what a verb says of its stages becomes the note."""
    try:
        while True:
            event = next(events)
            if isinstance(event, Progress):
                note = f"{event.stage} {event.done}/{event.total} {event.note}".strip()
                left = event.seconds_left
                yield Progress(stage=title, done=done[0], total=done[1], note=note, seconds_left=left)
            elif isinstance(event, Warned):
                yield event.model_copy(update={"message": f"{title}: {event.message}"})
    except StopIteration as end:
        cost: Cost = end.value
        return cost
    finally:
        events.close()


def _stages(job: Job, count: int | None) -> dict[str, Any]:
    """Steps and seconds of every stage of what was just trained."""
    found: dict[str, Any] = read_json(job.place.avatar / "runs" / "train" / "stages.json")
    reached = found.get("nerf", {}).get("step")
    if count is not None and reached != count:
        raise FormatError(
            f"{job.place.avatar} was trained to {reached} iterations already: {count} cannot be measured",
            hint="choose another folder to write to",
        )
    return found


def _show(job: Job, cell: CellPlace, config: MethodBenchmarkConfig) -> None:
    """Write held-out frames of the avatar as it is now, side by side."""
    device = choose_device(config.device)
    avatar = Avatar.load(job.place.avatar, device=device, verify=False)
    with torch.no_grad():
        drive, frames = drive_with_recording(avatar, job.dataset)
        write_image(cell.frames, np.concatenate(list(draw(avatar, drive.only(shown_frames(frames)))), axis=1))


def _keep(
    job: Job,
    cell: CellPlace,
    config: MethodBenchmarkConfig,
    *,
    stages: dict[str, Any],
    count: int | None,
    minutes: float | None,
) -> None:
    """Write the cell; ``cell.json`` comes last, so that a cell is whole or not there."""
    avatar, dataset = job.place.avatar, job.dataset
    metrics: dict[str, Any] = read_json(avatar / "metrics.json")
    for name in ("metrics.json", "preview.mp4"):
        if (avatar / name).is_file():
            shutil.copy2(avatar / name, cell.root / name)
    train, test = dataset.split().train, dataset.split().test
    write_json(
        cell.facts,
        {
            "format": FORMAT,
            "made_by": f"nerf-ad {__version__}",
            "dataset": job.name,
            "source_sha256": dataset.manifest.source.sha256,
            "train_frames": [train.start, train.stop],
            "held_out_frames": [test.start, test.stop],
            "every": config.every,
            "row": job.row,
            "preset": job.row if count is None else config.preset,
            "seed": config.seed,
            "iterations": count,
            "minutes": minutes,
            "threads": torch.get_num_threads(),
            "device": str(choose_device(config.device)),
            "stages": stages,
            "seconds": round(sum(stage["seconds"] for stage in stages.values()), 2),
            "own_seconds": round(stages.get("nerf", stages.get("head", {"seconds": 0.0}))["seconds"], 2),
            "costs": read_json(job.place.costs),
            "metrics": metrics,
        },
    )

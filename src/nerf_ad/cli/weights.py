"""``nerf-ad weights list`` and ``nerf-ad weights fetch``."""

import json as json_format
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.table import Table

from nerf_ad.core import events, weights
from nerf_ad.core.errors import UsageError
from nerf_ad.core.weights import CAPTURE_WEIGHTS, WEIGHTS, Weight


def list_weights(*, json: bool = False) -> None:
    """Show the third-party files that are used: size, licence, whether each is here, and what to do without.

    Args:
        json: Print everything that is known as JSON.
    """
    statuses = {name: weights.inspect(name) for name in WEIGHTS}
    if json:
        rows = [
            {
                **WEIGHTS[name].model_dump(mode="json"),
                "state": status.state,
                "path": None if status.path is None else str(status.path),
                "id": status.id,
                "fault": status.fault,
                "variable": weights.variable(name),
            }
            for name, status in statuses.items()
        ]
        sys.stdout.write(json_format.dumps(rows, indent=2) + "\n")
        return
    columns = ("name", "size", "state", "licence", "without it")
    lines = [
        columns,
        *(
            (
                name,
                _megabytes(WEIGHTS[name].size),
                status.state,
                WEIGHTS[name].licence,
                WEIGHTS[name].fallback,
            )
            for name, status in statuses.items()
        ),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        padded = "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        sys.stdout.write(padded.rstrip() + "\n")
    talk = _talk()
    for status in statuses.values():
        if status.fault:
            talk.print(f"[yellow]warning:[/yellow] {status.fault}", soft_wrap=True, highlight=False)


def fetch_weights(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    everything: Annotated[bool, tyro.conf.arg(name="all")] = False,
    yes: bool = False,
    again: bool = False,
    source: Annotated[Path | None, tyro.conf.arg(name="from", metavar="PATH")] = None,
    unverified: bool = False,
) -> None:
    """Download third-party files into a cache of your own, after showing their size and terms.

    Args:
        names: Which files; without any, those that a capture needs.
        everything: All of them.
        yes: Accept the terms and download without asking.
        again: Also fetch what is here already, in place of files of your own.
        source: Take this file of yours instead of downloading.
        unverified: Accept a file of yours that is not the one that was tested.
    """
    if source is not None:
        _use_own(names, source, unverified=unverified)
        return
    if unverified:
        raise UsageError("--unverified is about a file of your own", hint="add --from PATH")
    wanted = tuple(WEIGHTS) if everything else names or CAPTURE_WEIGHTS
    missing = [name for name in wanted if again or weights.inspect(name).state in {"missing", "wrong"}]
    talk = _talk()
    if not missing:
        talk.print(f"{', '.join(wanted)}: already here", highlight=False)
    else:
        _ask(talk, [WEIGHTS[name] for name in missing], yes=yes)
        _fetch(talk, missing, again=again)
    for name in wanted:
        sys.stdout.write(f"{weights.locate(name)}\n")


def _use_own(names: tuple[str, ...], source: Path, *, unverified: bool) -> None:
    if len(names) != 1:
        raise UsageError(
            "--from gives one file",
            hint="nerf-ad weights fetch NAME --from PATH; the names: nerf-ad weights list",
        )
    path = weights.use_local(names[0], source, unverified=unverified)
    _talk().print(
        f"{names[0]} is now your own file, known as {weights.extractor_id(names[0])}", soft_wrap=True
    )
    sys.stdout.write(f"{path}\n")


def _ask(talk: Console, wanted: list[Weight], *, yes: bool) -> None:
    """Show what would be downloaded, and under which terms; return only after a yes."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("name", "package", "file", "licence", "terms"):
        table.add_column(column, overflow="fold", justify="right" if column == "file" else "left")
    for weight in wanted:
        package = f"{weight.package} {weight.version}"
        table.add_row(weight.name, package, _megabytes(weight.size), weight.licence, weight.terms)
    talk.print(table)
    total = sum(archive.size for archive in {weight.archive for weight in wanted})
    talk.print(
        f"At most {_megabytes(total)} are downloaded, and kept in {weights.cache_folder()}", soft_wrap=True
    )
    if yes:
        return
    if not (sys.stdin.isatty() and talk.is_terminal):
        raise UsageError(
            "nothing is downloaded without a yes, and there is no terminal to ask", hint="add --yes"
        )
    if not Confirm.ask("Download?", console=talk, default=True):
        raise UsageError("nothing was downloaded", hint="what works without: nerf-ad weights list")


def _fetch(talk: Console, names: list[str], *, again: bool) -> None:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=talk
    )
    tasks: dict[str, TaskID] = {}
    with bar:

        def show(event: events.Event) -> None:
            match event:
                case events.Progress():
                    task = tasks.get(event.stage)
                    if task is None:
                        task = tasks[event.stage] = bar.add_task(event.stage, total=event.total)
                    bar.update(task, completed=event.done)
                case events.Warned():
                    talk.print(f"warning: {event.message}", soft_wrap=True, highlight=False)
                case _:
                    pass

        weights.fetch(names, on_event=show, again=again)


def _talk() -> Console:
    return Console(stderr=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"

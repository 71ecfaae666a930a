"""What a benchmark of methods shows of itself: ``methods.json``, ``table.md`` and ``index.html``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nerf_ad import __version__
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.core.files import write_json, write_text
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.evaluation.method_plan import FORMAT, TIMED, MethodBenchmarkConfig, row_place
from nerf_ad.evaluation.method_plots import (
    draw_curves,
    draw_sheet,
    read_curve,
    recorded_frames,
    shown_frames,
)
from nerf_ad.evaluation.method_summary import Line, Summary, comparison_lines, line_of, mean_lines, summarise
from nerf_ad.media.images import read_image

LEAD = (
    "Every row of the paper's method was trained with the same rays, seed and iterations and measured on the "
    "same held-out frames; rows with minutes are other methods. The best figure of a column is bold. Every "
    "number is defined in docs/concepts/quality-and-speed."
)


class Group(NamedTuple):
    """What is compared with each other: one data set at one count of iterations, or after its minutes."""

    name: str
    """Of the data set."""
    iterations: int | None
    """None where no row has any."""
    cells: tuple[Mapping[str, Any], ...]
    """What ``cell.json`` says of each row that is finished; rows with minutes stand beside the last count."""

    @property
    def title(self) -> str:
        """For a heading."""
        return f"{self.name}, {_point_title(self.iterations)}"

    @property
    def sheet(self) -> str:
        """The picture of its held-out frames, relative to the page."""
        return f"{self.name}/{TIMED if self.iterations is None else self.iterations}.png"

    def lines(self) -> list[Line]:
        """Lines of its table."""
        return [*(line_of(facts) for facts in self.cells), *comparison_lines(self.cells)]


def _point_title(count: int | None) -> str:
    return "by time" if count is None else f"{count} iterations"


def read_groups(out: Path, names: Sequence[str], config: MethodBenchmarkConfig) -> list[Group]:
    """All groups with what is finished of them."""
    groups = []
    for name in names:
        for count in config.points:
            cells = []
            for row in config.all_rows:
                is_timed = row in config.timed_rows
                if is_timed and count != config.points[-1]:
                    continue
                facts = row_place(out, name, row).cell(None if is_timed else count).read()
                if facts is not None:
                    cells.append(facts)
            groups.append(Group(name, count, tuple(cells)))
    return groups


def summarise_groups(groups: Sequence[Group], config: MethodBenchmarkConfig) -> list[Summary]:
    """A table for each group; and, of several data sets, one of the means at each count."""
    tables = [summarise(group.title, group.lines()) for group in groups if group.cells]
    for count in config.points:
        lines = [group.lines() for group in groups if group.iterations == count]
        if len(lines) > 1 and (means := mean_lines(lines)):
            tables.append(summarise(f"means over {len(lines)} data sets, {_point_title(count)}", means))
    return tables


def write_report(
    out: Path, people: Mapping[str, Dataset], config: MethodBenchmarkConfig, *, only: str | None = None
) -> None:
    """Write figures, tables, pictures and page from what is finished; ``only``: draw this data set anew."""
    groups = read_groups(out, list(people), config)
    for name, dataset in people.items():
        if only is None or name == only:
            _draw(out, name, dataset, config, [group for group in groups if group.name == name])
    tables = summarise_groups(groups, config)
    failures = {
        f"{name} {row}": failure
        for name in people
        for row in config.all_rows
        if (failure := row_place(out, name, row).failure()) is not None
    }
    write_json(
        out / "methods.json",
        {
            "format": FORMAT,
            "made_by": f"nerf-ad {__version__}",
            **config.model_dump(mode="json"),
            "cells": _cells(groups),
            "tables": [
                {"title": table.title, "head": table.head, "rows": table.rows, "best": sorted(table.best)}
                for table in tables
            ],
            "failed": failures,
        },
    )
    write_text(out / "table.md", "\n".join([*(table.markdown() for table in tables), _footnotes(groups)]))
    write_text(out / "index.html", _page(out, groups, tables, failures, config))


def _cells(groups: Sequence[Group]) -> list[Mapping[str, Any]]:
    return [facts for group in groups for facts in group.cells]


def _draw(
    out: Path, name: str, dataset: Dataset, config: MethodBenchmarkConfig, groups: Sequence[Group]
) -> None:
    if not any(group.cells for group in groups):
        return
    curves = {row: read_curve(row_place(out, name, row).avatar) for row in config.all_rows}
    draw_curves(out / name / "curves.png", curves, config.timed_rows)
    held = dataset.split().test
    captions = [f"frame {held.start + int(offset)}" for offset in shown_frames(held)]
    for group in groups:
        strips = {
            facts["row"]: row_place(out, name, facts["row"]).cell(facts["iterations"]).frames
            for facts in group.cells
        }
        if strips:
            size = max(read_image(strip).shape[0] for strip in strips.values())
            recorded = [np.ascontiguousarray(frame) for frame in recorded_frames(dataset, size)]
            draw_sheet(out / group.sheet, recorded, captions, strips)


def _page(
    out: Path,
    groups: Sequence[Group],
    tables: Sequence[Summary],
    failures: Mapping[str, Mapping[str, Any]],
    config: MethodBenchmarkConfig,
) -> str:
    cells, names = _cells(groups), list(dict.fromkeys(group.name for group in groups))
    wanted = len(names) * sum(len(config.counts_of(row)) for row in config.all_rows)
    boxes = [
        Figure(f"{len(cells)} of {wanted}", "trainings measured", is_good=len(cells) == wanted),
        Figure(str(len(failures)), "rows failed", is_good=not failures),
        *([Figure(config.preset, "sizes of the paper's rows")] if config.rows else []),
        Figure(str(config.seed), "seed"),
    ]
    by_title = {table.title: table for table in tables}
    sections = []
    for group in groups:
        if group.cells:
            shown = [(group.sheet, "the same held-out frames, recorded and by every row")]
            table = _table(by_title.pop(group.title))
            sections.append(Section(group.title, table=table, pictures=shown))
    sections += [Section(title, table=_table(table)) for title, table in by_title.items()]
    for name in names:
        if (out / name / "curves.png").is_file():
            shown = [(f"{name}/curves.png", "PSNR of the rays of training, over iterations and over seconds")]
            sections.append(Section(f"{name}, training", pictures=shown))
    if failures:
        rows = [(title, failure["message"], failure["hint"] or "") for title, failure in failures.items()]
        sections.append(Section("Failed", table=Table(("row", "why", "what helps"), rows)))
    sections.append(Section("How it was measured", table=_circumstances(cells)))
    return page("Methods against each other", LEAD, boxes, sections)


def _table(summary: Summary) -> Table:
    return Table(summary.head, summary.rows, numeric=summary.head[1:], strong=summary.best)


CIRCUMSTANCES = (
    *("data set", "row", "at", "size", "frames", "protocol", "speech", "detector", "threads", "stages"),
    "made by",
)


def _circumstances(cells: Sequence[Mapping[str, Any]]) -> Table:
    """What a reader must know before figures are compared."""
    return Table(CIRCUMSTANCES, [_circumstance(facts) for facts in cells])


def _circumstance(facts: Mapping[str, Any]) -> tuple[str, ...]:
    metrics = facts["metrics"]
    first, last = facts["held_out_frames"]
    each = "" if facts["every"] == 1 else f", each {facts['every']}th"
    count = facts["iterations"]
    stages = ", ".join(
        f"{name} {stage['step']:g} steps {stage['seconds']:.0f} s" for name, stage in facts["stages"].items()
    )
    return (
        facts["dataset"],
        facts["row"],
        f"{facts['minutes']:.3g} min" if count is None else str(count),
        str(metrics.get("size", "-")),
        f"{first} to {last - 1}{each}",
        str(metrics.get("protocol", "-")),
        str(metrics.get("speech", "-")) if metrics.get("driven_by") == "speech" else "-",
        str(metrics.get("detector", "none")),
        str(facts["threads"]),
        stages,
        facts["made_by"],
    )


def _footnotes(groups: Sequence[Group]) -> str:
    """Protocols and detectors by row: without them figures cannot be compared."""
    rows: dict[str, dict[str, None]] = {}
    for facts in _cells(groups):
        metrics = facts["metrics"]
        told = (
            f"{metrics.get('size', '?')} px, {metrics.get('protocol', 'protocol unknown')}, "
            f"detector {metrics.get('detector', 'none')}, {facts['threads']} threads, {facts['device']}"
        )
        rows.setdefault(told, {})[facts["row"]] = None
    return "".join(f"* {', '.join(names)}: {told}\n" for told, names in rows.items())

"""The page of a capture benchmark, and its table as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nerf_ad.capture.report.curves import draw_bars
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.core.files import write_bytes, write_text
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.evaluation.capture_plots import PICTURES
from nerf_ad.evaluation.capture_summary import Row

LEAD = (
    "Synthetic people were filmed, their films captured, and what capture found compared with the truth. "
    "Every number is defined in docs/concepts/quality-and-speed."
)


def write_page(folder: Path, people: Mapping[int, Mapping[str, Any]], rows: Sequence[Row]) -> None:
    """Write ``index.html`` and ``masks.png`` into the benchmark's folder."""
    bars = {
        f"{identity} {IDENTITIES[identity].name}": figures["masks"] for identity, figures in people.items()
    }
    write_bytes(folder / "masks.png", draw_bars(bars, y_label="IoU", limits=(0.6, 1.0)))
    asked = [row for row in rows if row.bar is not None]
    boxes = [
        Figure("-" if row.median is None else f"{row.median:.3g}", row.name, is_good=bool(row.is_met))
        for row in asked
    ]
    sections = [
        Section("By person", table=_table(people, rows)),
        Section("Masks", pictures=[("masks.png", "intersection over union of every mask by person")]),
    ]
    for identity, figures in people.items():
        pictures = [(f"identity-{identity}/{name}", shows) for name, shows in PICTURES.items()]
        title = f"{identity}: {IDENTITIES[identity].name}"
        sections.append(Section(title, pictures=pictures, table=_units(figures)))
    write_text(folder / "index.html", page("Capture against truth", LEAD, boxes, sections))


def table_text(people: Sequence[int], rows: Sequence[Row]) -> str:
    """The table of figures that something is asked of, for a terminal."""
    cells = _cells(people, [row for row in rows if row.bar is not None])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _table(people: Mapping[int, Mapping[str, Any]], rows: Sequence[Row]) -> Table:
    head, *body = _cells(list(people), rows)
    return Table(head, body, numeric=head[1:])


def _cells(people: Sequence[int], rows: Sequence[Row]) -> list[list[str]]:
    cells = [["", *(str(identity) for identity in people), "median", "bar", "met"]]
    for row in rows:
        asked = "" if row.bar is None else f"{row.bar.kind} {row.bar.limit:g}"
        met = "" if row.is_met is None else ("yes" if row.is_met else "no")
        cells.append([row.name, *(_number(value) for value in (*row.values, row.median)), asked, met])
    return cells


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _units(figures: Mapping[str, Any]) -> Table:
    head = ("action unit", "moves", "correlation", "presence accuracy", "presence F1", "read from")
    rows = [
        (
            name,
            "yes" if unit["moves"] else "no",
            *(f"{unit[key]:.2f}" for key in ("correlation", "accuracy", "f1")),
            unit["source"],
        )
        for name, unit in figures["action_units"].items()
    ]
    return Table(head, rows, numeric=head[2:5])

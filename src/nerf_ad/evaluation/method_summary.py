"""The tables of a benchmark of methods: a line for each row, a column for each figure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

Facts = Mapping[str, Any]
"""What ``cell.json`` says."""


class Column(NamedTuple):
    """A figure of the table."""

    title: str
    keys: tuple[str, ...]
    """Its names in ``metrics.json``; the first that is there."""
    best: Literal["highest", "lowest", "none"]
    digits: int


COLUMNS: Final = (
    Column("PSNR, dB", ("psnr",), "highest", 2),
    Column("SSIM", ("ssim",), "highest", 3),
    Column("LPIPS", ("lpips",), "lowest", 3),
    Column("mouth LMD, px", ("mouth_lmd_mp_px",), "lowest", 2),
    Column("LMD-68, px", ("lmd_68_px",), "lowest", 2),
    Column("AU accuracy", ("au_accuracy",), "highest", 3),
    Column("majority's", ("au_accuracy_majority",), "none", 3),
    Column("AU error", ("au_error",), "lowest", 3),
    Column("lips' correlation", ("lip_gap_correlation",), "highest", 2),
    Column("sync confidence", ("sync_confidence",), "highest", 2),
    Column("frames without face", ("frames_without_face",), "none", 0),
)
"""Figures of the held-out frames; one that no row has is left out."""
COSTS: Final = (
    Column("stage 3, s", ("own_seconds",), "lowest", 0),
    Column("all stages, s", ("seconds",), "lowest", 0),
    Column("CPU, s", ("cpu_seconds",), "none", 0),
    Column("memory, GB", ("peak_memory_gb",), "lowest", 2),
)
"""What training took: stages that rows have in common count in each of them; CPU seconds are those of the
row's own processes, so a stage in common counts where it was trained."""


OWN_ROWS: Final = ("shifted", "head_over_recorded_torso")
"""Comparisons in ``metrics.json`` that are made of a row's own frames."""


class Line(NamedTuple):
    """A row of a table."""

    title: str
    values: dict[str, float]
    """By the column's title."""
    competes: bool = True
    """Whether it can be the best."""


class Summary(NamedTuple):
    """A table as text, and which of its cells are the best of their column."""

    title: str
    head: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]]

    def markdown(self) -> str:
        """The table for a README."""
        lines = [f"### {self.title}", "", "| " + " | ".join(self.head) + " |"]
        lines.append("|" + "|".join("---" if index == 0 else "--:" for index in range(len(self.head))) + "|")
        for row, cells in enumerate(self.rows):
            shown = [
                f"**{cell}**" if (row, column) in self.best else cell for column, cell in enumerate(cells)
            ]
            lines.append("| " + " | ".join(shown) + " |")
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """The table for a terminal; the best of a column has a star."""
        cells = [
            self.head,
            *(
                [f"{cell}*" if (row, column) in self.best else cell for column, cell in enumerate(line)]
                for row, line in enumerate(self.rows)
            ),
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(len(self.head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        return "\n".join([self.title, *lines]) + "\n"


def line_of(facts: Facts) -> Line:
    """A cell's line."""
    trained = facts["costs"].get("train", {})
    peak = trained.get("peak_memory_bytes")
    told = {
        "own_seconds": facts["own_seconds"],
        "seconds": facts["seconds"],
        "cpu_seconds": trained.get("cpu_seconds"),
        "peak_memory_gb": None if peak is None else peak / 1e9,
    }
    title = facts["row"]
    if facts["iterations"] is None:
        title += f" ({facts['minutes']:.3g} min)"
    return Line(title, _figures(facts["metrics"], COLUMNS) | _figures(told, COSTS))


def comparison_lines(cells: Sequence[Facts]) -> list[Line]:
    """What the figures are worth: lines of a still face and the like, where they were measured.

    Those of the recording alone are the same beside every row; those that are made of a row's own frames are
    told of the first row.
    """
    for facts in cells:
        rows = facts["metrics"].get("rows")
        if isinstance(rows, Mapping):
            return [
                Line(_title(str(name), facts["row"]), _figures(figures, COLUMNS), competes=False)
                for name, figures in rows.items()
                if isinstance(figures, Mapping) and _figures(figures, COLUMNS)
            ]
    return []


def _title(name: str, row: str) -> str:
    return f"{row}, {name}" if name in OWN_ROWS else name.replace("_", " ")


def _figures(values: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, float]:
    found = {}
    for column in columns:
        for key in column.keys:
            value = values.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[column.title] = float(value)
                break
    return found


def mean_lines(tables: Sequence[Sequence[Line]]) -> list[Line]:
    """Means over data sets of the rows and figures that all of them have."""
    by_title = [{line.title.partition(" (")[0]: line for line in lines} for lines in tables]
    means = []
    for title, line in by_title[0].items():
        others = [table[title] for table in by_title if title in table]
        if len(others) < len(tables):
            continue
        shared = [name for name in line.values if all(name in other.values for other in others)]
        values = {name: sum(other.values[name] for other in others) / len(others) for name in shared}
        means.append(Line(title, values, line.competes))
    return means


def summarise(title: str, lines: Sequence[Line]) -> Summary:
    """A table of lines; the best figure of each column, as it is printed, is marked wherever it stands."""
    columns = [column for column in (*COLUMNS, *COSTS) if any(column.title in line.values for line in lines)]
    rows = [
        [line.title, *(_shown(line.values.get(column.title), column.digits) for column in columns)]
        for line in lines
    ]
    best: set[tuple[int, int]] = set()
    for place, column in enumerate(columns, start=1):
        found = {
            row: float(rows[row][place])
            for row, line in enumerate(lines)
            if line.competes and column.title in line.values
        }
        if column.best == "none" or len(found) < 2:
            continue
        edge = max(found.values()) if column.best == "highest" else min(found.values())
        best |= {(row, place) for row, value in found.items() if value == edge}
    return Summary(title, ["", *(column.title for column in columns)], rows, frozenset(best))


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"

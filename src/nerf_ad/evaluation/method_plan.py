"""What a benchmark of methods consists of, where everything lies, and what of it is there.

OUT/
  methods.json  table.md  index.html      every figure; the tables; the page
  settings.json                           what all cells have in common; another choice is refused
  parts/                                  stages that rows have in common
  NAME/                                   of a data set
    curves.png  400.png  800.png          training curves; the same held-out frames of every row (timed.png
                                          where no row has iterations)
    ROW/
      row.avatar/                         goes on from count to count
      costs.json  failed.json             what its processes took; why it failed, if it did
      400/                                a cell: cell.json  metrics.json  frames.png  preview.mp4
      timed/                              the cell of a row that has minutes instead
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import Field, model_validator

from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import read_json

FORMAT: Final = 1
"""Version of ``cell.json`` and ``methods.json``."""
TIMED: Final = "timed"
"""Folder of the cell of a row that has no iterations to compare."""


FULL: Final = "full"
"""The row whose time the rows without iterations get."""


class MethodBenchmarkConfig(Config):
    """What is trained and measured."""

    preset: str
    """Sizes and numbers of the paper's rows."""
    rows: tuple[str, ...] = Field(strict=False)
    """Rows of the paper's method, its ablations and its rivals, as ``train`` knows them; none of them only
    where ``minutes`` say how long the others may train."""
    timed_rows: tuple[str, ...] = Field(default=(), strict=False)
    """Presets of other methods: they get minutes instead of iterations."""
    sharing_rows: tuple[str, ...] = Field(default=(), strict=False)
    """Those of ``timed_rows`` that have stages in common with the paper's rows."""
    iterations: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1, strict=False)
    """Counts of stage 3 at which every row is measured; the paper's are 4000 and 10 000."""
    minutes: float | None = Field(default=None, gt=0)
    """Of each of ``timed_rows``; what all stages of the full row took to the last count where absent."""
    every: int = Field(default=1, ge=1)
    """Only each so-manieth held-out frame is measured."""
    size: int | None = Field(default=None, ge=32, le=2048)
    """Picture size of every row, limited by the data set's; the preset's."""
    seed: int = Field(default=0, ge=0)
    """Of every training."""
    device: str = "auto"
    """Where to work."""

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts in the order in which a training reaches them."""
        return tuple(sorted(set(self.iterations)))

    @property
    def points(self) -> tuple[int | None, ...]:
        """Where rows are compared: at the counts; None: after the minutes, where there is no other row."""
        return self.counts if self.rows else (None,)

    @property
    def all_rows(self) -> tuple[str, ...]:
        """Every row once, in the order in which they are trained and shown."""
        return tuple(dict.fromkeys((*self.rows, *self.timed_rows)))

    def counts_of(self, row: str) -> tuple[int | None, ...]:
        """Where a row is measured; None: after its minutes."""
        return (None,) if row in self.timed_rows else self.counts

    @model_validator(mode="after")
    def _has_time(self) -> "MethodBenchmarkConfig":
        if not self.all_rows or (not self.rows and self.minutes is None):
            message = "rows: one of the paper's is wanted, or minutes for the others"
            raise ValueError(message)
        return self


class CellPlace(NamedTuple):
    """One row at one count of iterations."""

    root: Path

    @property
    def facts(self) -> Path:
        """What it is, what it took and its figures; written last."""
        return self.root / "cell.json"

    @property
    def frames(self) -> Path:
        """Held-out frames side by side."""
        return self.root / "frames.png"

    def read(self) -> dict[str, Any] | None:
        """Its facts; None where it is not finished."""
        try:
            found = read_json(self.facts)
        except FormatError:
            return None
        return found if isinstance(found, dict) and found.get("format") == FORMAT else None


class RowPlace(NamedTuple):
    """One row on one data set."""

    root: Path

    @property
    def avatar(self) -> Path:
        """What is trained."""
        return self.root / "row.avatar"

    @property
    def lock(self) -> Path:
        """Held by the process that works on it."""
        return self.root / "row.lock"

    @property
    def costs(self) -> Path:
        """What its processes took so far."""
        return self.root / "costs.json"

    @property
    def failed(self) -> Path:
        """Why it failed; absent where it did not."""
        return self.root / "failed.json"

    def cell(self, count: int | None) -> CellPlace:
        """At a count of iterations; None: after its minutes."""
        return CellPlace(self.root / (TIMED if count is None else str(count)))

    def failure(self) -> Mapping[str, Any] | None:
        """Sentence and hint of its failure, if it failed."""
        return read_json(self.failed) if self.failed.is_file() else None


def row_place(out: Path, name: str, row: str) -> RowPlace:
    """Where a row on a data set lies."""
    return RowPlace(out / name / row)


def name_of(dataset: Path) -> str:
    """What a data set is called in tables: its folder without an ending."""
    return dataset.resolve().name.removesuffix(".dataset")

"""Events on a terminal as bars, elsewhere as JSON lines. All of it is talk and goes to stderr."""

import os
import sys
import time
from collections.abc import Callable
from io import TextIOBase
from types import TracebackType
from typing import IO, assert_never, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from nerf_ad.core.events import Event, Metric, Preview, Progress, Saved, Warned

OnEvent = Callable[[Event], None]
THROTTLE_SECONDS = 1.0
"""Between two JSON lines of one stage's progress."""


class ProgressPrinter:
    """``with ProgressPrinter() as on_event:`` gives a function that shows every event handed to it.

    On a terminal each stage has a bar with its note and the time left; warnings and saved files stand above.
    Without one, every event is a JSON line; progress comes about once a second and the last one always.

    Args:
        stream: where to; stderr unless told.
        clock: seconds, for tests.
    """

    def __init__(
        self, stream: TextIOBase | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = cast(TextIOBase, sys.stderr) if stream is None else stream
        terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._sink: _Bars | _Lines = _Bars(self._stream) if terminal else _Lines(self._stream, clock)

    def __enter__(self) -> OnEvent:
        self._sink.open()
        return self._sink.show

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()


class _Lines:
    """One JSON line per event."""

    def __init__(self, stream: TextIOBase, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._last: dict[str, float] = {}
        self._held: dict[str, Progress] = {}

    def open(self) -> None:
        """Nothing to prepare."""

    def show(self, event: Event) -> None:
        """Write the event, or hold it back if its stage spoke a moment ago."""
        if isinstance(event, Progress):
            now = self._clock()
            due = now - self._last.get(event.stage, float("-inf")) >= THROTTLE_SECONDS
            if not due and event.done < event.total:
                self._held[event.stage] = event
                return
            self._held.pop(event.stage, None)
            self._last[event.stage] = now
        self._write(event)

    def close(self) -> None:
        """Write what was held back."""
        for event in self._held.values():
            self._write(event)
        self._held.clear()

    def _write(self, event: Event) -> None:
        self._stream.write(event.model_dump_json(exclude_none=True) + "\n")
        self._stream.flush()


class _Bars:
    """Live bars."""

    def __init__(self, stream: TextIOBase) -> None:
        self._console = Console(file=cast(IO[str], stream))
        self._bars = Bars(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _TimeLeft(),
            TextColumn("{task.fields[note]}", markup=False, style="dim"),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}

    def open(self) -> None:
        """Begin to draw."""
        self._bars.start()

    def show(self, event: Event) -> None:
        """Draw the event."""
        match event:
            case Progress():
                self._advance(event)
            case Warned():
                where = "" if event.frame is None else f"frame {event.frame}: "
                self._say(f"warning: {where}{event.message}", "yellow")
            case Saved():
                if event.step is None:  # what is saved again and again while training would fill the screen
                    self._say(f"saved {event.path}", "dim")
            case Metric() | Preview():
                pass
            case _:
                assert_never(event)

    def close(self) -> None:
        """Leave the bars as they are."""
        self._bars.stop()

    def _advance(self, event: Progress) -> None:
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bars.add_task(event.stage, total=event.total, note="", left=None)
        self._bars.update(
            self._tasks[event.stage],
            completed=event.done,
            total=event.total,
            note=event.note,
            left=event.seconds_left,
        )

    def _say(self, sentence: str, style: str) -> None:
        self._bars.console.print(Text(sentence, style=style))


class _TimeLeft(ProgressColumn):
    """The stage's own estimate where it gives one, else from the pace so far; time taken once it is done."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"took {_duration(task.finished_time or 0.0)}", style="dim")
        given = task.fields.get("left")
        seconds = task.time_remaining if given is None else given
        return Text("" if seconds is None else f"{_duration(seconds)} left", style="cyan")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

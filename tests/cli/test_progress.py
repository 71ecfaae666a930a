"""Events as JSON lines and as bars."""

import io
import json

from nerf_ad.cli.progress import ProgressPrinter
from nerf_ad.core.events import EVENT, Event, Metric, Progress, Saved, Warned


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_every_event_is_a_json_line_that_reads_back() -> None:
    stream = io.StringIO()
    events: list[Event] = [
        Warned(message="two faces", frame=812),
        Metric(name="loss", step=3, value=0.5),
        Saved(path="a"),
    ]
    with ProgressPrinter(stream) as on_event:
        for event in events:
            on_event(event)
    assert [EVENT.validate_json(line) for line in stream.getvalue().splitlines()] == events


def test_progress_is_throttled_and_the_last_always_comes() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressPrinter(stream, clock=clock) as on_event:
        for done in range(1, 101):
            clock.now += 0.1
            on_event(Progress(stage="frames", done=done, total=100))
    told = [json.loads(line)["done"] for line in stream.getvalue().splitlines()]
    assert told[0] == 1
    assert told[-1] == 100
    assert 9 <= len(told) <= 12


def test_what_was_held_back_is_told_when_the_work_is_cut_short() -> None:
    stream, clock = io.StringIO(), Clock()
    with ProgressPrinter(stream, clock=clock) as on_event:
        for done in (1, 2, 3):
            on_event(Progress(stage="frames", done=done, total=9))
    assert [json.loads(line)["done"] for line in stream.getvalue().splitlines()] == [1, 3]


def test_stages_are_throttled_apart() -> None:
    stream = io.StringIO()
    with ProgressPrinter(stream, clock=Clock()) as on_event:
        on_event(Progress(stage="a", done=1, total=9))
        on_event(Progress(stage="b", done=1, total=9))
    assert len(stream.getvalue().splitlines()) == 2


def test_on_a_terminal_there_are_bars_and_sentences() -> None:
    stream = Terminal()
    with ProgressPrinter(stream) as on_event:
        on_event(Progress(stage="training", done=3, total=9, note="psnr 27.1 [dB]", seconds_left=75.0))
        on_event(Warned(message="two faces", frame=812))
        on_event(Metric(name="loss", step=3, value=0.5))
        on_event(Saved(path="anna.avatar"))
    shown = stream.getvalue()
    for text in ("training", "3/9", "psnr 27.1 [dB]", "warning: frame 812: two faces", "saved anna.avatar"):
        assert text in shown

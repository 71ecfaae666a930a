"""Chapters run in order, once, and the bar over them knows how long the rest takes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.demo.agenda import STEPS, Chapter, run_chapters


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(
    name: str, folder: Path, clock: Clock, *, seconds: float, takes: float, is_timed: bool = False
) -> Chapter:
    """A chapter of two equal stages that really takes ``takes`` seconds."""
    output = folder / name

    def run() -> Iterator[Event]:
        for stage in ("first", "second"):
            yield Progress(stage=stage, done=0, total=4)
            clock.now += takes / 2
            yield Progress(stage=stage, done=4, total=4)
        output.touch()
        yield Saved(path=str(output))

    return Chapter(name, run, (output,), seconds, {"first": 0.5, "second": 0.5}, is_timed=is_timed)


def bars(events: list[Event]) -> list[Progress]:
    """Of the whole."""
    return [event for event in events if isinstance(event, Progress) and event.stage == "all"]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    clock = Clock()
    chapters = [make(name, tmp_path, clock, seconds=10, takes=10) for name in ("a", "b", "c")]
    (tmp_path / "b").touch()
    events = list(run_chapters(chapters, title="all", clock=clock))
    saved = [event.path for event in events if isinstance(event, Saved)]
    assert saved == [str(tmp_path / "a"), str(tmp_path / "c")]
    assert list(run_chapters(chapters, title="all", clock=clock)) == [
        Progress(stage="all", done=STEPS, total=STEPS, note="done", seconds_left=0.0)
    ]


def test_what_reads_something_new_is_done_again(tmp_path: Path) -> None:
    """Even if the run stops in between: what is old is gone before anything new is made."""
    clock = Clock()
    chapters = [make(name, tmp_path, clock, seconds=10, takes=10) for name in ("a", "b", "c")]
    chapters[2] = chapters[2]._replace(after=("a",))
    for name in ("b", "c"):
        (tmp_path / name).touch()
    events = run_chapters(chapters, title="all", clock=clock)
    next(events)
    assert not (tmp_path / "c").exists()
    assert [event.path for event in events if isinstance(event, Saved)] == [
        str(tmp_path / "a"),
        str(tmp_path / "c"),
    ]


def test_stages_carry_the_name_of_their_chapter(tmp_path: Path) -> None:
    clock = Clock()
    events = run_chapters([make("a", tmp_path, clock, seconds=1, takes=1)], title="all", clock=clock)
    stages = {event.stage for event in events if isinstance(event, Progress)}
    assert stages == {"all", "a: first", "a: second"}


def test_the_bar_never_goes_back_and_ends_full(tmp_path: Path) -> None:
    clock = Clock()
    chapters = [make(name, tmp_path, clock, seconds=s, takes=7) for name, s in (("a", 5), ("b", 20))]
    done = [bar.done for bar in bars(list(run_chapters(chapters, title="all", clock=clock)))]
    assert done == sorted(done)
    assert set(done) == {0, 100, 200, 600, STEPS}  # shares of 25 seconds: 5 and 20, in halves


@pytest.mark.parametrize("slowness", [1.0, 3.0])
def test_time_left_follows_the_machine(tmp_path: Path, slowness: float) -> None:
    """A machine that is three times slower than planned is believed to stay so."""
    clock = Clock()
    chapters = [
        make(name, tmp_path, clock, seconds=100, takes=100 * slowness) for name in ("a", "b", "c", "d")
    ]
    begun_last = next(
        bar for bar in bars(list(run_chapters(chapters, title="all", clock=clock))) if bar.note == "4/4 d"
    )
    assert begun_last.seconds_left == pytest.approx(100 * slowness, rel=0.1)


def test_timed_chapters_take_as_long_as_they_are_told(tmp_path: Path) -> None:
    clock = Clock()
    chapters = [
        make("a", tmp_path, clock, seconds=100, takes=500),
        make("b", tmp_path, clock, seconds=60, takes=60, is_timed=True),
    ]
    half_of_b = bars(list(run_chapters(chapters, title="all", clock=clock)))[-3]
    assert half_of_b.note == "2/2 b"
    assert half_of_b.seconds_left == pytest.approx(30)

"""Chapters one after the other under one bar: what is done is skipped, what is left is timed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import explained

STEPS = 1000
"""Parts that the whole is counted in."""


class Chapter(NamedTuple):
    """A piece of the work that is done or not done."""

    name: str
    """A word; stands before the names of its stages."""
    run: Callable[[], Iterable[Event]]
    """Does it."""
    outputs: tuple[Path, ...]
    """Files that appear whole, and at the end: with all of them there it is done."""
    seconds: float
    """How long it is expected to take, for the bar."""
    stages: Mapping[str, float] = MappingProxyType({})
    """Share of each stage in its time; a stage that is not named counts nothing."""
    after: tuple[str, ...] = ()
    """Chapters whose work it reads: where one of them is done anew, so is this."""
    is_timed: bool = False
    """Whether it takes as long as it is told, however fast the machine."""

    @property
    def is_done(self) -> bool:
        """Whether all of its outputs are there."""
        return all(path.exists() for path in self.outputs)


def run_chapters(
    chapters: Iterable[Chapter], *, title: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Event]:
    """Run what is not done, and what reads it, in order.

    Args:
        chapters: in the order of work.
        title: of the bar over all of them.
        clock: seconds, for tests.

    Yields:
        the chapters' events with the chapter's name before the stage's, and after each progress that of the
        whole.
    """
    todo: list[Chapter] = []
    for chapter in chapters:
        if not chapter.is_done:
            todo.append(chapter)
        elif {other.name for other in todo} & set(chapter.after):
            remove_outputs(chapter)  # at once: whatever stops this run, what is old is not taken for new
            todo.append(chapter)
    pace = _Pace(todo, clock)
    for number, chapter in enumerate(todo):
        fractions: dict[str, float] = {}
        yield pace.whole(title, number, 0.0)
        for event in chapter.run():
            if not isinstance(event, Progress):
                yield event
                continue
            yield event.model_copy(update={"stage": f"{chapter.name}: {event.stage}"})
            fractions[event.stage] = event.done / max(event.total, 1)
            share = sum(chapter.stages.get(stage, 0.0) * part for stage, part in fractions.items())
            yield pace.whole(title, number, min(share, 1.0))
        pace.finish(number)
    yield Progress(stage=title, done=STEPS, total=STEPS, note="done", seconds_left=0.0)


def remove_outputs(chapter: Chapter) -> None:
    """Forget that a chapter was done; what its ``run`` can go on with stays."""
    for path in chapter.outputs:
        with explained(path):
            path.unlink(missing_ok=True)


class _Pace:
    """How this machine compares with the expected times."""

    def __init__(self, chapters: list[Chapter], clock: Callable[[], float]) -> None:
        self.chapters, self.clock = chapters, clock
        self.total = sum(chapter.seconds for chapter in chapters) or 1.0
        self.begun = clock()
        self.taken = self.expected = 0.0
        """Seconds of untimed work so far: taken, and expected."""

    def whole(self, title: str, number: int, part: float) -> Progress:
        """The bar over all chapters, ``part`` of chapter ``number`` being done."""
        chapter = self.chapters[number]
        before = sum(other.seconds for other in self.chapters[:number])
        done = (before + part * chapter.seconds) / self.total
        taken, expected = self.taken, self.expected
        if not chapter.is_timed:
            taken += self.clock() - self.begun
            expected += part * chapter.seconds
        # A tenth of the plan is taken on trust, so that the first seconds do not promise nonsense.
        trust = 0.1 * self.total
        pace = (taken + trust) / (expected + trust)
        left = sum(
            rest.seconds * (1.0 if rest.is_timed else pace) for rest in self.chapters[number + 1 :]
        ) + (1 - part) * chapter.seconds * (1.0 if chapter.is_timed else pace)
        note = f"{number + 1}/{len(self.chapters)} {chapter.name}"
        return Progress(stage=title, done=round(STEPS * done), total=STEPS, note=note, seconds_left=left)

    def finish(self, number: int) -> None:
        """The chapter is over."""
        now = self.clock()
        if not self.chapters[number].is_timed:
            self.taken += now - self.begun
            self.expected += self.chapters[number].seconds
        self.begun = now

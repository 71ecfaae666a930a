"""A verb in a process of its own: its events, its cost, its failure, and how it is stopped."""

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.events import Event, Progress
from nerf_ad.evaluation.method_process import Cost, run_verb

SCRIPT = """
import sys, time
say = lambda text: print(text, file=sys.stderr, flush=True)
say('{{"event": "progress", "stage": "work", "done": 1, "total": 2}}')
say("a word that is no event")
block = bytearray(60 << 20)
{then}
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the interpreter that runs this file whatever it is told."""
    python, path = tmp_path / "python", tmp_path / "work.py"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -S {path}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return path


def finish(events: Generator[Event, None, Cost]) -> tuple[list[Event], Cost]:
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return seen, end.value


def test_events_and_costs_come_back(script: Path) -> None:
    then = """
end = time.process_time() + 0.2
while time.process_time() < end: pass
say('{"event": "progress", "stage": "work", "done": 2, "total": 2}')
time.sleep(0.05)
"""
    script.write_text(SCRIPT.format(then=then))
    events, cost = finish(run_verb(["train"]))
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2]
    assert cost.cpu_seconds is not None
    assert cost.cpu_seconds >= 0.2
    assert cost.peak_memory_bytes is not None
    assert 60 << 20 < cost.peak_memory_bytes < 400 << 20


def test_a_failure_is_its_own_sentence(script: Path) -> None:
    script.write_text(SCRIPT.format(then='say("error: no sound"); say("hint: record it"); sys.exit(2)'))
    with pytest.raises(NerfAdError, match="no sound") as error:
        finish(run_verb(["train"]))
    assert error.value.hint == "record it"


def test_a_kill_is_said_to_be_one(script: Path) -> None:
    script.write_text(SCRIPT.format(then="import os; os.kill(os.getpid(), 9)"))
    with pytest.raises(NerfAdError, match="train was ended by signal 9") as error:
        finish(run_verb(["train"]))
    assert error.value.hint is not None


def test_the_process_is_interrupted_and_saves_when_we_are(script: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    then = f"""
import signal
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    say('{{"event": "progress", "stage": "work", "done": 2, "total": 2}}')
    time.sleep(60)
except KeyboardInterrupt:
    open({str(saved)!r}, "w").write("whole")
"""
    script.write_text(SCRIPT.format(then=then))
    events = run_verb(["train"])
    next(events)
    next(events)
    events.close()
    assert saved.read_text() == "whole"


def test_costs_add_up() -> None:
    assert Cost(1.0, 2.0, 5).plus(Cost(2.0, None, 4)) == Cost(3.0, 2.0, 5)
    assert Cost(1.0, None, None).plus(Cost(2.0, None, None)) == Cost(3.0, None, None)


def test_the_real_command_explains_itself(tmp_path: Path) -> None:
    with pytest.raises(NerfAdError, match="is not an avatar"):
        finish(run_verb(["evaluate", str(tmp_path), str(tmp_path)]))

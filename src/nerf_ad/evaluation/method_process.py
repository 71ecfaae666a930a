"""One of the command's own verbs in a process of its own: what it says as events, and what it costs.

A crash or a lack of memory ends one row and not the others, memory is given back after each, and CPU seconds
and peak memory are those of one piece of work.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

import nerf_ad
from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.events import EVENT, Event

GRACE_SECONDS = 60.0
"""How long an interrupted process may take to save what it has."""


class Cost(NamedTuple):
    """What a piece of work took."""

    wall_seconds: float
    cpu_seconds: float | None
    """Of all its threads; None where the system does not tell."""
    peak_memory_bytes: int | None
    """The most main memory that it held."""

    def plus(self, other: "Cost") -> "Cost":
        """Of two pieces, one after the other."""
        cpu = [part.cpu_seconds for part in (self, other) if part.cpu_seconds is not None]
        peak = [part.peak_memory_bytes for part in (self, other) if part.peak_memory_bytes is not None]
        return Cost(
            self.wall_seconds + other.wall_seconds, sum(cpu) if cpu else None, max(peak) if peak else None
        )


Perform = Callable[[Sequence[str]], Generator[Event, None, Cost]]
"""Does what a command line says, without the program's name; raises ``NerfAdError`` where it fails."""


def run_verb(words: Sequence[str]) -> Generator[Event, None, Cost]:
    """A ``Perform`` in a process of its own; it is interrupted, and so saves, when the generator is closed.

    Raises:
        NerfAdError: it failed; with its own sentence and hint where it had them.
    """
    home = str(Path(nerf_ad.__file__).parents[1])
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - our own module, an argument list
        [sys.executable, "-P", "-m", "nerf_ad", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": home},
        start_new_session=True,  # a terminal's Ctrl-C reaches us alone; we hand it on once
    )
    pipe, said, peak = process.stderr, deque[str](maxlen=20), 0
    assert pipe is not None
    try:
        for line in pipe:
            peak = max(peak, _held_memory(process.pid))
            event = _event(line)
            if event is None:
                said.append(line.strip())
            else:
                yield event
        cpu, most = _wait(process)
    finally:
        pipe.close()
        _stop(process)
    if process.returncode != 0:
        raise _failure(words, process.returncode, said)
    return Cost(time.monotonic() - started, cpu, peak or most)


def _event(line: str) -> Event | None:
    if not line.startswith("{"):
        return None
    try:
        return EVENT.validate_json(line)
    except ValidationError:
        return None


def _held_memory(pid: int) -> int:
    """The most bytes that a process has held; 0 where the system does not tell.

    ``ru_maxrss`` would count what this process held when it started the other one.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def _wait(process: "subprocess.Popen[str]") -> tuple[float | None, int | None]:
    """Wait for the end: CPU seconds and the most bytes held, where the system tells."""
    if not hasattr(os, "wait4"):  # Windows
        process.wait()
        return None, None
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is not None:
        return
    try:
        if os.name == "posix":
            process.terminate()  # what the verbs save at; a shell's background jobs may not hear an interrupt
            process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when we are interrupted once more
        if process.poll() is None:
            process.kill()
            process.wait()


def _failure(words: Sequence[str], code: int, said: Sequence[str]) -> NerfAdError:
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in said if line.startswith("hint: ")]
    if errors:
        return NerfAdError(errors[-1], hint=hints[-1] if hints else None)
    verb = words[0]
    if code < 0:
        hint = "there may not be enough memory" if code == -9 else None
        return NerfAdError(f"{verb} was ended by signal {-code}", hint=hint)
    last = next((line for line in reversed(said) if line), "it said nothing")
    return NerfAdError(f"{verb} ended with code {code}: {last[:300]}")

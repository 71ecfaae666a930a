"""A piece of a benchmark in a process of its own: what it found, what it took, and the most memory it held.

A script calls itself with ``--child JSON``; the child prints one line of JSON at its end. A crash or a lack
of memory ends one piece and not the others. The parent should import little: a new process counts what its
parent held when it began (``ru_maxrss`` survives the exec).
"""

import contextlib
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EVERY_SECONDS = 0.02
"""Between two looks at the memory."""


def call(script: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Do a task in a new process; ``failed`` says in a sentence why there is nothing else."""
    done = subprocess.run(
        [sys.executable, str(script), "--child", json.dumps(task)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if done.returncode < 0:
        hint = " (there may not be enough memory)" if done.returncode == -9 else ""
        return {"failed": f"ended by signal {-done.returncode}{hint}"}
    if done.returncode > 0:
        return {"failed": f"ended with code {done.returncode}; see above"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(task: dict[str, Any], work: Callable[[dict[str, Any], "MemoryWatch"], dict[str, Any]]) -> None:
    """The child's side: do the work, print what it found with its costs."""
    begun = time.monotonic()
    with MemoryWatch() as watch:
        found = work(task, watch)
        watch.restart()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    most = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    found |= {
        "wall_seconds": round(time.monotonic() - begun, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        # A restart makes the kernel forget its peak, too.
        "peak_mb": round(max(most, watch.all_time.get("peak_mb", 0.0)), 1),
        "memory": {name: round(value, 1) for name, value in watch.all_time.items()},
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    sys.stdout.flush()


class MemoryWatch:
    """The most main memory of this process, by kind, and of the processes that it started.

    ``peak_mb`` is the kernel's own figure where it can be begun anew (Linux), so that nothing is missed;
    anonymous, of files (mapped pages that the kernel may take back) and children are looked at 50 times a
    second. Everything in MB of a million bytes.
    """

    def __init__(self) -> None:
        self._most: dict[str, float] = {}
        self.all_time: dict[str, float] = {}
        """The peaks up to the last restart."""
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self.restart()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def restart(self) -> None:
        """Forget the peaks, but for ``all_time``."""
        self._look()
        with self._lock:
            for name, value in self._most.items():
                self.all_time[name] = max(self.all_time.get(name, 0.0), value)
            self._most = {}
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peaks(self) -> dict[str, float]:
        """Since the last restart."""
        self._look()
        with self._lock:
            return {name: round(value, 1) for name, value in self._most.items()}

    def _look_on(self) -> None:
        while not self._ends.wait(EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        own = _status("self")
        if not own:
            return
        now = {
            "peak_mb": own.get("VmHWM", 0.0),
            "anonymous_mb": own.get("RssAnon", 0.0),
            "files_mb": own.get("RssFile", 0.0) + own.get("RssShmem", 0.0),
            "children_mb": sum(_status(child).get("VmRSS", 0.0) for child in _children()),
        }
        with self._lock:
            for name, value in now.items():
                self._most[name] = max(self._most.get(name, 0.0), value)


def _status(process: str) -> dict[str, float]:
    found = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (
            Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        ):
            name, _, rest = line.partition(":")
            if name in {"VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem"}:
                found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found


def _children() -> list[str]:
    found: list[str] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += path.read_text(encoding="ascii").split()
    return found

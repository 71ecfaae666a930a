"""Threads that work on frames and hand them back in order, a few in flight at a time."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def single_threads() -> Iterator[None]:
    """One torch thread per worker: frames side by side are quicker than one frame on all cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, num_workers: int, ahead: int | None = None
) -> Iterator[Result]:
    """``map`` on threads: results in the order of the items, at most ``ahead`` items begun and not yet taken.

    Args:
        function: called on worker threads; should leave Python's lock for most of its time.
        items: taken one at a time, as they are needed.
        num_workers: threads; 0 works in the caller's thread.
        ahead: bound on memory; twice the workers where absent.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    limit = ahead or 2 * num_workers
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= limit:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

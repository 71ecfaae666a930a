"""Order, bounded work in flight, and errors that reach the caller."""

import threading
import time
from collections.abc import Iterator

import pytest

from nerf_ad.core.workers import in_order


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_keeps_order(num_workers: int) -> None:
    def slow(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(in_order(slow, range(20), num_workers=num_workers)) == [n * n for n in range(20)]


def test_takes_no_more_than_it_may() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    for given, _ in enumerate(in_order(lambda item: item, items(), num_workers=2, ahead=4)):
        assert taken <= given + 4


def test_error_reaches_the_caller_and_threads_end() -> None:
    def fail(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    before = threading.active_count()
    with pytest.raises(ValueError, match="five"):
        list(in_order(fail, range(10), num_workers=2))
    assert threading.active_count() == before

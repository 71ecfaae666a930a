"""The bar for memory, on rows made by hand."""

from typing import Any

from benchmarks.memory_bar import most, rows_of, verdict


def row(peak: float, **stages: float) -> dict[str, Any]:
    return {"peak_mb": peak, "stages": {name: {"anonymous_mb": value} for name, value in stages.items()}}


ROWS = {
    "clip 600": row(650.0),
    "sound 3600": row(2100.0),
    "clip 10": row(600.0),
    "clip 60": row(650.0),
}


def test_rows_of_a_part_ascend_by_their_number() -> None:
    assert list(rows_of(ROWS, "clip")) == [10, 60, 600]


def test_the_verdict_tells_the_hungriest_and_the_growth() -> None:
    said = verdict(rows_of(ROWS, "clip"), ROWS)
    assert (said["most_by"], said["within_2_gb"]) == ("sound 3600", False)
    assert (said["clip_seconds"], said["grown"], said["flat"]) == ([10, 600], 1.083, True)


def test_what_failed_passes_no_bar() -> None:
    rows = {"clip 10": row(600.0), "clip 60": row(650.0), "clip 600": {"failed": "ended by signal 9"}}
    said = verdict(rows_of(rows, "clip"), rows)
    assert said["failed"] == ["clip 600"]
    assert not said["within_2_gb"]
    assert not said["flat"]


def test_a_clip_that_takes_much_more_is_not_flat() -> None:
    clips = {10: row(600.0), 600: row(670.0)}
    assert not verdict(clips, {})["flat"]


def test_the_most_of_all_stages_counts() -> None:
    assert most(row(1.0, torso=3.0, head=5.0, saving=4.0), "anonymous_mb") == 5.0

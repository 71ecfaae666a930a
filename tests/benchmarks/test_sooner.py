"""Factors from points that were made by hand."""

import pytest
from benchmarks.sooner import Point, compare, is_as_good, sentence

PSNR, LMD = "psnr_head", "mouth_lmd_68_px"


def points(*rows: tuple[float, float | None, float | None]) -> list[Point]:
    return [Point(seconds, {PSNR: psnr, LMD: lmd}) for seconds, psnr, lmd in rows]


SLOW = points((300, 20.0, None), (600, 22.0, 3.0), (1200, 24.0, 2.0))


def test_the_first_measured_point_counts_and_nothing_between() -> None:
    quick = points((15, 21.0, 2.5), (30, 23.9, 1.9), (60, 24.1, 2.1), (120, 26.0, 1.5))
    psnr, lmd, both = (compare(quick, SLOW, names) for names in ((PSNR,), (LMD,), (PSNR, LMD)))
    assert (psnr.slow_seconds, psnr.quick_seconds, psnr.times) == (1200, 60, 20)
    assert (lmd.quick_seconds, lmd.times) == (30, 40)
    assert (both.quick_seconds, both.times) == (120, 10)
    assert psnr.slow_worse_at == 600
    assert "at least 20.0 times sooner" in sentence(psnr, "fast", "slow")


def test_a_flat_end_does_not_add_to_the_factor() -> None:
    flat = points((300, 24.0, 2.0), (600, 23.0, 3.0), (1200, 24.0, 2.0))
    factor = compare(points((30, 25.0, 1.0)), flat, (PSNR, LMD))
    assert (factor.slow_seconds, factor.slow_worse_at, factor.times) == (300, None, 10)


def test_the_order_of_points_does_not_matter() -> None:
    quick = points((60, 25.0, 1.0), (30, 25.0, 1.0))
    assert compare(quick, SLOW[::-1], (PSNR,)) == compare(quick[::-1], SLOW, (PSNR,))


def test_a_quick_method_that_is_never_as_good_has_no_factor() -> None:
    factor = compare(points((15, 20.0, 1.0), (480, 23.0, 1.0)), SLOW, (PSNR,))
    assert factor.times is None
    assert "fast not within 480 s" in sentence(factor, "fast", "slow")


def test_where_no_face_was_found_nothing_is_claimed() -> None:
    faceless = points((600, 22.0, 2.0), (1200, 24.0, None))
    factor = compare(points((15, 30.0, 1.0)), faceless, (LMD,))
    assert factor.times is None
    assert "no face found" in sentence(factor, "fast", "slow")
    assert compare(points((15, 30.0, None), (30, 30.0, 1.0)), SLOW, (PSNR, LMD)).quick_seconds == 30


def test_without_points_there_is_no_factor() -> None:
    assert "no points yet" in sentence(compare(points((15, 30.0, 1.0)), [], (PSNR,)), "fast", "slow")
    assert "no points yet" in sentence(compare([], SLOW, (PSNR,)), "fast", "slow")


@pytest.mark.parametrize(
    ("found", "wanted", "answer"), [(2.0, 2.0, True), (2.1, 2.0, False), (1.9, 2.0, True)]
)
def test_less_landmark_distance_is_better(found: float, wanted: float, *, answer: bool) -> None:
    assert is_as_good({LMD: found}, {LMD: wanted}) is answer

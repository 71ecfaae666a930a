"""How much sooner one method is as good as another, from measured points: nothing is interpolated."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

HIGHER = {
    "psnr": True,
    "psnr_head": True,
    "psnr_mouth": True,
    "lpips": False,
    "lpips_mouth": False,
    "mouth_lmd_68_px": False,
    "mouth_lmd_68_normalised": False,
    "lip_gap_correlation": True,
}
"""Whether more of a figure is better."""


class Point(NamedTuple):
    """What was reached when."""

    seconds: float
    """Of training."""
    figures: Mapping[str, float | None]
    """By name; None, or absent, where it could not be measured (no face was found)."""


class Factor(NamedTuple):
    """A comparison of the same figures."""

    target: Mapping[str, float | None]
    """What the slow method reached at its end."""
    slow_seconds: float | None
    """When it was first measured to be as good as that: a curve that lies flat does not add to the factor."""
    slow_worse_at: float | None
    """The last point before, where it was not: it came there somewhere between the two."""
    quick_seconds: float | None
    """The first measured point at which the quick method is at least as good in every figure."""
    quick_ends: float | None
    """Where the quick method's points end."""

    @property
    def times(self) -> float | None:
        """The ratio; the quick method may have been as good before its point, so at least so much."""
        if self.slow_seconds is None or self.quick_seconds is None:
            return None
        return self.slow_seconds / self.quick_seconds


def is_as_good(figures: Mapping[str, float | None], target: Mapping[str, float | None]) -> bool:
    """Whether every figure of the target was measured and is reached."""
    for name, wanted in target.items():
        found = figures.get(name)
        if wanted is None or found is None:
            return False
        if (found < wanted) if HIGHER[name] else (found > wanted):
            return False
    return True


def compare(quick: Sequence[Point], slow: Sequence[Point], names: Sequence[str]) -> Factor:
    """When ``quick`` first was as good as ``slow`` at its end, in all the figures at once."""
    quick, slow = (sorted(points, key=lambda point: point.seconds) for points in (quick, slow))
    ends = quick[-1].seconds if quick else None
    if not slow:
        return Factor({}, None, None, None, ends)
    target = {name: slow[-1].figures.get(name) for name in names}
    there = [is_as_good(point.figures, target) for point in slow]
    reached = there.index(True) if True in there else None
    first = next((point.seconds for point in quick if is_as_good(point.figures, target)), None)
    return Factor(
        target,
        None if reached is None else slow[reached].seconds,
        slow[reached - 1].seconds if reached else None,
        first,
        ends,
    )


def sentence(factor: Factor, quick: str, slow: str) -> str:
    """The comparison in words."""
    told = ", ".join(
        f"{name} {value:.4g}" if value is not None else f"no {name}" for name, value in factor.target.items()
    )
    if factor.slow_seconds is None:
        why = "has no points yet" if not factor.target else "could not be measured at its end (no face found)"
        return f"{told or 'figures'}: {slow} {why}, so there is no factor"
    before = "" if factor.slow_worse_at is None else f", not yet at {factor.slow_worse_at:.0f} s"
    reached = f"{told}: {slow} at {factor.slow_seconds:.0f} s{before}"
    if factor.times is None or factor.quick_seconds is None:
        ends = "has no points yet" if factor.quick_ends is None else f"not within {factor.quick_ends:.0f} s"
        return f"{reached}; {quick} {ends}"
    return f"{reached}; {quick} at {factor.quick_seconds:.0f} s: at least {factor.times:.1f} times sooner"

"""The figures of several people side by side, and how good their medians must be."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, assert_never

import numpy as np


class Bar(NamedTuple):
    """A figure and how good its median over the people must be."""

    name: str
    """In a few words, with its unit."""
    place: tuple[str, ...]
    """Where it is in a person's figures."""
    kind: Literal["at most", "at least"]
    """Which side is good."""
    limit: float
    """The edge of what is good; a figure's size counts, not its sign."""

    def is_met(self, value: float) -> bool:
        """Whether a median is good enough."""
        match self.kind:
            case "at most":
                return value <= self.limit
            case "at least":
                return value >= self.limit
            case _:
                assert_never(self.kind)


BARS: Final = (
    Bar("rotation, degrees", ("pose", "rotation_degrees", "median"), "at most", 1.0),
    Bar("jitter at rest, degrees", ("pose", "jitter_degrees", "median"), "at most", 0.15),
    Bar("head mask, IoU", ("masks", "head"), "at least", 0.95),
    Bar("torso mask, IoU", ("masks", "torso"), "at least", 0.9),
    Bar("AU25, correlation", ("action_units", "AU25", "correlation"), "at least", 0.9),
    Bar("AU26, correlation", ("action_units", "AU26", "correlation"), "at least", 0.9),
    Bar("AU10, correlation", ("action_units", "AU10", "correlation"), "at least", 0.7),
    Bar("AU14, correlation", ("action_units", "AU14", "correlation"), "at least", 0.7),
    Bar("AU20, correlation", ("action_units", "AU20", "correlation"), "at least", 0.7),
    Bar("audio/video offset, ms", ("offset", "milliseconds"), "at most", 20.0),
)
"""What capture must reach at 256x256, as the median over the people."""
TOLD: Final = (
    ("position, mm", ("pose", "position_mm", "median")),
    ("across the view, mm", ("pose", "across_mm", "median")),
    ("along the view, mm", ("pose", "along_mm", "median")),
    ("focal length over the true one", ("pose", "focal_ratio")),
    ("landmarks, px", ("landmarks", "all", "pixels", "median")),
    ("landmarks' motion, px", ("landmarks", "all", "motion_pixels", "median")),
    ("mouth's motion, px", ("landmarks", "mouth", "motion_pixels", "median")),
    ("eyes' motion, px", ("landmarks", "eyes", "motion_pixels", "median")),
    ("oval's motion, px", ("landmarks", "oval", "motion_pixels", "median")),
    ("neck mask, IoU", ("masks", "neck")),
    ("neck and torso mask, IoU", ("masks", "neck and torso")),
    ("background mask, IoU", ("masks", "background")),
)
"""Figures that are told beside those of ``BARS``."""


class Row(NamedTuple):
    """A line of the table."""

    name: str
    values: tuple[float | None, ...]
    """By person, in the order of the config; None where an action unit does not move."""
    median: float | None
    """Over the people; of sizes, whatever their sign."""
    bar: Bar | None
    """What the median must be, if anything."""

    @property
    def is_met(self) -> bool | None:
        """Whether the median is good enough; None where nothing is asked."""
        if self.bar is None:
            return None
        return self.median is not None and self.bar.is_met(self.median)


def summarise(people: Mapping[int, Mapping[str, Any]]) -> list[Row]:
    """The table: what must be good first, then the rest, then every other action unit."""
    asked = {bar.place for bar in BARS}
    units = dict.fromkeys(name for figures in people.values() for name in figures["action_units"])
    others = [
        (f"{unit}, correlation", place)
        for unit in units
        if (place := ("action_units", unit, "correlation")) not in asked
    ]
    exact = [
        (f"{unit}, presence {name}", ("action_units", unit, name))
        for unit in ("AU25", "AU26", "AU10", "AU14", "AU20")
        for name in ("accuracy", "f1")
    ]
    return [
        *(_row(people, bar.name, bar.place, bar) for bar in BARS),
        *(_row(people, name, place) for name, place in (*TOLD, *exact, *others)),
    ]


def _row(
    people: Mapping[int, Mapping[str, Any]], name: str, place: tuple[str, ...], bar: Bar | None = None
) -> Row:
    values = tuple(_look_up(figures, place) for figures in people.values())
    known = [
        abs(value) if bar is not None and bar.kind == "at most" else value
        for value in values
        if value is not None
    ]
    return Row(name, values, round(float(np.median(known)), 4) if known else None, bar)


def _look_up(figures: Mapping[str, Any], place: tuple[str, ...]) -> float | None:
    if place[0] == "action_units":
        unit = figures["action_units"].get(place[1])
        return float(unit[place[2]]) if unit is not None and unit["moves"] else None
    value: Any = figures
    for name in place:
        value = value[name]
    return float(value)

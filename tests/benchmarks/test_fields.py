"""Comparisons that ``benchmarks/fields.py`` prints."""

from typing import Any

from benchmarks import fields


def make_ways(**ratios: float) -> dict[str, Any]:
    names = {"ours": fields.OURS, "theirs": fields.REFERENCE}
    rows = {}
    for name, ratio in ratios.items():
        who, _, half = name.partition("_")
        rows[names[who] + (", bfloat16" if half else "")] = {"step": {"ratio_to_reference": ratio}}
    return rows


def test_steps_are_compared_within_a_precision_and_across() -> None:
    ways = make_ways(ours=2.5, theirs=1.0, ours_half=3.4, theirs_half=1.25)
    found = {(row["way"], row["than"]): row["times"] for row in fields.compare_steps(ways)}
    half = ", bfloat16"
    assert found == {
        (fields.OURS, fields.REFERENCE): 2.5,
        (fields.OURS + half, fields.REFERENCE + half): 2.72,
        (fields.OURS + half, fields.REFERENCE): 3.4,
    }


def test_a_processor_without_bfloat16_has_one_comparison() -> None:
    (only,) = fields.compare_steps(make_ways(ours=2.5, theirs=1.0))
    assert only["times"] == 2.5

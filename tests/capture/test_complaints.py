"""Complaints read well and survive the disk."""

from pathlib import Path

import pytest

from nerf_ad.capture.complaints import (
    Complaint,
    frame_ranges,
    load_complaints,
    refuse_if_unfit,
    save_complaints,
    sort_complaints,
)
from nerf_ad.core.errors import FormatError, MediaError


def test_sentences() -> None:
    assert str(Complaint(frame=812, fault="two faces")) == "frame 812: two faces"
    assert (
        str(Complaint(frame=1, last_frame=4, fault="blur", advice="focus")) == "frames 1 to 4: blur (focus)"
    )
    assert str(Complaint(fault="silent")) == "silent"


def test_ranges_join_neighbours() -> None:
    ranges = frame_ranges([7, 1, 2, 3, 9, 20], fault="no face", gap=2)
    assert [(c.frame, c.last_frame) for c in ranges] == [(1, 3), (7, 9), (20, None)]


def test_round_trip_and_order(tmp_path: Path) -> None:
    complaints = [
        Complaint(frame=5, fault="b", severity="note"),
        Complaint(frame=9, fault="c"),
        Complaint(fault="a", severity="refusal", advice="film again"),
    ]
    save_complaints(tmp_path / "complaints.json", complaints)
    assert load_complaints(tmp_path / "complaints.json") == complaints
    assert [c.fault for c in sort_complaints(complaints)] == ["a", "c", "b"]
    with pytest.raises(MediaError, match=r"x\.mp4: a") as caught:
        refuse_if_unfit(Path("x.mp4"), complaints)
    assert caught.value.hint == "film again"


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"fault": 3}]', "not json"])
def test_damage_is_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "complaints.json").write_text(text)
    with pytest.raises(FormatError):
        load_complaints(tmp_path / "complaints.json")

"""What is wrong with a clip, by frame."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError, MediaError
from nerf_ad.core.files import read_json, write_json

Severity = Literal["note", "warning", "refusal"]
"""A note is worth knowing, a warning costs quality, a refusal makes the clip unfit."""

_ORDER: tuple[Severity, ...] = ("refusal", "warning", "note")


class Complaint(Config):
    """One fault and what to do about it."""

    frame: int | None = None
    """First frame concerned (25 fps, from 0); absent if it is the whole clip."""
    last_frame: int | None = None
    """Last frame concerned, if they are several."""
    fault: str
    """What is wrong, in a few words, such as ``two faces``."""
    advice: str = ""
    """What to do about it."""
    severity: Severity = "warning"
    """How bad it is."""

    def __str__(self) -> str:
        """Such as ``frames 812 to 815: two faces (film one person alone)``."""
        where = ""
        if self.frame is not None:
            many = self.last_frame is not None and self.last_frame != self.frame
            where = f"frames {self.frame} to {self.last_frame}: " if many else f"frame {self.frame}: "
        return f"{where}{self.fault}" + (f" ({self.advice})" if self.advice else "")


def frame_ranges(
    frames: Iterable[int], *, fault: str, advice: str = "", severity: Severity = "warning", gap: int = 1
) -> list[Complaint]:
    """One complaint for every run of frames that are at most ``gap`` apart."""
    runs: list[list[int]] = []
    for frame in sorted(set(frames)):
        if runs and frame <= runs[-1][1] + gap:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return [
        Complaint(
            frame=first,
            last_frame=last if last > first else None,
            fault=fault,
            advice=advice,
            severity=severity,
        )
        for first, last in runs
    ]


def sort_complaints(complaints: Iterable[Complaint]) -> list[Complaint]:
    """The worst first, then by frame."""
    return sorted(complaints, key=lambda c: (_ORDER.index(c.severity), -1 if c.frame is None else c.frame))


def refuse_if_unfit(path: Path, complaints: Sequence[Complaint]) -> None:
    """Stop at the first refusal.

    Raises:
        MediaError: names the fault, with its advice as the hint.
    """
    for complaint in complaints:
        if complaint.severity == "refusal":
            raise MediaError(f"{path}: {complaint.fault}", hint=complaint.advice or None)


def save_complaints(path: Path, complaints: Sequence[Complaint]) -> None:
    """Write ``complaints.json`` atomically."""
    write_json(path, [complaint.model_dump(mode="json", exclude_none=True) for complaint in complaints])


def load_complaints(path: Path) -> list[Complaint]:
    """Read ``complaints.json``.

    Raises:
        FormatError: missing or damaged.
    """
    raw: Any = read_json(path)
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise FormatError(f"{path} is not a list of complaints", hint="run nerf-ad capture again")
    return [Complaint.from_mapping(item, source=str(path)) for item in raw]

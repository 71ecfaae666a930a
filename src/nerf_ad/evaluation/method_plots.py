"""Pictures of a benchmark of methods: training curves, and the same held-out frames of every row."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from pydantic import ValidationError

from nerf_ad.capture.report.contact_sheet import contact_sheet
from nerf_ad.capture.report.curves import draw_lines
from nerf_ad.core.events import EVENT, Metric
from nerf_ad.core.files import write_bytes
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import fit_picture
from nerf_ad.media.images import read_image, write_image

NUM_SHOWN = 6
"""Held-out frames of every row that are shown side by side."""
LEARNT = ("nerf psnr", "psnr")
"""What the paper's and the other methods' logs call the fidelity of the rays of a step."""
TILE = 160
"""Pixels of a held-out frame on a sheet."""


class Curve(NamedTuple):
    """PSNR of training rays, as ``events.jsonl`` tells it."""

    steps: Float[np.ndarray, "points"]
    seconds: Float[np.ndarray, "points"]
    """Of the stage."""
    psnr: Float[np.ndarray, "points"]
    """In dB."""


def read_curve(avatar: Path) -> Curve:
    """The curve of an avatar's training; a step that was taken twice counts as it was taken last."""
    points: dict[int, tuple[float, float]] = {}
    path = avatar / "runs" / "train" / "events.jsonl"
    if path.is_file():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if any(f'"{name}"' in line for name in LEARNT):
                    _take(line, points)
    steps = sorted(points)
    table = np.array([(step, *points[step]) for step in steps], np.float64).reshape(-1, 3)
    return Curve(table[:, 0], table[:, 1], table[:, 2])


def _take(line: str, points: dict[int, tuple[float, float]]) -> None:
    try:
        event = EVENT.validate_json(line)
    except ValidationError:
        return
    if isinstance(event, Metric) and event.name in LEARNT and event.seconds is not None:
        points[event.step] = (event.seconds, event.value)


def draw_curves(path: Path, curves: Mapping[str, Curve], timed: Sequence[str]) -> None:
    """Write PSNR over iterations (of the paper's rows, if there are any) and over seconds (of all)."""
    known = {row: curve for row, curve in curves.items() if len(curve.steps)}
    by_step = {row: (curve.steps, curve.psnr) for row, curve in known.items() if row not in timed}
    by_second = {row: (curve.seconds, curve.psnr) for row, curve in known.items()}
    label = "PSNR of the rays, dB"
    panels = [("iterations", label, by_step)] if set(curves) - set(timed) else []
    write_bytes(path, draw_lines([*panels, ("seconds of the last stage", label, by_second)]))


def shown_frames(frames: range) -> Int[np.ndarray, "shown"]:
    """Which of the held-out frames are shown, counted from the first one."""
    return np.unique(np.linspace(0, len(frames) - 1, NUM_SHOWN).round().astype(np.int64))


def recorded_frames(dataset: Dataset, size: int) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """The recording of the frames that are shown."""
    held = dataset.split().test
    for offset in shown_frames(held):
        yield fit_picture(dataset.frame(held.start + int(offset)), size)


def draw_sheet(
    path: Path,
    recorded: Sequence[UInt8[np.ndarray, "size size 3"]],
    captions: Sequence[str],
    strips: Mapping[str, Path],
) -> None:
    """Write the recording's frames, and below them those of every row."""
    rows: list[tuple[str, Sequence[UInt8[np.ndarray, "height width 3"]]]] = [("recording", recorded)]
    for row, strip in strips.items():
        pictures = np.split(read_image(strip), len(recorded), axis=1)
        title = row if len(row) <= 14 else row.replace("-", "-\n", 2 if len(row) > 22 else 1)
        rows.append((title, [np.ascontiguousarray(picture) for picture in pictures]))
    write_image(path, contact_sheet(rows, captions, tile=TILE))

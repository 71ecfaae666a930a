"""Frames at a constant rate, cropped and resized, one PNG each."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.capture.complaints import Complaint
from nerf_ad.capture.shots import ShotDetector
from nerf_ad.capture.survey import centre_square, damage_complaints, refuse_cut_off
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.workers import in_order, num_cores
from nerf_ad.media.images import write_image
from nerf_ad.media.isolated import decode_isolated, find_cadence_isolated
from nerf_ad.media.video import Crop, Damage, VideoInfo

FPS = 25
"""Frames per second of a dataset."""


class FramesResult(NamedTuple):
    """What writing the frames found out."""

    num_frames: int
    """Frames written."""
    differences: Float[np.ndarray, "frames"]
    """Change of every frame from the one before, for ``find_shots``."""
    shots: tuple[int, ...]
    """First frame of every shot by the pictures alone, beginning with 0."""
    complaints: list[Complaint]
    """What is wrong with them."""


def extract_frames(
    path: Path, info: VideoInfo, folder: Path, *, size: int, crop: Crop | None, fps: int = FPS
) -> Generator[Event, None, FramesResult]:
    """Write ``folder/%06d.png``; files that are there already stay.

    A few frames at a time are in memory. A square smaller than ``size`` is enlarged, with a warning: the
    dataset has the size that was asked for.

    Args:
        path: the video.
        info: its probe.
        folder: where to.
        size: width and height of the frames in pixels.
        crop: the square to cut out; without one the whole picture, or its middle if it is not square.
        fps: frames per second.

    Raises:
        MediaError: it cannot be decoded, or ends long before it says.
        BadInputError: the folder cannot be written.
    """
    if crop is None and info.width != info.height:
        crop = centre_square(info.width, info.height)
    side = min(info.width, info.height) if crop is None else crop.side
    damage, detector, count = Damage(), ShotDetector(), 0
    total = max(1, round(info.seconds * fps))
    cadence = find_cadence_isolated(path)

    def write(numbered: tuple[int, UInt8[np.ndarray, "height width 3"]]) -> None:
        number, frame = numbered
        target = folder / f"{number:06d}.png"
        if not target.exists():
            write_image(target, frame)

    def watched() -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
        decoded = decode_isolated(path, fps, crop=crop, size=size, cadence=cadence, damage=damage)
        for number, frame in enumerate(decoded):
            detector.push(frame)
            yield number, frame

    for _ in in_order(write, watched(), num_workers=num_cores()):
        count += 1
        yield Progress(stage="frames", done=min(count, total), total=total)
    refuse_cut_off(path, info, damage)
    complaints = damage_complaints(info, damage, fps=fps, survey_fps=fps)
    if cadence is not None:
        own = info.fps * (cadence.period - 1) / cadence.period
        fault = f"one of {cadence.period} pictures only repeats the one before it and is left out"
        complaints.append(
            Complaint(fault=f"{fault}: the clip was made at {own:.4g} frames per second", severity="note")
        )
    if side < size:
        complaints.append(
            Complaint(
                fault=f"enlarged from {side} to {size} pixels, which adds no detail",
                advice=f"capture with --size {max(64, side // 32 * 32)} instead: it trains faster",
            )
        )
    return FramesResult(count, detector.differences, detector.finish(), complaints)

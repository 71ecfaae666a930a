"""``nerf-ad check``: is this clip fit to train on?"""

import contextlib
import json as json_format
import sys
from collections.abc import Iterator
from pathlib import Path

from nerf_ad.capture.check import check_video
from nerf_ad.capture.complaints import Complaint
from nerf_ad.cli.progress import ProgressPrinter
from nerf_ad.core.errors import WeightsError
from nerf_ad.face.landmarks import LandmarkDetector, build_landmark_detector


def check(video: Path, *, json: bool = False) -> int:
    """Look at a clip before training on it: every fault with its frame and what to do about it.

    Args:
        video: the clip: one person, speaking, camera at rest.
        json: print the faults as JSON.

    Returns:
        0 if it can be used, 2 if not.
    """
    with _detector() as detector, ProgressPrinter() as on_event:
        complaints = check_video(video, detector, on_event=on_event)
    is_fit = all(complaint.severity != "refusal" for complaint in complaints)
    if json:
        faults = [complaint.model_dump(mode="json", exclude_none=True) for complaint in complaints]
        print(json_format.dumps({"video": str(video), "fit": is_fit, "complaints": faults}, indent=2))  # noqa: T201
    else:
        print("\n".join(_lines(video, complaints, is_fit=is_fit)))  # noqa: T201 - data
    return 0 if is_fit else 2


def _lines(video: Path, complaints: list[Complaint], *, is_fit: bool) -> Iterator[str]:
    yield f"{video}: {'fit to train on' if is_fit else 'not fit to train on'}"
    for complaint in complaints:
        yield f"  {complaint.severity + ':':<9} {complaint}"


@contextlib.contextmanager
def _detector() -> Iterator[LandmarkDetector | None]:
    """The landmark detector, or none where its weights are not here: then the rest is checked."""
    try:
        detector = build_landmark_detector()
    except WeightsError as error:
        print(f"warning: {error.message}", file=sys.stderr)  # noqa: T201 - talk
        yield None
        return
    with contextlib.closing(detector):
        yield detector

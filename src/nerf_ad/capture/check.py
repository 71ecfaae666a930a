"""Is this clip fit to train on? Every fault with its frame and what to do about it, before work is begun."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from nerf_ad.capture.audio import SURE, av_offset, load_aligned
from nerf_ad.capture.complaints import Complaint, frame_ranges, sort_complaints
from nerf_ad.capture.frames import FPS
from nerf_ad.capture.shots import ShotDetector, find_shots
from nerf_ad.capture.survey import (
    Survey,
    choose_crop,
    count_people,
    crop_complaint,
    damage_complaints,
    face_complaints,
    survey_faces,
)
from nerf_ad.core.events import Event, Progress
from nerf_ad.face.landmarks import (
    LEFT_EYE_OUTER,
    LOWER_LIP_INNER,
    RIGHT_EYE_OUTER,
    UPPER_LIP_INNER,
    FaceLandmarks,
    LandmarkDetector,
)
from nerf_ad.media.isolated import decode_isolated, probe_isolated
from nerf_ad.media.video import VideoInfo

MIN_SECONDS = 4.0
"""A shorter clip is refused: it shows too little of a mouth to learn from (ours)."""
GOOD_SECONDS = 30.0
"""A shorter clip is warned about (ours; peers ask for one to five minutes)."""
LOOK_SECONDS = 90.0
"""How much of a clip is looked at frame by frame (all of it is decoded)."""
LOOK_SIZE = 384
"""Width and height of the frames looked at."""
MAX_YAW_DEGREES = 40.0
"""Beyond it half of the mouth is hidden (ours)."""
MIN_FACE_PIXELS = 96
"""Height of the face below which little of the lips is left (ours)."""
MAX_OFFSET_SECONDS = 0.045
"""Offset of picture and sound that viewers begin to notice."""
MIN_SHARPNESS = 0.02
"""Below it a face is blurred (ours: test clips have 0.03 to 0.06; blurred by 2 pixels 0.013 to 0.03)."""
_FACE_SIZE = 128
_GAP = 5


class Look(NamedTuple):
    """One number a frame; NaN where there is no face."""

    opening: Float[np.ndarray, "frames"]
    """Inner-lip gap over the distance of the outer eye corners."""
    yaw: Float[np.ndarray, "frames"]
    """Degrees; 0 faces the camera."""
    sharpness: Float[np.ndarray, "frames"]
    """Strength of fine detail in the face over its contrast."""
    people: Float[np.ndarray, "frames"]
    """Faces in the picture."""
    room: Float[np.ndarray, "frames"]
    """Space above the forehead in face heights."""
    shots: tuple[int, ...]
    """First frame of every shot."""


def check_video(
    path: Path, detector: LandmarkDetector | None = None, *, on_event: Callable[[Event], None] | None = None
) -> list[Complaint]:
    """Everything that speaks against training on a clip, the worst first.

    Args:
        path: the video.
        detector: finds faces; without one only file, cuts and sound are looked at.
        on_event: told of progress.

    Raises:
        MediaError: it is not a video that can be decoded.
    """
    work = check_events(path, detector)
    while True:
        try:
            event = next(work)
        except StopIteration as stop:
            complaints: list[Complaint] = stop.value
            return complaints
        if on_event is not None:
            on_event(event)


def check_events(path: Path, detector: LandmarkDetector | None) -> Generator[Event, None, list[Complaint]]:
    """The same as a generator of events."""
    info = probe_isolated(path)
    complaints = file_complaints(info)
    if any(complaint.severity == "refusal" for complaint in complaints):
        return sort_complaints(complaints)
    survey: Survey | None = None
    if detector is None:
        complaints.append(
            Complaint(
                fault="faces were not looked at: the landmark weights are not here",
                advice="nerf-ad weights fetch",
                severity="note",
            )
        )
    else:
        survey = yield from survey_faces(path, info, detector)
        rate = len(survey.seconds) / max(info.seconds, 1e-3)
        complaints += damage_complaints(info, survey.damage, fps=FPS, survey_fps=rate)
        found = face_complaints(survey, fps=FPS)
        if any(complaint.severity == "refusal" for complaint in found):
            return sort_complaints([*complaints, *found])
    look = yield from _look(path, info, survey, detector)
    complaints += look_complaints(look)
    if survey is not None:
        complaints += _size_complaints(info, survey)
    complaints += _sound(path, info, look)
    return sort_complaints(complaints)


def file_complaints(info: VideoInfo) -> list[Complaint]:
    """What the probe alone tells: length, rate, resolution, sound."""
    complaints: list[Complaint] = []
    if not info.has_audio:
        advice = "record picture and sound together"
        complaints.append(Complaint(fault="there is no audio track", advice=advice, severity="refusal"))
    if info.seconds < MIN_SECONDS:
        complaints.append(
            Complaint(
                fault=f"the clip is only {info.seconds:.1f} seconds long",
                advice="give at least 10 seconds; a minute or more is better",
                severity="refusal",
            )
        )
    elif info.seconds < GOOD_SECONDS:
        fault = f"the clip is {info.seconds:.0f} seconds long"
        complaints.append(Complaint(fault=fault, advice="one to three minutes show more of the mouth"))
    if 0 < info.fps < 20:
        fault = f"the clip has {info.fps:.0f} frames per second"
        complaints.append(Complaint(fault=fault, advice="film with 25 or 30"))
    elif abs(info.fps - FPS) > 0.01:
        fault = f"{info.fps:.5g} frames per second become {FPS}"
        complaints.append(Complaint(fault=fault, severity="note"))
    if min(info.width, info.height) < 256:
        fault = f"the picture has only {info.width}x{info.height} pixels"
        complaints.append(Complaint(fault=fault, advice="film with 720p or more"))
    return complaints


def look_complaints(look: Look) -> list[Complaint]:
    """What the frames show: cuts, nobody, two people, turned away, blurred, cut off."""
    complaints = [
        Complaint(frame=first, fault="the clip is cut here", severity="note") for first in look.shots[1:]
    ]
    known = np.isfinite(look.opening)
    if not known.any():
        return complaints
    for is_bad, fault, advice in (
        (~known, "no face", "cut this part out"),
        (look.people > 1, "two faces", "film one person alone"),
        (np.abs(look.yaw) > MAX_YAW_DEGREES, "the face is turned far away", "look towards the camera"),
    ):
        complaints += frame_ranges(
            (int(frame) for frame in np.flatnonzero(is_bad)), fault=fault, advice=advice, gap=_GAP
        )
    blurred = float(np.nanmedian(look.sharpness))
    if blurred < MIN_SHARPNESS:
        advice = "focus on the face, use more light, compress less"
        complaints.append(Complaint(fault=f"the face is blurred (sharpness {blurred:.2f})", advice=advice))
    cut_off = float((look.room[known] < 0.12).mean())
    if cut_off > 0.2:
        fault = f"the top of the head is cut off in {100 * cut_off:.0f} % of the frames"
        complaints.append(Complaint(fault=fault, advice="leave room above the hair"))
    still = float(np.nanpercentile(look.opening, 95) - np.nanpercentile(look.opening, 5))
    if still < 0.02:
        complaints.append(Complaint(fault="the mouth hardly moves", advice="give a clip of speech"))
    return complaints


def _look(
    path: Path, info: VideoInfo, survey: Survey | None, detector: LandmarkDetector | None
) -> Generator[Event, None, Look]:
    crop = None if survey is None else choose_crop(survey.boxes, info.width, info.height)
    size = LOOK_SIZE if info.width == info.height or crop is not None else None
    rows: list[tuple[float, ...]] = []
    points: list[Float[np.ndarray, "478 2"]] = []
    cuts = ShotDetector()
    last = round(LOOK_SECONDS * FPS)
    total = max(1, min(last, round(info.seconds * FPS)))
    for index, frame in enumerate(decode_isolated(path, FPS, crop=crop, size=size)):
        if index >= last:
            break
        cuts.push(frame)
        found = [] if detector is None else detector.detect(frame, index=index)
        rows.append(_measure(frame, found))
        points.append(found[0].points[:, :2] if found else np.full((478, 2), np.nan, np.float32))
        yield Progress(stage="look", done=min(index + 1, total), total=total)
    opening, yaw, sharp, people, room = np.array(rows, np.float64).reshape(-1, 5).T
    landmarks = np.array(points) if detector is not None and points else None
    shots = find_shots(cuts.differences, landmarks)
    return Look(opening, yaw, sharp, people, room, shots)


def _measure(frame: UInt8[np.ndarray, "height width 3"], found: list[FaceLandmarks]) -> tuple[float, ...]:
    if not found:
        return (np.nan, np.nan, np.nan, 0.0, np.nan)
    face, *_ = found
    points = face.points[:, :2].astype(np.float64)
    eyes = np.linalg.norm(points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER])
    gap = np.linalg.norm(points[UPPER_LIP_INNER] - points[LOWER_LIP_INNER])
    yaw = np.degrees(np.arctan2(face.transform[0, 2], face.transform[2, 2]))
    top, bottom = float(points[:, 1].min()), float(points[:, 1].max())
    room = top / max(bottom - top, 1e-6)
    sharp = sharpness(frame, points)
    return (float(gap) / max(float(eyes), 1e-6), float(yaw), sharp, float(count_people(found)), room)


def sharpness(frame: UInt8[np.ndarray, "height width 3"], points: Float[np.ndarray, "points 2"]) -> float:
    """Mean strength of the Laplacian of the face at 128 pixels, over the face's contrast; NaN outside."""
    height, width = frame.shape[:2]
    left, top = np.maximum(points.min(axis=0), 0).astype(int)
    right, bottom = np.minimum(points.max(axis=0), (width, height)).astype(int)
    if right - left < 8 or bottom - top < 8:
        return float("nan")
    image = Image.fromarray(frame[top:bottom, left:right]).convert("L")
    grey = np.asarray(image.resize((_FACE_SIZE, _FACE_SIZE), Image.Resampling.BICUBIC), np.float64)
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.abs(4 * middle - around).mean() / 4 / max(float(grey.std()), 4.0))


def _size_complaints(info: VideoInfo, survey: Survey) -> list[Complaint]:
    complaints: list[Complaint] = []
    crop = choose_crop(survey.boxes, info.width, info.height)
    if crop is not None:
        note = crop_complaint(crop, survey)
        complaints.append(Complaint(fault=note.fault.replace("cropped", "will be cropped"), severity="note"))
    pixels = survey.face_share * survey.height
    if 0 < pixels < MIN_FACE_PIXELS:
        fault = f"the face is only {pixels:.0f} pixels high"
        complaints.append(Complaint(fault=fault, advice="come closer to the camera"))
    return complaints


def _sound(path: Path, info: VideoInfo, look: Look) -> list[Complaint]:
    frames = len(look.opening)
    waveform, complaints = load_aligned(path, info, num_frames=frames, fps=FPS)
    if not np.isfinite(look.opening).any() or any(fault.severity == "refusal" for fault in complaints):
        return complaints
    offset = av_offset(look.opening, waveform, FPS)
    if offset.confidence < SURE:
        complaints.append(
            Complaint(
                fault="lips and sound could not be compared"
                f" (correlation {max(offset.correlation, 0):.2f}, confidence {offset.confidence:.2f})",
                advice="look whether it is this person who speaks",
                severity="note",
            )
        )
    elif abs(offset.milliseconds) > 1000 * MAX_OFFSET_SECONDS:
        late = "behind" if offset.milliseconds > 0 else "ahead of"
        complaints.append(
            Complaint(
                fault=f"the mouth is {abs(offset.milliseconds):.0f} ms {late} the sound",
                advice="shift the sound with another program",
            )
        )
    return complaints

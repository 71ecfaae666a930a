"""A first look at a clip: faces in a few frames spread over it, before anything is written."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.capture.complaints import Complaint
from nerf_ad.core.errors import MediaError
from nerf_ad.core.events import Event, Progress
from nerf_ad.face.landmarks import FaceLandmarks, LandmarkDetector
from nerf_ad.media.isolated import decode_isolated
from nerf_ad.media.video import Crop, Damage, VideoInfo

NUM_SAMPLES = 60
"""Frames looked at in a first look (at most five a second)."""
WHOLE_FRAME_FACE = 0.25
"""Share of the picture's height that a face must fill for a square picture to be kept whole (ours)."""
SIDE_IN_FACES = 2.6
"""Side of the crop in face heights: hair above, shoulders below (ours)."""
FACE_AT = 0.45
"""Height of the face's centre in the crop, from its top (ours)."""
HAIR = 0.55
"""How far hair reaches above the forehead, in face heights (ours)."""
NECK = 0.5
"""How much is wanted below the chin at the least, in face heights (ours)."""
EARS = 0.3
"""How far ears and hair reach beside the face, in face heights (ours)."""
MIN_SECOND_FACE = 0.35
"""A second face counts from this share of the first one's size (ours): pictures on a wall do not."""


class Survey(NamedTuple):
    """What a first look found."""

    width: int
    """Pixels of the pictures looked at."""
    height: int
    """Pixels of the pictures looked at."""
    seconds: tuple[float, ...]
    """When each was shown, from the first picture on."""
    faces: tuple[tuple[FaceLandmarks, ...], ...]
    """The faces of each, largest first; points in pixels of the whole picture."""
    damage: Damage
    """What the decoder could not give."""

    @property
    def boxes(self) -> Float[np.ndarray, "faces 4"]:
        """Left, top, right, bottom of the largest face of every picture that has one."""
        boxes = [
            (*found[0].points[:, :2].min(axis=0), *found[0].points[:, :2].max(axis=0))
            for found in self.faces
            if found
        ]
        return np.array(boxes, np.float64).reshape(-1, 4)

    @property
    def face_share(self) -> float:
        """Median height of the face over the picture's height; 0 if there is none."""
        boxes = self.boxes
        return float(np.median(boxes[:, 3] - boxes[:, 1]) / self.height) if len(boxes) else 0.0


def survey_faces(
    path: Path, info: VideoInfo, detector: LandmarkDetector, *, num_samples: int = NUM_SAMPLES
) -> Generator[Event, None, Survey]:
    """Look at frames spread evenly over a clip; the whole file is decoded, so that damage shows.

    Raises:
        MediaError: it cannot be decoded, or ends long before it says.
    """
    rate = min(5.0, num_samples / max(info.seconds, 0.2))
    total = max(1, round(info.seconds * rate))
    damage = Damage()
    seconds: list[float] = []
    faces: list[tuple[FaceLandmarks, ...]] = []
    size, last = (info.width, info.height), None
    for index, frame in enumerate(decode_isolated(path, rate, damage=damage)):
        size = (frame.shape[1], frame.shape[0])
        seconds.append((index + 0.5) / rate)
        found = detector.detect(frame, index=round(seconds[-1] * 25))
        if not found and last is not None:
            found = _look_closer(frame, last, detector)
        last = found[0] if found else last
        faces.append(tuple(found))
        yield Progress(stage="first look", done=min(index + 1, total), total=total)
    refuse_cut_off(path, info, damage)
    return Survey(*size, tuple(seconds), tuple(faces), damage)


def _look_closer(
    frame: UInt8[np.ndarray, "height width 3"], last: FaceLandmarks, detector: LandmarkDetector
) -> list[FaceLandmarks]:
    """Look again around the last face: detectors overlook a face that is small in its picture."""
    height, width = frame.shape[:2]
    left, top = last.points[:, :2].min(axis=0)
    right, bottom = last.points[:, :2].max(axis=0)
    crop = choose_crop(np.array([[left, top, right, bottom]], np.float64), width, height)
    if crop is None:
        return []
    inside = frame[crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    shift = np.array([crop.left, crop.top, 0], np.float32)
    return [face._replace(points=face.points + shift) for face in detector.detect(inside)]


def refuse_cut_off(path: Path, info: VideoInfo, damage: Damage) -> None:
    """Stop if a file holds far fewer frames than it says.

    Raises:
        MediaError: more than a twentieth and more than five are missing.
    """
    missing = info.num_frames - damage.frames
    if missing > 5 and missing > 0.05 * info.num_frames:
        raise MediaError(
            f"{path} is cut off or damaged: {damage.frames} of its {info.num_frames} frames can be read",
            hint="copy or download it again",
        )


def damage_complaints(
    info: VideoInfo, damage: Damage, *, fps: float | int, survey_fps: float | int
) -> list[Complaint]:
    """What the decoder could not give, by frame at ``fps``; ``damage`` counted frames at ``survey_fps``."""
    complaints = [
        Complaint(
            frame=round(first * fps / survey_fps),
            last_frame=round((first + count) * fps / survey_fps) - 1,
            fault=f"the picture stands still for {count / survey_fps:.1f} s",
            advice="frames were lost in recording; cut this part out",
        )
        for first, count in damage.gaps
    ]
    missing = max(damage.packets, info.num_frames - damage.frames)
    if damage.packets or missing > 5:
        complaints.append(
            Complaint(fault=f"{missing} frames of the file cannot be read", advice="copy or convert it again")
        )
    return complaints


def face_complaints(survey: Survey, *, fps: float | int) -> list[Complaint]:
    """No face, or several, in the pictures looked at."""
    looked = len(survey.faces)
    none = [index for index, found in enumerate(survey.faces) if not found]
    two = [index for index, found in enumerate(survey.faces) if count_people(found) > 1]
    complaints: list[Complaint] = []
    for where, fault, many, advice in (
        (
            none,
            "no face",
            "there is no face in most of the clip",
            "film one person who faces the camera, head and shoulders filling the picture",
        ),
        (
            two,
            "two faces",
            "there are two faces in most of the clip",
            "film one person alone, or crop the video",
        ),
    ):
        if looked and len(where) > looked / 2:
            complaints.append(Complaint(fault=many, advice=advice, severity="refusal"))
        else:
            complaints += _ranges(where, survey.seconds, fps=fps, fault=fault, advice=advice)
    return complaints


def count_people(found: Sequence[FaceLandmarks]) -> int:
    """Faces that are large enough to be a second speaker."""
    return sum(face.size >= MIN_SECOND_FACE * found[0].size for face in found)


def choose_crop(boxes: Float[np.ndarray, "faces 4"], width: int, height: int) -> Crop | None:
    """A fixed square with head and shoulders, or ``None`` to keep a square picture with a large face whole.

    The square is about 2.6 face heights wide with the face a little above its middle, larger if the head
    moves far, and always inside the picture.

    Args:
        boxes: left, top, right, bottom of the landmarks in sampled frames, pixels.
        width: of the picture.
        height: of the picture.
    """
    if len(boxes) == 0:
        return None if width == height else centre_square(width, height)
    face = float(np.median(boxes[:, 3] - boxes[:, 1]))
    if width == height and face >= WHOLE_FRAME_FACE * height:
        return None
    left = float(boxes[:, 0].min()) - EARS * face
    right = float(boxes[:, 2].max()) + EARS * face
    top = float(boxes[:, 1].min()) - HAIR * face
    bottom = float(boxes[:, 3].max()) + NECK * face
    side = int(min(max(SIDE_IN_FACES * face, right - left, bottom - top), width, height))
    side -= side % 2
    middle = float(np.median(boxes[:, 1] + boxes[:, 3])) / 2
    wanted_top = middle - FACE_AT * side
    wanted_top = min(max(wanted_top, bottom - side), top) if side >= bottom - top else top
    return Crop(
        round(min(max((left + right - side) / 2, 0), width - side)),
        round(min(max(wanted_top, 0), height - side)),
        side,
    )


def centre_square(width: int, height: int) -> Crop:
    """The largest square in the middle."""
    side = min(width, height) // 2 * 2
    return Crop((width - side) // 2, (height - side) // 2, side)


def crop_complaint(crop: Crop, survey: Survey) -> Complaint:
    """Says what was cut out and why."""
    left, top, side = crop
    what = f"cropped to {side}x{side} at ({left}, {top})"
    if survey.face_share < WHOLE_FRAME_FACE:
        why = f"the face is only {100 * survey.face_share:.0f} % of the picture's height"
    else:
        why = f"the picture is {survey.width}x{survey.height}, not square"
    return Complaint(fault=f"{what}: {why}", severity="note")


def _ranges(
    samples: Sequence[int], seconds: Sequence[float], *, fps: float | int, fault: str, advice: str
) -> list[Complaint]:
    """Complaints about runs of neighbouring samples, in frames."""
    complaints: list[Complaint] = []
    previous = -2
    for index in samples:
        frame = round(seconds[index] * fps)
        if index == previous + 1 and complaints:
            complaints[-1] = Complaint(
                frame=complaints[-1].frame, last_frame=frame, fault=fault, advice=advice
            )
        else:
            complaints.append(Complaint(frame=frame, fault=fault, advice=advice))
        previous = index
    return complaints

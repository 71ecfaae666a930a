"""What capture guessed of a synthetic person against the truth about it.

A dataset and a truth describe the same frames: frame i of one is frame i of the other. Pixels are those of
the dataset; the truth is brought to them by the crop and the size that the dataset's manifest names.

Both poses are of a resting head, but not with the same axes and not about the same point. With R, t for the
head seen from the camera (a point X of the head lies at R X + t), a constant turn O and a constant shift b
between the two heads,

    R_capture(f) = R_truth(f) O,        S t_capture(f) = t_truth(f) + R_truth(f) b,        S = diag(s, s, k).

O and b stand on the head's side, because the camera is one and the same. One camera does not show how large
a head is: s is the distance of the outer eye corners in truth over that in capture. It shows the focal length
only weakly, and a wrong one stretches depths and nothing else: k is fitted, like b.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerf_ad.capture.audio import AvOffset, av_offset
from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.workers import in_order, num_cores
from nerf_ad.dataset.dataset import ActionUnits, Dataset, Tracking
from nerf_ad.dataset.synthetic.truth import HAIR, Truth
from nerf_ad.face.action_units import mouth_opening
from nerf_ad.face.landmarks import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_EYE_OUTER,
    LEFT_IRIS,
    NUM_POINTS,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_EYE_OUTER,
    RIGHT_IRIS,
)
from nerf_ad.face.parsing import Part
from nerf_ad.geometry.camera import invert_pose
from nerf_ad.geometry.rotations import axis_angle_from_matrix, mean_rotation
from nerf_ad.media.audio import read_audio
from nerf_ad.media.images import read_image

AT_REST: Final = 0.1
"""Degrees from one frame to the next below which the true head rests (ours)."""
MOVES: Final = 0.02
"""Standard deviation of a true intensity from which an action unit moves (ours)."""
REGIONS: Final = {
    "all": tuple(range(NUM_POINTS)),
    "mouth": tuple(sorted({*OUTER_LIPS, *INNER_LIPS})),
    "eyes": tuple(sorted({*RIGHT_EYE, *LEFT_EYE, *RIGHT_IRIS, *LEFT_IRIS})),
    "oval": tuple(sorted(FACE_OVAL)),
}
"""Landmarks that are told apart."""
PARTS: Final = {
    "head": (Part.HEAD,),
    "neck": (Part.NECK,),
    "torso": (Part.TORSO,),
    "background": (Part.BACKGROUND,),
    "neck and torso": (Part.NECK, Part.TORSO),
}
"""Masks that are compared; hair is head."""


class Spread(NamedTuple):
    """A median and the value that 95 of 100 stay below."""

    median: float
    p95: float

    @staticmethod
    def of(values: Float[np.ndarray, "*values"]) -> "Spread":
        """Of some numbers; of none it is 0."""
        if values.size == 0:
            return Spread(0.0, 0.0)
        median, p95 = np.percentile(values, [50, 95])
        return Spread(float(median), float(p95))


class PoseErrors(NamedTuple):
    """How far a path of poses is from the true one."""

    degrees: Float[np.ndarray, "frames"]
    """Angle between R_capture and R_truth O at the best O."""
    offset_degrees: float
    """Angle of O: how far the two heads' axes differ."""
    turned_degrees: Float[np.ndarray, "steps"]
    """How far the true head turns from each frame to the next."""
    jitter_degrees: Float[np.ndarray, "steps"]
    """Angle between the two heads' turns from each frame to the next; needs no O."""
    millimetres: Float[np.ndarray, "frames"]
    """Length of S t_capture - t_truth - R_truth b at the best b and k."""
    across_mm: Float[np.ndarray, "frames"]
    """The part of it across the viewing axis."""
    along_mm: Float[np.ndarray, "frames"]
    """The part of it along the viewing axis."""
    depth_ratio: float
    """1 / k: captured depths over true ones."""


class UnitErrors(NamedTuple):
    """How one action unit was read."""

    name: str
    """Such as ``AU25``."""
    source: str
    """What capture read it from."""
    moves: bool
    """Whether it moves at all in truth; the other figures mean little where it does not."""
    correlation: float
    """Of intensities over the frames, in [-1, 1]; 0 where one of them is constant."""
    accuracy: float
    """Share of frames in which presence is right."""
    f1: float
    """2 hits / (2 hits + misses + false alarms) of presence; 1 where nobody says that it is there."""


def compare_poses(
    captured: Float[np.ndarray, "frames 4 4"], truth: Float[np.ndarray, "frames 4 4"], *, size: float = 1.0
) -> PoseErrors:
    """Compare two paths of ``camera_to_world``, metres.

    O minimises the sum of |R_capture - R_truth O|^2 (chordal): it is the mean rotation of R_truth' R_capture.
    k and b are linear least squares.

    Args:
        captured: what capture wrote.
        truth: the same frames in truth.
        size: s, how much larger the true head is than the captured one.
    """
    seen, real = (invert_pose(path.astype(np.float64)) for path in (captured, truth))
    turn, true_turn = seen[:, :3, :3], real[:, :3, :3]
    offset = mean_rotation(np.swapaxes(true_turn, 1, 2) @ turn)
    step, true_step = (rotation[1:] @ np.swapaxes(rotation[:-1], 1, 2) for rotation in (turn, true_turn))
    place = seen[:, :3, 3]
    depth, across = place * (0, 0, 1), place * (size, size, 0)
    system = np.concatenate([depth[..., None], -true_turn], axis=2)
    wanted = real[:, :3, 3] - across
    solution = np.linalg.lstsq(system.reshape(-1, 4), wanted.ravel(), rcond=None)[0]
    rest = 1000 * (system @ solution - wanted)
    return PoseErrors(
        degrees=_angle(np.swapaxes(true_turn @ offset, 1, 2) @ turn),
        offset_degrees=float(_angle(offset[None])[0]),
        turned_degrees=_angle(true_step),
        jitter_degrees=_angle(np.swapaxes(true_step, 1, 2) @ step),
        millimetres=np.linalg.norm(rest, axis=1),
        across_mm=np.linalg.norm(rest[:, :2], axis=1),
        along_mm=np.abs(rest[:, 2]),
        depth_ratio=float(1 / solution[0]),
    )


def eye_distance(truth: Truth) -> float:
    """Metres between the outer eye corners; points know their depth (``look._see``)."""
    fx, fy, cx, cy = truth.intrinsics.astype(np.float64)
    origin = np.linalg.norm(truth.camera_to_world[:, :3, 3].astype(np.float64), axis=1)[:, None]
    eyes = truth.points[:, [RIGHT_EYE_OUTER, LEFT_EYE_OUTER]].astype(np.float64)
    depth = origin * (1 + eyes[..., 2] / fx)
    place = np.stack([(eyes[..., 0] - cx) * depth / fx, (eyes[..., 1] - cy) * depth / fy, depth], axis=-1)
    return float(np.median(np.linalg.norm(place[:, 0] - place[:, 1], axis=1)))


def captured_eye_distance(tracking: Tracking) -> float:
    """Metres between the outer eye corners of the head that capture fitted."""
    rows = [tracking.point_indices.tolist().index(point) for point in (RIGHT_EYE_OUTER, LEFT_EYE_OUTER)]
    return float(np.linalg.norm(np.subtract(*tracking.head_points[rows].astype(np.float64))))


def _angle(rotation: Float[np.ndarray, "rotations 3 3"]) -> Float[np.ndarray, "rotations"]:
    """Degrees in [0, 180]."""
    return np.degrees(np.linalg.norm(axis_angle_from_matrix(rotation), axis=-1))


def compare_landmarks(
    captured: Float[np.ndarray, "frames points 2"], truth: Float[np.ndarray, "frames points 2"]
) -> tuple[Float[np.ndarray, "frames points"], Float[np.ndarray, "frames points"]]:
    """Distance of points from their true places, pixels: plain, and without each point's mean difference.

    Which spot of the skin a landmark means is a convention; the mean difference over the clip holds that, the
    rest is how well the point follows.
    """
    difference = (captured - truth).astype(np.float64)
    moved = difference - difference.mean(axis=0)
    return np.linalg.norm(difference, axis=-1), np.linalg.norm(moved, axis=-1)


def intersection_over_union(
    first: Bool[np.ndarray, "height width"], second: Bool[np.ndarray, "height width"]
) -> float:
    """Pixels in both over pixels in either; 1 where both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 1.0


def compare_labels(
    captured: UInt8[np.ndarray, "height width"], truth: UInt8[np.ndarray, "height width"]
) -> dict[str, float]:
    """Intersection over union of every mask of ``PARTS``; labels are ``Part``."""
    return {
        name: intersection_over_union(np.isin(captured, parts), np.isin(truth, parts))
        for name, parts in PARTS.items()
    }


def reduce_labels(
    labels: UInt8[np.ndarray, "height width"], crop: tuple[int, int, int], size: int
) -> UInt8[np.ndarray, "size size"]:
    """Cut out a square (left, top, side) and give each pixel of the result what most of it shows."""
    from PIL import Image

    left, top, side = crop
    shares = [
        np.asarray(
            Image.fromarray((labels == part).astype(np.float32)).resize(
                (size, size), Image.Resampling.BOX, box=(left, top, left + side, top + side)
            )
        )
        for part in Part
    ]
    return np.stack(shares).argmax(axis=0).astype(np.uint8)


def compare_units(
    captured: ActionUnits,
    intensity: Float[np.ndarray, "frames units"],
    presence: Bool[np.ndarray, "frames units"],
    names: tuple[str, ...],
) -> tuple[UnitErrors, ...]:
    """Compare every action unit that both have, in the truth's order."""
    rows = []
    for column, name in enumerate(names):
        if name not in captured.names:
            continue
        index = captured.names.index(name)
        real, guessed = (
            intensity[:, column].astype(np.float64),
            captured.intensity[:, index].astype(np.float64),
        )
        is_there, is_said = presence[:, column], captured.presence[:, index]
        hits, wrong = int((is_there & is_said).sum()), int((is_there ^ is_said).sum())
        flat = real.std() < 1e-9 or guessed.std() < 1e-9
        rows.append(
            UnitErrors(
                name=name,
                source=captured.sources[index],
                moves=bool(real.std() > MOVES),
                correlation=0.0 if flat else float(np.corrcoef(real, guessed)[0, 1]),
                accuracy=float((is_there == is_said).mean()),
                f1=2 * hits / (2 * hits + wrong) if hits + wrong else 1.0,
            )
        )
    return tuple(rows)


class CaptureErrors(NamedTuple):
    """Everything that was compared, frame by frame."""

    pose: PoseErrors
    """Of the head."""
    focal_ratio: float
    """Captured focal length over the true one."""
    landmark_pixels: Float[np.ndarray, "frames points"]
    """Distance from the true place."""
    landmark_motion_pixels: Float[np.ndarray, "frames points"]
    """The same without each point's mean difference."""
    masks: dict[str, Float[np.ndarray, "frames"]]
    """Intersection over union by the names of ``PARTS``."""
    units: tuple[UnitErrors, ...]
    """By action unit."""
    offset: AvOffset
    """Mouth against sound, by capture's landmarks; in truth 0."""
    true_offset: AvOffset
    """The same measurement on the true lips and the same sound: what the method itself errs by."""

    def figures(self) -> dict[str, object]:
        """Plain numbers for JSON."""
        pose, resting = self.pose, self.pose.turned_degrees < AT_REST
        return {
            "frames": len(pose.degrees),
            "pose": {
                "rotation_degrees": _told(pose.degrees),
                "jitter_degrees": _told(pose.jitter_degrees[resting]),
                "resting_frames": int(resting.sum()),
                "position_mm": _told(pose.millimetres),
                "across_mm": _told(pose.across_mm),
                "along_mm": _told(pose.along_mm),
                "axes_differ_degrees": round(pose.offset_degrees, 3),
                "depth_ratio": round(pose.depth_ratio, 4),
                "focal_ratio": round(self.focal_ratio, 4),
            },
            "landmarks": {
                name: {
                    "pixels": _told(self.landmark_pixels[:, list(rows)]),
                    "motion_pixels": _told(self.landmark_motion_pixels[:, list(rows)]),
                }
                for name, rows in REGIONS.items()
            },
            "masks": {name: round(float(values.mean()), 4) for name, values in self.masks.items()},
            "action_units": {
                unit.name: {
                    "moves": unit.moves,
                    "correlation": round(unit.correlation, 4),
                    "accuracy": round(unit.accuracy, 4),
                    "f1": round(unit.f1, 4),
                    "source": unit.source,
                }
                for unit in self.units
            },
            "offset": {
                "milliseconds": round(self.offset.milliseconds, 1),
                "confidence": round(self.offset.confidence, 3),
                "true_lips_milliseconds": round(self.true_offset.milliseconds, 1),
            },
        }


def _told(values: Float[np.ndarray, "*values"]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in Spread.of(values)._asdict().items()}


def compare_capture(dataset: Dataset, truth: Truth, parts: Path) -> CaptureErrors:
    """Compare a dataset with the truth about its video; see ``compare_capture_events``."""
    events = compare_capture_events(dataset, truth, parts)
    while True:
        try:
            next(events)
        except StopIteration as end:
            result: CaptureErrors = end.value
            return result


def compare_capture_events(
    dataset: Dataset, truth: Truth, parts: Path
) -> Generator[Event, None, CaptureErrors]:
    """Compare a dataset with the truth about its video.

    Args:
        dataset: what ``capture`` made.
        truth: arrays of the truth.
        parts: the truth's folder of part labels, one palette PNG a frame.

    Raises:
        FormatError: they are not about the same video.
    """
    num_frames = dataset.num_frames
    if not 0 <= len(truth.points) - num_frames <= 1 or num_frames < 3:
        raise FormatError(
            f"{dataset.root} has {num_frames} frames, the truth has {len(truth.points)}",
            hint="give the truth that was written with the video",
        )
    crop = crop_of(dataset)
    masks = yield from _compare_masks(dataset, parts, crop)
    tracking, track, sound = dataset.tracking(), dataset.landmarks(), read_audio(dataset.layout.audio)
    scale, fps = dataset.size / crop[2], dataset.manifest.fps
    # A video may lose its last picture on the way.
    points = truth.points[:num_frames, :, :2].astype(np.float64)
    plain, moved = compare_landmarks(track.points[:, :, :2].astype(np.float64), (points - crop[:2]) * scale)
    size = eye_distance(truth) / captured_eye_distance(tracking)
    opening = np.where(track.confidence > 0, mouth_opening(track.points), np.nan).astype(np.float64)
    return CaptureErrors(
        pose=compare_poses(tracking.camera_to_world, truth.camera_to_world[:num_frames], size=size),
        focal_ratio=float(tracking.intrinsics[0] / (truth.intrinsics[0] * scale)),
        landmark_pixels=plain,
        landmark_motion_pixels=moved,
        masks=masks,
        units=compare_units(
            dataset.action_units(), truth.intensity[:num_frames], truth.presence[:num_frames], truth.names
        ),
        offset=av_offset(opening, sound, fps),
        true_offset=av_offset(mouth_opening(points), sound, fps),
    )


def crop_of(dataset: Dataset) -> tuple[int, int, int]:
    """Left, top and side of the square of the video that the dataset shows."""
    source = dataset.manifest.source
    if source.crop is not None:
        return source.crop
    side = min(source.width, source.height)
    return (source.width - side) // 2, (source.height - side) // 2, side


def true_labels(
    parts: Path, frame: int, crop: tuple[int, int, int], size: int
) -> UInt8[np.ndarray, "size size"]:
    """``Part`` of every pixel of a dataset's frame, in truth."""
    labels = read_image(parts / f"{frame:06d}.png", "P")
    return reduce_labels(np.where(labels == HAIR, np.uint8(Part.HEAD), labels), crop, size)


def _compare_masks(
    dataset: Dataset, parts: Path, crop: tuple[int, int, int]
) -> Generator[Event, None, dict[str, Float[np.ndarray, "frames"]]]:
    def compare(frame: int) -> dict[str, float]:
        return compare_labels(dataset.labels(frame), true_labels(parts, frame, crop, dataset.size))

    rows: list[dict[str, float]] = []
    for row in in_order(compare, range(dataset.num_frames), num_workers=num_cores()):
        rows.append(row)
        yield Progress(stage="masks", done=len(rows), total=dataset.num_frames)
    return {name: np.array([row[name] for row in rows]) for name in PARTS}

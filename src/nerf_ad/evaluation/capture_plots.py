"""Pictures of one person's comparison: capture beside truth, over time and frame beside frame."""

from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.capture.report.contact_sheet import contact_sheet, tint_parts
from nerf_ad.capture.report.curves import draw_scatter, draw_series
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import write_bytes
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.synthetic.truth import Truth
from nerf_ad.evaluation.capture_truth import PARTS, REGIONS, CaptureErrors, crop_of, true_labels
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.face.parsing import PALETTE
from nerf_ad.media.images import write_image

NUM_COLUMNS = 6
"""Frames whose parts are shown."""
PICTURES = {
    "pose.png": "head pose: error of the turn, of the turn from frame to frame, and of the place",
    "landmarks.png": "landmarks: distance from truth as it is, and without each point's mean difference",
    "masks.png": "masks: intersection over union",
    "parts.png": "parts in truth and by capture; what differs is tinted in the label that capture gave",
    "units.png": "action units in truth and by capture",
    "scatter.png": "action units: captured over true intensity",
    "offset.png": "correlation of mouth and sound over their offset; in truth 0 ms",
}
"""What ``draw_person`` writes, and what it shows."""


def draw_person(
    folder: Path, dataset: Dataset, truth: Truth, parts: Path, errors: CaptureErrors
) -> Generator[Event, None, None]:
    """Write every picture of ``PICTURES`` into ``folder``."""
    seconds = np.arange(dataset.num_frames) / dataset.manifest.fps
    offset = errors.offset
    units = _unit_series(dataset, truth)
    drawn: dict[str, Callable[[], bytes]] = {
        "pose.png": lambda: draw_series(seconds, _pose_panels(errors)),
        "landmarks.png": lambda: draw_series(seconds, _landmark_panels(errors)),
        "masks.png": lambda: draw_series(
            seconds, [("IoU", {name: errors.masks[name] for name in PARTS})], height=2.6
        ),
        "units.png": lambda: draw_series(
            seconds, [(name, {"truth": real, "capture": seen}) for name, (real, seen) in units.items()]
        ),
        "scatter.png": lambda: draw_scatter(units, x_label="truth", y_label="capture"),
        "offset.png": lambda: draw_series(
            np.array(offset.lags_ms),
            [
                (
                    "correlation",
                    {
                        "captured lips": np.array(offset.correlations),
                        "true lips": np.array(errors.true_offset.correlations),
                    },
                )
            ],
            x_label="mouth after sound, milliseconds",
            marks=(0.0, offset.milliseconds),
            height=2.2,
        ),
    }
    for done, (name, draw) in enumerate(drawn.items()):
        yield Progress(stage="plots", done=done, total=len(PICTURES))
        write_bytes(folder / name, draw())
    write_image(folder / "parts.png", _draw_parts(dataset, parts))
    yield Progress(stage="plots", done=len(PICTURES), total=len(PICTURES))


def _pose_panels(errors: CaptureErrors) -> list[tuple[str, dict[str, Float[np.ndarray, "frames"]]]]:
    pose = errors.pose
    return [
        ("degrees", {"turn": pose.degrees}),
        (
            "degrees a frame",
            {
                "error": np.append(pose.jitter_degrees, 0.0),
                "true turn": np.append(pose.turned_degrees, 0.0),
            },
        ),
        ("mm", {"across the view": pose.across_mm, "along the view": pose.along_mm}),
    ]


def _landmark_panels(errors: CaptureErrors) -> list[tuple[str, dict[str, Float[np.ndarray, "frames"]]]]:
    return [
        (label, {name: np.median(pixels[:, list(rows)], axis=1) for name, rows in REGIONS.items()})
        for label, pixels in (
            ("px", errors.landmark_pixels),
            ("px, motion", errors.landmark_motion_pixels),
        )
    ]


def _unit_series(
    dataset: Dataset, truth: Truth
) -> dict[str, tuple[Float[np.ndarray, "frames"], Float[np.ndarray, "frames"]]]:
    """True and captured intensity of the units of speech."""
    units = dataset.action_units()
    return {
        name: (truth.intensity[: dataset.num_frames, truth.names.index(name)], units.channel(name))
        for name in SPEECH_UNITS
    }


def _draw_parts(dataset: Dataset, parts: Path) -> UInt8[np.ndarray, "height width 3"]:
    frames = np.linspace(0, dataset.num_frames - 1, NUM_COLUMNS).astype(int).tolist()
    rows: dict[str, list[UInt8[np.ndarray, "height width 3"]]] = {
        name: [] for name in ("frame", "truth", "capture", "differs")
    }
    palette = ((30, 30, 34), *PALETTE[1:])
    for frame in frames:
        picture, seen = dataset.frame(frame), dataset.labels(frame)
        real = true_labels(parts, frame, crop_of(dataset), dataset.size)
        wrong = seen != real
        differs = (0.4 * picture).astype(np.uint8)
        differs[wrong] = np.array(((255, 255, 255), *PALETTE[1:]), np.uint8)[seen[wrong]]
        pictures = (picture, tint_parts(picture, real, palette), tint_parts(picture, seen, palette), differs)
        for row, shown in zip(rows.values(), pictures, strict=True):
            row.append(shown)
    return contact_sheet(list(rows.items()), [f"frame {frame}" for frame in frames])

"""An avatar against the held-out tail of its clip, driven by the tail's own sound.

True pose and eye state, sound from the recording, our own torso and background, raw frames (not encoded):
the protocol of peers.md section 4, full frame. Nothing is smoothed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.device import prepare_cpu
from nerf_ad.core.errors import FormatError, WeightsError
from nerf_ad.core.events import Event, Progress, Saved, Warned
from nerf_ad.core.files import read_json, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import MOUTH, encode_expression, head_landmarks
from nerf_ad.dataset.pixels import fit_labels, fit_picture, mouth_boxes
from nerf_ad.face.landmarks import (
    LOWER_LIP_INNER,
    UPPER_LIP_INNER,
    LandmarkDetector,
    build_landmark_detector,
)
from nerf_ad.face.parsing import Part
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.encoder import VideoWriter
from nerf_ad.media.images import write_image
from nerf_ad.metrics.image import psnr
from nerf_ad.metrics.landmarks import lagged_correlation, landmark_distance
from nerf_ad.rendering.drive import Drive, shots_of, speak
from nerf_ad.rendering.render import draw

OUTER_EYES = (33, 263)
"""Outer eye corners."""


class HeldOut(NamedTuple):
    """The tail as it was and as it was made."""

    frames: range
    """Frames of the clip."""
    real: list[UInt8[np.ndarray, "size size 3"]]
    """Recorded, at the avatar's size."""
    made: list[UInt8[np.ndarray, "size size 3"]]
    """Rendered."""


def evaluate_events(avatar: Avatar, dataset: Dataset, *, out: Path | None = None) -> Iterator[Event]:
    """Render the tail, measure it, write ``metrics.json`` and ``preview.mp4`` into the avatar.

    Args:
        avatar: who.
        dataset: the clip that it was trained on.
        out: folder to write to instead of the avatar's own.

    Raises:
        FormatError: the dataset is not the avatar's.
    """
    if dataset.manifest.source.sha256 != avatar.manifest.source_sha256:
        raise FormatError(
            f"{avatar.root} was not trained on {dataset.root}", hint="give the data set it was trained on"
        )
    prepare_cpu()
    folder = out or avatar.root
    drive, frames = drive_with_recording(avatar, dataset)
    held = HeldOut(frames, [], [])
    start, stop = (edge / avatar.manifest.fps for edge in (frames.start, frames.stop))
    sound = read_audio(dataset.layout.audio)
    tail = Waveform(sound.samples[round(start * sound.rate) : round(stop * sound.rate)], sound.rate)
    size = avatar.manifest.size
    with VideoWriter(
        folder / "preview.mp4", size=(size, size), fps=avatar.manifest.fps, audio=tail
    ) as writer:
        for index, made in zip(frames, draw(avatar, drive), strict=True):
            held.made.append(made)
            held.real.append(fit_picture(dataset.frame(index), size))
            writer.write(made)
            yield Progress(stage="held-out frames", done=len(held.made), total=len(frames))
    metrics: dict[str, object] = dict(measure_pictures(held, dataset, size))
    try:
        with build_landmark_detector() as detector:
            metrics |= measure_lips(held, detector)
    except WeightsError as error:
        yield Warned(message=f"lips were not measured: {error.message}")
    write_image(folder / "held_out.png", contact_sheet(held))
    write_json(
        folder / "metrics.json",
        {
            "protocol": "held-out tail, true pose and eyes, own sound, own torso and background, raw frames",
            "frames": [frames.start, frames.stop],
            "size": size,
            "driven_by": avatar.manifest.driven_by,
            "speech": avatar.manifest.speech_id,
            **metrics,
        },
    )
    yield Saved(path=str(folder / "metrics.json"))


def evaluate(
    avatar: Avatar | str | Path,
    dataset: Dataset | str | Path,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, object]:
    """Measure an avatar on the held-out tail; see ``evaluate_events``.

    Returns:
        the content of ``metrics.json``.
    """
    person = avatar if isinstance(avatar, Avatar) else Avatar.load(avatar)
    clip = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    for event in evaluate_events(person, clip):
        if on_event is not None:
            on_event(event)
    result: dict[str, object] = read_json(person.root / "metrics.json")
    return result


def drive_with_recording(avatar: Avatar, dataset: Dataset) -> tuple[Drive, range]:
    """Sound, pose and eyes of the held-out frames."""
    tracking = dataset.tracking()
    frames = dataset.split().test
    inside = slice(frames.start, frames.stop)
    eyes = encode_expression(head_landmarks(dataset.landmarks(), tracking), avatar.basis).eyes
    track = dataset.speech(avatar.manifest.speech.kind)
    if track.encoder != avatar.manifest.speech_id:
        raise FormatError(
            f"{avatar.root} was trained with {avatar.manifest.speech_id}, {dataset.root} has {track.encoder}",
            hint="capture or train again",
        )
    sound = read_audio(dataset.layout.audio)
    mouth = speak(avatar, sound, track.features, track.rate_hz, dataset.num_frames)
    shot = shots_of(avatar)[inside]
    return Drive(mouth[inside], eyes[inside], tracking.camera_to_world[inside], shot), frames


def measure_pictures(held: HeldOut, dataset: Dataset, size: int) -> dict[str, float]:
    """PSNR in dB by region, the mean over frames of each frame's figure."""
    points = dataset.landmarks().points[:, :, :2] * (size / dataset.size)
    boxes = mouth_boxes(points, size)
    rows: dict[str, list[float]] = {"psnr": [], "psnr_head": [], "psnr_mouth": []}
    for index, real, made in zip(held.frames, held.real, held.made, strict=True):
        left, top, right, bottom = boxes[index]
        mouth = np.zeros((size, size), bool)
        mouth[top:bottom, left:right] = True
        rows["psnr"].append(psnr(made, real))
        for name, where in (
            ("psnr_head", fit_labels(dataset.labels(index), size) == Part.HEAD),
            ("psnr_mouth", mouth),
        ):
            if where.any():
                rows[name].append(psnr(made, real, where))
    return {name: round(float(np.mean(values)), 3) for name, values in rows.items() if values}


def measure_lips(held: HeldOut, detector: LandmarkDetector) -> dict[str, object]:
    """Mouth landmark distance and the lips' correlation with the recording, by one detector on both."""
    made, real = (find_landmarks(frames, detector) for frames in (held.made, held.real))
    found = np.isfinite(made).all(axis=(1, 2)) & np.isfinite(real).all(axis=(1, 2))
    if found.sum() < 3:
        return {"frames_without_face": int((~found).sum())}
    lips = list(MOUTH)
    gaps = [lip_gap(points) for points in (made[found], real[found])]
    scores = lagged_correlation(*gaps)
    best = max(scores, key=lambda lag: scores[lag])
    eyes = np.linalg.norm(real[found][:, OUTER_EYES[0]] - real[found][:, OUTER_EYES[1]], axis=-1).mean()
    distance = landmark_distance(made[found][:, lips], real[found][:, lips])
    return {
        "mouth_lmd_mp_px": round(distance, 4),
        "mouth_lmd_mp_normalised": round(distance / float(eyes), 5),
        "lip_gap_correlation": round(scores[0], 4),
        "lip_gap_best_lag_frames": best,
        "lip_gap_best_correlation": round(scores[best], 4),
        "lip_gap_amplitude_ratio": round(float(gaps[0].std() / max(gaps[1].std(), 1e-9)), 4),
        "frames_without_face": int((~found).sum()),
        "detector": detector.id,
    }


def find_landmarks(
    frames: list[UInt8[np.ndarray, "size size 3"]], detector: LandmarkDetector
) -> Float[np.ndarray, "frames 478 2"]:
    """Landmarks of the largest face in pixels; NaN where there is none."""
    result = np.full((len(frames), 478, 2), np.nan)
    for row, frame in zip(result, frames, strict=True):
        faces = detector.detect(np.ascontiguousarray(frame))
        if faces:
            row[:] = faces[0].points[:, :2]
    return result


def lip_gap(points: Float[np.ndarray, "frames 478 2"]) -> Float[np.ndarray, "frames"]:
    """Inner-lip gap over the distance of the outer eye corners."""
    gap = np.linalg.norm(points[:, UPPER_LIP_INNER] - points[:, LOWER_LIP_INNER], axis=-1)
    return np.asarray(gap / np.linalg.norm(points[:, OUTER_EYES[0]] - points[:, OUTER_EYES[1]], axis=-1))


def contact_sheet(held: HeldOut, *, columns: int = 8) -> UInt8[np.ndarray, "height width 3"]:
    """Rendered over recorded frames, spread over the tail."""
    chosen: Int[np.ndarray, columns] = np.linspace(0, len(held.made) - 1, columns).astype(np.int64)
    pairs = [np.concatenate([held.made[int(k)], held.real[int(k)]], axis=0) for k in chosen]
    return np.concatenate(pairs, axis=1)

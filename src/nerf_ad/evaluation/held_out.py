"""An avatar against the held-out tail of its clip, driven by the tail's own sound.

True pose and eye state, sound from the recording, our own torso and background, raw frames (not encoded):
the protocol of peers.md section 4, full frame. Nothing is smoothed. Avatars of the paper's method stand on
the recorded torso of the same frame, as the paper's code is measured (paper.md section 12), and say so.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.device import prepare_cpu
from nerf_ad.core.errors import FormatError, WeightsError
from nerf_ad.core.events import Event, Progress, Saved, Warned
from nerf_ad.core.files import read_json, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import MOUTH
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
from nerf_ad.rendering.drive import Drive
from nerf_ad.rendering.render import draw

OUTER_EYES = (33, 263)
"""Outer eye corners."""


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
    start, stop = (edge / avatar.manifest.fps for edge in (frames.start, frames.stop))
    sound = read_audio(dataset.layout.audio)
    tail = Waveform(sound.samples[round(start * sound.rate) : round(stop * sound.rate)], sound.rate)
    size = avatar.manifest.size
    pictures, sheet = PictureMeter(dataset, size), Sheet(frames)
    with contextlib.ExitStack() as stack:
        lips: LipMeter | None = None
        try:
            lips = LipMeter(stack.enter_context(build_landmark_detector()))
        except WeightsError as error:
            yield Warned(message=f"lips are not measured: {error.message}")
        writer = stack.enter_context(
            VideoWriter(folder / "preview.mp4", size=(size, size), fps=avatar.manifest.fps, audio=tail)
        )
        for done, (index, made) in enumerate(zip(frames, draw(avatar, drive), strict=True), start=1):
            real = fit_picture(dataset.frame(index), size)
            pictures.add(index, real, made)
            sheet.add(index, real, made)
            if lips is not None:
                lips.add(real, made)
            writer.write(made)
            yield Progress(stage="held-out frames", done=done, total=len(frames))
    metrics: dict[str, object] = {**pictures.figures(), **(lips.figures() if lips is not None else {})}
    write_image(folder / "held_out.png", sheet.picture())
    write_json(
        folder / "metrics.json",
        {
            "protocol": protocol(avatar),
            "frames": [frames.start, frames.stop],
            "size": size,
            "driven_by": avatar.manifest.driven_by,
            "speech": avatar.manifest.speech_id,
            **metrics,
        },
    )
    yield Saved(path=str(folder / "metrics.json"))


def protocol(avatar: Avatar) -> str:
    """How held-out frames are made, in words: whose torso is in the picture matters by decibels."""
    if not avatar.borrows_torso:
        return "held-out tail, true pose and eyes, own sound, own torso and background, raw frames"
    driven = {"speech": "own sound", "landmarks": "true landmarks", "nothing": "nothing heard"}
    by = driven[avatar.manifest.driven_by]
    return f"held-out tail, true pose, {by}, recorded torso of the same frame, raw frames"


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
    """Sound, pose and eyes of the held-out frames; and their torsos, for an avatar that borrows them."""
    poses = dataset.tracking().camera_to_world
    frames = dataset.split().test
    inside = slice(frames.start, frames.stop)
    if not np.array_equal(avatar.motion.camera_to_world, poses.astype(np.float32)):
        raise FormatError(
            f"{dataset.root} was captured anew since {avatar.root} was trained on it", hint="train again"
        )
    size = avatar.manifest.size

    def torso(index: int) -> UInt8[np.ndarray, "size size 4"]:
        return fit_picture(dataset.torso(index), size)

    return Drive(
        avatar.codes_of(dataset)[inside],
        avatar.eyes_of(dataset)[inside],
        poses[inside],
        np.arange(frames.start, frames.stop),
        torso if avatar.borrows_torso else None,
    ), frames


class PictureMeter:
    """PSNR in dB by region, frame by frame."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        self.dataset, self.size = dataset, size
        points = dataset.landmarks().points[:, :, :2] * (size / dataset.size)
        self.boxes = mouth_boxes(points, size)
        self.rows: dict[str, list[float]] = {"psnr": [], "psnr_head": [], "psnr_mouth": []}

    def add(
        self, index: int, real: UInt8[np.ndarray, "size size 3"], made: UInt8[np.ndarray, "size size 3"]
    ) -> None:
        """Measure the rendering of frame ``index``."""
        left, top, right, bottom = self.boxes[index]
        mouth = np.zeros((self.size, self.size), bool)
        mouth[top:bottom, left:right] = True
        self.rows["psnr"].append(psnr(made, real))
        for name, where in (
            ("psnr_head", fit_labels(self.dataset.labels(index), self.size) == Part.HEAD),
            ("psnr_mouth", mouth),
        ):
            if where.any():
                self.rows[name].append(psnr(made, real, where))

    def figures(self) -> dict[str, float]:
        """The mean over frames of each frame's figure."""
        return {name: round(float(np.mean(values)), 3) for name, values in self.rows.items() if values}


class LipMeter:
    """Mouth landmark distance and the lips' correlation with the recording, by one detector on both."""

    def __init__(self, detector: LandmarkDetector) -> None:
        self.detector = detector
        self.made: list[Float[np.ndarray, "478 2"]] = []
        self.real: list[Float[np.ndarray, "478 2"]] = []
        self.frames_without_face = 0

    def add(self, real: UInt8[np.ndarray, "size size 3"], made: UInt8[np.ndarray, "size size 3"]) -> None:
        """Look for the face in both."""
        faces = [self.detector.detect(np.ascontiguousarray(picture)) for picture in (real, made)]
        if not all(faces):
            self.frames_without_face += 1
            return
        for found, kept in zip(faces, (self.real, self.made), strict=True):
            kept.append(found[0].points[:, :2].astype(np.float64))

    def figures(self) -> dict[str, object]:
        """Figures of the frames in which both faces were found."""
        if len(self.made) < 3:
            return {"frames_without_face": self.frames_without_face}
        made, real = np.stack(self.made), np.stack(self.real)
        lips = list(MOUTH)
        gaps = [lip_gap(points) for points in (made, real)]
        scores = lagged_correlation(*gaps)
        best = max(scores, key=lambda lag: scores[lag])
        eyes = np.linalg.norm(real[:, OUTER_EYES[0]] - real[:, OUTER_EYES[1]], axis=-1).mean()
        distance = landmark_distance(made[:, lips], real[:, lips])
        return {
            "mouth_lmd_mp_px": round(distance, 4),
            "mouth_lmd_mp_normalised": round(distance / float(eyes), 5),
            "lip_gap_correlation": round(scores[0], 4),
            "lip_gap_best_lag_frames": best,
            "lip_gap_best_correlation": round(scores[best], 4),
            "lip_gap_amplitude_ratio": round(float(gaps[0].std() / max(gaps[1].std(), 1e-9)), 4),
            "frames_without_face": self.frames_without_face,
            "detector": self.detector.id,
        }


def lip_gap(points: Float[np.ndarray, "frames 478 2"]) -> Float[np.ndarray, "frames"]:
    """Inner-lip gap over the distance of the outer eye corners."""
    gap = np.linalg.norm(points[:, UPPER_LIP_INNER] - points[:, LOWER_LIP_INNER], axis=-1)
    return np.asarray(gap / np.linalg.norm(points[:, OUTER_EYES[0]] - points[:, OUTER_EYES[1]], axis=-1))


class Sheet:
    """Rendered over recorded frames, spread over the tail."""

    def __init__(self, frames: range, *, columns: int = 8) -> None:
        self.chosen = {int(index) for index in np.linspace(frames.start, frames.stop - 1, columns)}
        self.pairs: list[UInt8[np.ndarray, "height width 3"]] = []

    def add(
        self, index: int, real: UInt8[np.ndarray, "size size 3"], made: UInt8[np.ndarray, "size size 3"]
    ) -> None:
        """Keep the frame if it is one of those shown."""
        if index in self.chosen:
            self.pairs.append(np.concatenate([made, real], axis=0))

    def picture(self) -> UInt8[np.ndarray, "height width 3"]:
        """The sheet."""
        return np.concatenate(self.pairs, axis=1)

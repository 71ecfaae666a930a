"""Dataset: open a folder that capture wrote, and read it piece by piece."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import no_array, read_json, read_npz, read_toml
from nerf_ad.core.rows import FileRows
from nerf_ad.dataset.layout import FORMAT, Layout
from nerf_ad.dataset.soundness import (
    HINT,
    read_range,
    refuse_unsound_landmarks,
    refuse_unsound_manifest,
    refuse_unsound_speech,
    refuse_unsound_tracking,
)
from nerf_ad.media.images import Mode, read_image
from nerf_ad.speech.deepspeech import ARRAYS_ID


class Source(Config):
    """The video that a dataset was made from."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Hex digest of the file."""
    width: int
    """Pixels, as displayed (after rotation)."""
    height: int
    """Pixels, as displayed."""
    fps: float
    """Average frame rate of the file."""
    seconds: float
    """Length of its video."""
    crop: tuple[int, int, int] | None = Field(default=None, strict=False)
    """Left, top, side of the square that was cut out, in source pixels; absent if all was kept."""


class StepRecord(Config):
    """That a capture step was done, and with what."""

    version: int
    """Version of the step's code."""
    inputs: str
    """Hash of its inputs and settings; another hash makes it run again."""
    extractor: str = ""
    """Which extractor made its arrays, such as ``mediapipe-face-landmarker:64184e229b26``."""
    finished_at: str
    """ISO time, UTC."""
    seconds: float
    """How long it took."""


class DatasetManifest(Config):
    """``dataset.toml``."""

    format: int = FORMAT
    """Version of the folder format."""
    source: Source
    """The video."""
    fps: int = Field(default=25, ge=1, le=240)
    """Frames per second of the dataset."""
    size: int = Field(ge=8, le=4096)
    """Width and height of every frame in pixels."""
    num_frames: int = Field(ge=0, le=1_000_000)
    """How many frames."""
    shots: tuple[int, ...] = Field(default=(0,), strict=False)
    """First frame of every shot, ascending, beginning with 0."""
    av_offset_ms: float | None = None
    """How far the mouth is behind the sound, in milliseconds; absent where it could not be measured."""
    reprojection_error: float | None = None
    """Median distance of the rigid head points from their landmarks, in pixels."""
    jitter: float | None = None
    """How much the head trembles from frame to frame, in pixels."""
    steps: dict[str, StepRecord] = Field(default_factory=dict)
    """What capture has done."""
    started: dict[str, str] = Field(default_factory=dict)
    """Steps begun and not finished, with the hash of their inputs; their files so far are kept."""


class Tracking(NamedTuple):
    """Head pose as a moving camera before a resting head."""

    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Metres, OpenGL axes; the head rests at the origin of the world."""
    intrinsics: Float[np.ndarray, "4"]
    """fx, fy, cx, cy in pixels of the dataset's frames."""
    head_points: Float[np.ndarray, "points 3"]
    """The rigid head shape, metres, world axes (x to the person's left, y up, z out of the face)."""
    point_indices: Int[np.ndarray, "points"]
    """Which of the 478 landmarks the rigid points are."""
    reprojection_error: Float[np.ndarray, "frames"]
    """Median distance of the rigid points from their landmarks, in pixels."""


class LandmarkTrack(NamedTuple):
    """Landmarks over the clip."""

    points: Float[np.ndarray, "frames 478 3"]
    """x right, y down in pixels, z in the same scale (smaller is nearer)."""
    confidence: Float[np.ndarray, "frames"]
    """0 where no face was found and the points were filled in."""
    blendshapes: Float[np.ndarray, "frames 52"]
    """ARKit-style scores in [0, 1]."""


class ActionUnits(NamedTuple):
    """Facial action units over the clip."""

    intensity: Float[np.ndarray, "frames units"]
    """In [0, 1], the person's neutral subtracted."""
    presence: Bool[np.ndarray, "frames units"]
    """Intensity at or above the threshold, or what the network says."""
    names: tuple[str, ...]
    """Such as ``AU25``."""
    sources: tuple[str, ...]
    """Where each came from: the network, blendshapes or a geometric quantity."""

    def channel(self, name: str) -> Float[np.ndarray, "frames"]:
        """Intensity of one action unit."""
        if name not in self.names:
            message = f"the dataset has no {name}"
            raise FormatError(message, hint="run nerf-ad capture again; it continues where it stopped")
        return self.intensity[:, self.names.index(name)]


class SpeechTrack(NamedTuple):
    """Speech features of the whole clip."""

    features: Float[np.ndarray, "steps channels"]
    """One row per step."""
    rate_hz: float
    """Steps per second."""
    encoder: str
    """Id of the encoder that made them."""

    @property
    def origin(self) -> str:
        """Whose features these are: the encoder's id; of arrays, which nobody knows, with their digest."""
        return _origin(self.encoder, [self.features])


class Split(NamedTuple):
    """Which frames train and which are held out (the last 1/11, never shuffled)."""

    train: range
    test: range


class Dataset:
    """A captured clip. Arrays are read when asked for; frames one at a time."""

    def __init__(self, root: Path, manifest: DatasetManifest) -> None:
        self.root = root
        self.manifest = manifest
        self.layout = Layout(root)

    @classmethod
    def open(cls, root: str | Path) -> "Dataset":
        """Open a finished dataset.

        Raises:
            FormatError: not a dataset, of another format version, or unfinished.
        """
        root = Path(root)
        layout = Layout(root)
        hint = "make one with: nerf-ad capture VIDEO DATASET"
        if not layout.manifest.is_file():
            raise FormatError(f"{root} is not a dataset: it has no {layout.manifest.name}", hint=hint)
        manifest = read_manifest(layout)
        refuse_unsound_manifest(layout.manifest, manifest)
        needed = (
            layout.frames,
            layout.parsing,
            layout.torso,
            layout.tracking,
            layout.landmarks,
            layout.action_units,
            layout.split,
            layout.background,
        )
        if manifest.started:
            raise FormatError(
                f"{root} is unfinished: capture stopped in the step {next(iter(manifest.started))}",
                hint="run nerf-ad capture again; it continues where it stopped",
            )
        for path in needed:
            if not path.exists():
                raise FormatError(
                    f"{root} is unfinished: it has no {path.name}",
                    hint="run nerf-ad capture again; it continues where it stopped",
                )
        return cls(root, manifest)

    @property
    def num_frames(self) -> int:
        """Frames in the clip."""
        return self.manifest.num_frames

    @property
    def size(self) -> int:
        """Width and height in pixels."""
        return self.manifest.size

    def frame(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        """The picture."""
        return self._picture(self.layout.frame(index))

    def labels(self, index: int) -> UInt8[np.ndarray, "height width"]:
        """The part of every pixel (``nerf_ad.face.parsing.Part``)."""
        return self._picture(self.layout.labels(index), mode="P")

    def torso(self, index: int) -> UInt8[np.ndarray, "height width 4"]:
        """The picture without its head, alpha where neck and torso are."""
        return self._picture(self.layout.torso_image(index), mode="RGBA")

    def inputs_for_training(self, *, with_units: bool = False) -> dict[str, str]:
        """What every capture step that a training reads was made from, by the step's name.

        Speech features are not among them: a data set holds several kinds, and the step knows only of the
        last. Who hears adds ``SpeechTrack.origin``.
        """
        unread = {"offset", "report", "speech"} | (set() if with_units else {"action_units"})
        return {name: step.inputs for name, step in self.manifest.steps.items() if name not in unread}

    def background(self, shot: int | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """The clean plate of a shot; where it has none of its own, or no shot is named, the whole clip's."""
        own = None if shot is None else self.layout.shot_background(shot)
        return self._picture(self.layout.background if own is None or not own.is_file() else own)

    def shot_of(self, frame: int) -> int:
        """Which shot a frame belongs to, counted from 0."""
        return bisect_right(self.manifest.shots, frame) - 1

    def _picture(self, path: Path, mode: Mode = "RGB") -> np.ndarray[Any, np.dtype[Any]]:
        picture = read_image(path, mode)
        if picture.shape[:2] != (self.size, self.size):
            height, width = picture.shape[:2]
            raise FormatError(f"{path} is {width}x{height}, not {self.size}x{self.size}", hint=HINT)
        return picture

    def tracking(self) -> Tracking:
        """Poses and intrinsics."""
        arrays = _fields(read_npz(self.layout.tracking), Tracking._fields, self.layout.tracking)
        refuse_unsound_tracking(self.layout.tracking, arrays, num_frames=self.num_frames)
        return Tracking(**arrays)

    def landmarks(self) -> LandmarkTrack:
        """Landmarks and blendshapes."""
        arrays = read_npz(self.layout.landmarks)
        arrays = _fields(arrays, LandmarkTrack._fields, self.layout.landmarks)
        refuse_unsound_landmarks(self.layout.landmarks, arrays, num_frames=self.num_frames)
        return LandmarkTrack(**arrays)

    def landmark_rows(self) -> FileRows:
        """The points of ``landmarks``, read frame by frame: those of an hour are half a gigabyte."""
        rows = FileRows.of_npz(self.layout.landmarks, "points", hint=HINT)
        refuse_unsound_landmarks(self.layout.landmarks, {"points": rows}, num_frames=self.num_frames)
        return rows

    def action_units(self) -> ActionUnits:
        """Action units with their names and sources."""
        arrays = _fields(read_npz(self.layout.action_units), ActionUnits._fields, self.layout.action_units)
        names, sources = (tuple(str(item) for item in arrays[key]) for key in ("names", "sources"))
        return ActionUnits(arrays["intensity"], arrays["presence"], names, sources)

    def speech_names(self) -> list[str]:
        """Encoders whose features are there."""
        return sorted(path.stem for path in self.layout.speech.glob("*.npz"))

    def speech_file(self, name: str) -> Path:
        """The file with the speech features of one encoder.

        Raises:
            FormatError: the dataset lacks them.
        """
        path = self.layout.speech_features(name)
        if not path.is_file():
            known = ", ".join(self.speech_names()) or "none"
            yours = " and --speech-model or --speech-features" if name == "deepspeech" else ""
            raise FormatError(
                f"{self.root} has no {name} speech features (it has: {known})",
                hint=f"run nerf-ad capture again with --speech {name}{yours}; it adds them",
            )
        return path

    def speech(self, name: str) -> SpeechTrack:
        """Speech features of one encoder."""
        path = self.speech_file(name)
        arrays = _fields(read_npz(path), SpeechTrack._fields, path)
        refuse_unsound_speech(path, arrays)
        return SpeechTrack(arrays["features"], float(arrays["rate_hz"]), str(arrays["encoder"]))

    def speech_origin(self, name: str) -> str:
        """``SpeechTrack.origin`` of the speech features of one encoder; they are looked at piece by piece."""
        path = self.speech_file(name)
        features = FileRows.of_npz(path, "features", hint=HINT)
        arrays = _fields(read_npz(path, ("rate_hz", "encoder")), ("rate_hz", "encoder"), path)
        refuse_unsound_speech(path, {**arrays, "features": features})
        return _origin(str(arrays["encoder"]), features.blocks(0, len(features), 4096))

    def split(self) -> Split:
        """Training and held-out frames."""
        path = self.layout.split
        raw = read_json(path)
        if not isinstance(raw, dict):
            raise FormatError(f"{path} is damaged: it names no ranges", hint=HINT)
        train = read_range(path, raw.get("train"), num_frames=self.num_frames, least=2)
        return Split(train, read_range(path, raw.get("test"), num_frames=self.num_frames, least=0))


def shot_numbers(shots: Sequence[int], num_frames: int, num_shots: int) -> Int[np.ndarray, "frames"]:
    """Which shot each frame belongs to, counted from 0; shots that were not trained on count as the last."""
    number = np.searchsorted(np.asarray(shots), np.arange(num_frames), side="right") - 1
    return np.clip(number, 0, num_shots - 1).astype(np.int64)


def read_manifest(layout: Layout) -> DatasetManifest:
    """Read ``dataset.toml``, refusing other format versions in one sentence.

    Raises:
        FormatError: unreadable, or of another format version.
    """
    raw = read_toml(layout.manifest)
    found = raw.get("format")
    if found != FORMAT:
        raise FormatError(
            f"{layout.root} has dataset format {found}, this nerf-ad reads format {FORMAT}",
            hint="capture the video again into a new folder",
        )
    return DatasetManifest.from_mapping(raw, source=str(layout.manifest))


def _origin(encoder: str, features: Iterable[Float[np.ndarray, "_ channels"]]) -> str:
    if encoder != ARRAYS_ID:
        return encoder
    digest = hashlib.sha256()
    for block in features:
        digest.update(np.ascontiguousarray(block, np.float32).data)
    return f"{encoder}:{digest.hexdigest()[:12]}"


def _fields(arrays: dict[str, Any], names: tuple[str, ...], path: Path) -> dict[str, Any]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise no_array(path, missing[0], hint=HINT)
    return {name: arrays[name] for name in names}

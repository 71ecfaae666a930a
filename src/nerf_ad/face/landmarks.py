"""Face landmarks: 478 points, 52 expression scores and a head pose for every face in a picture.

Point indices and blendshape names are MediaPipe's. "Left" and "right" are the person's own.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8

from nerf_ad.core.errors import FormatError, NerfAdError, UsageError, WeightsError
from nerf_ad.core.files import read_npz, sha256_file

NUM_POINTS: Final = 478
"""468 on the skin, then 5 for each iris."""
NUM_SKIN_POINTS: Final = 468

RIGHT_EYE_OUTER: Final = 33
LEFT_EYE_OUTER: Final = 263
RIGHT_EYE_INNER: Final = 133
LEFT_EYE_INNER: Final = 362
UPPER_LIP_INNER: Final = 13
LOWER_LIP_INNER: Final = 14
UPPER_LIP_OUTER: Final = 0
LOWER_LIP_OUTER: Final = 17
RIGHT_MOUTH_CORNER: Final = 61
LEFT_MOUTH_CORNER: Final = 291
NOSE_TIP: Final = 1
NASION: Final = 168
CHIN: Final = 152
FOREHEAD: Final = 10
RIGHT_IRIS: Final = (468, 469, 470, 471, 472)
"""Its centre first."""
LEFT_IRIS: Final = (473, 474, 475, 476, 477)
"""Its centre first."""
RIGHT_EYE: Final = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""The rim of the lids, round: lower lid from the outer corner, then back along the upper lid."""
LEFT_EYE: Final = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""The rim of the lids, round: lower lid from the outer corner, then back along the upper lid."""
FACE_OVAL: Final = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""The outline of the face, round, from the top of the forehead over the left side."""
OUTER_LIPS: Final = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)  # fmt: skip
"""Round, from the right corner along the lower lip."""
INNER_LIPS: Final = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
"""Round, from the right corner along the lower lip."""
IBUG_68: Final = (
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""For each of the 68 points of the iBUG scheme the nearest of the 478: jaw, brows, nose, eyes, lips."""

BLENDSHAPE_NAMES: Final = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight",
    "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""ARKit's names in MediaPipe's order; the first is the neutral face."""


class FaceLandmarks(NamedTuple):
    """One face in one picture."""

    points: Float32[np.ndarray, "478 3"]
    """Pixels: x right, y down (a pixel's centre is at + 0.5), z in the same scale, smaller is nearer."""
    blendshapes: Float32[np.ndarray, "52"]
    """Scores in [0, 1] in the order of ``BLENDSHAPE_NAMES``."""
    transform: Float32[np.ndarray, "4 4"]
    """MediaPipe's canonical face to its camera: cm, OpenGL axes, a vertical field of view of 63 degrees."""

    @property
    def size(self) -> float:
        """The longer side of the box around the points, in pixels."""
        return float(np.ptp(self.points[:, :2], axis=0).max())


@runtime_checkable
class LandmarkDetector(Protocol):
    """Finds faces."""

    @property
    def id(self) -> str:
        """What made the landmarks, with the digest of its weights."""
        ...

    def detect(self, frame: UInt8[np.ndarray, "height width 3"], *, index: int = 0) -> list[FaceLandmarks]:
        """Every face in the picture, largest first; ``index`` is the number of the frame in its clip.

        The result depends on this frame alone, so that work may stop and go on anywhere.
        """
        ...

    def close(self) -> None:
        """Let go of memory and threads."""
        ...

    def __enter__(self) -> "LandmarkDetector": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class MediapipeDetector:
    """MediaPipe's Face Landmarker, each picture on its own (its video mode would smooth over time)."""

    def __init__(self, path: Path, *, extractor: str, max_faces: int = 2) -> None:
        """Load ``face_landmarker.task``.

        Args:
            path: The model bundle.
            extractor: What to call it in the dataset.
            max_faces: How many faces to look for. The second costs nothing where there is none.

        Raises:
            WeightsError: the bundle is damaged.
            NerfAdError: mediapipe is not installed.
        """
        self.id = extractor
        with _native_silence():
            try:
                import mediapipe
                from mediapipe.tasks.python import BaseOptions, vision
            except ImportError as error:
                raise NerfAdError(
                    f"landmarks need mediapipe, which cannot be imported: {error}",
                    hint="pip install 'nerf-ad[face]', and on Debian the package libgl1",
                ) from error
            options = vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(path)),
                running_mode=vision.RunningMode.IMAGE,
                num_faces=max_faces,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
            self._mediapipe: Any = mediapipe
            try:
                self._detector: Any = vision.FaceLandmarker.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as error:
                raise WeightsError(
                    f"{path} is not a face landmarker: {str(error).splitlines()[0]}",
                    hint="fetch it again with: nerf-ad weights fetch",
                ) from error
            self.detect(np.zeros((64, 64, 3), np.uint8))

    def detect(self, frame: UInt8[np.ndarray, "height width 3"], *, index: int = 0) -> list[FaceLandmarks]:  # noqa: ARG002
        """Every face in the picture, largest first."""
        height, width = frame.shape[:2]
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame)
        )
        found = self._detector.detect(image)
        faces = [
            FaceLandmarks(
                points=np.array([(p.x * width, p.y * height, p.z * width) for p in points], np.float32),
                blendshapes=np.array([score.score for score in scores], np.float32),
                transform=np.asarray(transform, np.float32),
            )
            for points, scores, transform in zip(
                found.face_landmarks,
                found.face_blendshapes,
                found.facial_transformation_matrixes,
                strict=True,
            )
        ]
        return sorted(faces, key=lambda face: face.size, reverse=True)

    def close(self) -> None:
        """Stop MediaPipe's threads."""
        self._detector.close()

    def __enter__(self) -> "MediapipeDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RecordedDetector:
    """Landmarks from a file instead of pixels: the way without weights.

    The npz holds ``points`` (frames, 478, 3) or (frames, 468, 3), pixels of the *dataset's* frames at 25 fps
    (x right, y down, z in the same scale); NaN in a frame says that it shows no face. ``blendshapes``
    (frames, 52) and ``transform`` (frames, 4, 4) are optional: zeros and the identity where absent. Missing
    irises are put in the middle of the lids. 68 points are not enough: the head's shape needs the dense mesh.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            FormatError: missing, damaged, or an array of another shape.
        """
        arrays = read_npz(path)
        if "points" not in arrays:
            raise FormatError(
                f"{path} has no array named points", hint="save points as (frames, 478, 3) pixels"
            )
        points = arrays["points"].astype(np.float32)
        if points.ndim != 3 or points.shape[1] not in {NUM_SKIN_POINTS, NUM_POINTS} or points.shape[2] != 3:
            raise FormatError(
                f"{path}: points has the shape {points.shape}",
                hint="points must be (frames, 478, 3) or (frames, 468, 3) in MediaPipe's order",
            )
        extent = np.ptp(points[:, :, :2], axis=1).max(axis=-1)
        if (extent <= 0).any() or np.isinf(points).any():
            raise FormatError(f"{path}: points are no faces", hint="use NaN for a frame without a face")
        frames = len(points)
        self._points = points if points.shape[1] == NUM_POINTS else with_irises(points)
        self._blendshapes = _optional(arrays, "blendshapes", np.zeros((frames, 52), np.float32), path)
        self._transform = _optional(
            arrays, "transform", np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1)), path
        )
        self.id = f"recorded:{sha256_file(path)[:12]}"

    def __len__(self) -> int:
        """How many frames were recorded."""
        return len(self._points)

    def detect_at(self, index: int) -> list[FaceLandmarks]:
        """The face of frame ``index``, or none.

        Raises:
            UsageError: the file ends before that frame.
        """
        if not 0 <= index < len(self):
            raise UsageError(
                f"the landmark file has {len(self)} frames and frame {index} was asked for",
                hint="record one set of points for each 25 fps frame of the clip",
            )
        face = FaceLandmarks(self._points[index], self._blendshapes[index], self._transform[index])
        return [face] if np.isfinite(face.points).all() else []

    def detect(self, frame: UInt8[np.ndarray, "height width 3"], *, index: int = 0) -> list[FaceLandmarks]:  # noqa: ARG002
        """The same; the picture is not looked at."""
        return self.detect_at(index)

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> "RecordedDetector":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build_landmark_detector(recorded: Path | None = None, *, max_faces: int = 2) -> LandmarkDetector:
    """MediaPipe's detector, or the recorded landmarks of a file.

    Raises:
        WeightsError: the detector's weights are not there.
        FormatError: the file is not fit.
    """
    if recorded is not None:
        return RecordedDetector(recorded)
    from nerf_ad.core import weights

    name = "face-landmarker"
    return MediapipeDetector(weights.locate(name), extractor=weights.extractor_id(name), max_faces=max_faces)


def with_irises(points: Float[np.ndarray, "frames 468 3"]) -> Float[np.ndarray, "frames 478 3"]:
    """Add five points for each iris, in the middle between the lids."""
    rims = [points[:, list(rim)].mean(axis=1, keepdims=True) for rim in (RIGHT_EYE, LEFT_EYE)]
    return np.concatenate([points, *(np.repeat(rim, 5, axis=1) for rim in rims)], axis=1)


def _optional(
    arrays: dict[str, np.ndarray[Any, np.dtype[Any]]],
    name: str,
    default: Float32[np.ndarray, "..."],
    path: Path,
) -> Float32[np.ndarray, "..."]:
    value = arrays.get(name, default)
    if value.shape != default.shape:
        raise FormatError(f"{path}: {name} has the shape {value.shape}, not {default.shape}")
    return value.astype(np.float32)


@contextlib.contextmanager
def _native_silence() -> Iterator[None]:
    """Send what native code writes to standard error nowhere: MediaPipe greets with six lines of log."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError):  # no standard error at all
        yield
        return
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

"""Landmarks of one person over the clip: the same face from frame to frame, gaps filled in and said."""

import threading
from collections.abc import Callable, Generator

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerf_ad.capture.complaints import Complaint, frame_ranges
from nerf_ad.core.errors import MediaError
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.workers import in_order
from nerf_ad.dataset.dataset import LandmarkTrack
from nerf_ad.face.landmarks import NUM_POINTS, FaceLandmarks, LandmarkDetector

NUM_BLENDSHAPES = 52
MIN_SECOND_FACE = 0.35
"""A second face counts if it has this share of the first one's size (ours): pictures on a wall do not."""
MAX_MISSING = 0.5
"""A clip with fewer faces than this share of its frames is refused (ours)."""


class Detectors:
    """One detector per worker thread, closed together."""

    def __init__(self, build: Callable[[], LandmarkDetector]) -> None:
        self._build = build
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: list[LandmarkDetector] = []

    def get(self) -> LandmarkDetector:
        """This thread's own."""
        detector: LandmarkDetector | None = getattr(self._local, "detector", None)
        if detector is None:
            with self._lock:  # built one after the other: building redirects standard error
                detector = self._local.detector = self._build()
                self._all.append(detector)
        return detector

    def close(self) -> None:
        """Let go of all of them."""
        for detector in self._all:
            detector.close()


def track_landmarks(
    num_frames: int,
    read: Callable[[int], UInt8[np.ndarray, "height width 3"]],
    build: Callable[[], LandmarkDetector],
    *,
    num_workers: int,
) -> Generator[Event, None, tuple[LandmarkTrack, list[Complaint]]]:
    """Find the person's face in every frame.

    Args:
        num_frames: length of the clip.
        read: frame number -> picture.
        build: makes a detector; called once per worker.
        num_workers: threads.

    Returns:
        The track, gaps interpolated with confidence 0, and what is wrong by frame.

    Raises:
        MediaError: no face in most of the clip.
    """
    detectors = Detectors(build)
    points = np.full((num_frames, NUM_POINTS, 3), np.nan, np.float32)
    blendshapes = np.zeros((num_frames, NUM_BLENDSHAPES), np.float32)
    empty: list[int] = []
    crowded: list[int] = []
    follower = Follower()

    def detect(index: int) -> list[FaceLandmarks]:
        return detectors.get().detect(read(index), index=index)

    try:
        for index, faces in enumerate(in_order(detect, range(num_frames), num_workers=num_workers)):
            face = follower.choose(faces)
            if face is None:
                empty.append(index)
            else:
                points[index], blendshapes[index] = face.points, face.blendshapes
                others = sum(other.size >= MIN_SECOND_FACE * face.size for other in faces) - 1
                if others > 0:
                    crowded.append(index)
            yield Progress(stage="landmarks", done=index + 1, total=num_frames)
    finally:
        detectors.close()
    found = np.isfinite(points[:, 0, 0])
    if found.mean() < MAX_MISSING:
        raise MediaError(
            f"there is no face in {int((~found).sum())} of {num_frames} frames",
            hint="give a clip in which one person faces the camera; see: nerf-ad check VIDEO",
        )
    complaints = [
        *frame_ranges(empty, fault="no face", advice="the head must stay in the picture and face the camera"),
        *frame_ranges(crowded, fault="two faces", advice="film one person alone"),
    ]
    confidence = found.astype(np.float32)
    return LandmarkTrack(fill_gaps(points, found), confidence, fill_gaps(blendshapes, found)), complaints


class Follower:
    """Keeps to one face: the largest first, then the one nearest to where it was."""

    def __init__(self) -> None:
        self._last: FaceLandmarks | None = None

    def choose(self, faces: list[FaceLandmarks]) -> FaceLandmarks | None:
        """The person's face among those found, if any."""
        if not faces:
            return None
        face = faces[0] if self._last is None else min(faces, key=self._distance)
        self._last = face
        return face

    def _distance(self, face: FaceLandmarks) -> float:
        assert self._last is not None
        moved = np.linalg.norm(face.points[:, :2].mean(axis=0) - self._last.points[:, :2].mean(axis=0))
        return float(moved / self._last.size + abs(np.log(face.size / self._last.size)))


def fill_gaps(
    values: Float[np.ndarray, "frames *rest"], found: Bool[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames *rest"]:
    """Interpolate frames where nothing was found; at the ends repeat the nearest."""
    if found.all():
        return values
    known = np.flatnonzero(found)
    missing = np.flatnonzero(~found)
    right = np.searchsorted(known, missing)
    before, after = known[np.maximum(right - 1, 0)], known[np.minimum(right, len(known) - 1)]
    share = np.clip((missing - before) / np.maximum(after - before, 1), 0, 1).astype(values.dtype)
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    filled = values.copy()
    filled[missing] = values[before] * (1 - share) + values[after] * share
    return filled

"""Head pose and intrinsics of the clip, and where the fit is poor."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerf_ad.capture.complaints import Complaint, frame_ranges
from nerf_ad.core.files import Arrays
from nerf_ad.dataset.dataset import LandmarkTrack
from nerf_ad.face.photometric import refine_poses
from nerf_ad.face.tracking import TrackingConfig, TrackingResult, track_head

MAX_ERROR = 4.0
"""Reprojection error from which a frame is named, in pixels of a 512x512 frame (ours; 2 is the aim)."""


def track_clip(
    landmarks: LandmarkTrack,
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    size: int,
    shots: tuple[int, ...],
    config: TrackingConfig,
    *,
    scratch: Path | None = None,
) -> tuple[TrackingResult, list[Complaint]]:
    """Fit the head to the landmarks, steady it on the pictures, and name the frames that do not fit."""
    tracked = track_head(landmarks.points, landmarks.confidence, size, shots, config)
    refined = refine_poses(frames, landmarks.points, landmarks.confidence, tracked, shots, scratch=scratch)
    result = refined.tracking
    seen = landmarks.confidence > 0
    poor = np.flatnonzero((result.reprojection_error * 512 / size > MAX_ERROR) & seen)
    complaints = frame_ranges(
        (int(frame) for frame in poor),
        fault="the head pose does not fit the landmarks",
        advice="a hand before the face or a fast turn; cut such places out",
        severity="note",
    )
    return result, complaints


def tracking_arrays(result: TrackingResult) -> Arrays:
    """The arrays of ``tracking.npz``."""
    return {name: np.asarray(value) for name, value in result._asdict().items()}

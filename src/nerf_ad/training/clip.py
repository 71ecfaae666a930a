"""A dataset's clip as every training reads it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.dataset import Dataset, Tracking, shot_numbers
from nerf_ad.dataset.head_landmarks import FaceShape, HeadLandmarks, face_shape
from nerf_ad.dataset.hull import Hull, carve
from nerf_ad.dataset.pixels import PixelCache, fit_picture, pixels_folder
from nerf_ad.models.talking_head import plate_numbers


class Clip(NamedTuple):
    """Pictures, poses and landmarks of a clip; pixel figures at the training size."""

    tracking: Tracking
    """Poses, and the camera at the training size."""
    landmarks: HeadLandmarks
    """In the head's own axes, metres."""
    face: FaceShape
    """Those of the training frames, together."""
    cache: PixelCache
    """Recorded frames, parts and torsos."""
    backgrounds: Float[np.ndarray, "plates size size 3"]
    """Clean plates in [0, 1], the common one first."""
    background_of: list[int]
    """Which plate each shot stands before."""
    shots: Int[np.ndarray, "frames"]
    """Shot of every frame."""
    train: range
    """Training frames."""

    @property
    def size(self) -> int:
        """Width and height of the pictures, pixels."""
        return self.cache.size


def read_clip(dataset: Dataset, size: int) -> Clip:
    """Read what the stages share; ``open_pixels`` has made the cache."""
    tracking = dataset.tracking()
    landmarks = HeadLandmarks(dataset.landmark_rows(), tracking)
    train = dataset.split().train
    num_shots = sum(shot < train.stop for shot in dataset.manifest.shots)
    own = [shot for shot in range(num_shots) if dataset.layout.shot_background(shot).is_file()]
    plates = [dataset.background(), *(dataset.background(shot) for shot in own)]
    return Clip(
        tracking._replace(intrinsics=tracking.intrinsics * (size / dataset.size)),
        landmarks,
        face_shape(landmarks.blocks(train)),
        PixelCache(pixels_folder(dataset, size), num_frames=dataset.num_frames, size=size),
        np.stack([fit_picture(plate, size).astype(np.float32) / 255 for plate in plates]),
        plate_numbers(own, num_shots),
        shot_numbers(dataset.manifest.shots, dataset.num_frames, num_shots),
        train,
    )


def carve_head(clip: Clip, *, resolution: int) -> Hull:
    """Where the head can be, from the parts of the training frames.

    Raises:
        FormatError: nowhere.
    """
    hull = carve(
        clip.cache,
        clip.tracking.camera_to_world,
        clip.tracking.intrinsics,
        clip.landmarks.blocks(clip.train),
        clip.face,
        train=clip.train,
        resolution=resolution,
    )
    if not hull.cells.any():
        raise FormatError(
            "the head masks and the head poses do not meet anywhere", hint="capture the video again"
        )
    return hull

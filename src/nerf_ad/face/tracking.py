"""Head pose over a clip: one rigid head, one focal length, a steady path.

First the shape and the focal length by bundle adjustment over keyframes, then every frame's pose against
them, then the most probable path inside each shot (:mod:`nerf_ad.geometry.smoothing`). The landmarks of one
frame err together, so the path's noise is measured on the poses and not derived from the points.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from nerf_ad.core.config import Config
from nerf_ad.core.errors import MediaError
from nerf_ad.face.head_pose import Poses, guess_poses, solve_poses
from nerf_ad.face.head_shape import RIGID_POINTS, HeadShape, average_face, fit_head_shape
from nerf_ad.geometry.camera import Intrinsics, project
from nerf_ad.geometry.smoothing import shot_ranges, smooth_poses

_STEADY = (33, 133, 362, 263, 168, 6, 197, 195, 5, 4)
"""Eye corners and ridge of the nose: where jitter is measured."""


class TrackingConfig(Config):
    """How the head is tracked."""

    focal: float = 2.0
    """First focal length and centre of its prior, in picture widths; 2 is a view of 28 degrees."""
    focal_spread: float = 0.25
    """Standard deviation of the prior on the focal length's logarithm: a head shows it only weakly."""
    shape_spread: float = 0.004
    """Standard deviation, in metres, of the prior that holds the shape to the landmarker's own 3D points."""
    num_keyframes: int = 160
    """Frames that shape and focal length are fitted to."""
    smooth: bool = True
    """Smooth the path inside each shot."""


class TrackingResult(NamedTuple):
    """Head pose as a moving camera before a resting head, and how good it is."""

    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Metres, OpenGL axes."""
    intrinsics: Float[np.ndarray, "4"]
    """fx, fy, cx, cy in pixels."""
    head_points: Float[np.ndarray, "points 3"]
    """Metres; x to the person's left, y up, z out of the face, origin inside the skull."""
    point_indices: Int[np.ndarray, "points"]
    """Which of the 478 landmarks they are."""
    reprojection_error: Float[np.ndarray, "frames"]
    """Median distance between the projected points and their landmarks, in pixels."""
    jitter: Float[np.ndarray, "frames"]
    """Second difference over time of projected eye corners and nose, root mean square, in pixels."""
    jitter_raw: Float[np.ndarray, "frames"]
    """The same before smoothing."""


def track_head(
    points: Float[np.ndarray, "frames 478 3"],
    confidence: Float[np.ndarray, "frames"],
    size: int,
    shots: tuple[int, ...],
    config: TrackingConfig,
) -> TrackingResult:
    """Track the head through a clip of square frames.

    Args:
        points: landmarks; x right, y down, z away from the viewer, pixels.
        confidence: 0 where no face was found; such frames are interpolated inside their shot.
        size: width and height of the frames in pixels.
        shots: first frame of every shot, ascending, beginning with 0; nothing is smoothed across.
        config: choices.

    Raises:
        MediaError: fewer than 3 frames have a face.
    """
    found = np.flatnonzero(confidence > 0)
    if len(found) < 3:
        raise MediaError("no face was found in the clip", hint="choose a clip in which the face is seen")
    centre = size / 2
    keys = found[np.unique(np.linspace(0, len(found) - 1, config.num_keyframes).astype(int))]
    # Work at 512 pixels, where the weights of priors and evidence were chosen.
    to_work = 512 / size
    key_points = points[keys].astype(np.float64) * to_work
    head, focal = _fit(key_points, config)

    focal /= to_work
    rigid = points[:, RIGID_POINTS].astype(np.float64)
    pixels = rigid[..., :2]
    guess = guess_poses(rigid[found], head.points, focal, centre)
    solved, _ = solve_poses(
        pixels[found], head.points, focal, centre, guess, rounds=8, spread=head.spread / to_work
    )
    raw = _spread_over(solved, found, len(points), shots)
    trust = (confidence > 0).astype(np.float64)
    poses = Poses(*smooth_poses(raw.rotation, raw.translation, trust, shots)) if config.smooth else raw

    intrinsics = Intrinsics.centred(focal, size, size)
    camera_to_world = poses.camera_to_world()
    return TrackingResult(
        camera_to_world.astype(np.float32),
        intrinsics.array(),
        head.points.astype(np.float32),
        RIGID_POINTS,
        measure_reprojection(points, camera_to_world, intrinsics, head.points),
        measure_jitter(camera_to_world, intrinsics, head.points, shots),
        measure_jitter(raw.camera_to_world(), intrinsics, head.points, shots),
    )


def measure_reprojection(
    points: Float[np.ndarray, "frames 478 3"],
    camera_to_world: Float[np.ndarray, "frames 4 4"],
    intrinsics: Intrinsics,
    head_points: Float[np.ndarray, "points 3"],
) -> Float[np.ndarray, "frames"]:
    """Median distance in pixels between the projected rigid points and their landmarks, per frame."""
    error = np.empty(len(points), np.float32)
    for start in range(0, len(points), 256):
        part = slice(start, start + 256)
        seen = project(head_points[None], camera_to_world[part, None], intrinsics).pixels
        error[part] = np.median(np.linalg.norm(seen - points[part, RIGID_POINTS, :2], axis=2), axis=1)
    return error


def measure_jitter(
    camera_to_world: Float[np.ndarray, "frames 4 4"],
    intrinsics: Intrinsics,
    head_points: Float[np.ndarray, "points 3"],
    shots: tuple[int, ...],
) -> Float[np.ndarray, "frames"]:
    """RMS second difference of the projected eye corners and nose, pixels; 0 at a shot's ends."""
    rows = np.flatnonzero(np.isin(RIGID_POINTS, _STEADY))
    seen = project(head_points[rows][None], camera_to_world[:, None], intrinsics).pixels
    jitter = np.zeros(len(seen), np.float32)
    for frames in shot_ranges(shots, len(seen)):
        second = np.diff(seen[frames.start : frames.stop], n=2, axis=0)
        if len(second) > 0:
            jitter[frames.start + 1 : frames.stop - 1] = np.sqrt((second**2).sum(axis=2).mean(axis=1))
    return jitter


def _fit(key_points: Float[np.ndarray, "keys 478 3"], config: TrackingConfig) -> tuple[HeadShape, float]:
    """Shape and focal length at 512 pixels."""
    initial = average_face(key_points)[RIGID_POINTS]
    eyes = (int(np.searchsorted(RIGID_POINTS, 33)), int(np.searchsorted(RIGID_POINTS, 263)))
    focal = config.focal * 512
    poses = guess_poses(key_points[:, RIGID_POINTS], initial, focal, 256.0)
    head, _ = fit_head_shape(
        key_points[:, RIGID_POINTS, :2],
        initial,
        poses,
        focal=focal,
        centre=256.0,
        focal_spread=config.focal_spread,
        shape_spread=config.shape_spread,
        eyes=eyes,
    )
    return head, head.focal


def _spread_over(
    solved: Poses, found: Int[np.ndarray, "found"], num_frames: int, shots: tuple[int, ...]
) -> Poses:
    """Poses for all frames: one without a face takes those around it in its shot, or the nearest of all."""
    rotation = np.empty((num_frames, 3, 3))
    translation = np.empty((num_frames, 3))
    for frames in shot_ranges(shots, num_frames):
        known = np.flatnonzero((found >= frames.start) & (found < frames.stop))
        if len(known) == 0:
            known = np.array([int(np.abs(found - (frames.start + frames.stop) / 2).argmin())])
        wanted = np.arange(frames.start, frames.stop)
        right = np.searchsorted(found[known], wanted).clip(0, len(known) - 1)
        left = (right - (found[known][right] > wanted)).clip(0, None)
        before, after = known[left], known[right]
        gap = found[after] - found[before]
        share = np.where(gap > 0, (wanted - found[before]) / np.maximum(gap, 1), 0.0).clip(0, 1)
        mixed = (1 - share)[:, None, None] * solved.rotation[before] + share[:, None, None] * solved.rotation[
            after
        ]
        left_vectors, _, right_vectors = np.linalg.svd(mixed)
        rotation[wanted] = left_vectors @ right_vectors
        translation[wanted] = (1 - share)[:, None] * solved.translation[before] + share[:, None] * (
            solved.translation[after]
        )
    return Poses(rotation, translation)

"""The pinhole camera.

Conventions of the whole package: world and camera in metres, OpenGL axes (x right, y up, the camera looks
along -z), ``camera_to_world`` a rigid 4x4 matrix. A pixel's centre lies at (column + 0.5, row + 0.5), so that
intrinsics scale with the image by one factor. A point (x, y, z) in camera axes, z < 0, is seen at

    u = cx - fx * x / z,    v = cy + fy * y / z.

NumPy only; :mod:`nerf_ad.geometry.rays` holds the torch twin.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Intrinsics(NamedTuple):
    """Focal lengths and principal point in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def centred(focal: float, width: int, height: int) -> "Intrinsics":
        """Square pixels, principal point in the middle of the picture."""
        return Intrinsics(focal, focal, width / 2, height / 2)

    @staticmethod
    def from_array(values: Float[np.ndarray, "4"]) -> "Intrinsics":
        """From ``[fx, fy, cx, cy]``."""
        fx, fy, cx, cy = (float(value) for value in values)
        return Intrinsics(fx, fy, cx, cy)

    def array(self) -> Float[np.ndarray, "4"]:
        """``[fx, fy, cx, cy]`` as float32."""
        return np.array(self, np.float32)


class Projection(NamedTuple):
    """Where points are seen."""

    pixels: Float[np.ndarray, "*points 2"]
    """(u, v): right and down, in pixels."""
    depth: Float[np.ndarray, "*points"]
    """Metres along the viewing axis; positive before the camera."""


def project(
    points_world: Float[np.ndarray, "*points 3"],
    camera_to_world: Float[np.ndarray, "*poses 4 4"],
    intrinsics: Intrinsics,
) -> Projection:
    """Project world points, metres, into the picture.

    The leading axes of the points and of the pose broadcast against each other: to see N points in F frames
    give poses of shape (F, 1, 4, 4). Points at or behind the camera get meaningless pixels and depth <= 0.
    """
    offset = points_world - camera_to_world[..., :3, 3]
    x, y, z = np.moveaxis(np.einsum("...ji,...j->...i", camera_to_world[..., :3, :3], offset), -1, 0)
    safe = np.where(z == 0, -np.finfo(z.dtype).tiny, z)
    pixels = np.stack(
        [intrinsics.cx - intrinsics.fx * x / safe, intrinsics.cy + intrinsics.fy * y / safe], axis=-1
    )
    return Projection(pixels, -z)


def scale_intrinsics(intrinsics: Intrinsics, factor: float) -> Intrinsics:
    """Intrinsics of the same picture resized by ``factor`` (0.5 halves it)."""
    return Intrinsics(*(value * factor for value in intrinsics))


def crop_intrinsics(intrinsics: Intrinsics, left: int, top: int) -> Intrinsics:
    """Intrinsics after cutting ``left`` columns and ``top`` rows away (negative: adding them)."""
    return intrinsics._replace(cx=intrinsics.cx - left, cy=intrinsics.cy - top)


def pose_matrix(
    rotation: Float[np.ndarray, "*poses 3 3"], translation: Float[np.ndarray, "*poses 3"]
) -> Float[np.ndarray, "*poses 4 4"]:
    """The 4x4 matrix that maps x to rotation x + translation."""
    matrix: np.ndarray[Any, np.dtype[Any]] = np.zeros(
        (*rotation.shape[:-2], 4, 4), np.result_type(rotation, translation)
    )
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1
    return matrix


def invert_pose(pose: Float[np.ndarray, "*poses 4 4"]) -> Float[np.ndarray, "*poses 4 4"]:
    """Inverse of a rigid 4x4 matrix: camera-to-world to world-to-camera and back."""
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    return pose_matrix(rotation, -np.einsum("...ij,...j->...i", rotation, pose[..., :3, 3]))

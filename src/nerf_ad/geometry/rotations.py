"""Rotations: matrices, axis-angle vectors, quaternions, Euler angles (NumPy, over any leading axes).

Matrices act on column vectors. Axis-angle is the axis times the angle in radians. Quaternions are
(w, x, y, z) with w >= 0. Euler angles are yaw about y, pitch about x, roll about z, radians, applied to
a point in the order roll, pitch, yaw: ``R = R_y(yaw) R_x(pitch) R_z(roll)``. For a head in the
world's axes a positive yaw turns the face to the person's left, a positive pitch lowers it.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation


def matrix_from_axis_angle(vector: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """The exponential map."""
    return np.asarray(Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix()).reshape(*vector.shape, 3)


def axis_angle_from_matrix(matrix: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """The logarithm; the angle is in [0, pi]."""
    return np.asarray(_rotation(matrix).as_rotvec()).reshape(matrix.shape[:-1])


def matrix_from_quaternion(quaternion: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """From (w, x, y, z) of any length but zero."""
    rotation = Rotation.from_quat(quaternion.reshape(-1, 4), scalar_first=True)
    return np.asarray(rotation.as_matrix()).reshape(*quaternion.shape[:-1], 3, 3)


def quaternion_from_matrix(matrix: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 4"]:
    """Unit quaternions (w, x, y, z) with w >= 0."""
    quaternion = np.asarray(_rotation(matrix).as_quat(canonical=True, scalar_first=True))
    return quaternion.reshape(*matrix.shape[:-2], 4)


def matrix_from_euler(angles: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """From (yaw, pitch, roll) in radians."""
    rotation = Rotation.from_euler("YXZ", angles.reshape(-1, 3))
    return np.asarray(rotation.as_matrix()).reshape(*angles.shape[:-1], 3, 3)


def euler_from_matrix(matrix: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """(yaw, pitch, roll) in radians, pitch in [-pi/2, pi/2]."""
    return np.asarray(_rotation(matrix).as_euler("YXZ")).reshape(matrix.shape[:-1])


def geodesic_distance(
    first: Float[np.ndarray, "*n 3 3"], second: Float[np.ndarray, "*n 3 3"]
) -> Float[np.ndarray, "*n"]:
    """Angle of the rotation that takes one to the other, radians in [0, pi]."""
    return np.asarray(np.linalg.norm(axis_angle_from_matrix(np.swapaxes(first, -1, -2) @ second), axis=-1))


def mean_rotation(matrices: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation with the least sum of squared chordal distances to the given ones."""
    return np.asarray(_rotation(matrices).mean().as_matrix())


def align_rotation(
    source: Float[np.ndarray, "*n points 3"],
    target: Float[np.ndarray, "*n points 3"],
    weights: Float[np.ndarray, "points"],
) -> Float[np.ndarray, "*n 3 3"]:
    """The rotation that best takes source to target about their weighted means (Kabsch)."""
    share = weights / weights.sum()
    source = source - np.einsum("...ni,n->...i", source, share)[..., None, :]
    target = target - np.einsum("...ni,n->...i", target, share)[..., None, :]
    left, _, right = np.linalg.svd(np.einsum("...ni,...nj,n->...ij", target, source, share))
    left[..., :, 2] *= np.linalg.det(left @ right)[..., None]
    return np.asarray(left @ right)


def _rotation(matrix: Float[np.ndarray, "*n 3 3"]) -> Rotation:
    return Rotation.from_matrix(matrix.reshape(-1, 3, 3))


def are_rigid(poses: np.ndarray) -> bool:
    """Whether an array holds at least one pose and nothing but rotations (to 1 %) with positions."""
    if poses.dtype.kind not in "fiu" or poses.ndim != 3 or poses.shape[1:] != (4, 4) or len(poses) == 0:
        return False
    if not (np.abs(poses) < 1e6).all():  # metres; NaN is not, either
        return False
    turn = poses[:, :3, :3].astype(np.float64)
    return (
        np.allclose(turn @ turn.transpose(0, 2, 1), np.eye(3), atol=0.01)
        and bool((np.linalg.det(turn) > 0).all())
        and np.allclose(poses[:, 3], (0, 0, 0, 1), atol=1e-4)
    )

"""Smoothing a measured path as strongly as its own noise asks for, and no more.

The model: the true path x accelerates at random, its second differences are independent with covariance Q;
what is measured is y = x + n, n independent with covariance R. Then the second differences of y
have the spectrum

    S(w) = Q + |1 - exp(iw)|^4 R,

from which Q and R follow by maximum likelihood (Whittle's, by expectation-maximisation over the frequencies),
and the most probable path minimises  sum (y - x)' R^-1 (y - x) + sum (D2 x)' Q^-1 (D2 x), which is one banded
system per shot. Real motion rests and then jerks, so the second term's weight adapts to each frame as for a
Student distribution: rest is smoothed more, a fast nod less. The smoother looks both ways, so it cannot lag.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float
from scipy.linalg import solveh_banded

from nerf_ad.geometry.rotations import axis_angle_from_matrix, matrix_from_axis_angle, mean_rotation

_SHORTEST = 12
"""Frames a shot needs to tell anything about noise."""
_WINDOW = 64
"""Frames of a window whose spectrum is taken."""
_MOST_WINDOWS = 120
"""Windows looked at, evenly spread over a long clip."""
_FREEDOM = 4.0
"""Degrees of freedom of the Student distribution of accelerations."""


class PathNoise(NamedTuple):
    """What maximum likelihood says of a path."""

    measurement: Float[np.ndarray, "dof dof"]
    """R: covariance of a measurement's error."""
    acceleration: Float[np.ndarray, "dof dof"]
    """Q: covariance of the true path's second differences."""


def shot_ranges(shots: tuple[int, ...], num_frames: int) -> list[range]:
    """The frames of each shot from their first frames."""
    ends = (*shots[1:], num_frames)
    return [range(start, end) for start, end in zip(shots, ends, strict=True) if end > start]


def estimate_noise(
    path: Float[np.ndarray, "frames dof"],
    shots: tuple[int, ...],
    *,
    measurement: Float[np.ndarray, "dof dof"] | None = None,
    rounds: int = 150,
) -> PathNoise | None:
    """Maximum-likelihood noise and liveliness of a measured path; ``None`` if every shot is too short.

    The measurement's noise is read from the calmer windows alone: where the head moves, a frame shown twice
    or left out (a clip converted from another frame rate) looks like noise, but is not.
    Where ``measurement`` is given it is taken for R and only the liveliness is estimated.
    """
    spectra, gains, speeds = [], [], []
    starts = [
        (start, min(_WINDOW, frames.stop - start))
        for frames in shot_ranges(shots, len(path))
        for start in range(frames.start, frames.stop - _SHORTEST + 1, _WINDOW)
    ]
    for start, length in starts[:: -(-len(starts) // _MOST_WINDOWS) or 1]:
        window = path[start : start + length]
        second = np.diff(window, n=2, axis=0)
        taper = np.hanning(len(second) + 2)[1:-1, None]
        spectra.append(np.fft.rfft(second * taper, axis=0)[1:] / np.sqrt((taper**2).sum()))
        gains.append(np.abs(1 - np.exp(2j * np.pi * np.fft.rfftfreq(len(second))[1:])) ** 4)
        speeds.append((window[length // 2 :].mean(axis=0) - window[: length // 2].mean(axis=0)) / length)
    if not spectra:
        return None
    scale = np.sqrt(np.mean([(np.abs(spectrum) ** 2).mean(axis=0) for spectrum in spectra], axis=0)) + 1e-12
    speed = np.linalg.norm(np.array(speeds) / scale, axis=1)
    calm = np.flatnonzero(speed <= np.quantile(speed, 0.4))
    if len(calm) < 3:
        calm = np.arange(len(speed))
    back = np.outer(scale, scale)
    if measurement is None:
        quiet = _fit_spectrum([spectra[i] / scale for i in calm], [gains[i] for i in calm], rounds, None)
        measurement = quiet.measurement * back
    whole = _fit_spectrum([spectrum / scale for spectrum in spectra], gains, rounds, measurement / back)
    return PathNoise(whole.measurement * back, whole.acceleration * back)


def _fit_spectrum(
    spectra: list[Complex[np.ndarray, "_ dof"]],
    gains: list[Float[np.ndarray, "_"]],
    rounds: int,
    measurement: Float[np.ndarray, "dof dof"] | None,
) -> PathNoise:
    """Expectation-maximisation of R and Q, or of Q alone where R is given."""
    spectrum, gain = np.concatenate(spectra), np.concatenate(gains)[:, None, None]
    power = np.real(spectrum[:, :, None] * spectrum[:, None, :].conj())
    dof = spectrum.shape[1]
    motion = 0.5 * np.eye(dof)
    noise = 0.5 / gain.mean() * np.eye(dof) if measurement is None else measurement
    ridge = 1e-9 * np.eye(dof)
    for _ in range(rounds):
        inverse = np.linalg.inv(motion + gain * noise + ridge)
        excess = inverse @ power @ inverse - inverse
        motion = motion + motion @ excess.mean(axis=0) @ motion
        if measurement is None:
            noise = noise + noise @ (gain * excess).mean(axis=0) @ noise
    return PathNoise(_positive(noise), _positive(motion))


def _positive(matrix: Float[np.ndarray, "dof dof"]) -> Float[np.ndarray, "dof dof"]:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return np.asarray((vectors * np.maximum(values, 1e-8)) @ vectors.T)


def smooth_path(
    path: Float[np.ndarray, "frames dof"],
    trust: Float[np.ndarray, "frames"],
    shots: tuple[int, ...],
    noise: PathNoise | None = None,
) -> Float[np.ndarray, "frames dof"]:
    """The most probable path behind a measured one, each shot on its own.

    Args:
        path: what was measured.
        trust: weight of each measurement: 1 for a usual one, 0 for none (the frame is then interpolated).
        shots: first frame of every shot, beginning with 0.
        noise: from :func:`estimate_noise`; estimated here if not given.
    """
    noise = noise or estimate_noise(path, shots)
    if noise is None:
        return path.copy()
    smoothed = path.copy()
    for frames in shot_ranges(shots, len(path)):
        part = slice(frames.start, frames.stop)
        if len(frames) > 2 and trust[part].any():
            smoothed[part] = _smooth_shot(path[part], trust[part], noise)
    return smoothed


def _smooth_shot(
    path: Float[np.ndarray, "frames dof"], trust: Float[np.ndarray, "frames"], noise: PathNoise
) -> Float[np.ndarray, "frames dof"]:
    num_frames, dof = path.shape
    accuracy, calm = np.linalg.inv(noise.measurement), np.linalg.inv(noise.acceleration)
    weight = np.ones(num_frames - 2)
    smoothed = path
    for _ in range(4):
        smoothed = _solve_banded(path, trust, weight, accuracy, calm)
        second = np.diff(smoothed, n=2, axis=0)
        energy = np.einsum("fi,ij,fj->f", second, calm, second)
        kernel = np.array([0.25, 0.5, 0.25])
        energy = np.convolve(np.pad(energy, 1, mode="edge"), kernel, mode="valid")
        # Smoothed accelerations are smaller than the true ones: their mean energy is set right.
        energy *= dof / max(float(energy.mean()), 1e-12)
        weight = (_FREEDOM + dof) / (_FREEDOM + energy)
        weight /= float(weight.mean())
    return smoothed


def _solve_banded(
    path: Float[np.ndarray, "frames dof"],
    trust: Float[np.ndarray, "frames"],
    weight: Float[np.ndarray, "accelerations"],
    accuracy: Float[np.ndarray, "dof dof"],
    calm: Float[np.ndarray, "dof dof"],
) -> Float[np.ndarray, "frames dof"]:
    """Solve (A + D2' W D2) x = A y for block-diagonal A, W; upper banded storage."""
    num_frames, dof = path.shape
    bands = np.zeros((3, num_frames))
    stencil = (1.0, -2.0, 1.0)
    for i, left in enumerate(stencil):
        for j, right in enumerate(stencil[i:], start=i):
            bands[j - i, i : i + len(weight)] += left * right * weight
    width = 3 * dof
    stored = np.zeros((width, num_frames, dof))  # stored[width - 1 + row - column, column]
    for lag in range(3):
        for i in range(dof):
            for j in range(dof):
                offset = lag * dof + j - i
                if offset < 0:
                    continue
                values = bands[lag, : num_frames - lag] * calm[i, j]
                if lag == 0:
                    values = values + trust * accuracy[i, j]
                stored[width - 1 - offset, lag:, j] += values
    right_side = trust[:, None] * (path @ accuracy)
    solved = solveh_banded(
        stored.reshape(width, -1), right_side.ravel(), overwrite_ab=True, check_finite=False
    )
    return np.asarray(solved).reshape(num_frames, dof)


def smooth_poses(
    rotation: Float[np.ndarray, "frames 3 3"],
    translation: Float[np.ndarray, "frames 3"],
    trust: Float[np.ndarray, "frames"],
    shots: tuple[int, ...],
    measurement: Float[np.ndarray, "6 6"] | None = None,
) -> tuple[Float[np.ndarray, "frames 3 3"], Float[np.ndarray, "frames 3"]]:
    """Smooth object-to-camera poses inside each shot.

    Works on the rotation vector about the mean rotation and on (x/z, y/z, log|z|), in which the errors of a
    tracked pose are close to normal: depth errs far more than direction.

    Args:
        rotation: object to camera, OpenGL axes.
        translation: metres, z < 0.
        trust: weight of each frame's measurement, 0 for none.
        shots: first frame of every shot.
        measurement: covariance of the measured :func:`pose_coordinates`; estimated if not given.
    """
    centre = mean_rotation(rotation)
    path = pose_coordinates(rotation, translation, centre)
    noise = estimate_noise(path, shots, measurement=measurement)
    return poses_at(smooth_path(path, trust, shots, noise), centre)


def pose_coordinates(
    rotation: Float[np.ndarray, "frames 3 3"],
    translation: Float[np.ndarray, "frames 3"],
    centre: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "frames 6"]:
    """Rotation vector relative to ``centre`` (camera axes), x/z, y/z, log|z|."""
    x, y, z = translation.T
    return np.concatenate(
        [axis_angle_from_matrix(rotation @ centre.T), np.stack([x / z, y / z, np.log(-z)], axis=1)], axis=1
    )


def poses_at(
    path: Float[np.ndarray, "frames 6"], centre: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "frames 3 3"], Float[np.ndarray, "frames 3"]]:
    """Inverse of :func:`pose_coordinates`."""
    z = -np.exp(path[:, 5])
    translation = np.stack([path[:, 3] * z, path[:, 4] * z, z], axis=1)
    return matrix_from_axis_angle(path[:, :3]) @ centre, translation

"""Sharper head poses: every frame aligned to the average picture of the upper face.

Landmarks jump by half a pixel from frame to frame, all together, and drift with the expression. The skin
itself is a better mark: points of the rigid surface are looked up in every frame, their average over the clip
is the template, and a few Gauss-Newton steps (Lucas and Kanade) bring each frame's pose to where it looks
like the template, up to gain and offset of the light. Points that change anyway (blinks, wrinkles, gloss)
lose weight by their own variance. Then the template is renewed, and the path smoothed as before.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.interpolate import CloughTocher2DInterpolator
from scipy.ndimage import gaussian_filter

from nerf_ad.core.config import Config
from nerf_ad.core.files import explained
from nerf_ad.face.head_pose import Poses, apply_step, linearise
from nerf_ad.face.tracking import TrackingResult, measure_jitter, measure_reprojection
from nerf_ad.geometry.camera import Intrinsics, invert_pose, project
from nerf_ad.geometry.smoothing import smooth_poses


class PhotometricConfig(Config):
    """How poses are refined on the pictures."""

    rounds: int = 2
    """How often the template is renewed."""
    steps: int = 2
    """Gauss-Newton steps per frame and round."""
    face_pixels: float = 150.0
    """Width of the face, temple to temple, to which larger pictures are reduced."""
    least_face_pixels: float = 60.0
    """A narrower face is left to its landmarks (ours, by the truth of synthetic persons: from 29 to 44 pixels
    the rotation became worse, by 0.1 to 4.6 degrees; 60 changed nothing; 89 are enough)."""
    num_points: int = 1000
    """Surface points looked up in each frame: the most telling of a finer grid."""
    fine: float = 1.0
    """Standard deviation of the blur that removes noise, in reduced pixels."""
    coarse: float = 7.0
    """Standard deviation of the blur that is subtracted, in pixels of a face that is ``face_pixels`` wide and
    in proportion on a narrower one: it removes shading."""


_ANGLE_NOISE = np.radians([0.06, 0.03, 0.04])
"""Error of an aligned pose about the camera's x, y, z: measured on two broadcast clips."""
_PIXEL_NOISE = 0.07
"""Error of its place in the picture, in reduced pixels; measured likewise."""
_DEPTH_NOISE = 3e-4
"""Error of the logarithm of its depth; measured likewise."""
_BROW = 0.012
"""Metres above the outer eye corners: what lies higher moves with the brows."""


class Patches(NamedTuple):
    """The face cut out of every frame."""

    grey: UInt8[np.ndarray, "frames side side"]
    corner: Float[np.ndarray, "frames 2"]
    """Left and top in the frame's pixels."""
    scale: float
    """Patch pixels per frame pixel."""
    face_pixels: float
    """Width of the face, temple to temple, in patch pixels."""


class Template(NamedTuple):
    """The average look of the surface."""

    points: Float[np.ndarray, "points 3"]
    """World, metres."""
    value: Float[np.ndarray, "points"]
    spread: Float[np.ndarray, "points"]
    """Standard deviation over the frames."""


def cut_patches(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    camera_to_world: Float[np.ndarray, "frames 4 4"],
    intrinsics: Intrinsics,
    head_points: Float[np.ndarray, "points 3"],
    face_pixels: float,
    *,
    scratch: Path | None = None,
) -> Patches:
    """Cut the face out of every frame, grey, reduced to about ``face_pixels``; one pass, 50 kB a frame.

    They lie in an unnamed file in ``scratch`` (the system's folder for such files where absent), so that a
    long clip fills the disk's cache and not the memory.
    """
    from PIL import Image

    extent = face_width(camera_to_world, intrinsics, head_points)
    middle = np.array([(head_points.min(axis=0) + head_points.max(axis=0)) / 2])
    scale = min(1.0, face_pixels / extent)
    side = int(1.5 * extent * scale / 2) * 2
    seen = project(middle[None], camera_to_world[:, None].astype(np.float64), intrinsics).pixels[:, 0]
    corner = np.floor(seen - side / scale / 2)
    grey = _on_disk((len(seen), side, side), scratch)
    for index, frame in enumerate(frames):
        left, top = int(corner[index, 0]), int(corner[index, 1])
        whole = int(np.ceil(side / scale))  # the window may leave the frame, which then reads as black
        window = Image.fromarray(frame).convert("L").crop((left, top, left + whole, top + whole))
        part = (0.0, 0.0, side / scale, side / scale)
        grey[index] = np.asarray(window.resize((side, side), Image.Resampling.BILINEAR, box=part))
    return Patches(grey, corner, scale, extent * scale)


def face_width(
    camera_to_world: Float[np.ndarray, "frames 4 4"],
    intrinsics: Intrinsics,
    head_points: Float[np.ndarray, "points 3"],
) -> float:
    """Pixels from temple to temple in the middle one of the frames, seen from the front."""
    low, high = head_points.min(axis=0), head_points.max(axis=0)
    depth = -np.einsum("fi,fi->f", camera_to_world[:, :3, 2], (low + high) / 2 - camera_to_world[:, :3, 3])
    return float(intrinsics.fx / np.median(depth) * (high[0] - low[0]))


def _on_disk(shape: tuple[int, int, int], scratch: Path | None) -> UInt8[np.ndarray, "frames side side"]:
    """Zeros in a file that is gone with the array."""
    with explained(scratch or Path(tempfile.gettempdir())), tempfile.TemporaryFile(dir=scratch) as file:
        file.truncate(max(1, int(np.prod(shape))))
        return np.memmap(file, np.uint8, "r+", shape=shape)


def surface_points(
    head_points: Float[np.ndarray, "points 3"],
    eyes: Iterable[tuple[int, int]],
    num_points: int,
) -> Float[np.ndarray, "samples 3"]:
    """An even grid of points on the smooth surface through the rigid points, without eyes and forehead.

    The forehead's skin follows the brows: with it, ears and hair come out less steady.

    Args:
        head_points: world, metres.
        eyes: rows of the outer and inner corner of each eye.
        num_points: how many, roughly.
    """
    low, high = head_points[:, :2].min(axis=0), head_points[:, :2].max(axis=0)
    spacing = float(np.sqrt(np.prod(high - low) / num_points))
    x, y = np.meshgrid(np.arange(low[0], high[0], spacing), np.arange(low[1], high[1], spacing))
    flat = np.stack([x.ravel(), y.ravel()], axis=1)
    depth = CloughTocher2DInterpolator(head_points[:, :2], head_points[:, 2])(flat)
    keep = np.isfinite(depth)
    for outer, inner in eyes:
        keep &= flat[:, 1] < head_points[outer, 1] + _BROW
        middle = (head_points[outer] + head_points[inner])[:2] / 2
        width = float(np.linalg.norm(head_points[outer] - head_points[inner]))
        away = (flat - middle) / (0.62 * width, 0.45 * width)
        keep &= (away**2).sum(axis=1) > 1
    return np.asarray(np.concatenate([flat, depth[:, None]], axis=1)[keep])


def band_pass(
    grey: UInt8[np.ndarray, "frames side side"], *, fine: float, coarse: float
) -> Float[np.ndarray, "frames side side"]:
    """Detail between the two blurs, whose standard deviations are in pixels."""
    sharp = gaussian_filter(grey.astype(np.float32), (0, fine, fine), truncate=3)
    return np.asarray(sharp - gaussian_filter(sharp, (0, coarse, coarse), truncate=2.5))


def look_up(
    maps: Float[np.ndarray, "maps frames side side"], pixels: Float[np.ndarray, "frames points 2"]
) -> Float[np.ndarray, "maps frames points"]:
    """Bilinear values; points outside take the border's."""
    side = maps.shape[-1]
    place = np.clip(pixels - 0.5, 0, side - 1.001)
    whole = place.astype(np.int64)
    u, v = np.moveaxis((place - whole).astype(np.float32), -1, 0)
    flat = (np.arange(len(pixels))[:, None] * side + whole[..., 1]) * side + whole[..., 0]
    values = maps.reshape(len(maps), -1)
    above = values[:, flat] * (1 - u) + values[:, flat + 1] * u
    below = values[:, flat + side] * (1 - u) + values[:, flat + side + 1] * u
    return np.asarray(above * (1 - v) + below * v)


class Look(NamedTuple):
    """How surface points look over a sample of frames."""

    value: Float[np.ndarray, "points"]
    spread: Float[np.ndarray, "points"]
    """Standard deviation over the frames."""
    steepness: Float[np.ndarray, "points"]
    """Mean squared slope."""

    def unsteadiness(self) -> float:
        """Typical change over time as a share of the picture's contrast: the less, the steadier the poses."""
        return float(np.median(self.spread) / max(float(self.value.std()), 1e-6))


def look_at(
    patches: Patches,
    poses: Poses,
    points: Float[np.ndarray, "points 3"],
    camera: Intrinsics,
    config: PhotometricConfig,
) -> Look:
    """Average look over up to 200 frames, each brought to the same mean and contrast."""
    sample = np.unique(np.linspace(0, len(patches.grey) - 1, 200).astype(int))
    values, steepness = [], np.zeros(len(points))
    for part in np.array_split(sample, max(1, len(sample) // 16)):
        seen, _ = _see(patches, Poses(*(array[part] for array in poses)), part, points, camera)
        value, along_u, along_v = look_up(_maps(patches, part, config), seen)
        values.append(value)
        steepness += (along_u**2 + along_v**2).sum(axis=0) / len(sample)
    table = np.concatenate(values)
    table -= table.mean(axis=1, keepdims=True)
    contrast = table.std(axis=1, keepdims=True)
    table *= float(np.median(contrast)) / np.maximum(contrast, 1e-3)
    middle = np.median(table, axis=0)
    reach = 3 * np.median(np.abs(table - middle), axis=0) + 1e-3
    mean = np.clip(table, middle - reach, middle + reach).mean(axis=0)
    return Look(mean, np.sqrt(((table - mean) ** 2).mean(axis=0)), steepness)


def _see(
    patches: Patches,
    poses: Poses,
    part: Int[np.ndarray, "frames"],
    points: Float[np.ndarray, "points 3"],
    camera: Intrinsics,
) -> tuple[Float[np.ndarray, "frames points 2"], Float[np.ndarray, "frames points 2 6"]]:
    """Where points lie in the patches of some frames, and how that changes with the pose."""
    nowhere = np.zeros((len(part), len(points), 2))
    seen = linearise(nowhere, points, camera.fx, camera.cx, poses)
    return (seen.residual - patches.corner[part][:, None]) * patches.scale, seen.by_pose * patches.scale


def _maps(
    patches: Patches, part: Int[np.ndarray, "frames"], config: PhotometricConfig
) -> Float[np.ndarray, "3 frames side side"]:
    """Detail of some frames and its slopes along u and v."""
    # Shading is as wide as the face is: measured in pixels the blur would leave more of it on a narrow one.
    coarse = config.coarse * patches.face_pixels / config.face_pixels
    detail = band_pass(patches.grey[part], fine=config.fine, coarse=coarse)
    along_v, along_u = np.gradient(detail, axis=(1, 2))
    return np.stack([detail, along_u, along_v])


def align(
    patches: Patches,
    poses: Poses,
    template: Template,
    camera: Intrinsics,
    config: PhotometricConfig,
    *,
    chunk: int = 32,
) -> Poses:
    """Bring every frame's pose to where the surface looks like the template."""
    rotation, translation = poses.rotation.copy(), poses.translation.copy()
    known = 1 / (template.spread**2 + 0.25 * float(np.median(template.spread)) ** 2)
    for start in range(0, len(rotation), chunk):
        part = np.arange(start, min(start + chunk, len(rotation)))
        maps = _maps(patches, part, config)
        now = Poses(rotation[part], translation[part])
        for _ in range(config.steps):
            seen, by_pose = _see(patches, now, part, template.points, camera)
            value, along_u, along_v = look_up(maps, seen)
            # Gain and offset absorb the light.
            light = np.stack([np.broadcast_to(template.value, value.shape), np.ones_like(value)], axis=2)
            difference, weight = _relight(value, light, known)
            steepest = along_u[..., None] * by_pose[:, :, 0] + along_v[..., None] * by_pose[:, :, 1]
            full = np.concatenate([steepest, -light], axis=2)
            weighted = np.swapaxes(full * weight[..., None], 1, 2)
            hessian = weighted @ full
            hessian[:, np.arange(8), np.arange(8)] *= 1 + 1e-4
            step = np.linalg.solve(hessian, weighted @ difference[..., None])
            now = apply_step(now, -step[:, :6, 0])
        rotation[part], translation[part] = now
    return Poses(rotation, translation)


def _relight(
    value: Float[np.ndarray, "frames points"],
    light: Float[np.ndarray, "frames points 2"],
    known: Float[np.ndarray, "points"],
) -> tuple[Float[np.ndarray, "frames points"], Float[np.ndarray, "frames points"]]:
    """What gain and offset leave unexplained, and robust weights."""
    weight = np.broadcast_to(known, value.shape)
    difference = value
    for _ in range(2):
        weighted = np.swapaxes(light * weight[..., None], 1, 2)
        difference = value - (light @ np.linalg.solve(weighted @ light, weighted @ value[..., None]))[..., 0]
        size = np.abs(difference) * np.sqrt(known)
        weight = known * np.minimum(1, 1.5 / np.maximum(size, 1e-6))
    return difference, weight


class Refinement(NamedTuple):
    """Poses after alignment, and whether they are better."""

    tracking: TrackingResult
    """The refined track, or the given one if that looks steadier."""
    kept: bool
    """Whether the refined track was kept."""
    unsteadiness: tuple[float, float]
    """Change of the unwrapped face over time, as a share of its contrast: before and after; NaN for a face
    that is too small to look at."""


def refine_poses(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]],
    points: Float[np.ndarray, "frames 478 3"],
    confidence: Float[np.ndarray, "frames"],
    tracked: TrackingResult,
    shots: tuple[int, ...],
    config: PhotometricConfig | None = None,
    *,
    scratch: Path | None = None,
) -> Refinement:
    """Align every frame to the average face, smooth again, and keep the result if the face became steadier.

    Args:
        frames: all pictures, in order; read once.
        points: landmarks, for the reprojection error of the result.
        confidence: 0 where no face was found; such frames are interpolated.
        tracked: poses from landmarks.
        shots: first frame of every shot.
        config: choices.
        scratch: folder for about 50 kB a frame while it works.
    """
    config = config or PhotometricConfig()
    camera = Intrinsics.from_array(tracked.intrinsics)
    head, rows = tracked.head_points.astype(np.float64), tracked.point_indices.tolist()
    first = tracked.camera_to_world.astype(np.float64)
    if face_width(first, camera, head) < config.least_face_pixels:
        return Refinement(tracked, kept=False, unsteadiness=(np.nan, np.nan))
    patches = cut_patches(frames, first, camera, head, config.face_pixels, scratch=scratch)
    eyes = [(rows.index(outer), rows.index(inner)) for outer, inner in ((33, 133), (263, 362))]
    surface = surface_points(head, eyes, 4 * config.num_points)
    world_to_camera = invert_pose(first)
    start = Poses(world_to_camera[:, :3, :3], world_to_camera[:, :3, 3])

    poses = start
    before = look = look_at(patches, poses, surface, camera, config)
    for _ in range(config.rounds):
        telling = look.steepness / (look.spread**2 + 0.25 * float(np.median(look.spread)) ** 2)
        best = np.sort(np.argsort(-telling)[: config.num_points])
        template = Template(surface[best], look.value[best], look.spread[best])
        poses = align(patches, poses, template, camera, config)
        look = look_at(patches, poses, surface, camera, config)

    raw = poses.camera_to_world()
    # A frame that ran away from its landmarks (hidden, blurred) goes back to them and is hardly trusted.
    moved = np.linalg.norm(
        project(head[None], raw[:, None], camera).pixels - project(head[None], first[:, None], camera).pixels,
        axis=2,
    ).mean(axis=1)
    lost = (moved > max(6 * float(np.median(moved)), 0.02 * camera.cx)) | (confidence <= 0)
    lost |= ~np.isfinite(moved)
    joined = Poses(
        np.where(lost[:, None, None], start.rotation, poses.rotation),
        np.where(lost[:, None], start.translation, poses.translation),
    )
    pixel = _PIXEL_NOISE / (patches.scale * camera.fx)
    noise = np.diag(np.array([*_ANGLE_NOISE, pixel, pixel, _DEPTH_NOISE]) ** 2)
    smooth = Poses(*smooth_poses(*joined, np.where(lost, 0.001, 1.0), shots, noise))
    after = look_at(patches, smooth, surface, camera, config)
    unsteadiness = (before.unsteadiness(), after.unsteadiness())
    if not unsteadiness[1] < 0.98 * unsteadiness[0]:
        return Refinement(tracked, kept=False, unsteadiness=unsteadiness)
    camera_to_world = smooth.camera_to_world()
    result = tracked._replace(
        camera_to_world=camera_to_world.astype(np.float32),
        reprojection_error=measure_reprojection(points, camera_to_world, camera, head),
        jitter=measure_jitter(camera_to_world, camera, head, shots),
    )
    return Refinement(result, kept=True, unsteadiness=unsteadiness)

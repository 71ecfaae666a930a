"""An analytic talking head with known truth: a whole dataset in seconds, without camera, weights or person.

An ellipsoid head (``analytic_face``) turns before a still camera; neck and torso are flat shapes that sway
with it; syllables open the mouth and make the sound. So lips, pose, action units, masks and landmarks are
known.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from nerf_ad.core.files import write_json, write_npz, write_text
from nerf_ad.dataset.dataset import Dataset, DatasetManifest, Source, StepRecord
from nerf_ad.dataset.layout import Layout
from nerf_ad.dataset.synthetic.analytic_face import Expression, intersect, landmarks, noise, paint
from nerf_ad.face.parsing import PALETTE
from nerf_ad.media.audio import Waveform, write_wav
from nerf_ad.media.images import write_image
from nerf_ad.speech.encoder import MelConfig
from nerf_ad.speech.mel import MelEncoder

FPS = 25
SAMPLE_RATE = 16_000
DISTANCE = 1.1
"""From camera to head, metres."""
FOCAL = 2.4
"""Focal length over picture size: the head fills half the picture's height."""
RIGID = (
    10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 2, 33, 133, 362, 263, 129, 358, 117, 346, 50, 280,
    127, 356, 234, 454, 93, 323, 152,
)  # fmt: skip
"""Landmarks that do not move with the face's expression."""
UNITS = ("AU10", "AU14", "AU20", "AU25", "AU26", "AU45")
PRESENCE = 0.2
"""Intensity from which an action unit counts as present."""
_SUPERSAMPLING = 2


class PersonTruth(NamedTuple):
    """Everything that is known about the synthetic person's clip; frame i shows the time i / 25 s."""

    mouth_open: Float[np.ndarray, "frames"]
    """In [0, 1]; the inner lips are ``MAX_GAP`` times this apart in height."""
    mouth_stretch: Float[np.ndarray, "frames"]
    """In [0, 1]; heard as the second formant."""
    blink: Float[np.ndarray, "frames"]
    """In [0, 1]; not tied to the sound."""
    brow: Float[np.ndarray, "frames"]
    """In [0, 1]; not tied to the sound."""
    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Metres, OpenGL axes; the head rests at the origin."""
    intrinsics: Float[np.ndarray, "4"]
    """fx, fy, cx, cy in pixels."""
    sway: Float[np.ndarray, "frames 2"]
    """Shift of the torso, right and down, as a fraction of the picture's size."""
    waveform: Float[np.ndarray, "samples"]
    """Mono, 16 kHz, in [-1, 1]."""


def make_person(root: Path, *, size: int = 96, num_frames: int = 100, seed: int = 0) -> Dataset:
    """Write a complete dataset of the synthetic person into ``root``.

    Args:
        root: a folder that is made, or filled.
        size: width and height in pixels.
        num_frames: length at 25 fps; at least 22, so that both parts of the split hold something.
        seed: of the motion and the sound. The face, clothes and background stay the same.
    """
    if num_frames < 22:
        message = f"{num_frames} frames are too few for a split"
        raise ValueError(message)
    truth = person_truth(size=size, num_frames=num_frames, seed=seed)
    layout = Layout(root)
    plate = _background(size)
    write_image(layout.background, plate)
    for index in range(num_frames):
        frame, labels, torso = render_frame(truth, index, size=size, plate=plate)
        write_image(layout.frame(index), frame)
        write_image(layout.labels(index), labels, palette=PALETTE)
        write_image(layout.torso_image(index), torso)
    write_wav(layout.audio, Waveform(truth.waveform, SAMPLE_RATE))
    _write_arrays(layout, truth)
    write_json(layout.complaints, [])
    record = StepRecord(
        version=1,
        inputs=f"seed {seed}",
        extractor="synthetic",
        finished_at="1970-01-01T00:00:00Z",
        seconds=0.0,
    )
    names = (
        "frames",
        "audio",
        "landmarks",
        "parsing",
        "background",
        "torso",
        "tracking",
        "action_units",
        "speech",
    )
    manifest = DatasetManifest(
        source=Source(
            name="synthetic", sha256="0" * 64, width=size, height=size, fps=FPS, seconds=num_frames / FPS
        ),
        fps=FPS,
        size=size,
        num_frames=num_frames,
        steps=dict.fromkeys(names, record),
    )
    write_text(layout.manifest, manifest.to_toml())
    return Dataset.open(root)


def person_truth(*, size: int = 96, num_frames: int = 100, seed: int = 0) -> PersonTruth:
    """Motion and sound of the clip that ``make_person`` writes for the same arguments."""
    rng = np.random.default_rng(seed)
    samples = np.arange(num_frames * SAMPLE_RATE // FPS) / SAMPLE_RATE
    times = np.arange(num_frames) / FPS
    opening, stretch = _syllables(samples, rng)
    waveform = _voice(opening, stretch, rng)
    at_frames = (times * SAMPLE_RATE).astype(int)
    blink = np.zeros(num_frames)
    start = rng.uniform(0.4, 1.0)
    while start < times[-1]:
        blink = np.maximum(blink, np.clip(1.6 - np.abs(times - start) / 0.075, 0.0, 1.0))
        start += rng.uniform(1.0, 2.0)
    yaw, pitch, roll = (_drift(times, rng) * np.radians(limit) for limit in (12.0, 6.0, 4.0))
    shift = np.stack([_drift(times, rng) * limit for limit in (0.010, 0.006, 0.015)], axis=-1)
    poses = np.stack(
        [
            _camera(angles, offset)
            for angles, offset in zip(np.stack([yaw, pitch, roll], -1), shift, strict=True)
        ]
    )
    return PersonTruth(
        mouth_open=opening[at_frames],
        mouth_stretch=stretch[at_frames],
        blink=blink,
        brow=0.5 + 0.5 * _drift(times, rng),
        camera_to_world=poses.astype(np.float32),
        intrinsics=np.array([FOCAL * size, FOCAL * size, size / 2, size / 2], dtype=np.float32),
        sway=shift[:, :2] * np.array([1.0, -1.0]) * 0.5 * FOCAL / DISTANCE,
        waveform=waveform.astype(np.float32),
    )


def render_frame(
    truth: PersonTruth, index: int, *, size: int, plate: UInt8[np.ndarray, "height width 3"]
) -> tuple[
    UInt8[np.ndarray, "height width 3"],
    UInt8[np.ndarray, "height width"],
    UInt8[np.ndarray, "height width 4"],
]:
    """The picture, the part of every pixel, and the torso without its head, straight alpha."""
    n = size * _SUPERSAMPLING
    centres = (np.arange(n) + 0.5) / _SUPERSAMPLING
    u, v = np.meshgrid(centres, centres)
    fx, fy, cx, cy = truth.intrinsics
    pose = truth.camera_to_world[index].astype(np.float64)
    directions = np.stack([(u - cx) / fx, -(v - cy) / fy, -np.ones_like(u)], axis=-1) @ pose[:3, :3].T
    hit, points = intersect(pose[:3, 3], directions)
    head = np.zeros((n, n, 3))
    head[hit] = paint(points[hit], expression_at(truth, index), sharpness=0.6 * DISTANCE / float(fx))

    torso, neck, clothes = _torso(u / size, v / size, truth.sway[index])
    body = neck | clothes
    torso_alpha, torso_rgb = _shrink(body[..., None].astype(float)), _shrink(torso * body[..., None])
    head_alpha, head_rgb = _shrink(hit[..., None].astype(float)), _shrink(head)
    below = torso_rgb + (1.0 - torso_alpha) * plate / 255.0
    # What lies behind the head is averaged over the pixel before it is covered, as a compositing model does.
    frame = head_rgb + (1.0 - head_alpha) * below

    cover = np.stack([~(hit | body), hit, neck & ~hit, clothes & ~hit & ~neck], axis=-1)
    labels = np.argmax(_shrink(cover.astype(float)), axis=-1).astype(np.uint8)
    straight = torso_rgb / np.maximum(torso_alpha, 1e-6)
    return _to_bytes(frame), labels, _to_bytes(np.concatenate([straight, torso_alpha], axis=-1))


def expression_at(truth: PersonTruth, index: int) -> Expression:
    """What the face does in one frame."""
    channels = (truth.mouth_open, truth.mouth_stretch, truth.blink, truth.brow)
    return Expression(*(float(channel[index]) for channel in channels))


def project(
    points: Float[np.ndarray, "points 3"], pose: Float[np.ndarray, "4 4"], intrinsics: Float[np.ndarray, "4"]
) -> Float[np.ndarray, "points 3"]:
    """World points in pixels; the third number is depth behind the head's origin in the same scale."""
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = -local[:, 2]
    fx, fy, cx, cy = intrinsics
    origin = float(np.linalg.norm(pose[:3, 3]))
    return np.stack(
        [cx + fx * local[:, 0] / depth, cy - fy * local[:, 1] / depth, (depth - origin) * fx / origin], -1
    )


def _write_arrays(layout: Layout, truth: PersonTruth) -> None:
    num_frames = len(truth.mouth_open)
    shapes = [landmarks(expression_at(truth, index)) for index in range(num_frames)]
    seen = [
        project(shape, pose.astype(np.float64), truth.intrinsics)
        for shape, pose in zip(shapes, truth.camera_to_world, strict=True)
    ]
    units = {
        "AU10": 0.4 * truth.mouth_open,
        "AU14": 0.3 * truth.mouth_stretch,
        "AU20": truth.mouth_stretch,
        "AU25": truth.mouth_open,
        "AU26": 0.8 * truth.mouth_open,
        "AU45": truth.blink,
    }
    blendshapes = np.zeros((num_frames, 52), dtype=np.float32)
    for indices, channel in (  # of the Face Landmarker's 52 scores
        ((3,), truth.brow),  # browInnerUp
        ((9, 10), truth.blink),  # eyeBlink, left and right
        ((25,), units["AU26"]),  # jawOpen
        ((28, 29), units["AU14"]),  # mouthDimple
        ((46, 47), units["AU20"]),  # mouthStretch
        ((48, 49), units["AU10"]),  # mouthUpperUp
    ):
        blendshapes[:, list(indices)] = channel[:, None]
    intensity = np.stack([units[name] for name in UNITS], axis=-1).astype(np.float32)
    confidence = np.ones(num_frames, dtype=np.float32)
    write_npz(
        layout.landmarks,
        {"points": np.stack(seen).astype(np.float32), "confidence": confidence, "blendshapes": blendshapes},
    )
    write_npz(
        layout.tracking,
        {
            "camera_to_world": truth.camera_to_world,
            "intrinsics": truth.intrinsics,
            "head_points": shapes[0][list(RIGID)].astype(np.float32),
            "point_indices": np.array(RIGID),
            "reprojection_error": np.zeros(num_frames, dtype=np.float32),
        },
    )
    write_npz(
        layout.action_units,
        {
            "intensity": intensity,
            "presence": intensity >= PRESENCE,
            "names": np.array(UNITS),
            "sources": np.array(["truth"] * len(UNITS)),
        },
    )
    encoder = MelEncoder()
    write_npz(
        layout.speech_features(MelConfig().kind),
        {
            "features": encoder.encode(truth.waveform),
            "rate_hz": np.array(encoder.rate_hz),
            "encoder": np.array(encoder.id),
        },
    )
    num_train = num_frames * 10 // 11
    write_json(layout.split, {"train": [0, num_train], "test": [num_train, num_frames]})


def _syllables(
    times: Float[np.ndarray, "samples"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "samples"], Float[np.ndarray, "samples"]]:
    """Opening and stretch over time: some four syllables a second, in phrases with pauses between."""
    opening, stretch = np.zeros_like(times), np.zeros_like(times)
    start, left = 0.2, 5
    while start < times[-1]:
        length = rng.uniform(0.18, 0.30)
        bump = np.sin(np.pi * np.clip((times - start) / length, 0.0, 1.0)) ** 2
        opening += rng.uniform(0.35, 1.0) * bump
        stretch += rng.choice([0.0, 0.5, 1.0]) * bump
        left -= 1
        start += length * 0.9
        if left == 0:
            start, left = start + rng.uniform(0.25, 0.5), int(rng.integers(3, 7))
    return np.minimum(opening, 1.0), np.minimum(stretch, 1.0)


def _voice(
    opening: Float[np.ndarray, "samples"], stretch: Float[np.ndarray, "samples"], rng: np.random.Generator
) -> Float[np.ndarray, "samples"]:
    """Harmonics of a gliding 120 Hz under two formants, as loud as the mouth is open, over a little noise."""
    t = np.arange(len(opening)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(120.0 + 10.0 * np.sin(2 * np.pi * 0.7 * t)) / SAMPLE_RATE
    first, second = 300.0 + 500.0 * opening, 1000.0 + 1300.0 * stretch
    voice = np.zeros_like(t)
    for harmonic in range(1, 26):
        hertz = 120.0 * harmonic
        gain = np.exp(-(((hertz - first) / 150.0) ** 2)) + 0.5 * np.exp(-(((hertz - second) / 250.0) ** 2))
        voice += (gain + 0.02) * np.sin(harmonic * phase)
    hiss = rng.normal(size=len(t)) * (0.002 + 0.02 * opening)
    return np.clip(0.2 * voice * opening**0.7 + hiss, -1.0, 1.0)


def _drift(times: Float[np.ndarray, "frames"], rng: np.random.Generator) -> Float[np.ndarray, "frames"]:
    """A slow wander that reaches 1 or -1."""
    path = sum(np.sin(2 * np.pi * (rate * times + rng.uniform())) for rate in rng.uniform(0.12, 0.5, 3))
    return np.asarray(path / np.max(np.abs(path)))


def _camera(angles: Float[np.ndarray, "3"], offset: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Camera before a resting head, from the head's yaw, pitch, roll and shift before a resting camera."""
    yaw, pitch, roll = angles
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    head = about_y @ about_x @ about_z
    pose = np.eye(4)
    pose[:3, :3] = head.T
    pose[:3, 3] = -head.T @ (offset + np.array([0.0, 0.045, -DISTANCE]))
    return pose


def _torso(
    x: Float[np.ndarray, "height width"], y: Float[np.ndarray, "height width"], sway: Float[np.ndarray, "2"]
) -> tuple[
    Float[np.ndarray, "height width 3"], Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]
]:
    """Colour, neck mask and clothes mask over the picture; coordinates are fractions of its size."""
    x, y = x - 0.5 - sway[0], y - sway[1]
    aside = np.abs(x)
    beside = np.maximum(aside - 0.10, 0.0)
    collar = 0.80 - 0.5 * np.maximum(aside - 0.05, 0.0)
    clothes = y > np.where(aside < 0.11, collar, 0.775 + 1.1 * beside**2 + 0.10 * beside)
    neck = (aside < 0.082 + 0.6 * np.maximum(y - 0.72, 0.0)) & (y > 0.45) & ~clothes
    where, shade = np.stack([x, y], axis=-1), 1.0 - 0.9 * aside
    rgb = np.zeros((*x.shape, 3))
    skin = shade[neck] * (1.0 + 0.05 * noise(where[neck], frequency=25.0, seed=3))
    rgb[neck] = np.array([0.70, 0.51, 0.42]) * skin[:, None]
    stripes = 0.5 + 0.5 * np.tanh(3.0 * np.sin(2 * np.pi * (y - 0.4 * aside)[clothes] / 0.075))
    cloth = np.array([0.16, 0.26, 0.45]) + stripes[:, None] * np.array([0.14, 0.10, 0.04])
    weave = shade[clothes] * (1.0 + 0.08 * noise(where[clothes], frequency=40.0, seed=4))
    rgb[clothes] = cloth * weave[:, None]
    return np.clip(rgb, 0.0, 1.0), neck, clothes


def _background(size: int) -> UInt8[np.ndarray, "height width 3"]:
    """A wall with soft patches and a shelf of coloured boxes."""
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    where = np.stack([x, y], axis=-1)
    wall = np.array([0.62, 0.66, 0.60]) * (1.0 + 0.10 * noise(where, frequency=9.0, seed=5))[..., None]
    wall += 0.03 * noise(where, frequency=70.0, seed=6)[..., None]
    boxes = (y > 0.12) & (y < 0.34) & ((x < 0.24) | (x > 0.80))
    hue = np.floor(x / 0.08).astype(int) % 3
    colours = np.array([[0.60, 0.30, 0.25], [0.30, 0.45, 0.55], [0.75, 0.65, 0.35]])
    return _to_bytes(np.where(boxes[..., None], 0.5 * wall + 0.5 * colours[hue], wall))


def _shrink(picture: Float[np.ndarray, "tall wide channels"]) -> Float[np.ndarray, "height width channels"]:
    tall, wide, channels = picture.shape
    k = _SUPERSAMPLING
    return np.asarray(picture.reshape(tall // k, k, wide // k, k, channels).mean(axis=(1, 3)))


def _to_bytes(
    picture: Float[np.ndarray, "height width channels"],
) -> UInt8[np.ndarray, "height width channels"]:
    return np.asarray(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)

"""Faces of random people and what moves in them: what the network of action units learns from.

They are drawn, and kept as the landmark detector sees them. One file a person: frames out of a minute of
speech, then sparse and dense expressions. Nobody here is one of ``IDENTITIES``, who are kept for testing.
"""

import io
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image
from pydantic import Field
from scipy import ndimage

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import read_npz, write_npz
from nerf_ad.dataset.synthetic.articulation import UNIT_INDEX
from nerf_ad.dataset.synthetic.face_points import load_face_points
from nerf_ad.dataset.synthetic.film import camera_path, torso_path
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES, load_head_mesh
from nerf_ad.dataset.synthetic.look import SyntheticLook
from nerf_ad.dataset.synthetic.motion import Motion, perform
from nerf_ad.dataset.synthetic.population import draw_identity
from nerf_ad.dataset.synthetic.script import training_sentences
from nerf_ad.dataset.synthetic.voice import ToneConfig, Voice, build_voice, recite
from nerf_ad.face.landmarks import (
    LEFT_EYE_OUTER,
    LOWER_LIP_INNER,
    RIGHT_EYE_OUTER,
    UPPER_LIP_INNER,
    LandmarkDetector,
)

FPS: Final = 25
"""Of the speech that frames are taken from."""
_FIRST_TAKE: Final = 1_000_000
"""Seed of the first person's speech and behaviour: far from what anyone would film with."""
_FAMILIES: Final = tuple(
    (index, UNIT_INDEX[name[:-4] + "Right"])
    if name.endswith("Left") and name[:-4] not in {"jaw", "mouth"}
    else (index,)
    for index, name in enumerate(UNIT_NAMES)
    if not (name.endswith("Right") and name[:-5] not in {"jaw", "mouth"})
)
"""Columns of the units that go together: left and right, or one alone."""
_SPARSE_UNITS: Final = (1, 5)
"""Least number of families in a sparse expression, and one past the most."""
_DENSE: Final = (0.5, 2.0)
"""The beta distribution of a dense expression's weights: mean 0.2, now and then near 1."""
_EVEN: Final = 0.75
"""Share of expressions whose sides are alike."""
_TURN: Final = np.radians([25.0, 15.0, 10.0])
"""How far heads turn in expressions: yaw, pitch, roll."""
_LEAN: Final = (0.02, 0.02, 0.08)
"""How far heads are from their place in expressions, metres: right, up, towards the viewer."""


class SampleConfig(Config):
    """How much is drawn of each person."""

    size: int = Field(default=256, ge=64, le=1024)
    """Width and height of the pictures."""
    seconds: float = Field(default=60.0, gt=0)
    """Length of the speech that frames are taken from."""
    num_speech: int = Field(default=32, ge=1)
    """Frames out of the speech, at random."""
    num_sparse: int = Field(default=10, ge=0)
    """Frames with a part of a spoken shape and a few units more."""
    num_dense: int = Field(default=6, ge=0)
    """Frames in which every unit has some weight."""
    heads_per_look: int = Field(default=4, ge=1)
    """People who share skin, hair and clothes: those take seven seconds to make, a head less than one."""


class Samples(NamedTuple):
    """Frames of one person in which a face was found."""

    points: Float32[np.ndarray, "frames 478 3"]
    """Detected landmarks: x right, y down, z away from the viewer, pixels."""
    blendshapes: Float32[np.ndarray, "frames 52"]
    """The detector's scores in the order of ``BLENDSHAPE_NAMES``."""
    units: Float32[np.ndarray, "frames 52"]
    """True weights in [0, 1] of ``UNIT_NAMES``."""
    lip_gap: Float32[np.ndarray, "frames"]
    """True gap between the inner lips, in distances between the outer eye corners."""
    is_speech: Bool[np.ndarray, "frames"]
    """Whether the frame is out of the speech."""


def sample_file(folder: Path, seed: int) -> Path:
    """Where one person's frames are."""
    return folder / f"{seed:05d}.npz"


def read_samples(path: Path) -> Samples:
    """One person's frames.

    Raises:
        FormatError: missing or damaged.
    """
    arrays = read_npz(path)
    return Samples(**{name: arrays[name] for name in Samples._fields})


def make_samples(
    folder: Path, num_people: int, config: SampleConfig, detector: LandmarkDetector
) -> Iterator[Event]:
    """Draw the people that are not in the folder yet, one file after the other.

    Args:
        folder: where the files go; a second call continues there.
        num_people: how many there shall be; the seeds are 0, 1, 2 and so on.
        config: how much of each.
        detector: what sees them.

    Raises:
        WeightsError: the mesh is not in the cache.
    """
    voice = build_voice(ToneConfig())
    look: SyntheticLook | None = None
    for seed in range(num_people):
        target = sample_file(folder, seed)
        if not target.is_file():
            leader = draw_identity(seed - seed % config.heads_per_look)
            if look is None or look.identity != leader:
                look = SyntheticLook(leader, config.size)
            person = look if seed % config.heads_per_look == 0 else look.reshaped(draw_identity(seed))
            write_npz(target, draw_samples(person, voice, seed, config, detector)._asdict())
        yield Progress(stage="drawing people", done=seed + 1, total=num_people)


class Imagined(NamedTuple):
    """Faces that are not drawn: only what moves in them."""

    units: Float32[np.ndarray, "frames 52"]
    """Weights in [0, 1] of ``UNIT_NAMES``."""
    lip_gap: Float32[np.ndarray, "frames"]
    """Gap between the inner lips of the base mesh, in distances between the outer eye corners."""


def imagine_speech(num_takes: int, *, seconds: float = 60.0) -> Imagined:
    """Every frame of so many takes, none of which is in ``make_samples``; half a second of work each.

    Raises:
        WeightsError: the mesh is not in the cache.
    """
    voice = build_voice(ToneConfig())
    takes = range(2 * _FIRST_TAKE, 2 * _FIRST_TAKE + num_takes)
    return _measured(np.concatenate([_speak(voice, take, seconds).units for take in takes]))


def imagine_expressions(speech: Imagined, count: int, *, seed: int) -> Imagined:
    """Sparse expressions over parts of spoken shapes, and half as many dense ones."""
    rng = np.random.default_rng([seed, 0x1E])
    started = speech.units[rng.choice(len(speech.units), count)]
    sparse = _over(started, count, rng)
    return _measured(np.concatenate([sparse, _draw_dense(count // 2, rng)]).astype(np.float32))


def draw_samples(
    look: SyntheticLook, voice: Voice, seed: int, config: SampleConfig, detector: LandmarkDetector
) -> Samples:
    """The frames of one person."""
    rng = np.random.default_rng([seed, 0x5A])
    motion = draw_motion(voice, seed, config, rng)
    rest = look.points.locate(
        look.figure.posed(np.zeros(len(UNIT_NAMES)), np.eye(4), np.eye(4)), look.figure.quads
    )
    eyes = float(np.linalg.norm(rest[LEFT_EYE_OUTER] - rest[RIGHT_EYE_OUTER]))
    rows = []
    for index, (camera, torso) in enumerate(zip(camera_path(motion), torso_path(motion), strict=True)):
        units = motion.units[index]
        seen = look.render(units.astype(np.float64), camera, torso)
        faces = detector.detect(vary_picture(seen.rgb, rng))
        if faces:
            is_speech = index < config.num_speech
            rows.append((faces[0].points, faces[0].blendshapes, units, seen.lip_gap / eyes, is_speech))
    points, blendshapes, weights, gaps, speech = zip(*rows, strict=True)
    return Samples(
        np.stack(points),
        np.stack(blendshapes),
        np.stack(weights),
        np.array(gaps, np.float32),
        np.array(speech),
    )


def draw_motion(voice: Voice, seed: int, config: SampleConfig, rng: np.random.Generator) -> Motion:
    """Speech first, then sparse and then dense expressions."""
    take = _FIRST_TAKE + seed
    spoken = _speak(voice, take, config.seconds)
    chosen = np.sort(rng.choice(len(spoken.units), config.num_speech, replace=False))
    widely = rng.uniform(0.5, 2.0)
    started = spoken.units[rng.choice(len(spoken.units), config.num_sparse)]
    sparse = _over(started, config.num_sparse, rng)
    dense = _draw_dense(config.num_dense, rng)
    count = config.num_sparse + config.num_dense
    angles = np.concatenate([widely * spoken.angles[chosen], rng.uniform(-1, 1, (count, 3)) * _TURN])
    offset = np.concatenate([spoken.offset[chosen], rng.uniform(-1, 1, (count, 3)) * _LEAN])
    torso = np.concatenate([spoken.torso[chosen], np.zeros((count, 6))])
    units = np.concatenate([spoken.units[chosen], sparse, dense])
    return Motion(*(part.astype(np.float32) for part in (units.clip(0, 1), angles, offset, torso)))


def vary_picture(
    rgb: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Another light and another camera: light from one side, exposure, white balance, contrast, blur, JPEG.

    Ranges are ours.
    """
    height, width = rgb.shape[:2]
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    side = rng.normal(0, 0.25, 2)
    light = np.clip(1 + side[0] * columns + side[1] * rows, 0.3, 1.8) * rng.uniform(0.7, 1.2)
    picture = (rgb / 255.0) ** rng.uniform(0.8, 1.3) * light[..., None] * rng.uniform(0.92, 1.08, 3)
    if rng.uniform() < 0.5:
        picture = ndimage.gaussian_filter(picture, (sigma := rng.uniform(0.2, 0.9), sigma, 0))
    picture = picture + rng.normal(0, rng.uniform(0, 0.02), picture.shape)
    plain = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    packed = io.BytesIO()
    plain.save(packed, "JPEG", quality=int(rng.integers(55, 96)))
    return np.asarray(Image.open(packed).convert("RGB"))


def _speak(voice: Voice, take: int, seconds: float) -> Motion:
    utterance = recite(voice, cycle(training_sentences(seed=take)), seed=take, seconds=seconds)
    return perform(utterance, seed=take, fps=FPS)


def _measured(units: Float32[np.ndarray, "frames 52"]) -> Imagined:
    """With the gap between the lips, which is linear in the units until the lips touch."""
    mesh, places = load_head_mesh(), load_face_points()
    rest = places.locate(mesh.base, mesh.quads)
    opening = np.array(
        [
            np.subtract(*places.locate(unit, mesh.quads)[[UPPER_LIP_INNER, LOWER_LIP_INNER], 1])
            for unit in mesh.units
        ]
    )
    eyes = np.linalg.norm(rest[LEFT_EYE_OUTER] - rest[RIGHT_EYE_OUTER])
    return Imagined(units, np.maximum(units @ opening / eyes, 0).astype(np.float32))


def _over(
    started: Float[np.ndarray, "count 52"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "count 52"]:
    """A part of a spoken shape with a sparse expression over it."""
    part = rng.uniform(0, 1, (count, 1)) * started
    return 1 - (1 - part) * (1 - _draw_sparse(count, rng))


def _draw_sparse(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 52"]:
    units = np.zeros((count, len(UNIT_NAMES)))
    for row in units:
        for family in rng.choice(len(_FAMILIES), int(rng.integers(*_SPARSE_UNITS)), replace=False):
            columns = list(_FAMILIES[family])
            row[columns] = rng.uniform(0.1, 1.0) * _sides(len(columns), rng)
    return units.clip(0, 1)


def _draw_dense(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 52"]:
    units = np.zeros((count, len(UNIT_NAMES)))
    for row in units:
        for family in _FAMILIES:
            row[list(family)] = rng.beta(*_DENSE) * _sides(len(family), rng)
    return units.clip(0, 1)


def _sides(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count"]:
    """1 for each side, or now and then one side less."""
    return np.ones(count) if rng.uniform() < _EVEN else rng.uniform(0.3, 1.0, count)

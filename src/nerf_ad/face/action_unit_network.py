"""Our own network of action units: landmarks of a clip -> intensity and presence, in plain NumPy.

The head's place, size and rotation are undone by laying the points over bone (`RIGID_POINTS`) on an average
face, so that no tracked pose is needed; the person's neutral is subtracted, and a small network reads what is
left. Nobody says which frames show the neutral: the network finds those in which least happens.

Trained on synthetic people by ``scripts/train-action-units``; the file beside this one is ours, made from CC0
assets alone, under the package's licence.
"""

import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from safetensors import SafetensorError, safe_open

from nerf_ad.core.errors import FormatError
from nerf_ad.face.head_shape import RIGID_POINTS
from nerf_ad.face.landmarks import (
    LEFT_EYE_OUTER,
    NUM_POINTS,
    RIGHT_EYE_OUTER,
)
from nerf_ad.geometry.rotations import align_rotation, axis_angle_from_matrix

FILE: Final = "action_units.safetensors"
"""Beside this module."""
FORMAT: Final = 1
"""Of the file: which tensors it holds and what they mean."""
QUIET: Final = 0.1
"""Share of the frames, those in which least happens, whose median is neutral (ours)."""
_ROUNDS: Final = 4
"""How often neutral is found again; it no longer moves then."""
_BLOCK: Final = 1024
"""Frames laid on the template at once."""
_TURN_SCALE: Final = 10.0
"""Brings turns of a tenth of a radian to the size of the other inputs (ours)."""


class Laid(NamedTuple):
    """Faces laid on an average one."""

    points: Float[np.ndarray, "frames 478 3"]
    """x to the person's left, y up, z out of the face, in the template's unit."""
    turn: Float[np.ndarray, "frames 3"]
    """Rotation vector, radians, that was undone: how the head is held, up to a constant of the person."""

    def median(self, chosen: Int[np.ndarray, "chosen"]) -> "Laid":
        """One frame: the median of some, coordinate by coordinate."""
        return Laid(np.median(self.points[chosen], axis=0)[None], np.median(self.turn[chosen], axis=0)[None])

    def mirrored(self, twin: Int[np.ndarray, "478"]) -> "Laid":
        """The same faces in a mirror; ``twin`` names each landmark's opposite."""
        return Laid(
            (self.points * np.array([-1.0, 1.0, 1.0]))[:, twin], self.turn * np.array([1.0, -1.0, -1.0])
        )


class ActionUnitNetwork(NamedTuple):
    """What the file holds.

    Movements are seen along a few directions, m = (points - rest) D, beside the head's turn t since rest and
    its products, x = (m, 10 t, 10 t t'). Then one hidden layer, and a linear way around it:
    ``relu(x A + a) B + x C + b``.
    """

    version: str
    """Which training made it, such as ``1``."""
    names: tuple[str, ...]
    """Of the units, such as ``AU25``."""
    template: Float32[np.ndarray, "rigid 3"]
    """Average place of the points over bone, upright and frontal; the outer eye corners are 1 apart."""
    directions: Float32[np.ndarray, "coordinates components"]
    """D; coordinates are x, y, z of one landmark after the other."""
    hidden: Float32[np.ndarray, "inputs hidden"]
    """A."""
    hidden_bias: Float32[np.ndarray, "hidden"]
    """a."""
    output: Float32[np.ndarray, "hidden outputs"]
    """B; outputs are all intensities, then the logits of all presences."""
    shortcut: Float32[np.ndarray, "inputs outputs"]
    """C."""
    output_bias: Float32[np.ndarray, "outputs"]
    """b."""
    smoothing: Float32[np.ndarray, "units"]
    """Frames: deviation of the Gaussian that each unit is blurred with over time. Faint units tremble."""
    threshold: Float32[np.ndarray, "units"]
    """Probability from which each unit is present."""

    @property
    def id(self) -> str:
        """What to call it where it is a source."""
        return f"network: nerf-ad action units {self.version}"

    def read_clip(
        self, points: Float[np.ndarray, "frames 478 3"]
    ) -> tuple[Float32[np.ndarray, "frames units"], Bool[np.ndarray, "frames units"]]:
        """Intensities in [0, 1], the person's neutral subtracted, and presence.

        Args:
            points: landmarks of one person at 25 fps; x right, y down, z away from the viewer, in one unit.
        """
        laid = lay_on_bone(points, self.template)
        intensity, probability = self.smooth(*self.read(laid, self.find_rest(laid)))
        return np.clip(intensity, 0, 1), probability >= self.threshold

    def smooth(
        self, *series: Float32[np.ndarray, "frames units"]
    ) -> tuple[Float32[np.ndarray, "frames units"], ...]:
        """Blur each unit over time."""
        from scipy.ndimage import gaussian_filter1d

        blurred = []
        for values in series:
            columns = [
                gaussian_filter1d(column, sigma, mode="nearest") if sigma > 0 else column
                for column, sigma in zip(values.T, self.smoothing.tolist(), strict=True)
            ]
            blurred.append(np.stack(columns, axis=1).astype(np.float32))
        return tuple(blurred)

    def find_rest(self, laid: Laid) -> Laid:
        """The person's neutral, as one frame: the median of the frames in which least happens.

        What happens is the sum of all intensities, against the median of the whole clip at first; then each
        neutral finds a better one. Intensities below 0 count: from a smile a face at rest is less than none.
        (Closed lips are a worse start: pressed, dimpled and smiling ones would be taken for neutral.)
        """
        count = len(laid.points)
        quiet = max(round(QUIET * count), min(count, 5))
        rest = laid.median(np.arange(count))
        for _ in range(_ROUNDS):
            happens = self.read(laid, rest)[0].sum(axis=1)
            rest = laid.median(np.argsort(happens, kind="stable")[:quiet])
        return rest

    def read(
        self, laid: Laid, rest: Laid
    ) -> tuple[Float32[np.ndarray, "frames units"], Float32[np.ndarray, "frames units"]]:
        """Intensities, below 0 too, and probabilities of presence, frame by frame."""
        moved = (laid.points - rest.points).reshape(len(laid.points), -1).astype(np.float32)
        return self.judge(
            np.concatenate([moved @ self.directions, turn_terms(laid.turn - rest.turn)], axis=1)
        )

    def judge(
        self, inputs: Float32[np.ndarray, "frames inputs"]
    ) -> tuple[Float32[np.ndarray, "frames units"], Float32[np.ndarray, "frames units"]]:
        """The same from x; what a resting face would get is subtracted from intensities."""
        intensity, logits = np.split(self.evaluate(inputs), 2, axis=1)
        resting = np.split(self.evaluate(np.zeros((1, inputs.shape[1]), np.float32)), 2, axis=1)[0]
        return intensity - resting, 1 / (1 + np.exp(-np.clip(logits, -30, 30)))

    def evaluate(self, inputs: Float32[np.ndarray, "frames inputs"]) -> Float32[np.ndarray, "frames outputs"]:
        """The two layers alone."""
        hidden = np.maximum(inputs @ self.hidden + self.hidden_bias, 0)
        return np.asarray(hidden @ self.output + inputs @ self.shortcut + self.output_bias)


def lay_on_bone(points: Float[np.ndarray, "frames 478 3"], template: Float[np.ndarray, "rigid 3"]) -> Laid:
    """Undo place, size and rotation: lay the points over bone on the template's.

    Args:
        points: x right, y down, z away from the viewer, all in one unit.
        template: see `ActionUnitNetwork`.
    """
    target = (template - template.mean(axis=0)).astype(np.float64)
    size = np.sqrt((target**2).sum())
    faces, turns = [np.zeros((0, NUM_POINTS, 3))], [np.zeros((0, 3))]
    for start in range(0, len(points), _BLOCK):
        cloud = points[start : start + _BLOCK].astype(np.float64) * np.array([1.0, -1.0, -1.0])
        bone = cloud[:, RIGID_POINTS]
        middle = bone.mean(axis=1, keepdims=True)
        rotation = align_rotation(bone, np.broadcast_to(target, bone.shape), np.ones(len(target)))
        scale = size / np.maximum(np.sqrt(((bone - middle) ** 2).sum(axis=(1, 2))), 1e-9)
        faces.append(scale[:, None, None] * np.einsum("fij,fnj->fni", rotation, cloud - middle))
        turns.append(axis_angle_from_matrix(rotation))
    return Laid(np.concatenate(faces), np.concatenate(turns))


def turn_terms(turn: Float[np.ndarray, "frames 3"]) -> Float32[np.ndarray, "frames 9"]:
    """How the head is held, for the network: detections shift a little as a head turns."""
    x, y, z = turn.T
    return (_TURN_SCALE * np.stack([x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], axis=1)).astype(
        np.float32
    )


def average_template(faces: Float[np.ndarray, "people 478 3"]) -> Float32[np.ndarray, "rigid 3"]:
    """The points over bone of an average face, upright and frontal; the outer eye corners are 1 apart."""
    from nerf_ad.face.head_shape import average_face

    mean = average_face(faces)
    unit = np.linalg.norm(mean[LEFT_EYE_OUTER] - mean[RIGHT_EYE_OUTER])
    return (mean[RIGID_POINTS] / unit).astype(np.float32)


def read_network(path: Path) -> ActionUnitNetwork:
    """Read a file of ``training.action_units``.

    Raises:
        FormatError: missing, damaged, or of another format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts: Mapping[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        if facts.get("format") != str(FORMAT):
            raise FormatError(f"{path} is no network of action units of format {FORMAT}")
        return ActionUnitNetwork(
            version=facts["version"],
            names=tuple(json.loads(facts["names"])),
            **{name: value.astype(np.float32) for name, value in tensors.items()},
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} cannot be read as a network of action units: {error}") from error


@functools.cache
def load_network() -> ActionUnitNetwork:
    """The network that comes with the package."""
    with resources.as_file(resources.files(__package__) / FILE) as path:
        return read_network(path)

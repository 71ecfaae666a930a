"""Facial action units over a clip: from our own network, from blendshape scores, or from geometry.

The network (`action_unit_network`) reads the units in which it beat the other two on people it had not seen.

ARKit's blendshapes and FACS's action units name nearly the same movements, so the rest, and everything where
the network is not wanted, are read off one blendshape (the mean of left and right). Some of MediaPipe's
scores hardly ever leave 0; whether one is dead is decided on the clip itself, and the unit is then measured
on the landmarks, with the head's rotation undone.
The values are monotone, not calibrated: they follow the movement, but 0.6 is not twice 0.3.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from nerf_ad.core.config import Config
from nerf_ad.face import landmarks as lm
from nerf_ad.face.action_unit_network import load_network

UNITS: dict[str, tuple[str, ...]] = {
    "AU1": ("browInnerUp",),
    "AU2": ("browOuterUpLeft", "browOuterUpRight"),
    "AU4": ("browDownLeft", "browDownRight"),
    "AU5": ("eyeWideLeft", "eyeWideRight"),
    "AU6": ("cheekSquintLeft", "cheekSquintRight"),
    "AU7": ("eyeSquintLeft", "eyeSquintRight"),
    "AU9": ("noseSneerLeft", "noseSneerRight"),
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU14": ("mouthDimpleLeft", "mouthDimpleRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    "AU16": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "AU17": ("mouthShrugLower",),
    "AU18": ("mouthPucker",),
    "AU20": ("mouthStretchLeft", "mouthStretchRight"),
    "AU22": ("mouthFunnel",),
    "AU24": ("mouthPressLeft", "mouthPressRight"),
    "AU25": (),
    "AU26": ("jawOpen",),
    "AU28": ("mouthRollLower", "mouthRollUpper"),
    "AU45": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""Every unit with the blendshapes whose mean it is; none: always geometry."""

SPEECH_UNITS = ("AU10", "AU14", "AU20", "AU25", "AU26")
"""The units that NeRF-AD uses."""


NETWORK_UNITS = tuple(unit for unit in UNITS if unit != "AU45")
"""Units that the network reads: those whose correlation with the truth it raises by more than 0.02, as the
median over six synthetic people whom it had not seen (docs/decisions/0012-action-unit-network.md). Blinks
were right before."""


class ActionUnitConfig(Config):
    """How action units are read."""

    network: bool = True
    """Read ``NETWORK_UNITS`` with our own network; without it, all from blendshapes and geometry."""
    presence: float = 0.2
    """Intensity from which a unit counts as present; the network has thresholds of its own."""
    dead: float = 0.06
    """A blendshape whose 99th percentile lies less than this above its 10th is dead."""
    smallest: float = 0.02
    """Least movement, in distances between the outer eye corners, that a geometric unit maps to 1."""


class ActionUnitTrack(NamedTuple):
    """Action units over the clip."""

    intensity: Float[np.ndarray, "frames units"]
    """In [0, 1], the person's neutral subtracted."""
    presence: Bool[np.ndarray, "frames units"]
    """Intensity at or above the threshold, or what the network says."""
    names: tuple[str, ...]
    """Such as ``AU25``."""
    sources: tuple[str, ...]
    """Where each came from: the network, blendshapes or a geometric quantity."""


def estimate_action_units(
    points: Float[np.ndarray, "frames 478 3"],
    blendshapes: Float[np.ndarray, "frames 52"],
    camera_to_world: Float[np.ndarray, "frames 4 4"],
    config: ActionUnitConfig | None = None,
) -> ActionUnitTrack:
    """Read every unit of :data:`UNITS`.

    Args:
        points: landmarks; x right, y down, z away from the viewer, pixels.
        blendshapes: scores in [0, 1] in the order of ``BLENDSHAPE_NAMES``.
        camera_to_world: tracked pose; only its rotation is used, to turn the face to the front.
        config: choices.
    """
    config = config or ActionUnitConfig()
    face = frontal_face(points, camera_to_world)
    scores = {name: blendshapes[:, i].astype(np.float64) for i, name in enumerate(lm.BLENDSHAPE_NAMES)}
    substitutes = _measure(face, scores)
    columns, sources = [], []
    for unit, parts in UNITS.items():
        mixed = np.mean([scores[part] for part in parts], axis=0) if parts else np.zeros(len(points))
        low, high = np.percentile(mixed, [10, 99])
        if unit in substitutes and (not parts or high - low < config.dead):
            source, quantity, closed = substitutes[unit]
            columns.append(_normalise(quantity, closed=closed, smallest=config.smallest))
            sources.append(source)
        else:
            columns.append(np.clip(mixed - low, 0, 1))
            sources.append("+".join(parts))
    intensity = np.stack(columns, axis=1).astype(np.float32)
    presence = intensity >= config.presence
    if config.network:
        network = load_network()
        read, is_there = network.read_clip(points)
        for unit in NETWORK_UNITS:
            column, index = list(UNITS).index(unit), network.names.index(unit)
            intensity[:, column], presence[:, column] = read[:, index], is_there[:, index]
            sources[column] = network.id
    return ActionUnitTrack(intensity, presence, tuple(UNITS), tuple(sources))


def frontal_face(
    points: Float[np.ndarray, "frames 478 3"], camera_to_world: Float[np.ndarray, "frames 4 4"]
) -> Float[np.ndarray, "frames 478 3"]:
    """Landmarks with the head's rotation undone: x to the person's left, y up, z out of the face.

    In units of the distance between the outer eye corners, the origin at the nasion.
    """
    cloud = (points - points[:, lm.NASION : lm.NASION + 1]) * np.array([1.0, -1.0, -1.0])
    turned = np.einsum("fij,fnj->fni", camera_to_world[:, :3, :3].astype(np.float64), cloud)
    eyes = turned[:, lm.LEFT_EYE_OUTER] - turned[:, lm.RIGHT_EYE_OUTER]
    return np.asarray(turned / np.maximum(np.linalg.norm(eyes, axis=1), 1e-6)[:, None, None])


def mouth_opening(points: Float[np.ndarray, "*frames 478 _"]) -> Float[np.ndarray, "*frames"]:
    """Inner-lip gap over the distance of the outer eye corners, both in the picture: |13-14| / |33-263|."""
    flat = points[..., :2]
    gap = np.linalg.norm(flat[..., lm.UPPER_LIP_INNER, :] - flat[..., lm.LOWER_LIP_INNER, :], axis=-1)
    eyes = np.linalg.norm(flat[..., lm.RIGHT_EYE_OUTER, :] - flat[..., lm.LEFT_EYE_OUTER, :], axis=-1)
    return np.asarray(gap / np.maximum(eyes, 1e-6))


def eye_openness(points: Float[np.ndarray, "*frames 478 _"]) -> Float[np.ndarray, "*frames"]:
    """Mean aspect ratio of the two eyes: height between the lids over the width between the corners.

    About 0.3 open and 0.1 closed.
    """
    flat = points[..., :2]
    ratios = []
    for rim in (lm.RIGHT_EYE, lm.LEFT_EYE):
        # rim[0] and rim[8] are the corners; the lower lid runs from 1 to 7, the upper one back from 9 to 15.
        heights = [
            np.linalg.norm(flat[..., rim[i], :] - flat[..., rim[16 - i], :], axis=-1) for i in (3, 4, 5)
        ]
        width = np.linalg.norm(flat[..., rim[0], :] - flat[..., rim[8], :], axis=-1)
        ratios.append(np.mean(heights, axis=0) / np.maximum(width, 1e-6))
    return np.asarray(np.mean(ratios, axis=0))


class _Substitute(NamedTuple):
    """A movement measured on the landmarks."""

    source: str
    quantity: Float[np.ndarray, "frames"]
    closed: bool
    """Whether neutral is the lowest state (10th percentile) and not the usual one (median)."""


def _measure(
    face: Float[np.ndarray, "frames 478 3"],
    scores: dict[str, Float[np.ndarray, "frames"]],
) -> dict[str, _Substitute]:
    """Geometric quantities that grow with their unit, in outer-eye distances."""

    def distance(first: int, second: int) -> Float[np.ndarray, "frames"]:
        return np.asarray(np.linalg.norm(face[:, first] - face[:, second], axis=1))

    corners = (face[:, lm.RIGHT_MOUTH_CORNER, 1] + face[:, lm.LEFT_MOUTH_CORNER, 1]) / 2
    lips = (face[:, lm.UPPER_LIP_OUTER, 1] + face[:, lm.LOWER_LIP_OUTER, 1]) / 2
    wings = (face[:, 129, 1] + face[:, 358, 1]) / 2 - face[:, lm.NASION, 1]
    openness = eye_openness(face)
    blinking = openness < 0.7 * np.median(openness)
    cheeks = (distance(50, 145) + distance(280, 374)) / 2
    cheeks = np.where(blinking, np.median(cheeks), cheeks)
    width = distance(lm.RIGHT_MOUTH_CORNER, lm.LEFT_MOUTH_CORNER)
    smile = (scores["mouthSmileLeft"] + scores["mouthSmileRight"]) / 2
    centred = smile - smile.mean()
    slope = float(centred @ width) / max(float(centred @ centred), 1e-9)
    return {
        "AU6": _Substitute("geometry: cheek to lower lid", -cheeks, closed=False),
        "AU9": _Substitute("geometry: rise of the nose wings", wings, closed=False),
        "AU15": _Substitute("geometry: mouth corners below the lips' middle", lips - corners, closed=False),
        "AU20": _Substitute(
            "geometry: mouth width less its share of smile", width - slope * centred, closed=False
        ),
        "AU25": _Substitute("geometry: inner-lip gap", distance(13, 14), closed=True),
        "AU26": _Substitute("geometry: chin below the nasion", -face[:, lm.CHIN, 1], closed=True),
        "AU45": _Substitute("geometry: eye closure", -openness, closed=False),
    }


def _normalise(
    quantity: Float[np.ndarray, "frames"], *, closed: bool, smallest: float
) -> Float[np.ndarray, "frames"]:
    """Subtract the neutral and map the person's 95th percentile (99th of brief events) to 1."""
    neutral, high, highest = np.percentile(quantity, [10 if closed else 50, 95, 99])
    span = high - neutral
    # A blink fills 3 % of the frames: where the 95th percentile is still at rest take the 99th.
    if span < 0.35 * (highest - neutral):
        span = highest - neutral
    return np.asarray(np.clip((quantity - neutral) / max(float(span), smallest), 0, 1))

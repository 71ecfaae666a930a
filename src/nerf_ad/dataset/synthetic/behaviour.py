"""What a face does by itself, whatever is said: blinks, glances, brows, and expressions that come and go."""

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.synthetic.articulation import UNIT_INDEX
from nerf_ad.dataset.synthetic.bearing import drift
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES

BLINK = (1 / 3, 2 / 3, 1.0, 0.8, 0.55, 0.3, 0.1)
"""Of a blink frame by frame: three down, four up."""
BLINK_SECONDS = (2.0, 6.0)
"""From one blink to the next."""
_EPISODES: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.7, "cheekSquint": 0.5, "mouthDimple": 0.15, "eyeSquint": 0.2},
    {"mouthSmile": 0.45, "cheekSquint": 0.25},
    {"mouthFrown": 0.6, "browDown": 0.35, "mouthShrugLower": 0.3},
    {"mouthDimple": 0.75},
    {"mouthStretch": 0.6},
    {"mouthUpperUp": 0.5, "noseSneer": 0.4},
    {"mouthUpperUp": 0.6, "mouthSmile": 0.25},
    {"mouthPress": 0.4, "mouthDimple": 0.35},
    {"eyeWide": 0.5, "browInnerUp": 0.5, "browOuterUp": 0.5},
    {"eyeSquint": 0.5, "browDown": 0.4},
    {"mouthShrugLower": 0.5, "mouthShrugUpper": 0.2},
)
"""Expressions with the weights of their fullest form; paired units are meant on both sides."""
_WAIT = (0.5, 3.0)
_RISE = (0.25, 0.6)
_HOLD = (0.4, 1.8)
"""Seconds between two expressions, of coming and going, and of staying."""
_BROWS = {"browInnerUp": 0.35, "browOuterUp": 0.3, "browDown": 0.25}
"""Largest weight of the brows' slow noise."""
_EYE_RANGE = np.radians(30.0)
"""Turn of an eye for the weight 1 of an eyeLook unit; our estimate of ARKit's."""
_GLANCE_SECONDS = (0.4, 2.5)
_SACCADE_SECONDS = 0.06
"""How long the eyes rest on something, and how long they take to get there."""
_AWAY_CHANCE = 0.3
_AWAY, _AT_CAMERA = (9.0, 5.0), (0.8, 0.8)
"""Share of glances past the camera; degrees to the side and up or down."""


def blinks(
    times: Float[np.ndarray, "frames"], fps: int, rng: np.random.Generator
) -> Float[np.ndarray, "frames 52"]:
    """Both lids, every 2 to 6 s; at 25 fps the first frames of a blink are exactly ``BLINK``."""
    units, at = np.zeros((len(times), len(UNIT_NAMES))), rng.uniform(0.5, 4.0)
    profile_times = np.arange(-1, len(BLINK) + 1) / 25
    while len(times) and at < times[-1]:
        start = np.round(at * fps) / fps
        lid = np.interp(times - start, profile_times, (0.0, *BLINK, 0.0))
        for side, gain in (("Left", 1.0), ("Right", rng.uniform(0.94, 1.0))):
            column = UNIT_INDEX["eyeBlink" + side]
            units[:, column] = np.maximum(units[:, column], gain * lid)
        at = start + rng.uniform(*BLINK_SECONDS)
    return units


def brows(times: Float[np.ndarray, "frames"], rng: np.random.Generator) -> Float[np.ndarray, "frames 52"]:
    """Slow noise, each half of the time at rest."""
    waves = np.clip(2.2 * drift(times, rng, parts=len(_BROWS), fastest=0.4), 0, 1)
    units = np.zeros((len(times), len(UNIT_NAMES)))
    for wave, (name, most) in zip(waves.T, _BROWS.items(), strict=True):
        _put(units, name, most * wave, skew=0.0)
    return units


def expressions(
    times: Float[np.ndarray, "frames"], rng: np.random.Generator
) -> Float[np.ndarray, "frames 52"]:
    """One expression after the other, in an order that comes round to all; most are a little lopsided."""
    units, at = np.zeros((len(times), len(UNIT_NAMES))), rng.uniform(0.5, 2.0)
    order: list[int] = []
    while len(times) and at < times[-1]:
        order = order or rng.permutation(len(_EPISODES)).tolist()
        shape = _EPISODES[order.pop()]
        rise, hold, fall = rng.uniform(*_RISE), rng.uniform(*_HOLD), rng.uniform(*_RISE) * 1.3
        come = np.clip((times - at) / rise, 0, 1)
        go = np.clip((times - at - rise - hold) / fall, 0, 1)
        course = _smooth(come) * (1 - _smooth(go)) * rng.uniform(0.5, 1.0)
        skew = rng.uniform(-0.25, 0.25)
        for name, weight in shape.items():
            _put(units, name, weight * course, skew=skew)
        at += rise + hold + fall + rng.uniform(*_WAIT)
    return units


def gaze(
    times: Float[np.ndarray, "frames"], angles: Float[np.ndarray, "frames 3"], rng: np.random.Generator
) -> Float[np.ndarray, "frames 52"]:
    """The eyeLook units of eyes that mostly stay on the camera while the head turns, and now and then glance.

    Args:
        times: seconds.
        angles: the head's yaw, pitch, roll in radians.
        rng: where and when they glance.
    """
    targets = np.zeros((len(times), 2))
    at, now = 0.0, np.zeros(2)
    while len(times) and at < times[-1]:
        spread = _AWAY if rng.uniform() < _AWAY_CHANCE else _AT_CAMERA
        following = np.radians(spread) * rng.standard_normal(2)
        share = _smooth(np.clip((times - at) / _SACCADE_SECONDS, 0, 1))[:, None]
        targets = np.where((times >= at)[:, None], now + (following - now) * share, targets)
        now, at = following, at + rng.uniform(*_GLANCE_SECONDS)
    left, down = ((targets - angles[:, :2]) / _EYE_RANGE).T
    units = np.zeros((len(times), len(UNIT_NAMES)))
    for name, weight in (
        ("eyeLookOutLeft", left), ("eyeLookInRight", left),
        ("eyeLookInLeft", -left), ("eyeLookOutRight", -left),
        ("eyeLookDownLeft", down), ("eyeLookDownRight", down),
        ("eyeLookUpLeft", -down), ("eyeLookUpRight", -down),
    ):  # fmt: skip
        units[:, UNIT_INDEX[name]] = weight.clip(0, 1)
    return units


def _put(
    units: Float[np.ndarray, "frames 52"], name: str, course: Float[np.ndarray, "frames"], *, skew: float
) -> None:
    """Raise a unit, or both sides of a paired one, to at least ``course``."""
    sides = {name: 1.0} if name in UNIT_INDEX else {name + "Left": 1 + skew, name + "Right": 1 - skew}
    for side, gain in sides.items():
        column = UNIT_INDEX[side]
        units[:, column] = np.maximum(units[:, column], (gain * course).clip(0, 1))


def _smooth(share: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames"]:
    return share**2 * (3 - 2 * share)

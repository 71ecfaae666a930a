"""Phonemes to faces: which shape the mouth takes for a sound, and how shapes run into one another.

Every phoneme asks for weights of the 52 ARKit units. Held for as long as the phoneme and blurred with a
Gaussian of 50 ms (sounds are prepared before they are heard and linger after), this gives smooth lips:

    u(t) = sum_k target_k (Phi((t - start_k) / sigma) - Phi((t - end_k) / sigma))

in closed form, so no sampling grid is involved; frame i is the face at the time i / fps. What a blur loses is
put back: lips meet for every p, b and m, and the lower lip meets the teeth for every f and v (`seal_lips`).
The targets are those of design note "weights", section 6, extended: our own estimate, not measured on people.
"""

# ruff: noqa: RUF001 - phonetic letters look like others

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES
from nerf_ad.dataset.synthetic.pronunciation import DIPHTHONGS
from nerf_ad.dataset.synthetic.voice import PAUSE, Phoneme

UNIT_INDEX = {name: index for index, name in enumerate(UNIT_NAMES)}
"""Column of every unit."""
SIGMA_SECONDS = 0.05
"""Standard deviation of the blur."""
BILABIALS = "pbm"
"""Sounds for which the lips meet."""
LABIODENTALS = "fv"
"""Sounds for which the lower lip meets the upper teeth."""

_PAIRED = frozenset(name[:-4] for name in UNIT_NAMES if name.endswith("Left")) - {"jaw", "mouth"}
"""Units with two sides; jawLeft and mouthLeft move the one jaw and mouth."""
_Shape = Mapping[str, float]

_CLOSED: _Shape = {"mouthPress": 0.6, "mouthRollUpper": 0.3, "mouthRollLower": 0.3}
_TOUCH: _Shape = {"jawOpen": 0.08, "mouthRollLower": 0.6, "mouthUpperUp": 0.2}
_ALVEOLAR: _Shape = {"jawOpen": 0.12, "mouthStretch": 0.2, "mouthUpperUp": 0.1}
_HISS: _Shape = {"jawOpen": 0.06, "mouthStretch": 0.3, "mouthUpperUp": 0.12}
_PALATAL: _Shape = {"jawOpen": 0.12, "mouthFunnel": 0.6, "mouthUpperUp": 0.1}
_VELAR: _Shape = {"jawOpen": 0.2}
_DENTAL: _Shape = {"jawOpen": 0.15, "tongueOut": 0.3, "mouthStretch": 0.1}
_I: _Shape = {"jawOpen": 0.1, "mouthStretch": 0.4, "mouthDimple": 0.2}
_IH: _Shape = {"jawOpen": 0.18, "mouthStretch": 0.3, "mouthDimple": 0.12}
_E: _Shape = {"jawOpen": 0.3, "mouthStretch": 0.25}
_A: _Shape = {"jawOpen": 0.6, "mouthUpperUp": 0.15, "mouthLowerDown": 0.25}
_AE: _Shape = {"jawOpen": 0.55, "mouthStretch": 0.2, "mouthUpperUp": 0.2, "mouthLowerDown": 0.25}
_SCHWA: _Shape = {"jawOpen": 0.25}
_UH: _Shape = {"jawOpen": 0.35, "mouthLowerDown": 0.1}
_ER: _Shape = {"jawOpen": 0.2, "mouthFunnel": 0.25, "mouthPucker": 0.2}
_AW: _Shape = {"jawOpen": 0.45, "mouthFunnel": 0.45, "mouthLowerDown": 0.1}
_OH: _Shape = {"jawOpen": 0.35, "mouthFunnel": 0.5, "mouthPucker": 0.2}
_OO: _Shape = {"jawOpen": 0.12, "mouthPucker": 0.8}
_OOH: _Shape = {"jawOpen": 0.16, "mouthPucker": 0.6, "mouthFunnel": 0.1}

TARGETS: dict[str, _Shape] = {
    PAUSE: {},
    **dict.fromkeys("pbm", _CLOSED), **dict.fromkeys("fv", _TOUCH), **dict.fromkeys("θð", _DENTAL),
    **dict.fromkeys("tdnl", _ALVEOLAR), **dict.fromkeys("sz", _HISS), "ɾ": {"jawOpen": 0.16},
    **dict.fromkeys("ʃʒʧʤ", _PALATAL), **dict.fromkeys("kɡŋxʔh", _VELAR),
    "ɹ": {"jawOpen": 0.12, "mouthPucker": 0.45, "mouthFunnel": 0.15},
    "w": {"jawOpen": 0.08, "mouthPucker": 0.8},
    "i": _I, "j": _I, "ɪ": _IH, "ᵻ": _IH, "e": _E, "ɛ": _E, "æ": _AE, "a": _A, "ɑ": _A, "ɒ": _AW, "ɐ": _UH,
    "ə": _SCHWA, "ᵊ": {"jawOpen": 0.18}, "ʌ": _UH, "ɜ": _ER, "ɚ": _ER, "ɔ": _AW, "o": _OH, "ʊ": _OOH,
    "u": _OO,
}  # fmt: skip
"""Weights per phoneme; a paired unit such as ``mouthStretch`` is meant on both sides."""
_FIRST_PART = 0.55
"""Share of a diphthong that its first vowel takes."""
_OPENING = ("jawOpen", "mouthUpperUp", "mouthLowerDown", "mouthFunnel", "mouthShrugUpper", "tongueOut")
"""Units that part the lips or turn them out; other shapes (a smile, a pucker) live on while the lips meet."""
_HOLD_SECONDS = 0.022
"""Least time before and after a closure's middle for which it is complete: half a frame and a little."""
_RAMP_SECONDS = 0.06
"""In which lips come together and part again."""
_BLOCK = 512
"""Frames blurred at once."""


class Style(NamedTuple):
    """How one person differs from the table; 1 is the table."""

    jaw: float = 1.0
    """How far the jaw drops."""
    round: float = 1.0
    """Pucker and funnel."""
    spread: float = 1.0
    """Stretch, dimple, upper and lower lip."""
    press: float = 1.0
    """Pressed and rolled lips."""
    skew: float = 0.0
    """In [-1, 1]: what the left side does more than the right, as a share."""


def draw_style(rng: np.random.Generator) -> Style:
    """A person: gains within a fifth of 1, sides within a tenth of each other."""
    jaw, rounded, spread, press = rng.uniform(0.85, 1.2, 4).tolist()
    return Style(jaw, rounded, spread, press, skew=float(rng.uniform(-0.08, 0.08)))


def articulate(
    phonemes: tuple[Phoneme, ...],
    times: Float[np.ndarray, "frames"],
    *,
    style: Style | None = None,
    effort: Float[np.ndarray, "frames"] | None = None,
) -> Float[np.ndarray, "frames 52"]:
    """Weights in [0, 1] of `UNIT_NAMES` at each time, lips meeting where they must.

    Args:
        phonemes: what is said, in order.
        times: seconds, rising.
        style: whose mouth it is.
        effort: how much wider than usual the jaw opens at each time; 1 is usual.
    """
    style = style or Style()
    units = blend_phonemes(phonemes, times, style)
    if effort is not None:
        units[:, UNIT_INDEX["jawOpen"]] *= effort
    return seal_lips(units.clip(0, 1), phonemes, times, style)


def blend_phonemes(
    phonemes: tuple[Phoneme, ...], times: Float[np.ndarray, "frames"], style: Style
) -> Float[np.ndarray, "frames 52"]:
    """The blurred targets alone."""
    symbols, starts, ends = _segments(phonemes)
    targets = np.stack([_weights(TARGETS[symbol], style) for symbol in symbols])
    reach = 5 * SIGMA_SECONDS
    blended = np.zeros((len(times), len(UNIT_NAMES)))
    for at in range(0, len(times), _BLOCK):
        block = times[at : at + _BLOCK, None]
        first, last = block[0, 0] - reach, block[-1, 0] + reach
        near = slice(int(np.searchsorted(ends, first)), int(np.searchsorted(starts, last)))
        shares = ndtr((block - starts[near]) / SIGMA_SECONDS) - ndtr((block - ends[near]) / SIGMA_SECONDS)
        blended[at : at + _BLOCK] = shares @ targets[near]
    return blended


def seal_lips(
    units: Float[np.ndarray, "frames 52"],
    phonemes: tuple[Phoneme, ...],
    times: Float[np.ndarray, "frames"],
    style: Style,
) -> Float[np.ndarray, "frames 52"]:
    """Bring the lips together at p, b, m and lip to teeth at f, v, whatever else the face does.

    In the middle of such a sound what parts the lips has exactly the sound's weight, and what presses them at
    least that; within 60 ms of it this fades.
    """
    sealed = units.copy()
    for sounds in (LABIODENTALS, BILABIALS):  # the latter wins where both are near
        weight = contact(phonemes, times, sounds)[:, None]
        target = _weights(TARGETS[sounds[0]], style)
        # The upper lip may be anywhere while the lower one touches the teeth.
        opening = _columns(tuple(n for n in _OPENING if sounds is BILABIALS or n != "mouthUpperUp"))
        sealed[:, opening] += weight * (target[opening] - sealed[:, opening])
        pressing = [i for i in np.flatnonzero(target) if i not in opening]
        sealed[:, pressing] = np.maximum(sealed[:, pressing], weight * target[pressing])
    return sealed


def contact(
    phonemes: tuple[Phoneme, ...], times: Float[np.ndarray, "frames"], sounds: str
) -> Float[np.ndarray, "frames"]:
    """In [0, 1]: how far lips have come together for one of ``sounds``; 1 in its middle."""
    weight = np.zeros(len(times))
    for phoneme in phonemes:
        if phoneme.symbol in sounds:
            middle = (phoneme.start_seconds + phoneme.end_seconds) / 2
            hold = max(_HOLD_SECONDS, 0.3 * (phoneme.end_seconds - phoneme.start_seconds))
            reach = hold + _RAMP_SECONDS
            near = slice(*np.searchsorted(times, [middle - reach, middle + reach]))
            away = np.clip((np.abs(times[near] - middle) - hold) / _RAMP_SECONDS, 0.0, 1.0)
            weight[near] = np.maximum(weight[near], 0.5 + 0.5 * np.cos(np.pi * away))
    return weight


def _segments(
    phonemes: tuple[Phoneme, ...],
) -> tuple[list[str], Float[np.ndarray, "segments"], Float[np.ndarray, "segments"]]:
    """Symbols with a target of their own, starts and ends in seconds: diphthongs become two."""
    segments: list[tuple[str, float, float]] = []
    for symbol, start, end, _ in phonemes:
        if pair := DIPHTHONGS.get(symbol):
            middle = start + _FIRST_PART * (end - start)
            segments += [(pair[0], start, middle), (pair[1], middle, end)]
        else:
            segments.append((symbol, start, end))
    symbols, starts, ends = zip(*segments, strict=True) if segments else ((), (), ())
    return list(symbols), np.array(starts, dtype=np.float64), np.array(ends, dtype=np.float64)


def _weights(shape: _Shape, style: Style) -> Float[np.ndarray, "52"]:
    weights = np.zeros(len(UNIT_NAMES))
    for name, value in shape.items():
        gained = min(value * _gain(name, style), 1.0)
        if name in _PAIRED:
            weights[UNIT_INDEX[name + "Left"]] = min(gained * (1 + style.skew), 1.0)
            weights[UNIT_INDEX[name + "Right"]] = min(gained * (1 - style.skew), 1.0)
        else:
            weights[UNIT_INDEX[name]] = gained
    return weights


def _gain(name: str, style: Style) -> float:
    if name == "jawOpen":
        return style.jaw
    if name in ("mouthPucker", "mouthFunnel"):
        return style.round
    if name in ("mouthPress", "mouthRollUpper", "mouthRollLower"):
        return style.press
    return style.spread


def _columns(names: tuple[str, ...]) -> list[int]:
    """Columns of units, both sides of paired ones."""
    sides = ((name + "Left", name + "Right") if name in _PAIRED else (name,) for name in names)
    return [UNIT_INDEX[side] for pair in sides for side in pair]

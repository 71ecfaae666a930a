"""Random people: shapes, skins and hair that none of ``IDENTITIES`` has, to learn from."""

from typing import Final, TypeVar, get_args

import numpy as np

from nerf_ad.dataset.synthetic.identity import (
    Ancestry,
    Fabric,
    HairStyle,
    Identity,
    Neckline,
    Rgb,
    Room,
)

_Choice = TypeVar("_Choice")
_SHAPES: Final = (
    "head-diamond", "head-invertedtriangular", "head-oval", "head-rectangular", "head-round", "head-square",
    "head-triangular",
)  # fmt: skip
"""Outlines below ``head/``, of which each person has one."""
_OPPOSITES: Final = {
    "decr-incr": (
        "head/head-age", "head/head-fat", "head/head-scale-depth", "head/head-scale-horiz",
        "head/head-scale-vert",
        "forehead/forehead-scale-vert", "forehead/forehead-nubian", "forehead/forehead-temple",
        "nose/nose-hump", "nose/nose-scale-depth", "nose/nose-scale-horiz", "nose/nose-scale-vert",
        "nose/nose-volume", "nose/nose-width1", "nose/nose-width2", "nose/nose-width3", "nose/nose-flaring",
        "nose/nose-point-width", "mouth/mouth-cupidsbow", "mouth/mouth-cupidsbow-width",
        "mouth/mouth-lowerlip-height", "mouth/mouth-lowerlip-volume", "mouth/mouth-lowerlip-width",
        "mouth/mouth-philtrum-volume", "mouth/mouth-scale-depth", "mouth/mouth-scale-horiz",
        "mouth/mouth-scale-vert", "mouth/mouth-upperlip-height", "mouth/mouth-upperlip-volume",
        "mouth/mouth-upperlip-width", "chin/chin-bones", "chin/chin-cleft", "chin/chin-height",
        "chin/chin-jaw-drop", "chin/chin-prognathism", "chin/chin-prominent", "chin/chin-width",
        "cheek/*-cheek-bones", "cheek/*-cheek-inner", "cheek/*-cheek-volume",
        "eyes/*-eye-bag", "eyes/*-eye-height1", "eyes/*-eye-height2", "eyes/*-eye-height3",
        "eyes/*-eye-scale",
    ),
    "down-up": (
        "eyebrows/eyebrows-angle", "eyebrows/eyebrows-trans", "nose/nose-base", "nose/nose-point",
        "nose/nose-nostrils-angle", "nose/nose-trans", "mouth/mouth-angles", "mouth/mouth-lowerlip-ext",
        "mouth/mouth-lowerlip-middle", "mouth/mouth-trans", "mouth/mouth-upperlip-ext",
        "mouth/mouth-upperlip-middle", "cheek/*-cheek-trans", "eyes/*-eye-corner1", "eyes/*-eye-corner2",
        "eyes/*-eye-trans",
    ),
    "in-out": (
        "head/head-angle", "mouth/mouth-laugh-lines", "eyes/*-eye-trans", "eyes/*-eye-push1",
        "eyes/*-eye-push2", "eyes/*-eye-epicanthus",
    ),
    "backward-forward": ("eyebrows/eyebrows-trans", "mouth/mouth-trans", "forehead/forehead-trans"),
}  # fmt: skip
"""Targets with two ends, without them; ``*`` stands for both sides."""
_SHARE: Final = 0.35
"""Share of ``_OPPOSITES`` that a person has."""
_SPREAD: Final = 0.28
"""Standard deviation of their weights; the six people's largest are 0.5."""
_MOST: Final = 0.6
"""No weight is larger."""
_SKINS: Final = np.array([(0.90, 0.73, 0.64), (0.80, 0.60, 0.48), (0.62, 0.43, 0.32), (0.36, 0.23, 0.17)])
"""From light to dark; a person's lies between two of them."""
_HAIRS: Final = np.array([(0.06, 0.05, 0.045), (0.25, 0.16, 0.10), (0.50, 0.32, 0.17), (0.62, 0.57, 0.52)])
"""Black, brown, fair and grey; a person's lies between two of them."""
_IRISES: Final = np.array([(0.20, 0.12, 0.07), (0.34, 0.30, 0.17), (0.38, 0.49, 0.57)])
"""Brown, green and blue; a person's lies between two of them."""


def draw_identity(seed: int) -> Identity:
    """A person that the seed names. Ranges are ours: as wide as the mesh allows without looking broken."""
    rng = np.random.default_rng([seed, 0x9A])
    african, asian, caucasian = rng.dirichlet([0.4, 0.4, 0.4]).tolist()
    total = african + asian + caucasian
    skin = np.clip(_between(_SKINS, rng) + rng.normal(0, 0.015, 3), 0.1, 0.95)
    hair = _between(_HAIRS, rng)
    lips = np.clip(skin * rng.uniform((0.75, 0.55, 0.55), (0.95, 0.75, 0.8)), 0.05, 0.95)
    cloth = rng.uniform(0.1, 0.9, 3)
    male = float(np.clip(rng.choice([0.0, 1.0]) + rng.normal(0, 0.2), 0, 1))
    return Identity(
        name=f"stranger-{seed}",
        seed=1000 + seed,
        male=male,
        age=float(rng.uniform(0.0, 0.8)),
        ancestry=Ancestry(african=african / total, asian=asian / total, caucasian=caucasian / total),
        targets=_draw_targets(rng),
        skin=_rgb(skin),
        blush=float(rng.uniform(0.1, 0.9)),
        freckles=float(max(rng.uniform(-0.5, 0.6), 0)),
        stubble=float(max(rng.uniform(-0.3, 0.7), 0)) if male > 0.5 else 0.0,
        lips=_rgb(lips),
        lip_gloss=float(rng.uniform(0.1, 0.7)),
        brows=_rgb(hair * rng.uniform(0.5, 0.95)),
        brow_weight=float(rng.uniform(0.6, 1.5)),
        iris=_rgb(_between(_IRISES, rng)),
        hair_style=_one_of(get_args(HairStyle), rng),
        hair=_rgb(hair),
        neckline=_one_of(get_args(Neckline), rng),
        fabric=_one_of(get_args(Fabric), rng),
        cloth=_rgb(cloth),
        trim=_rgb(cloth * rng.uniform(0.4, 0.9)),
        room=_one_of(get_args(Room), rng),
        wall=_rgb(rng.uniform(0.2, 0.85, 3)),
    )


def _draw_targets(rng: np.random.Generator) -> dict[str, float]:
    targets = {f"head/{_one_of(_SHAPES, rng)}": float(rng.uniform(0, 0.5))}
    for ends, stems in _OPPOSITES.items():
        low, high = ends.split("-")
        for stem in stems:
            weight = float(np.clip(rng.normal(0, _SPREAD), -_MOST, _MOST))
            if rng.uniform() > _SHARE:
                continue
            end = high if weight > 0 else low
            for side in "lr" if "*" in stem else "-":
                targets[f"{stem.replace('*', side)}-{end}"] = abs(weight)
    return targets


def _one_of(choices: tuple[_Choice, ...], rng: np.random.Generator) -> _Choice:
    return choices[int(rng.integers(len(choices)))]


def _between(colours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = rng.uniform(0, len(colours) - 1)
    first = min(int(at), len(colours) - 2)
    return np.asarray(colours[first] + (at - first) * (colours[first + 1] - colours[first]))


def _rgb(colour: np.ndarray) -> Rgb:
    red, green, blue = (round(float(part), 4) for part in colour)
    return (red, green, blue)

"""Who a synthetic person is: shape, colours, hair, clothes and the room behind."""

from typing import Final, Literal

from pydantic import Field

from nerf_ad.core.config import Config

Rgb = tuple[float, float, float]
"""Red, green, blue in [0, 1] as shown on a screen (sRGB)."""
HairStyle = Literal["crop", "short", "swept", "bun", "bob", "long"]
Neckline = Literal["crew", "v", "high"]
Fabric = Literal["plain", "stripes", "heather", "check"]
Room = Literal["wall", "shelves", "lights", "bricks"]


class Ancestry(Config):
    """Shares of MakeHuman's three macro shapes; they sum to one."""

    african: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the ``african`` targets."""
    asian: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the ``asian`` targets."""
    caucasian: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the ``caucasian`` targets."""


class Identity(Config):
    """One person. Nothing here moves."""

    name: str
    """For people to tell them apart."""
    seed: int
    """Of everything random in skin, hair, cloth and room."""
    male: float = Field(ge=0.0, le=1.0)
    """Share of the male shape."""
    age: float = Field(ge=0.0, le=1.0)
    """From MakeHuman's young adult (0) to its old one (1)."""
    ancestry: Ancestry
    """Of the head's shape."""
    targets: dict[str, float] = Field(default_factory=dict)
    """Weights of further shape targets, such as ``nose/nose-hump-incr``."""
    skin: Rgb
    """Base colour of the skin."""
    blush: float = Field(default=0.5, ge=0.0, le=1.0)
    """How red cheeks, nose and ears are."""
    freckles: float = Field(default=0.0, ge=0.0, le=1.0)
    """How many."""
    stubble: float = Field(default=0.0, ge=0.0, le=1.0)
    """How dark the beard's shadow is."""
    lips: Rgb
    """Colour of the lips."""
    lip_gloss: float = Field(default=0.35, ge=0.0, le=1.0)
    """How much the lips shine."""
    brows: Rgb
    """Colour of the brows."""
    brow_weight: float = Field(default=1.0, ge=0.4, le=1.6)
    """Thickness of the brows."""
    iris: Rgb
    """Colour of the iris."""
    hair_style: HairStyle
    """Cut of the hair."""
    hair: Rgb
    """Colour of the hair."""
    neckline: Neckline
    """Cut of the collar."""
    fabric: Fabric
    """Pattern of the cloth."""
    cloth: Rgb
    """Main colour of the cloth."""
    trim: Rgb
    """Second colour of the cloth."""
    room: Room
    """What is behind."""
    wall: Rgb
    """Main colour of what is behind."""

    def shape_targets(self) -> dict[str, float]:
        """All shape targets with their weights, macro shapes included (MakeHuman's mixing rule)."""
        weights: dict[str, float] = {}
        for sex, sex_share in (("male", self.male), ("female", 1.0 - self.male)):
            for age, age_share in (("old", self.age), ("young", 1.0 - self.age)):
                share = sex_share * age_share
                if share == 0.0:
                    continue
                weights[f"macrodetails/universal-{sex}-{age}-averagemuscle-averageweight"] = share
                for origin in ("african", "asian", "caucasian"):
                    part = share * float(getattr(self.ancestry, origin))
                    if part > 0.0:
                        weights[f"macrodetails/{origin}-{sex}-{age}"] = part
        return weights | self.targets


def both_sides(**weights: float) -> dict[str, float]:
    """Targets that exist once for each side, by ``folder__name``, as targets of both."""
    return {
        f"{key.split('__')[0]}/{side}-{key.split('__')[1].replace('_', '-')}": weight
        for key, weight in weights.items()
        for side in "lr"
    }


IDENTITIES: Final = (
    Identity(
        name="anna", seed=1, male=0.0, age=0.12, ancestry=Ancestry(caucasian=1.0),
        targets={
            "head/head-oval": 0.5, "nose/nose-scale-horiz-decr": 0.3, "nose/nose-point-up": 0.3,
            "mouth/mouth-upperlip-volume-incr": 0.5, "mouth/mouth-lowerlip-volume-incr": 0.4,
            "chin/chin-width-decr": 0.3, "neck/neck-scale-horiz-decr": 0.4,
        } | both_sides(eyes__eye_scale_incr=0.25),
        skin=(0.87, 0.69, 0.60), blush=0.75, freckles=0.5, lips=(0.76, 0.42, 0.41), lip_gloss=0.5,
        brows=(0.36, 0.24, 0.16), brow_weight=0.85, iris=(0.35, 0.48, 0.55),
        hair_style="bob", hair=(0.43, 0.26, 0.14),
        neckline="crew", fabric="stripes", cloth=(0.90, 0.88, 0.84), trim=(0.20, 0.27, 0.42),
        room="wall", wall=(0.70, 0.75, 0.74),
    ),
    Identity(
        name="bruno", seed=2, male=1.0, age=0.25, ancestry=Ancestry(caucasian=1.0),
        targets={
            "head/head-square": 0.4, "nose/nose-hump-incr": 0.35, "nose/nose-scale-vert-incr": 0.2,
            "chin/chin-width-incr": 0.3, "chin/chin-prominent-incr": 0.2,
        },
        skin=(0.81, 0.61, 0.50), blush=0.6, stubble=0.55, lips=(0.66, 0.40, 0.36), lip_gloss=0.25,
        brows=(0.16, 0.11, 0.08), brow_weight=1.25, iris=(0.36, 0.24, 0.13),
        hair_style="short", hair=(0.15, 0.10, 0.075),
        neckline="crew", fabric="heather", cloth=(0.32, 0.38, 0.45), trim=(0.24, 0.29, 0.35),
        room="shelves", wall=(0.55, 0.43, 0.32),
    ),
    Identity(
        name="chidi", seed=3, male=1.0, age=0.1, ancestry=Ancestry(african=1.0),
        targets={"head/head-rectangular": 0.3, "nose/nose-width2-incr": 0.2, "chin/chin-height-incr": 0.15},
        skin=(0.42, 0.27, 0.19), blush=0.25, stubble=0.35, lips=(0.45, 0.25, 0.22), lip_gloss=0.4,
        brows=(0.06, 0.045, 0.04), brow_weight=1.1, iris=(0.20, 0.12, 0.07),
        hair_style="crop", hair=(0.055, 0.045, 0.04),
        neckline="v", fabric="plain", cloth=(0.72, 0.52, 0.20), trim=(0.55, 0.38, 0.14),
        room="lights", wall=(0.22, 0.27, 0.36),
    ),
    Identity(
        name="dao", seed=4, male=0.0, age=0.1, ancestry=Ancestry(asian=1.0),
        targets={
            "head/head-round": 0.4, "mouth/mouth-scale-horiz-decr": 0.15, "nose/nose-volume-decr": 0.2,
            "mouth/mouth-lowerlip-volume-incr": 0.3,
        },
        skin=(0.86, 0.70, 0.58), blush=0.45, lips=(0.72, 0.36, 0.37), lip_gloss=0.6,
        brows=(0.13, 0.10, 0.085), brow_weight=0.8, iris=(0.22, 0.13, 0.075),
        hair_style="long", hair=(0.075, 0.06, 0.055),
        neckline="v", fabric="plain", cloth=(0.48, 0.20, 0.26), trim=(0.38, 0.14, 0.20),
        room="bricks", wall=(0.74, 0.70, 0.66),
    ),
    Identity(
        name="elif", seed=5, male=0.15, age=0.35, ancestry=Ancestry(caucasian=0.6, asian=0.2, african=0.2),
        targets={
            "head/head-diamond": 0.3, "nose/nose-curve-convex": 0.3, "mouth/mouth-scale-horiz-incr": 0.2,
            "chin/chin-prominent-incr": 0.15,
        },
        skin=(0.72, 0.53, 0.41), blush=0.4, lips=(0.63, 0.30, 0.29), lip_gloss=0.45,
        brows=(0.12, 0.085, 0.06), brow_weight=1.0, iris=(0.33, 0.33, 0.18),
        hair_style="bun", hair=(0.19, 0.115, 0.075),
        neckline="high", fabric="plain", cloth=(0.30, 0.42, 0.36), trim=(0.22, 0.33, 0.28),
        room="wall", wall=(0.82, 0.74, 0.64),
    ),
    Identity(
        name="finn", seed=6, male=0.9, age=0.6, ancestry=Ancestry(caucasian=0.9, asian=0.1),
        targets={
            "head/head-triangular": 0.2, "nose/nose-volume-incr": 0.25, "head/head-scale-horiz-incr": 0.15,
            "forehead/forehead-scale-vert-incr": 0.2,
        },
        skin=(0.88, 0.70, 0.62), blush=0.9, freckles=0.25, stubble=0.2, lips=(0.74, 0.47, 0.44),
        lip_gloss=0.25, brows=(0.50, 0.42, 0.34), brow_weight=1.15, iris=(0.40, 0.50, 0.58),
        hair_style="swept", hair=(0.60, 0.55, 0.49),
        neckline="crew", fabric="check", cloth=(0.36, 0.14, 0.14), trim=(0.14, 0.16, 0.22),
        room="shelves", wall=(0.36, 0.42, 0.46),
    ),
)  # fmt: skip
"""Six people, as unlike each other as the mesh allows. Colours and weights are ours."""

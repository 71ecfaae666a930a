"""The critic of AU-Attention: is a face real, and which action units does it show (paper.md section 4)."""

from typing import NamedTuple

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.models.paper.au_attention import initialise_convolution


class CriticConfig(Config):
    """Sizes of the critic."""

    size: int = Field(default=112, ge=16, le=1024)
    """Width and height of the crops (NeRF-AD's code)."""
    width: int = Field(default=64, ge=4, le=512)
    """Channels after the first convolution; every further one doubles them (NeRF-AD's code)."""
    num_layers: int = Field(default=6, ge=2, le=10)
    """Convolutions, each of which halves the picture (NeRF-AD's code)."""

    @model_validator(mode="after")
    def _fits(self) -> "CriticConfig":
        if self.size >> self.num_layers < 1:
            message = "num_layers halve the picture to nothing"
            raise ValueError(message)
        return self


class Judgement(NamedTuple):
    """What the critic says of faces."""

    realness: Float[Tensor, "batch 1 rows columns"]
    """K: greater is more real; no bounds."""
    units: Float[Tensor, "batch units"]
    """K_au: the action units it sees, scaled as the generator's."""


class Critic(nn.Module):
    """Discriminator and action unit regression on one trunk; no normalisation, for the gradient penalty."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        channels, layers = 3, list[nn.Module]()
        for layer in range(config.num_layers):
            wider = config.width << layer
            layers += [nn.Conv2d(channels, wider, 4, stride=2, padding=1), nn.LeakyReLU(0.01, inplace=True)]
            channels = wider
        self.trunk = nn.Sequential(*layers)
        self.realness = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.units = nn.Conv2d(channels, len(SPEECH_UNITS), config.size >> config.num_layers, bias=False)
        self.apply(initialise_convolution)

    def forward(self, face: Float[Tensor, "batch 3 size size"]) -> Judgement:
        """Judge faces in [-1, 1]."""
        features = self.trunk(face)
        return Judgement(self.realness(features), self.units(features).flatten(1))

"""AU-Attention: which pixels of a face its speech moves (paper.md section 4).

A trunk reads a face and the action units that it shall have, and paints two pictures: a mask A and colours W.
The repainted face is ``A I + (1 - A) W``: what the action units do not touch is kept. So A is about 1 on
identity pixels, and 1 - A is the region of speech. Once trained, only trunk and mask are used.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.face.action_units import SPEECH_UNITS


class AuAttentionConfig(Config):
    """Sizes of the mask's generator."""

    size: int = Field(default=112, ge=16, le=1024, multiple_of=4)
    """Width and height of the crops (NeRF-AD's code; GANimation has 128)."""
    width: int = Field(default=64, ge=4, le=512)
    """Channels after the first convolution, doubled by both that halve the picture (NeRF-AD's code)."""
    num_blocks: int = Field(default=6, ge=0, le=64)
    """Residual blocks (NeRF-AD's code)."""


class Repainted(NamedTuple):
    """What the generator paints."""

    face: Float[Tensor, "batch 3 size size"]
    """A I + (1 - A) W, in [-1, 1]."""
    mask: Float[Tensor, "batch 1 size size"]
    """A, in (0, 1)."""


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a straight way."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The sum of both ways."""
        return features + self.layers(features)


class AuAttention(nn.Module):
    """Trunk, mask head and colour head: G_M and G_W of the paper in one."""

    unit_scale: Tensor

    def __init__(self, config: AuAttentionConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.trunk = nn.Sequential(
            nn.Conv2d(3 + len(SPEECH_UNITS), width, 7, padding=3, bias=False),
            *_normalised(width),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            *_normalised(2 * width),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1, bias=False),
            *_normalised(4 * width),
            *(ResidualBlock(4 * width) for _ in range(config.num_blocks)),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1, bias=False),
            *_normalised(2 * width),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            *_normalised(width),
        )
        self.mask_head = nn.Conv2d(width, 1, 7, padding=3, bias=False)
        self.colour_head = nn.Conv2d(width, 3, 7, padding=3, bias=False)
        self.register_buffer("unit_scale", torch.ones(len(SPEECH_UNITS)))
        self.apply(initialise_convolution)

    def scaled(self, units: Float[Tensor, "batch units"]) -> Float[Tensor, "batch units"]:
        """Measured action units as the networks see them: the person's own range mapped to [0, 1]."""
        return (units / self.unit_scale).clamp(0, 1)

    def repaint(
        self, face: Float[Tensor, "batch 3 size size"], scaled_units: Float[Tensor, "batch units"]
    ) -> Repainted:
        """I' = A I + (1 - A) W: a face with other action units.

        Args:
            face: in [-1, 1].
            scaled_units: the action units that it shall have, ``scaled``.
        """
        features = self._features(face, scaled_units)
        mask, colour = torch.sigmoid(self.mask_head(features)), torch.tanh(self.colour_head(features))
        return Repainted(mask * face + (1 - mask) * colour, mask)

    def mask(
        self, crops: Float[Tensor, "batch 3 size size"], units: Float[Tensor, "batch units"]
    ) -> Float[Tensor, "batch 1 size size"]:
        """A, in (0, 1): about 1 where speech changes nothing.

        Args:
            crops: faces in [0, 1].
            units: their own action units as measured, in [0, 1].
        """
        return torch.sigmoid(self.mask_head(self._features(2 * crops - 1, self.scaled(units))))

    def _features(
        self, face: Float[Tensor, "batch 3 size size"], scaled_units: Float[Tensor, "batch units"]
    ) -> Float[Tensor, "batch width size size"]:
        height, width = face.shape[-2:]
        planes = scaled_units[:, :, None, None].expand(-1, -1, height, width)
        return self.trunk(torch.cat([face, planes], dim=1))


def unit_range(
    intensity: Float[np.ndarray, "frames units"], *, smallest: float = 0.1
) -> Float[Tensor, "units"]:
    """What to divide a person's action units by so that they fill [0, 1]: the 95th percentile.

    A unit that hardly moves is divided by ``smallest``, or its noise would become a signal (ours).
    """
    top = np.percentile(intensity, 95, axis=0)
    return torch.from_numpy(np.clip(top, smallest, 1.0)).float()


def initialise_convolution(module: nn.Module) -> None:
    """Weights of a convolution from N(0, 0.02), biases 0 (NeRF-AD's code)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _normalised(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(channels, affine=True), nn.ReLU(inplace=True)

"""Which speech action units an audio face shows: one small network for each unit.

The sizes are those of the authors' later version for 112x112 crops (paper.md section 9): their first one has
a third block and fits pictures of 450x450.
"""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.face.action_units import SPEECH_UNITS

_KERNEL = 5


class AuClassifierConfig(Config):
    """The classifiers."""

    crop_size: int = Field(default=112, ge=32, le=1024)
    """Width and height of the face crops in pixels (NeRF-3DTalker's code)."""
    block_widths: tuple[tuple[int, int], ...] = Field(default=((16, 32), (64, 128)), strict=False)
    """Channels of the two convolutions of each block (NeRF-3DTalker's code)."""
    hidden: tuple[int, ...] = Field(default=(1600, 512, 256, 64), strict=False)
    """Widths of the fully connected layers before the last (NeRF-3DTalker's code)."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """After each hidden layer (NeRF-AD's code)."""
    slope: float = Field(default=0.2, ge=0, lt=1)
    """Of the leaky ReLUs (NeRF-AD's code)."""


class AuClassifier(nn.Module):
    """Whether one action unit is present."""

    def __init__(self, config: AuClassifierConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        wide, size = 3, config.crop_size
        for widths in config.block_widths:
            for width, stride in zip(widths, (2, 1), strict=True):
                layers += [
                    nn.Conv2d(wide, width, _KERNEL, stride=stride, padding=1),
                    nn.InstanceNorm2d(width),
                    nn.LeakyReLU(config.slope),
                ]
                wide, size = width, (size + 2 - _KERNEL) // stride + 1
            layers.append(nn.MaxPool2d(2))
            size //= 2
        self.convolutions = nn.Sequential(*layers)
        answer: list[nn.Module] = []
        width = wide * size**2
        for hidden in config.hidden:
            answer += [nn.Linear(width, hidden), nn.LeakyReLU(config.slope), nn.Dropout(config.dropout)]
            width = hidden
        self.answer = nn.Sequential(*answer, nn.Linear(width, 1))

    def forward(self, faces: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch"]:
        """The logit of its presence."""
        return self.answer(self.convolutions(faces).flatten(1)).squeeze(-1)


class AuClassifiers(nn.Module):
    """One classifier for each unit that the person shows often enough to learn it."""

    def __init__(self, config: AuClassifierConfig, units: tuple[str, ...] = SPEECH_UNITS) -> None:
        super().__init__()
        self.config = config
        self.units = units
        self.members = nn.ModuleDict({unit: AuClassifier(config) for unit in units})

    def logits(self, faces: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch units"]:
        """Before the sigmoid: what training uses."""
        return torch.stack([self.members[unit](faces) for unit in self.units], dim=-1)

    def forward(self, faces: Float[Tensor, "batch 3 size size"]) -> Float[Tensor, "batch units"]:
        """Probability that each unit is present in audio faces in [0, 1]."""
        return torch.sigmoid(self.logits(faces))

    def freeze(self) -> None:
        """From now on a measure, not a pupil: no dropout, no gradients of its own."""
        self.eval()
        self.requires_grad_(requires_grad=False)

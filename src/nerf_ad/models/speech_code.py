"""From a window of speech features to the mouth code: temporal attention over the window.

Several heads each look at a learned part of the window (content attention plus a learned position bias, as
AD-NeRF's AudioAttNet weighs neighbouring frames); a small network turns what they saw into the code. A few
members are averaged: with a minute of speech the spread between seeds is the largest error that can be had
back cheaply (docs/decisions/0002).
"""

from typing import cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.models.dropout import Dropout


class SpeechCodeConfig(Config):
    """The speech branch."""

    reach: int = Field(default=8, ge=1, le=256)
    """Feature steps on either side of the frame: 8 at 50 Hz is 160 ms (AD-NeRF's window of 16)."""
    hidden_dim: int = Field(default=64, ge=8, le=4096)
    """Width (AD-NeRF's audio code)."""
    num_heads: int = Field(default=8, ge=1, le=256)
    """Attention heads over the window."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """On features and hidden units (ours, on the inner validation part)."""
    num_members: int = Field(default=3, ge=1, le=64)
    """Networks whose codes are averaged."""


class SpeechCodeMember(nn.Module):
    """One network."""

    def __init__(self, config: SpeechCodeConfig, *, channels: int, out_dim: int) -> None:
        super().__init__()
        width, steps = config.hidden_dim, 2 * config.reach + 1
        self.project = nn.Linear(channels, width)
        self.content = nn.Sequential(
            nn.Conv1d(width, width // 2, 3, padding=1),
            nn.LeakyReLU(0.02),
            nn.Conv1d(width // 2, config.num_heads, 3, padding=1),
        )
        centres = torch.linspace(0.15, 0.85, config.num_heads) * (steps - 1)
        self.position = nn.Parameter(-0.15 * (torch.arange(steps) - centres[:, None]) ** 2)
        self.answer = nn.Sequential(
            nn.Linear(config.num_heads * width, width),
            nn.LeakyReLU(0.02),
            Dropout(config.dropout),
            nn.Linear(width, out_dim),
        )
        self.dropout = Dropout(config.dropout)

    def seed(self, seed: int) -> None:
        """Begin the random numbers of training anew."""
        for number, part in enumerate(part for part in self.modules() if isinstance(part, Dropout)):
            part.seed(seed + number)

    def forward(self, windows: Float[Tensor, "batch steps channels"]) -> Float[Tensor, "batch units"]:
        """Code of each normalised window."""
        hidden = torch.tanh(self.project(self.dropout(windows)))
        attention = torch.softmax(self.content(hidden.transpose(1, 2)) + self.position, dim=-1)
        return self.answer((attention @ hidden).flatten(1))


class SpeechCode(nn.Module):
    """The averaged members, with the features' own normalisation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: SpeechCodeConfig, *, channels: int, out_dim: int) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(
            SpeechCodeMember(config, channels=channels, out_dim=out_dim) for _ in range(config.num_members)
        )
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    @property
    def each(self) -> list[SpeechCodeMember]:
        """The members."""
        return [cast(SpeechCodeMember, member) for member in self.members]

    def set_normalisation(self, features: Float[Tensor, "steps channels"]) -> None:
        """Take mean and deviation from training speech."""
        self.mean.copy_(features.mean(dim=0))
        self.scale.copy_(features.std(dim=0).clamp_min(1e-4))

    def normalise(
        self, windows: Float[Tensor, "batch steps channels"]
    ) -> Float[Tensor, "batch steps channels"]:
        """Zero mean and unit variance per channel."""
        return (windows - self.mean) / self.scale

    def forward(self, windows: Float[Tensor, "batch steps channels"]) -> Float[Tensor, "batch units"]:
        """Mouth code of each window of raw features."""
        windows = self.normalise(windows)
        return torch.stack([member(windows) for member in self.members]).mean(dim=0)

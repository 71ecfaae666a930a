"""Mouth codes from speech while the head is trained: heard badly, so that no clip is learnt by heart."""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from nerf_ad.core.config import Config
from nerf_ad.models.paper.mouth_code import HeardMouth
from nerf_ad.models.talking_head import Condition
from nerf_ad.training.head import HeadConditions


class HearingConfig(Config):
    """How the networks between speech and field learn with the field."""

    audio_rate: float = Field(default=5e-4, ge=0)
    """Adam's rate for AudioNet, which stage 2 has taught; 0 keeps it as that left it (ours)."""
    attention_factor: float = Field(default=5.0, gt=0)
    """AudioAttNet's rate over AudioNet's (AD-NeRF's code)."""
    reader_rate: float = Field(default=2e-3, gt=0)
    """Adam's rate for E_f and the projection (ours)."""
    feature_noise: float = Field(default=0.0, ge=0)
    """Deviation of the noise added to speech features; against learning a short clip by heart (ours)."""
    feature_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Part of the feature channels that a step does not hear, for the same reason (ours)."""


class HeardConditions(HeadConditions):
    """Mouth codes made from the clip's sound, as they will be from any other."""

    def __init__(
        self,
        config: HearingConfig,
        mouth: HeardMouth,
        eyes: Float[Tensor, "frames eyes"],
        shots: Int[Tensor, "frames"],
        *,
        code_noise: float,
    ) -> None:
        """Take everything that stays.

        Args:
            config: the numbers.
            mouth: it hears the clip.
            eyes: measured eye states of all frames.
            shots: shot of every frame.
            code_noise: deviation of the noise added to mouth codes.
        """
        self.config = config
        self.mouth = mouth
        self.eyes = eyes
        self.shots = shots
        self.code_noise = code_noise

    def draw(self, frames: Int[Tensor, "batch"], generator: torch.Generator) -> Condition:
        """Mouth codes of what is heard badly, with noise; running mean and variance follow them."""
        conditions = self.mouth.conditions
        around = conditions.audio.around(conditions.windows, frames, smooth=True)
        around = heard_badly(
            around, noise=self.config.feature_noise, dropout=self.config.feature_dropout, generator=generator
        )
        raw = self.mouth.raw(conditions.understand(around, frames))
        self.mouth.follow(raw.detach())
        code = self.mouth.standardised(raw)
        noise = torch.randn(code.shape, generator=generator, device=generator.device).to(code.device)
        return Condition(code + self.code_noise * noise, self.eyes[frames])

    def show(self, frames: Int[Tensor, "batch"]) -> Condition:
        """Mouth codes of what is heard."""
        return Condition(self.mouth(frames), self.eyes[frames], self.shots[frames])


def heard_badly(
    around: Float[Tensor, "batch neighbours window channels"],
    *,
    noise: float,
    dropout: float,
    generator: torch.Generator,
) -> Float[Tensor, "batch neighbours window channels"]:
    """Features with noise, and with channels silenced for a whole frame's surroundings."""
    if noise > 0:
        drawn = torch.randn(around.shape, generator=generator, device=generator.device)
        around = around + noise * drawn.to(around.device)
    if dropout > 0:
        shape = (len(around), 1, 1, around.shape[-1])
        drawn = torch.rand(shape, generator=generator, device=generator.device)
        is_kept = drawn.to(around.device) >= dropout
        around = around * is_kept / (1 - dropout)
    return around


def hearing_parameters(mouth: HeardMouth, config: HearingConfig) -> list[dict[str, object]]:
    """Adam's groups, each with the ``rate`` it starts from: AudioNet, AudioAttNet, E_f and projection."""
    own = {id(value) for value in mouth.conditions.audio.parameters()}
    rest = [value for value in mouth.parameters() if value.requires_grad and id(value) not in own]
    return [
        {"params": list(mouth.conditions.audio.net.parameters()), "rate": config.audio_rate},
        {
            "params": list(mouth.conditions.audio.attention.parameters()),
            "rate": config.audio_rate * config.attention_factor,
        },
        {"params": rest, "rate": config.reader_rate},
    ]


@torch.no_grad()
def features_of(
    mouth: HeardMouth, frames: Int[Tensor, "frames"], *, batch_size: int = 64
) -> Float[Tensor, "frames features"]:
    """What is projected to the mouth code, of many frames of the sound."""
    parts = [
        mouth.feature(mouth.conditions(part, is_smoothed=True))
        for part in torch.split(frames.to(mouth.mean.device), batch_size)
    ]
    return torch.cat(parts)

"""NeRF-AD in front of the planes field: the mouth code is read off the face that speech paints.

    speech -> AudioNet, AudioAttNet -> f_a -> E_a, GRU, D -> painted audio face -> E_f -> f̂_aud-face
    f̂_aud-face -> projection, standardised -> mouth code, where the planes field takes the measured one

The code is divided by its own running deviation, so that networks cannot drown the noise that is added to it
by making it large.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.conditions import (
    ConditionConfig,
    build_conditions,
    conditions_from_speech,
    separate,
)
from nerf_ad.models.paper.nerf import NerfConditions

FOLLOWED = 0.01
"""Part of the running mean and variance that a step's frames make up (ours)."""
WEAKEST = 0.25
"""Weak components are divided by at least this part of the strongest one's deviation, as measured mouth codes
are (``dataset.expression``): what hardly moves shall not look like speech."""


class HeardMouth(nn.Module):
    """The mouth code of any frame of the sound that it hears."""

    mean: Tensor
    variance: Tensor
    rest: Tensor

    def __init__(self, config: ConditionConfig, *, channels: int, mouth_dim: int) -> None:
        """Untrained.

        Args:
            config: networks; of a kind that hears.
            channels: of the speech features.
            mouth_dim: numbers in the mouth code.
        """
        super().__init__()
        self.config = config
        conditions = build_conditions(config, channels=channels)
        if not isinstance(conditions, AudioFace | AudioCode):
            message = f"conditions of the kind {config.kind} do not hear"
            raise TypeError(message)
        self.conditions = conditions
        self.projection = nn.Linear(config.widths.face or config.widths.audio, mouth_dim)
        self.register_buffer("mean", torch.zeros(mouth_dim))
        self.register_buffer("variance", torch.ones(mouth_dim))
        self.register_buffer("rest", torch.zeros(mouth_dim))

    def forward(self, frames: Int[Tensor, "batch"]) -> Float[Tensor, "batch mouth"]:
        """Mouth code of each frame of the sound."""
        return self.standardised(self.raw(self.conditions(frames, is_smoothed=True)))

    def raw(self, conditions: NerfConditions) -> Float[Tensor, "batch mouth"]:
        """The projected code of the painted face; of speech itself where no face is painted."""
        return self.projection(self.feature(conditions))

    def feature(self, conditions: NerfConditions) -> Float[Tensor, "batch features"]:
        """What is projected: f̂_aud-face, or f_a."""
        found = conditions.audio if conditions.face is None else conditions.face
        assert found is not None
        return found

    def standardised(self, raw: Float[Tensor, "batch mouth"]) -> Float[Tensor, "batch mouth"]:
        """About zero mean and unit variance over the training frames."""
        deviation = self.variance.sqrt()
        least = WEAKEST * deviation.max()
        return (raw - self.mean) / torch.maximum(deviation, least).clamp_min(1e-6)

    @torch.no_grad()
    def follow(self, raw: Float[Tensor, "batch mouth"]) -> None:
        """Let mean and variance follow those of a step's frames."""
        self.variance.lerp_((raw - self.mean).square().mean(dim=0), FOLLOWED)
        self.mean.lerp_(raw.mean(dim=0), FOLLOWED)

    @torch.no_grad()
    def start_from(self, features: Float[Tensor, "frames features"]) -> None:
        """Project onto the directions in which the training frames differ most."""
        mean = features.mean(dim=0)
        _, singular, modes = torch.linalg.svd(features - mean, full_matrices=False)
        kept = min(len(self.projection.weight), len(modes))
        unit = (singular[0] / len(features) ** 0.5).clamp_min(1e-8)
        self.projection.weight[:kept] = modes[:kept] / unit
        self.projection.bias.copy_(-(self.projection.weight @ mean))
        made = self.projection(features)
        self.mean.copy_(made.mean(dim=0))
        self.variance.copy_(made.var(dim=0, unbiased=False))

    @torch.no_grad()
    def rest_at(self, codes: Float[Tensor, "frames mouth"], is_closed: Bool[Tensor, "frames"]) -> None:
        """Take the mean code of frames whose mouth is closed as that of a pause."""
        self.rest.copy_(codes[is_closed].mean(dim=0))

    @torch.no_grad()
    def speak(
        self,
        features: Float[Tensor, "steps channels"],
        rate_hz: float,
        num_frames: int,
        fps: float,
        *,
        camera_to_world: Float[Tensor, "frames 4 4"] | None,
    ) -> Float[Tensor, "frames mouth"]:
        """Mouth codes of a sound of any length; arguments as in ``conditions_from_speech``."""
        joined = conditions_from_speech(
            self.conditions,
            features,
            rate_hz,
            num_frames,
            fps,
            is_smoothed=True,
            camera_to_world=camera_to_world,
        )
        return self.standardised(self.raw(separate(joined, self.config)))

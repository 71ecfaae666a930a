"""The condition of the landmark-conditioned row: tracked landmarks through a small network (paper.md 15).

GeneFace's field is conditioned on landmarks that another network makes of speech. That network is out of
scope; here the landmarks are those of the recording, so the row says how good a field can be that is told
where the lips are. It cannot speak new audio.
"""

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.models.paper.audio import AudioAttention, AudioConfig, neighbour_windows
from nerf_ad.models.paper.nerf import ConditionModule, NerfConditions


class LandmarkCodeConfig(Config):
    """The landmark branch."""

    num_points: int = Field(default=68, ge=1, le=478)
    """Landmarks, three numbers each (GeneFace's code)."""
    widths: tuple[int, ...] = Field(default=(32, 32, 64, 64), min_length=1, strict=False)
    """Layers before the last two: AudioNet's, on a window of one frame (GeneFace's code)."""
    code_dim: int = Field(default=64, ge=1, le=4096)
    """Numbers in the code (GeneFace's code)."""
    slope: float = Field(default=0.02, ge=0, lt=1)
    """Of the leaky ReLUs (AD-NeRF's code)."""
    num_neighbours: int = Field(default=5, ge=2, le=64)
    """Frames whose codes are smoothed (GeneFace's code: t-2 to t+2)."""

    @property
    def smoothing(self) -> AudioConfig:
        """The temporal attention, which is AudioAttNet's."""
        return AudioConfig(num_neighbours=self.num_neighbours, code_dim=self.code_dim, slope=self.slope)


class LandmarkCode(ConditionModule):
    """Where the face's points are, as a code of each frame."""

    mean: Tensor
    scale: Tensor
    points: Tensor

    def __init__(self, config: LandmarkCodeConfig) -> None:
        super().__init__()
        self.config = config
        wide = 3 * config.num_points
        layers: list[nn.Module] = []
        for width in (*config.widths, config.code_dim):
            layers += [nn.Linear(wide, width), nn.LeakyReLU(config.slope)]
            wide = width
        self.net = nn.Sequential(*layers, nn.Linear(wide, config.code_dim))
        self.attention = AudioAttention(config.smoothing)
        self.register_buffer("mean", torch.zeros(3 * config.num_points))
        self.register_buffer("scale", torch.ones(3 * config.num_points))
        # The face of the clip, like its sound, is not the avatar's.
        self.register_buffer("points", torch.zeros(0, 1, 3 * config.num_points), persistent=False)

    def set_normalisation(self, points: Float[Tensor, "frames points 3"]) -> None:
        """Take mean and deviation of every coordinate from the training frames."""
        flat = points.flatten(1)
        self.mean.copy_(flat.mean(dim=0))
        self.scale.copy_(flat.std(dim=0).clamp_min(1e-4))

    def look(self, points: Float[Tensor, "frames points 3"]) -> None:
        """Take a clip's landmarks: metres, in the head's own axes."""
        self.points = ((points.to(self.mean.device).flatten(1) - self.mean) / self.scale).unsqueeze(1)

    def forward(self, frames: Int[Tensor, "batch"], *, is_smoothed: bool) -> NerfConditions:
        """The landmark code of each frame."""
        if not is_smoothed:
            return NerfConditions(landmarks=self.net(self.points[frames, 0]))
        seen = neighbour_windows(self.points, frames, self.config.smoothing).squeeze(2)
        codes = self.net(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        return NerfConditions(landmarks=self.attention(codes))

    def smoothing_parameters(self) -> list[nn.Parameter]:
        """Those of the temporal attention."""
        return list(self.attention.parameters())

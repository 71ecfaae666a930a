"""Neck and torso: one picture, bent and shaded by the head's pose."""

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config


class TorsoConfig(Config):
    """A two-dimensional deformable torso (after RAD-NeRF's idea; an image bent by a smooth flow is ours)."""

    num_modes: int = Field(default=8, ge=1, le=256)
    """How many smooth flow fields are mixed."""
    grid: int = Field(default=20, ge=4, le=256)
    """Control points along each side of a flow field."""
    hidden_dim: int = Field(default=32, ge=4, le=4096)
    """Width of the network from pose to mixture."""
    max_shift: float = Field(default=0.25, gt=0, le=2)
    """Largest shift, in half picture sizes."""


class TorsoField(nn.Module):
    """RGBA of neck and torso for a head pose. Pictures are channels first inside, as convolutions want."""

    def __init__(self, config: TorsoConfig, *, size: int, pose_dim: int) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.texture = nn.Parameter(torch.zeros(4, size, size))
        self.mixture = nn.Sequential(
            nn.Linear(pose_dim, config.hidden_dim), nn.Tanh(), nn.Linear(config.hidden_dim, config.num_modes)
        )
        self.flows = nn.Parameter(0.02 * torch.randn(config.num_modes, 2, config.grid, config.grid))
        self.shades = nn.Parameter(torch.zeros(config.num_modes, 3, config.grid, config.grid))

    def set_picture(self, rgba: Float[Tensor, "4 size size"]) -> None:
        """Start from a typical picture (premultiplied colour, alpha), in [0, 1]."""
        with torch.no_grad():
            self.texture.copy_(rgba)

    def forward(self, pose: Float[Tensor, "batch pose"]) -> Float[Tensor, "batch 4 size size"]:
        """Premultiplied RGBA in [0, 1] for each pose."""
        mixture = self.mixture(pose)
        flow = torch.einsum("bm,mcij->bcij", mixture, self.flows)
        shade = torch.einsum("bm,mcij->bcij", mixture, self.shades)
        size = (self.size, self.size)
        flow = F.interpolate(flow, size, mode="bicubic", align_corners=False)
        flow = self.config.max_shift * torch.tanh(flow / self.config.max_shift)
        axis = (torch.arange(self.size, device=pose.device, dtype=pose.dtype) * 2 + 1) / self.size - 1
        rest = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
        where = rest + flow.permute(0, 2, 3, 1)
        texture = self.texture.expand(pose.shape[0], -1, -1, -1)
        rgba = F.grid_sample(texture, where, mode="bilinear", padding_mode="border", align_corners=False)
        alpha = rgba[:, 3:].clamp(0, 1)
        gain = 1 + F.interpolate(shade, size, mode="bilinear", align_corners=False)
        return torch.cat([(rgba[:, :3] * gain).clamp(0, 1).minimum(alpha), alpha], dim=1)

"""The last stage of the planes field: the head's radiance field."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.dataset.sampler import RaySamplingConfig
from nerf_ad.models.talking_head import Condition, TalkingHead


class HeadOnGpuConfig(Config):
    """What is otherwise where the head is fitted on a GPU; nothing of it matters on a CPU."""

    num_rays: int = Field(default=16_384, ge=64, le=1 << 20)
    """Rays per step (ours)."""
    num_frames: int = Field(default=64, ge=1)
    """Frames that they come from (ours)."""
    resident_megabytes: int = Field(default=2000, ge=16)
    """Memory for training frames, 8 bytes a pixel; where they are more, they take turns (ours)."""
    in_bfloat16: bool = True
    """Matrix products in bfloat16; planes, weights, compositing and Adam stay in float32."""
    in_one_graph: bool = True
    """Launch loss and gradients as one CUDA graph."""
    report_every: int = Field(default=100, ge=1)
    """Steps between two looks at the figures, each of which waits for the GPU (ours)."""


class HeadTrainingConfig(Config):
    """Fitting the head."""

    num_steps: int = Field(default=60_000, ge=1)
    """Optimiser steps; a time budget usually ends it earlier."""
    least_steps: int = Field(default=0, ge=0)
    """Steps that are made in any case, however little time the budget gives (ours)."""
    rays: RaySamplingConfig = RaySamplingConfig()
    """How rays are drawn."""
    plane_rate: float = Field(default=2e-2, gt=0)
    """Adam's rate for the planes (performance.md section 6)."""
    network_rate: float = Field(default=5e-3, gt=0)
    """Adam's rate for the networks."""
    pose_rate: float = Field(default=2e-4, ge=0)
    """Adam's rate for each frame's pose correction; 0 keeps the tracked poses."""
    pose_every: int = Field(default=4, ge=1)
    """On a CPU one step in so many learns pose corrections: their gradients go through every sample's place,
    which takes a seventh of a step (decision 0024). On a GPU every step does."""
    coarse_stride: int = Field(default=2, ge=1, le=16)
    """On a CPU, march steps from a sample to the next at first; a step then takes a quarter less (decision
    0024)."""
    coarse_until: float = Field(default=0.3, ge=0, le=1)
    """Part of the budget until which rays are marched so coarsely (ours)."""
    pose_weight: float = Field(default=1e-3, ge=0)
    """Weight of the squared correction over 1 degree and 2 mm."""
    final_share: float = Field(default=0.05, gt=0, le=1)
    """What is left of every rate at the end."""
    mask_weight: float = Field(default=0.1, ge=0)
    """Weight of the squared error of opacity against the parsing."""
    code_noise: float = Field(default=0.1, ge=0)
    """Deviation of the noise added to the mouth code, so that nearby codes look alike."""
    perceptual_weight: float = Field(default=0.02, ge=0)
    """Weight of LPIPS (AlexNet) between a rendered square at mouth or eyes and the recording; 0 asks for none
    (decision 0023)."""
    perceptual_from: float = Field(default=0.6, ge=0, le=1)
    """Part of the budget after which squares are looked at (ours)."""
    average_decay: float = Field(default=0.995, ge=0, lt=1)
    """Moving average of the parameters."""
    prune_every: int = Field(default=16, ge=1)
    """Steps between prunings of the occupancy grid (performance.md section 6)."""
    prune_after: int = Field(default=800, ge=0)
    """Steps before the first pruning."""
    prune_threshold: float = Field(default=0.01, gt=0)
    """Compositing weight below which a cell is empty."""
    prune_decay: float = Field(default=0.985, gt=0, lt=1)
    """How quickly a weight once seen is forgotten; slow, because a wide open mouth is rare."""
    in_bfloat16: bool = True
    """On a CPU that has them, matrix products in bfloat16; sums over samples stay in float32 (decision
    0022)."""
    on_gpu: HeadOnGpuConfig = HeadOnGpuConfig()
    """What is otherwise on a GPU."""

    @property
    def rays_on_gpu(self) -> RaySamplingConfig:
        """``rays`` with the GPU's numbers."""
        numbers = {"num_rays": self.on_gpu.num_rays, "num_frames": self.on_gpu.num_frames}
        return RaySamplingConfig.model_validate({**self.rays.model_dump(), **numbers})


class HeadConditions(ABC):
    """What frames of the clip are conditioned on while the head is trained."""

    @abstractmethod
    def draw(self, frames: Int[Tensor, "batch"], generator: torch.Generator) -> Condition:
        """Conditions of a step's frames, disturbed as training wants them; without the shot."""

    @abstractmethod
    def show(self, frames: Int[Tensor, "batch"]) -> Condition:
        """Conditions as rendering has them."""


class MeasuredConditions(HeadConditions):
    """Mouth codes measured in the frames: the field learns what a mouth looks like from the mouth."""

    def __init__(self, every: Condition, *, code_noise: float) -> None:
        """Conditions of every frame, and the deviation of the noise that training adds to mouth codes."""
        self.every = every
        self.code_noise = code_noise

    def draw(self, frames: Int[Tensor, "batch"], generator: torch.Generator) -> Condition:
        """Mouth codes with noise."""
        mouth = self.every.mouth[frames]
        noise = torch.randn(mouth.shape, generator=generator, device=generator.device).to(mouth.device)
        return Condition(mouth + self.code_noise * noise, self.every.eyes[frames])

    def show(self, frames: Int[Tensor, "batch"]) -> Condition:
        """What was measured."""
        shot = None if self.every.shot is None else self.every.shot[frames]
        return Condition(self.every.mouth[frames], self.every.eyes[frames], shot)


class PoseCorrections(nn.Module):
    """A small rigid motion of the head for every frame, learned with the picture."""

    def __init__(self, num_frames: int) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(num_frames, 6))

    def forward(
        self, camera_to_world: Float[Tensor, "batch 4 4"], frames: Tensor
    ) -> tuple[Float[Tensor, "batch 4 4"], Float[Tensor, ""]]:
        """Corrected poses, and how far they go (1 is one degree or two millimetres)."""
        delta = self.delta.index_select(0, frames)
        angle, shift = delta[:, :3] * 0.0175, delta[:, 3:] * 0.002
        upper = torch.cat([turned(angle), shift.unsqueeze(-1)], dim=-1)
        last = torch.zeros_like(upper[:, :1])
        last[..., 3].fill_(1.0)
        return torch.cat([upper, last], dim=1) @ camera_to_world, delta.square().mean()


def turned(angle: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Rotations by axis-angle vectors in radians: Rodrigues' formula with series for sine and cosine.

    No division by 0, right to 1e-7 up to 1 rad, and nothing that waits for the host as ``matrix_exp`` does.
    """
    turn = skew(angle)
    square = angle.square().sum(dim=-1)[:, None, None]
    first = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
    second = 0.5 * (1 - square / 12 * (1 - square / 30 * (1 - square / 56 * (1 - square / 90))))
    return torch.eye(3, device=turn.device, dtype=turn.dtype) + first * turn + second * (turn @ turn)


def skew(vector: Float[Tensor, "batch 3"]) -> Float[Tensor, "batch 3 3"]:
    """Cross-product matrices."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)


class HeadModule(nn.Module):
    """What the stage trains: the field and the pose corrections. The grid's state goes with them."""

    def __init__(self, model: TalkingHead, num_frames: int, *, speech: nn.Module | None = None) -> None:
        """``speech``: networks that make the mouth code, where they learn with the field."""
        super().__init__()
        self.field = model.field
        self.grid = model.grid
        self.corrections = PoseCorrections(num_frames)
        self.speech = speech


def head_parameters(module: HeadModule, config: HeadTrainingConfig) -> list[dict[str, object]]:
    """Adam's groups, each with the ``rate`` that it starts from: planes, networks, pose corrections."""
    planes = list(module.field.encoding.parameters())
    networks = [value for name, value in module.field.named_parameters() if not name.startswith("encoding.")]
    return [
        {"params": planes, "rate": config.plane_rate},
        {"params": networks, "rate": config.network_rate},
        {"params": [module.corrections.delta], "rate": config.pose_rate},
    ]

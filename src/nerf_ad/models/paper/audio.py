"""Speech features to the audio code f_a of a frame: AudioNet, and AudioAttNet over neighbouring frames.

Both are AD-NeRF's, which NeRF-AD's code keeps (paper.md section 7). A frame sees 16 steps at 50 Hz; with
attention the codes of the frames t-4 to t+3 are averaged with learned weights.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config


class AudioConfig(Config):
    """The audio branch."""

    num_steps: int = Field(default=16, ge=2, le=256)
    """Feature steps that a frame sees: 16 at 50 Hz are 320 ms (AD-NeRF's code; paper.md section 3)."""
    widths: tuple[int, ...] = Field(default=(32, 32, 64, 64), min_length=1, strict=False)
    """Channels of AudioNet's convolutions, each of which halves the steps (AD-NeRF's code)."""
    code_dim: int = Field(default=64, ge=1, le=4096)
    """Numbers in the audio code f_a (AD-NeRF's code)."""
    slope: float = Field(default=0.02, ge=0, lt=1)
    """Of the leaky ReLUs (AD-NeRF's code)."""
    num_neighbours: int = Field(default=8, ge=2, le=64)
    """Frames whose codes AudioAttNet weighs, half of them before frame t (AD-NeRF's code: t-4 to t+3)."""
    attended_dim: int = Field(default=32, ge=2, le=4096)
    """How much of each code AudioAttNet looks at; a power of 2 (AD-NeRF's code)."""
    start: Literal["default", "scaled"] = "default"
    """Weights of AudioNet start as PyTorch draws them (AD-NeRF's code), after which codes of different speech
    differ by a hundredth of their size; scaled: by the number of inputs, after He (ours)."""
    normalised: bool = False
    """Whether features are brought to zero mean and unit variance per channel first. Off for DeepSpeech's
    logits, which the paper takes as they are; on for other encoders (ours)."""


class AudioNet(nn.Module):
    """A window of speech features to a code."""

    def __init__(self, config: AudioConfig, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        wide, length = channels, config.num_steps
        for width in config.widths:
            layers += [nn.Conv1d(wide, width, 3, stride=2, padding=1), nn.LeakyReLU(config.slope)]
            wide, length = width, (length + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.answer = nn.Sequential(
            nn.Linear(wide * length, config.code_dim),
            nn.LeakyReLU(config.slope),
            nn.Linear(config.code_dim, config.code_dim),
        )
        if config.start == "scaled":
            for layer in self.modules():
                if isinstance(layer, nn.Conv1d | nn.Linear):
                    nn.init.kaiming_normal_(layer.weight)
                    if layer.bias is not None:
                        nn.init.zeros_(layer.bias)

    def forward(self, windows: Float[Tensor, "batch steps channels"]) -> Float[Tensor, "batch features"]:
        """Code of each window."""
        return self.answer(self.convolutions(windows.transpose(1, 2)).flatten(1))


class AudioAttention(nn.Module):
    """AudioAttNet: the codes of neighbouring frames, averaged with learned weights."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.attended_dim = min(config.attended_dim, config.code_dim)
        layers: list[nn.Module] = []
        wide = self.attended_dim
        while wide > 1:
            layers += [nn.Conv1d(wide, wide // 2, 3, padding=1), nn.LeakyReLU(config.slope)]
            wide //= 2
        self.convolutions = nn.Sequential(*layers)
        self.mix = nn.Linear(config.num_neighbours, config.num_neighbours)

    def weights(self, codes: Float[Tensor, "batch window features"]) -> Float[Tensor, "batch window"]:
        """How much each neighbour counts; they add up to 1."""
        seen = codes[:, :, : self.attended_dim].transpose(1, 2)
        return torch.softmax(self.mix(self.convolutions(seen).squeeze(1)), dim=-1)

    def forward(self, codes: Float[Tensor, "batch window features"]) -> Float[Tensor, "batch features"]:
        """The weighted mean."""
        return (self.weights(codes).unsqueeze(-1) * codes).sum(dim=1)


def audio_windows(
    features: Float[Tensor, "steps channels"],
    rate_hz: float,
    num_frames: int,
    fps: float,
    config: AudioConfig,
    *,
    first: int = 0,
) -> Float[Tensor, "frames window channels"]:
    """The steps that each frame sees: ``num_steps / 2`` before the frame's own step, the rest from it on.

    The frame's own step is ``frame * rate_hz / fps``, rounded, so that a long clip does not drift; steps
    before the beginning and after the end are zero.

    Args:
        features: of the whole sound.
        rate_hz: their steps per second.
        num_frames: frames wanted.
        fps: frames per second.
        config: the window.
        first: number of the first frame wanted.
    """
    frames = torch.arange(first, first + num_frames, dtype=torch.float64)
    own = torch.floor(frames * (rate_hz / fps) + 0.5).long()
    before = config.num_steps // 2
    steps = own[:, None] + torch.arange(-before, config.num_steps - before)
    return _rows(features, steps.to(features.device))


def neighbour_windows(
    windows: Float[Tensor, "frames steps channels"], frames: Int[Tensor, "batch"], config: AudioConfig
) -> Float[Tensor, "batch neighbours steps channels"]:
    """Windows of the frames around each of ``frames``; outside the clip they are zero (AD-NeRF's code)."""
    before = config.num_neighbours // 2
    offsets = torch.arange(-before, config.num_neighbours - before, device=frames.device)
    return _rows(windows, frames[:, None] + offsets)


def _rows(table: Float[Tensor, "rows *rest"], numbers: Int[Tensor, "*shape"]) -> Tensor:
    """Rows of a table by number, zero where there is no such row."""
    if len(table) == 0:
        return table.new_zeros(*numbers.shape, *table.shape[1:])
    is_there = (numbers >= 0) & (numbers < len(table))
    found = table[numbers.clamp(0, len(table) - 1)]
    return found * is_there.view(*numbers.shape, *(1,) * (table.ndim - 1))


class AudioBranch(nn.Module):
    """Features of a clip to the audio code of any of its frames."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: AudioConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.channels = channels
        self.net = AudioNet(config, channels)
        self.attention = AudioAttention(config)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))

    def set_normalisation(self, features: Float[Tensor, "steps channels"]) -> None:
        """Take mean and deviation from the speech of the training frames, where the config asks for it."""
        if self.config.normalised:
            self.mean.copy_(features.mean(dim=0))
            self.scale.copy_(features.std(dim=0).clamp_min(1e-4))

    def normalise(self, features: Float[Tensor, "steps channels"]) -> Float[Tensor, "steps channels"]:
        """Features as AudioNet wants them."""
        return (features - self.mean) / self.scale

    def windows(
        self, features: Float[Tensor, "steps channels"], rate_hz: float, num_frames: int, fps: float
    ) -> Float[Tensor, "frames window channels"]:
        """What ``forward`` takes, from the features as the encoder gives them."""
        return audio_windows(self.normalise(features), rate_hz, num_frames, fps, self.config)

    def around(
        self,
        windows: Float[Tensor, "frames window channels"],
        frames: Int[Tensor, "batch"],
        *,
        smooth: bool,
    ) -> Float[Tensor, "batch neighbours window channels"]:
        """What is heard of each frame: its neighbours' windows, or only its own where ``smooth`` is off."""
        if smooth:
            return neighbour_windows(windows, frames, self.config)
        return windows[frames].unsqueeze(1)

    def codes(
        self, around: Float[Tensor, "batch neighbours window channels"]
    ) -> Float[Tensor, "batch features"]:
        """The audio code f_a of what ``around`` gives; AudioAttNet is used where there are neighbours."""
        codes = self.net(around.flatten(0, 1)).unflatten(0, around.shape[:2])
        return codes.squeeze(1) if codes.shape[1] == 1 else self.attention(codes)

    def forward(
        self,
        windows: Float[Tensor, "frames window channels"],
        frames: Int[Tensor, "batch"],
        *,
        smooth: bool,
    ) -> Float[Tensor, "batch features"]:
        """The audio code f_a of each frame.

        Args:
            windows: of the whole clip.
            frames: which frames.
            smooth: average neighbouring codes; off, AudioAttNet is not used.
        """
        return self.codes(self.around(windows, frames, smooth=smooth))

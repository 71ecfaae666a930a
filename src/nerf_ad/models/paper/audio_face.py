"""What the field is conditioned on: the code of the fused audio face, and the audio code behind it.

After stage 2 E_a, GRU and D stand still; gradients flow through them to AudioNet, which goes on learning with
E_f and the field (paper.md section 2).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerf_ad.models.paper.audio import AudioBranch
from nerf_ad.models.paper.fusion import FaceEncoder, FaceFusion, FusionConfig, with_pose
from nerf_ad.models.paper.nerf import ConditionModule, NerfConditions


class AudioFace(ConditionModule):
    """f_a and f̂_aud-face of any frame of the sound that it hears."""

    still: Tensor
    windows: Tensor

    def __init__(self, audio: AudioBranch, config: FusionConfig) -> None:
        super().__init__()
        self.audio = audio
        self.fusion = FaceFusion(config, audio_code_dim=audio.config.code_dim)
        self.reader = FaceEncoder(config)
        self.poses: Float[Tensor, "frames 4 4"] | None = None
        size = config.crop_size
        self.register_buffer("still", torch.zeros(1, 3, size, size))
        # The sound is the clip's or the user's, never the avatar's: it is not among the saved tensors.
        self.register_buffer(
            "windows", torch.zeros(0, audio.config.num_steps, audio.channels), persistent=False
        )

    def hear(
        self,
        windows: Float[Tensor, "frames window channels"],
        camera_to_world: Float[Tensor, "frames 4 4"] | None = None,
    ) -> None:
        """Take another sound, from ``AudioBranch.windows``, and the poses if the fusion sees them."""
        self.windows = windows.to(self.still.device)
        self.poses = None
        if self.fusion.config.sees_pose:
            if camera_to_world is None:
                message = "this audio face sees the pose of the head: give it"
                raise ValueError(message)
            self.poses = camera_to_world.to(self.still.device)

    def freeze_fusion(self) -> None:
        """E_a, GRU and D learn no more. Left out, they are trained by the picture: a row of the ablations."""
        self.fusion.requires_grad_(requires_grad=False)

    def faces(self, frames: Int[Tensor, "batch"], *, is_smoothed: bool) -> Float[Tensor, "batch 3 size size"]:
        """The fused audio faces themselves: what stage 2 learned to paint."""
        return self._paint(self.audio(self.windows, frames, smooth=is_smoothed), frames)

    def forward(self, frames: Int[Tensor, "batch"], *, is_smoothed: bool) -> NerfConditions:
        """Both codes of each frame."""
        return self.understand(self.audio.around(self.windows, frames, smooth=is_smoothed), frames)

    def understand(
        self, around: Float[Tensor, "batch neighbours window channels"], frames: Int[Tensor, "batch"]
    ) -> NerfConditions:
        """Both codes from what is heard of each frame (``AudioBranch.around``), perhaps badly."""
        audio = self.audio.codes(around)
        return NerfConditions(audio=audio, face=self.reader(self._paint(audio, frames)).code)

    def smoothing_parameters(self) -> list[nn.Parameter]:
        """AudioAttNet's."""
        return list(self.audio.attention.parameters())

    def _paint(
        self, audio: Float[Tensor, "batch features"], frames: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch 3 size size"]:
        return self.fusion(self.still, with_pose(audio, None if self.poses is None else self.poses[frames]))


class AudioCode(ConditionModule):
    """f_a alone: AD-NeRF's head, the row like DFRF, and NeRF-AD without its audio face."""

    windows: Tensor

    def __init__(self, audio: AudioBranch) -> None:
        super().__init__()
        self.audio = audio
        self.register_buffer(
            "windows", torch.zeros(0, audio.config.num_steps, audio.channels), persistent=False
        )

    def hear(self, windows: Float[Tensor, "frames window channels"]) -> None:
        """Take another sound, from ``AudioBranch.windows``."""
        self.windows = windows.to(self.audio.mean.device)

    def forward(self, frames: Int[Tensor, "batch"], *, is_smoothed: bool) -> NerfConditions:
        """The audio code of each frame."""
        return self.understand(self.audio.around(self.windows, frames, smooth=is_smoothed), frames)

    def understand(
        self,
        around: Float[Tensor, "batch neighbours window channels"],
        frames: Int[Tensor, "batch"],  # noqa: ARG002 - a painted face wants to know
    ) -> NerfConditions:
        """The audio code from what is heard of each frame (``AudioBranch.around``), perhaps badly."""
        return NerfConditions(audio=self.audio.codes(around))

    def smoothing_parameters(self) -> list[nn.Parameter]:
        """AudioAttNet's."""
        return list(self.audio.attention.parameters())

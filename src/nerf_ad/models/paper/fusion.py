"""The audio face: what of the face speech moves, made from one still face and a frame's audio code.

    identity audio face -> E_a -> f_aud-face 256 ─┐
    audio window -> AudioNet -> f_a 64 ───────────┴─ GRU -> D -> fused audio face -> E_f -> 256 numbers to F

E_a and D are the lip generator of Song et al. at 112x112, as NeRF-AD's code has them (paper.md section 8). D
sees E_a's maps of the still face, so it need not remember what the person looks like.
"""

import itertools
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config

POSE_DIM = 2
"""Numbers that say how the head is turned: yaw and pitch."""

_KERNEL = 5
_LARGEST_CHANGE = 3.0
"""In standard deviations of a pixel."""
_SHAPED_BY = 1000
"""Faces, evenly spread, whose principal components are taken at most."""
_POSE_SCALE = 0.175
"""Ten degrees in radians: poses are about 1."""


class FusionConfig(Config):
    """E_a, GRU, D and E_f."""

    crop_size: int = Field(default=112, ge=32, le=1024, multiple_of=16)
    """Width and height of the face crops in pixels (NeRF-AD's code)."""
    encoder_widths: tuple[int, int, int, int] = Field(default=(16, 32, 64, 128), strict=False)
    """Channels of E_a's and E_f's convolutions, each of which halves the size (NeRF-AD's code)."""
    encoder_hidden: int = Field(default=1024, ge=1)
    """Width between E_a's two linear layers (NeRF-AD's code)."""
    face_code_dim: int = Field(default=256, ge=1)
    """Numbers in f_aud-face and in the code for the field (the paper's figure; size from NeRF-AD's code)."""
    gru_dim: int = Field(default=1024, ge=1)
    """Width of the GRU (NeRF-AD's code)."""
    seed_width: int = Field(default=256, ge=1)
    """Channels of the smallest map that D starts from (NeRF-AD's code)."""
    decoder_widths: tuple[int, int, int, int] = Field(default=(196, 128, 80, 48), strict=False)
    """Channels of D's up-sampling layers (NeRF-AD's code)."""
    output_width: int = Field(default=16, ge=1)
    """Channels before D's last layer (NeRF-AD's code)."""
    sees_pose: bool = False
    """Tell the GRU how the head is turned, so that this is not learned from the sound (ours, an extension;
    the paper's audio face hears only)."""
    paints_change: bool = False
    """Let D paint how a face differs from the usual one, in units of how much each pixel does; ``set_usual``
    gives both. It begins with no difference: a short training does not spend its steps on a picture that is
    known (ours, an extension)."""
    num_shapes: int = Field(default=0, ge=0, le=1024)
    """Principal components of the training faces that the GRU's state mixes linearly, beneath what D paints;
    with ``paints_change`` only. A minute of film teaches this sooner than D (ours, an extension)."""
    start: Literal["normal", "scaled"] = "normal"
    """Convolutions start from N(0, 0.02) (NeRF-AD's code), which passes signals on at the paper's widths and
    lets them die out at small ones; scaled: these and the linear layers by the number of inputs, after He
    (ours, for small widths)."""


class EncodedFace(NamedTuple):
    """What E_a sees in a face."""

    code: Float[Tensor, "batch features"]
    """f_aud-face."""
    maps: tuple[Tensor, ...]
    """Its maps, largest first, for D."""


class FaceEncoder(nn.Module):
    """E_a and E_f: four convolutions and two linear layers, no activation between these."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        widths = (3, *config.encoder_widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(wide, width, _KERNEL, stride=2, padding=_KERNEL // 2)
            for wide, width in itertools.pairwise(widths)
        )
        smallest = config.crop_size // 16
        self.answer = nn.Sequential(
            nn.Linear(widths[-1] * smallest**2, config.encoder_hidden),
            nn.Linear(config.encoder_hidden, config.face_code_dim),
        )
        _initialise(self, config.start)

    def forward(self, face: Float[Tensor, "batch 3 height width"]) -> EncodedFace:
        """Code and maps of faces in [0, 1]."""
        maps = []
        for convolution in self.convolutions:
            face = F.relu(convolution(face))
            maps.append(face)
        return EncodedFace(self.answer(face.flatten(1)), tuple(maps))


class FaceDecoder(nn.Module):
    """D: a picture from the GRU's state and E_a's maps."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.smallest = config.crop_size // 16
        self.seed_width = config.seed_width
        self.seed = nn.Linear(config.gru_dim, config.seed_width * self.smallest**2)
        wide = (config.seed_width, *config.decoder_widths[:-1])
        self.enlarging = nn.ModuleList(
            nn.ConvTranspose2d(
                below + skipped, width, _KERNEL, stride=2, padding=_KERNEL // 2, output_padding=1
            )
            for below, skipped, width in zip(
                wide, reversed(config.encoder_widths), config.decoder_widths, strict=True
            )
        )
        self.before_last = nn.Conv2d(
            config.decoder_widths[-1], config.output_width, _KERNEL, padding=_KERNEL // 2
        )
        self.last = nn.Conv2d(config.output_width, 3, _KERNEL, padding=_KERNEL // 2)
        _initialise(self, config.start)

    def forward(
        self, state: Float[Tensor, "batch features"], maps: tuple[Tensor, ...]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The picture, within (-1, 1) although only [0, 1] is meant (paper.md section 8).

        Args:
            state: the GRU's.
            maps: E_a's, of as many faces as states, or of one face for all of them.
        """
        picture = F.relu(self.seed(state)).view(-1, self.seed_width, self.smallest, self.smallest)
        for enlarge, skipped in zip(self.enlarging, reversed(maps), strict=True):
            beside = skipped.expand(len(picture), -1, -1, -1)
            picture = F.relu(enlarge(torch.cat([picture, beside], dim=1)))
        return torch.tanh(self.last(F.relu(self.before_last(picture))))


class FaceFusion(nn.Module):
    """E_a, GRU and D: the fused audio face of a frame from a still audio face and the frame's audio code."""

    usual: Tensor | None
    range: Tensor | None
    shapes: Tensor | None

    def __init__(self, config: FusionConfig, *, audio_code_dim: int = 64) -> None:
        super().__init__()
        self.config = config
        code_dim = audio_code_dim + (POSE_DIM if config.sees_pose else 0)
        self.encoder = FaceEncoder(config)
        # One step from a zero state: a gated layer without memory, as NeRF-AD's code runs it. The weights
        # from state to state are there, as in any GRU, and stay as they were drawn.
        self.gru = nn.GRU(config.face_code_dim + code_dim, config.gru_dim, batch_first=True)
        self.decoder = FaceDecoder(config)
        size = config.crop_size
        self.register_buffer("usual", torch.zeros(3, size, size) if config.paints_change else None)
        self.register_buffer("range", torch.ones(3, size, size) if config.paints_change else None)
        has_shapes = config.paints_change and config.num_shapes > 0
        self.register_buffer("shapes", torch.zeros(config.num_shapes, 3, size, size) if has_shapes else None)
        self.mix = nn.Linear(config.gru_dim, config.num_shapes) if has_shapes else None
        if config.paints_change:
            nn.init.zeros_(self.decoder.last.weight)
        if self.mix is not None:
            nn.init.zeros_(self.mix.weight)
            nn.init.zeros_(self.mix.bias)

    def set_usual(
        self, faces: Float[Tensor, "frames 3 height width"] | UInt8[Tensor, "frames 3 height width"]
    ) -> None:
        """Take the usual face from training faces, in [0, 1] or in 256 steps: their median, pixel by pixel.

        The median is the constant picture whose L_rec is least; a pixel changes by three of its standard
        deviations at most. Without ``paints_change`` nothing is taken.
        """
        if self.usual is None or self.range is None:
            return
        scale = 1.0 if faces.is_floating_point() else 255.0
        for row in range(faces.shape[2]):  # all rows at once would need the faces a second time
            values = faces[:, :, row].float() / scale
            self.usual[:, row] = values.median(dim=0).values
            self.range[:, row] = _LARGEST_CHANGE * values.std(dim=0, correction=0)
        if self.shapes is not None:
            some = faces[:: -(-len(faces) // _SHAPED_BY)].float() / scale
            changes = (some - self.usual.cpu()).flatten(1)
            _, sizes, directions = torch.linalg.svd(changes, full_matrices=False)
            shapes = (sizes[:, None] * directions / len(some) ** 0.5)[: self.config.num_shapes]
            self.shapes[: len(shapes)] = shapes.view(-1, *self.usual.shape)

    def forward(
        self, audio_face: Float[Tensor, "faces 3 height width"], audio_code: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Decoded faces.

        Args:
            audio_face: (1-A)·c of the identity frame, one for each code or one for all.
            audio_code: f_a, followed by the pose where the config asks for it (``with_pose``).
        """
        return self.fuse(self.encoder(audio_face), audio_code)

    def fuse(
        self, encoded: EncodedFace, audio_code: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Decoded faces from a still face that was encoded before: it is the same for every frame."""
        both = torch.cat([encoded.code.expand(len(audio_code), -1), audio_code], dim=-1)
        state, _ = self.gru(both.unsqueeze(1))
        state = state.squeeze(1)
        painted = self.decoder(state, encoded.maps)
        if self.usual is None or self.range is None:
            return painted
        picture = self.usual + self.range * painted
        if self.shapes is None or self.mix is None:
            return picture
        return picture + torch.einsum("bk,kchw->bchw", self.mix(state), self.shapes)


def with_pose(
    audio_code: Float[Tensor, "batch features"], camera_to_world: Float[Tensor, "batch 4 4"] | None
) -> Float[Tensor, "batch codes"]:
    """f_a with yaw and pitch of the head behind it, about 1 at ten degrees; None: f_a as it is."""
    if camera_to_world is None:
        return audio_code
    x, y, z = camera_to_world[:, :3, 3].unbind(-1)
    pose = torch.stack([torch.atan2(x, z), torch.atan2(y, torch.hypot(x, z))], dim=-1)
    return torch.cat([audio_code, pose / _POSE_SCALE], dim=-1)


def _initialise(network: nn.Module, start: Literal["normal", "scaled"]) -> None:
    """Convolutions as asked for; linear layers Xavier and 0.01 (NeRF-AD's code), or scaled as well.

    Biases of convolutions start at 0 (ours; not stated).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # A pixel of a transposed convolution is reached by one in stride^2 of the kernel's places.
            places = _KERNEL**2 / (module.stride[0] ** 2 if isinstance(module, nn.ConvTranspose2d) else 1)
            deviation = 0.02 if start == "normal" else (2 / (module.in_channels * places)) ** 0.5
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            if start == "scaled":
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
            else:
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0.01)

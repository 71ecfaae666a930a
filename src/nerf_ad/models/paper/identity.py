"""The identity feature f_id: what a few identity faces show at a point of the head (paper.md section 6).

A small network makes a feature map of each reference picture. A point is projected into every reference,
moved by an offset that is learned from speech (a mouth that opens shifts what the references show there), and
reads the maps; slot attention joins what it read into one feature, whatever the order of the references.

Pixel positions follow :mod:`nerf_ad.geometry.camera`: centres at +0.5, the true principal point, and each
axis normalised by its own size (defects 6 and 8 of section 13). "Views" are the references.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.volume.encoding import encode_position, encoded_dim

NEAREST_DEPTH = 1e-3
"""Metres before a camera; a point nearer than this, or behind it, is projected as if it were here."""


class IdentityConfig(Config):
    """The identity branch."""

    reference_size: int = Field(default=0, ge=0, le=4096)
    """References are shrunk to this many pixels a side before features are extracted; 0 keeps their size
    (NeRF-AD's code keeps it; a smaller one is ours, for training without a GPU)."""
    input_frequencies: int = Field(default=5, ge=0, le=16)
    """Waves of a pixel's colour and of its camera's position (NeRF-AD's code; 3 and 3 numbers become 66)."""
    extractor_dim: int = Field(default=64, ge=4, le=1024)
    """Channels of the two convolutions (NeRF-AD's code)."""
    feature_dim: int = Field(default=128, ge=4, le=1024)
    """Channels of a feature map (NeRF-AD's code)."""
    offset_dims: tuple[int, int] = Field(default=(128, 32), strict=False)
    """Hidden widths of the offset network (NeRF-AD's code)."""
    largest_offset: float = Field(default=10.0, gt=0)
    """Pixels of the feature map that an offset is clamped to (NeRF-AD's code, on maps of 450 pixels)."""
    ray_dim: int = Field(default=32, ge=4, le=1024)
    """Width of the short path before the tokens, r (NeRF-AD's code)."""
    slot_dim: int = Field(default=128, ge=4, le=1024)
    """Width of tokens and slots (NeRF-AD's code)."""
    num_slots: int = Field(default=2, ge=1, le=16)
    """Slots; the feature is all of them (NeRF-AD's code: 2 x 128 = 256)."""
    num_rounds: int = Field(default=2, ge=1, le=16)
    """Times that the slots look at the tokens (NeRF-AD's code)."""

    @property
    def out_dim(self) -> int:
        """Numbers in an identity feature."""
        return self.num_slots * self.slot_dim


class ReferenceMaps(NamedTuple):
    """Feature maps of the references, and their cameras."""

    features: Float[Tensor, "views channels height width"]
    """What the extractor made of each picture."""
    camera_to_world: Float[Tensor, "views 4 4"]
    """Pose of each."""
    intrinsics: Float[Tensor, "4"]
    """fx, fy, cx, cy in pixels of the maps."""


class IdentityFeature(NamedTuple):
    """What the references say about points."""

    feature: Float[Tensor, "points features"]
    """f_id."""
    offset_energy: Float[Tensor, "points"]
    """Mean square of the offsets over views and axes, squared map pixels; what L_off weighs."""


def project_into_views(
    points: Float[Tensor, "points 3"],
    camera_to_world: Float[Tensor, "views 4 4"],
    intrinsics: Float[Tensor, "4"],
) -> Float[Tensor, "views points 2"]:
    """Pixels (u, v) of world points in every view: ``u = cx - fx x / z``, ``v = cy + fy y / z`` for z < 0."""
    local = (points - camera_to_world[:, None, :3, 3]) @ camera_to_world[:, :3, :3]
    depth = (-local[..., 2]).clamp_min(NEAREST_DEPTH)
    fx, fy, cx, cy = intrinsics.unbind()
    return torch.stack([cx + fx * local[..., 0] / depth, cy - fy * local[..., 1] / depth], dim=-1)


def clamp_to_picture(
    pixels: Float[Tensor, "views points 2"], *, width: int, height: int
) -> Float[Tensor, "views points 2"]:
    """Move positions to the nearest pixel centre inside the picture where they lie beyond the outermost."""
    last = pixels.new_tensor([width - 0.5, height - 0.5])
    return torch.minimum(pixels.clamp_min(0.5), last)


def normalise_pixels(
    pixels: Float[Tensor, "views points 2"], *, width: int, height: int
) -> Float[Tensor, "views points 2"]:
    """Positions in [-1, 1]: -1 is the left or upper edge of the first pixel, 1 the far edge of the last."""
    return pixels * pixels.new_tensor([2.0 / width, 2.0 / height]) - 1.0


def read_nearest(
    maps: Float[Tensor, "views channels height width"], pixels: Float[Tensor, "views points 2"]
) -> Float[Tensor, "views points channels"]:
    """The map at the pixel that each position lies in; positions must lie inside."""
    width = maps.shape[3]
    column, row = pixels.floor().long().unbind(-1)
    flat = maps.flatten(2).transpose(1, 2)
    return torch.stack([view[index] for view, index in zip(flat, row * width + column, strict=True)])


def read_between(
    maps: Float[Tensor, "views channels height width"], places: Float[Tensor, "views points 2"]
) -> Float[Tensor, "views points channels"]:
    """The map between pixel centres, bilinear; beyond the outermost centres the border goes on."""
    read = F.grid_sample(
        maps, places.unsqueeze(1), mode="bilinear", padding_mode="border", align_corners=False
    )
    return read.squeeze(2).transpose(1, 2)


class FeatureExtractor(nn.Module):
    """Colour and camera position of every pixel -> a feature map of the same size."""

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.num_frequencies = config.input_frequencies
        in_dim = 2 * encoded_dim(3, config.input_frequencies)
        self.first = nn.Conv2d(in_dim, config.extractor_dim, 3, padding=1)
        self.second = nn.Conv2d(config.extractor_dim, config.extractor_dim, 3, padding=1)
        self.last = nn.Linear(config.extractor_dim, config.feature_dim)

    def forward(
        self, pictures: Float[Tensor, "views 3 height width"], camera_to_world: Float[Tensor, "views 4 4"]
    ) -> Float[Tensor, "views channels height width"]:
        """Extract; pictures in [0, 1]."""
        colour = encode_position(pictures.permute(0, 2, 3, 1), self.num_frequencies)
        place = encode_position(camera_to_world[:, :3, 3], self.num_frequencies)
        place = place[:, None, None].expand(*colour.shape[:3], place.shape[1])
        hidden = torch.cat([colour, place], dim=-1).permute(0, 3, 1, 2)
        hidden = F.relu(self.second(F.relu(self.first(hidden))))
        return self.last(hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class OffsetNetwork(nn.Module):
    """How far, in map pixels, to look beside a point's projection while somebody speaks.

    What comes in is detached: the offsets learn from the picture, speech and maps do not learn from them.
    """

    def __init__(self, config: IdentityConfig, *, point_dim: int, code_dim: int) -> None:
        super().__init__()
        self.largest = config.largest_offset
        self.split = [point_dim, code_dim, config.feature_dim]
        first, second = config.offset_dims
        self.layers = nn.ModuleList(
            [nn.Linear(sum(self.split), first), nn.Linear(first, second), nn.Linear(second, 2)]
        )
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        encoded: Float[Tensor, "points encoded"],
        code: Float[Tensor, "units"],
        seen: Float[Tensor, "views points channels"],
    ) -> Float[Tensor, "views points 2"]:
        """Offsets, clamped.

        Args:
            encoded: the points as waves.
            code: f_a of the frame; empty where nothing is heard.
            seen: feature at the pixel that each point projects into.
        """
        first, second, last = self.layers
        assert isinstance(first, nn.Linear)
        of_point, of_code, of_feature = first.weight.split(self.split, dim=1)
        shared = F.linear(encoded.detach(), of_point, first.bias + of_code @ code.detach())
        hidden = F.relu(shared + F.linear(seen.detach(), of_feature))
        return last(F.relu(second(hidden))).clamp(-self.largest, self.largest)


class SlotAttention(nn.Module):
    """A set of tokens, one per view, joined into a few slots (Locatello et al. 2020; DFRF's code).

    Each slot begins at its own learned vector and no noise is added, in training or later: the paper's code
    draws all slots around one shared vector anew for every picture, which flickers, and would make all slots
    equal without the draw (paper.md section 14, row 7). The vectors' first values are the draw, made once.
    """

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        width = config.slot_dim
        self.num_rounds = config.num_rounds
        self.start = nn.Parameter(torch.randn(config.num_slots, width))
        self.norm_tokens = nn.LayerNorm(width)
        self.norm_slots = nn.LayerNorm(width)
        self.norm_update = nn.LayerNorm(width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.recur = nn.GRUCell(width, width)
        self.refine = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, tokens: Float[Tensor, "views points units"]) -> Float[Tensor, "points features"]:
        """All slots of every point, one after the other."""
        views, points, width = tokens.shape
        num_slots = len(self.start)
        tokens = self.norm_tokens(tokens)
        key, value = self.key(tokens), self.value(tokens)
        slots = self.start.expand(points, num_slots, width)
        for _ in range(self.num_rounds):
            query = self.query(self.norm_slots(slots))
            logits = torch.stack([(query * view.unsqueeze(1)).sum(-1) for view in key]) / width**0.5
            attention = logits.softmax(dim=2) + 1e-8  # (views points slots): the slots compete for each view
            attention = attention / attention.sum(dim=0, keepdim=True)
            update = sum(
                (attention[view].unsqueeze(-1) * value[view].unsqueeze(1) for view in range(views)),
                start=torch.zeros_like(query),
            )
            flat = self.recur(update.reshape(-1, width), slots.reshape(-1, width))
            slots = flat.view(points, num_slots, width)
            slots = slots + self.refine(self.norm_update(slots))
        return slots.flatten(1)


class IdentityBranch(nn.Module):
    """References and points -> identity features: the same path when training and when rendering."""

    def __init__(self, config: IdentityConfig, *, point_dim: int, code_dim: int) -> None:
        super().__init__()
        self.config = config
        self.extractor = FeatureExtractor(config)
        self.offset = OffsetNetwork(config, point_dim=point_dim, code_dim=code_dim)
        seen_dim = config.feature_dim + 2
        self.short = nn.Sequential(
            nn.Linear(seen_dim, config.ray_dim), nn.ReLU(), nn.Linear(config.ray_dim, config.ray_dim)
        )
        self.split = [seen_dim, point_dim, config.ray_dim]
        self.token = nn.Linear(sum(self.split), config.slot_dim)
        self.slots = SlotAttention(config)

    def maps(
        self,
        pictures: Float[Tensor, "views 3 height width"],
        camera_to_world: Float[Tensor, "views 4 4"],
        intrinsics: Float[Tensor, "4"],
    ) -> ReferenceMaps:
        """Feature maps of reference pictures.

        Args:
            pictures: identity faces in [0, 1].
            camera_to_world: pose of each.
            intrinsics: in pixels of ``pictures``.
        """
        small = shrink(pictures, self.config.reference_size)
        features = self.extractor(small, camera_to_world)
        return ReferenceMaps(features, camera_to_world, intrinsics * (small.shape[3] / pictures.shape[3]))

    def forward(
        self,
        points: Float[Tensor, "points 3"],
        encoded: Float[Tensor, "points encoded"],
        maps: ReferenceMaps,
        code: Float[Tensor, "units"],
    ) -> IdentityFeature:
        """Identity features of points.

        Args:
            points: world, metres.
            encoded: the same points as waves.
            maps: the references.
            code: f_a of the frame, which moves the offsets; empty where nothing is heard.
        """
        height, width = maps.features.shape[2:]
        projected = project_into_views(points, maps.camera_to_world, maps.intrinsics)
        projected = clamp_to_picture(projected, width=width, height=height)
        offset = self.offset(encoded, code, read_nearest(maps.features.detach(), projected))
        moved = clamp_to_picture(projected + offset, width=width, height=height)
        places = normalise_pixels(moved, width=width, height=height)
        seen = torch.cat([read_between(maps.features, places), places], dim=-1)
        of_seen, of_point, of_short = self.token.weight.split(self.split, dim=1)
        shared = F.linear(encoded, of_point, self.token.bias)
        joined = torch.cat([seen, self.short(seen)], dim=-1)
        tokens = F.leaky_relu(F.linear(joined, torch.cat([of_seen, of_short], dim=1)) + shared)
        return IdentityFeature(self.slots(tokens), offset.square().mean(dim=(0, 2)))


def shrink(
    pictures: Float[Tensor, "views 3 height width"], size: int
) -> Float[Tensor, "views 3 rows columns"]:
    """Pictures at ``size`` pixels a side, smoothed before they are thinned; larger ones only, 0 keeps all."""
    if size == 0 or pictures.shape[3] <= size:
        return pictures
    return F.interpolate(pictures, (size, size), mode="bilinear", antialias=True, align_corners=False)

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
from nerf_ad.models.paper.slots import SlotAttention, linear_of_columns
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
) -> Float[Tensor, "views 2 points"]:
    """Pixels (u, v) of world points in every view: ``u = cx - fx x / z``, ``v = cy + fy y / z`` for z < 0."""
    turn = camera_to_world[:, :3, :3].transpose(1, 2)
    local = turn @ points.T - turn @ camera_to_world[:, :3, 3:]
    depth = (-local[:, 2]).clamp_min(NEAREST_DEPTH)
    fx, fy, cx, cy = intrinsics.unbind()
    return torch.stack([cx + fx * local[:, 0] / depth, cy - fy * local[:, 1] / depth], dim=1)


def clamp_to_picture(
    pixels: Float[Tensor, "views 2 points"], *, width: int, height: int
) -> Float[Tensor, "views 2 points"]:
    """Move positions to the nearest pixel centre inside the picture where they lie beyond the outermost."""
    return torch.minimum(pixels.clamp_min(0.5), _column(width - 0.5, height - 0.5, pixels))


def normalise_pixels(
    pixels: Float[Tensor, "views 2 points"], *, width: int, height: int
) -> Float[Tensor, "views 2 points"]:
    """Positions in [-1, 1]: -1 is the left or upper edge of the first pixel, 1 the far edge of the last."""
    return pixels * _column(2.0 / width, 2.0 / height, pixels) - 1.0


def _column(across: float, down: float, like: Tensor) -> Float[Tensor, "2 1"]:
    """Two numbers made where they are needed: a CUDA graph takes no copies from the host."""
    return torch.cat([like.new_full((1, 1), across), like.new_full((1, 1), down)])


def read_nearest(
    maps: Float[Tensor, "views channels height width"], pixels: Float[Tensor, "views 2 points"]
) -> Float[Tensor, "views channels points"]:
    """The map at the pixel that each position lies in; positions must lie inside."""
    views, channels, height, width = maps.shape
    column, row = pixels.long().unbind(1)
    first = torch.arange(views, device=maps.device).unsqueeze(1) * (height * width)
    rows = maps.permute(0, 2, 3, 1).reshape(-1, channels)
    read = rows.index_select(0, (first + row * width + column).flatten())
    return read.view(views, -1, channels).transpose(1, 2)


def read_between(
    maps: Float[Tensor, "views channels height width"], places: Float[Tensor, "views 2 points"]
) -> Float[Tensor, "views channels points"]:
    """The map between pixel centres, bilinear; beyond the outermost centres the border goes on."""
    grid = places.transpose(1, 2).unsqueeze(1)
    read = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return read.squeeze(2)


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
        seen: Float[Tensor, "views channels points"],
    ) -> Float[Tensor, "views 2 points"]:
        """Offsets, clamped.

        Args:
            encoded: the points as waves.
            code: f_a of the frame; empty where nothing is heard.
            seen: feature at the pixel that each point projects into.
        """
        first, second, last = self.layers
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        assert isinstance(last, nn.Linear)
        of_point, of_code, of_feature = first.weight.split(self.split, dim=1)
        said = (first.bias + of_code @ code.detach()).unsqueeze(1)
        shared = torch.addmm(said, of_point, encoded.detach().T)  # once for all views
        hidden = linear_of_columns(of_feature, shared.unsqueeze(0), seen.detach()).relu_()
        hidden = linear_of_columns(second.weight, second.bias[None, :, None], hidden).relu_()
        offset = linear_of_columns(last.weight, last.bias[None, :, None], hidden)
        return offset.clamp(-self.largest, self.largest)


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
        self.slots = SlotAttention(
            width=config.slot_dim, num_slots=config.num_slots, num_rounds=config.num_rounds
        )

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
        return IdentityFeature(
            self.slots(self.tokens(encoded, read_between(maps.features, places), places)),
            offset.square().mean(dim=(0, 1)),
        )

    def tokens(
        self,
        encoded: Float[Tensor, "points encoded"],
        read: Float[Tensor, "views channels points"],
        places: Float[Tensor, "views 2 points"],
    ) -> Float[Tensor, "views units points"]:
        """``leaky_relu(token([read, places, encoded, short([read, places])]))``.

        What is linear is joined: the first layers of ``short`` and of the token read their inputs together,
        the last of ``short`` is one matrix with the token's, and the point's part is once for all views.
        """
        into, _, out = self.short
        assert isinstance(into, nn.Linear)
        assert isinstance(out, nn.Linear)
        of_seen, of_point, of_short = self.token.weight.split(self.split, dim=1)
        weight = torch.cat([into.weight, of_seen])
        of_read, of_place = weight.split([read.shape[1], 2], dim=1)
        bias = torch.cat([into.bias, self.token.bias + of_short @ out.bias])[None, :, None]
        both = linear_of_columns(of_read, linear_of_columns(of_place, bias, places), read)
        short, seen = both.split([len(into.weight), len(of_seen)], dim=1)
        shared = seen + of_point @ encoded.T
        return F.leaky_relu(linear_of_columns(of_short @ out.weight, shared, F.relu(short)))


def shrink(
    pictures: Float[Tensor, "views 3 height width"], size: int
) -> Float[Tensor, "views 3 rows columns"]:
    """Pictures at ``size`` pixels a side, smoothed before they are thinned; larger ones only, 0 keeps all."""
    if size == 0 or pictures.shape[3] <= size:
        return pictures
    return F.interpolate(pictures, (size, size), mode="bilinear", antialias=True, align_corners=False)

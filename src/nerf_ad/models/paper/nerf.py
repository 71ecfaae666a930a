"""NeRF-AD's head: two conditional radiance fields over a picture of torso and background.

The parts that a field is conditioned on can be switched, so that the paper's comparisons are configurations
of one implementation (paper.md sections 12 and 15):

=================  ==========  ====  =====  =========
row                references  face  audio  landmarks
=================  ==========  ====  =====  =========
NeRF-AD            yes         256   0      0
no audio face      yes         0     64     0
DFRF-like          yes, whole  0     64     0
AD-NeRF's head     no          0     64     0
GeneFace's field   no          0     0      64
NeRF               no          0     0      0
=================  ==========  ====  =====  =========
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.geometry.rays import Rays, pixel_grid, pixel_rays
from nerf_ad.models.paper.identity import IdentityBranch, IdentityConfig, ReferenceMaps, shrink
from nerf_ad.volume.encoding import encode_position, encoded_dim
from nerf_ad.volume.hierarchical import (
    composite_before,
    even_depths,
    fine_depths,
    opaque_weights,
    stratified_depths,
)
from nerf_ad.volume.sampling import box_interval

EVERYWHERE = 1e3
"""Metres; half a side of the box of a head that nobody has measured."""
RAYS_AT_ONCE = {False: 128, True: 2048}
"""Rays of a frame that are rendered together, by whether it is done on a GPU (ours)."""

NEAREST = 0.05
"""Metres before the camera at which a ray begins at the earliest."""


class ConditionalNerfConfig(Config):
    """One radiance field."""

    depth: int = Field(default=8, ge=2, le=64)
    """Hidden layers (NeRF-AD's code)."""
    width: int = Field(default=256, ge=8, le=4096)
    """Width of a hidden layer (NeRF-AD's code)."""
    again_after: int = Field(default=5, ge=1, le=63)
    """Layers after which the inputs are joined again, never if there are no more (NeRF-AD's code)."""
    colour_depth: int = Field(default=3, ge=1, le=16)
    """Hidden layers from trunk and view direction to colour (NeRF-AD's code)."""
    colour_width: int = Field(default=128, ge=4, le=4096)
    """Their width (NeRF-AD's code)."""
    first_density: float = Field(default=1.0, ge=0, le=1000)
    """Density per metre, about, that training starts from (ours). A start drawn at random may be negative
    everywhere, where the rectifier passes no gradient: the bad starts that AD-NeRF's code warns of."""


class PaperHeadConfig(Config):
    """A head as the paper renders it. The defaults are the full method."""

    field: ConditionalNerfConfig = ConditionalNerfConfig()
    """Coarse and fine field, each with its own weights."""
    identity: IdentityConfig = IdentityConfig()
    """The identity branch."""
    uses_references: bool = True
    """Whether fields read the identity feature (off: NeRF, AD-NeRF's head, GeneFace's field)."""
    num_references: int = Field(default=4, ge=1, le=64)
    """Reference pictures (NeRF-AD's and DFRF's code)."""
    face_dim: int = Field(default=256, ge=0, le=4096)
    """Numbers of the fused audio face's code that fields read (NeRF-AD's code); 0 leaves it out."""
    audio_dim: int = Field(default=0, ge=0, le=4096)
    """Numbers of f_a that fields read: 0 in NeRF-AD's released model, 64 in AD-NeRF and DFRF."""
    landmark_dim: int = Field(default=0, ge=0, le=4096)
    """Numbers of the landmark code that fields read: 64 in GeneFace's code."""
    offset_code_dim: int = Field(default=64, ge=0, le=4096)
    """Numbers of f_a that the offset network reads (NeRF-AD's code); 0 where nothing is heard."""
    point_frequencies: int = Field(default=10, ge=0, le=16)
    """Waves of a point (NeRF-AD's code)."""
    direction_frequencies: int = Field(default=4, ge=0, le=16)
    """Waves of a view direction (NeRF-AD's code)."""
    point_scale: float = Field(default=1.0, gt=0, le=100)
    """Points are multiplied by this before they become waves; 1 is metres (NeRF-AD's code). About 10 spans a
    head, and a short training sees fine detail sooner (ours)."""
    samples_in_box: bool = False
    """Whether samples lie where a ray crosses the head's box instead of from near to far, so that fewer do
    (ours). A ray that misses the box shows what is behind."""
    coarse_samples: int = Field(default=64, ge=4, le=4096)
    """Samples of the first pass (NeRF-AD's code)."""
    fine_samples: int = Field(default=128, ge=1, le=4096)
    """Samples that the second pass adds (NeRF-AD's code)."""


class NerfConditions(NamedTuple):
    """What frames are conditioned on; what no field reads may be absent."""

    audio: Float[Tensor, "batch audio"] | None = None
    """f_a."""
    face: Float[Tensor, "batch face"] | None = None
    """Code of the fused audio face."""
    landmarks: Float[Tensor, "batch landmarks"] | None = None
    """Code of tracked landmarks."""

    def one(self, index: int) -> "NerfConditions":
        """Those of one frame, still as a batch."""
        return NerfConditions(*(None if part is None else part[index : index + 1] for part in self))


class ConditionModule(nn.Module, ABC):
    """Makes conditions of frames, and learns with the fields: the fusion part plugs in here."""

    @abstractmethod
    def forward(self, frames: Int[Tensor, "batch"], *, is_smoothed: bool) -> NerfConditions:
        """Conditions of frames of the clip; ``is_smoothed``: whether neighbouring frames are heard too."""

    def smoothing_parameters(self) -> list[nn.Parameter]:
        """Parameters of the temporal attention, which learn at their own rate; none by default."""
        return []


class NoConditions(ConditionModule):
    """For fields that nothing conditions."""

    def forward(self, frames: Int[Tensor, "batch"], *, is_smoothed: bool) -> NerfConditions:  # noqa: ARG002
        """Nothing."""
        return NerfConditions()


class ConditionalNerf(nn.Module):
    """Density and colour of points, given a feature for each point and a code for the frame."""

    def __init__(
        self,
        config: ConditionalNerfConfig,
        *,
        point_dim: int,
        feature_dim: int,
        code_dim: int,
        direction_dim: int,
    ) -> None:
        super().__init__()
        self.config = config
        width, in_dim = config.width, point_dim + feature_dim + code_dim
        self.split = [feature_dim, code_dim, point_dim]
        self.layers = nn.ModuleList(
            nn.Linear(
                in_dim if layer == 0 else width + in_dim if layer == config.again_after else width, width
            )
            for layer in range(config.depth)
        )
        self.density = nn.Linear(width, 1)
        nn.init.constant_(self.density.bias, config.first_density)
        self.colour_split = [width, direction_dim]
        self.colour_layers = nn.ModuleList(
            nn.Linear(width + direction_dim if layer == 0 else config.colour_width, config.colour_width)
            for layer in range(config.colour_depth)
        )
        self.colour = nn.Linear(config.colour_width, 3)

    def forward(
        self,
        encoded: Float[Tensor, "rays samples encoded"],
        directions: Float[Tensor, "rays waves"],
        feature: Float[Tensor, "rays samples features"],
        code: Float[Tensor, "units"],
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays samples 3"]]:
        """Evaluate.

        Args:
            encoded: points as waves.
            directions: unit view directions as waves.
            feature: identity feature of each point; no numbers where there is none.
            code: condition of the frame, in which all rays lie; no numbers where there is none.

        Returns:
            density before its rectifier, per metre, and colour in [0, 1].
        """
        rays, samples = encoded.shape[:2]
        encoded, feature = encoded.flatten(0, 1), feature.flatten(0, 1)
        hidden = encoded
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            if number == 0:
                hidden = self._of_inputs(layer, encoded, feature, code)
            elif number == self.config.again_after:
                again = self._of_inputs(layer, encoded, feature, code)
                hidden = again.addmm_(hidden, layer.weight[:, sum(self.split) :].T)
            else:
                hidden = layer(hidden)
            hidden = hidden.relu_()
        density = self.density(hidden).view(rays, samples)
        first = self.colour_layers[0]
        assert isinstance(first, nn.Linear)
        of_hidden, of_direction = first.weight.split(self.colour_split, dim=1)
        seen_from = F.linear(directions, of_direction, first.bias)
        colour = F.linear(hidden, of_hidden).view(rays, samples, -1).add_(seen_from.unsqueeze(1)).relu_()
        for layer in self.colour_layers[1:]:
            colour = layer(colour).relu_()
        return density, torch.sigmoid(self.colour(colour))

    def _of_inputs(
        self,
        layer: nn.Linear,
        encoded: Float[Tensor, "points encoded"],
        feature: Float[Tensor, "points features"],
        code: Float[Tensor, "units"],
    ) -> Float[Tensor, "points outputs"]:
        """A layer on the inputs, part by part: only the feature wants a gradient from it.

        The frame's code is the same for all points: a bias.
        """
        of_feature, of_code, of_point = layer.weight[:, : sum(self.split)].split(self.split, dim=1)
        out = F.linear(encoded, of_point, layer.bias + of_code @ code)
        return out.addmm_(feature, of_feature.T) if feature.shape[1] else out


class PaperRays(NamedTuple):
    """What a bundle of rays sees."""

    coarse: Float[Tensor, "rays 3"]
    """Colour of the first pass."""
    fine: Float[Tensor, "rays 3"]
    """Colour of the second pass: the picture."""
    opacity: Float[Tensor, "rays"]
    """What the second pass sees of the head: 1 minus the weight of the last sample."""
    offset_loss: Float[Tensor, ""]
    """L_off of the second pass; 0 without references."""


class PaperHead(nn.Module):
    """The head of one person, its camera, and the fixed references that it is rendered with."""

    intrinsics: Tensor
    depth_range: Tensor
    box: Tensor
    reference_pictures: Tensor
    reference_poses: Tensor

    def __init__(self, config: PaperHeadConfig, *, size: int) -> None:
        super().__init__()
        self.config = config
        self.size = size
        point_dim = encoded_dim(3, config.point_frequencies)
        self.identity = (
            IdentityBranch(config.identity, point_dim=point_dim, code_dim=config.offset_code_dim)
            if config.uses_references
            else None
        )
        self.coarse, self.fine = (
            ConditionalNerf(
                config.field,
                point_dim=point_dim,
                feature_dim=config.identity.out_dim if config.uses_references else 0,
                code_dim=config.face_dim + config.audio_dim + config.landmark_dim,
                direction_dim=encoded_dim(3, config.direction_frequencies),
            )
            for _ in range(2)
        )
        self.register_buffer("intrinsics", torch.ones(4))
        self.register_buffer("depth_range", torch.tensor([0.2, 0.8]))
        self.register_buffer("box", torch.tensor([[-EVERYWHERE] * 3, [EVERYWHERE] * 3]))
        views = config.num_references if config.uses_references else 0
        side = min(size, config.identity.reference_size or size)
        self.register_buffer("reference_pictures", torch.zeros(views, 3, side, side))
        self.register_buffer("reference_poses", torch.eye(4).repeat(views, 1, 1))

    def set_camera(
        self, intrinsics: Float[Tensor, "4"], camera_to_world: Float[Tensor, "frames 4 4"]
    ) -> None:
        """Take the camera of ``size`` pixels, and near and far from the training frames' poses."""
        self.intrinsics.copy_(intrinsics)
        self.depth_range.copy_(depth_range(camera_to_world))

    def set_box(self, low: Float[Tensor, "3"], high: Float[Tensor, "3"]) -> None:
        """Say where the head is, in metres: ``frame`` shows what is behind where a ray misses it."""
        self.box.copy_(torch.stack([low, high]))

    def set_references(
        self,
        pictures: Float[Tensor, "views 3 height width"],
        camera_to_world: Float[Tensor, "views 4 4"],
    ) -> None:
        """Keep the identity faces that frames are rendered with: training frames, never held-out ones.

        Nothing happens where fields read no references.
        """
        if self.identity is None:
            return
        self.reference_pictures.copy_(shrink(pictures, self.reference_pictures.shape[3]))
        self.reference_poses.copy_(camera_to_world)

    def maps(
        self,
        pictures: Float[Tensor, "views 3 height width"],
        camera_to_world: Float[Tensor, "views 4 4"],
    ) -> ReferenceMaps | None:
        """Feature maps of identity faces of any size; none where fields read no references."""
        if self.identity is None:
            return None
        scale = pictures.shape[3] / self.size
        return self.identity.maps(pictures, camera_to_world, self.intrinsics * scale)

    @torch.no_grad()
    def fixed_maps(self) -> ReferenceMaps | None:
        """Feature maps of the fixed references: once for a whole clip."""
        return self.maps(self.reference_pictures, self.reference_poses)

    def rays(
        self,
        pixels: Float[Tensor, "rays 2"],
        camera_to_world: Float[Tensor, "4 4"],
        conditions: NerfConditions,
        behind: Float[Tensor, "rays 3"],
        maps: ReferenceMaps | None,
        *,
        jitter: Float[Tensor, "rays draws"] | None = None,
    ) -> PaperRays:
        """Render rays of one frame.

        Args:
            pixels: positions in the picture, pixel centres at +0.5.
            camera_to_world: pose.
            conditions: those of the frame, a batch of one.
            behind: torso and background at the pixels, in [0, 1].
            maps: the references; none where fields read no references.
            jitter: in [0, 1), for the first pass's samples and then the second's; evenly spaced where absent.
        """
        config = self.config
        rays = pixel_rays(pixels, camera_to_world, self.intrinsics)
        near, far = self.ends(rays)
        if jitter is None:
            places, draws = (
                even_depths(0.0, 1.0, len(pixels), count, device=pixels.device, dtype=pixels.dtype)
                for count in (config.coarse_samples, config.fine_samples)
            )
        else:
            start, draws = jitter.split([config.coarse_samples, config.fine_samples], dim=1)
            places = stratified_depths(0.0, 1.0, jitter=start)
        depths = near + (far - near) * places
        norm = rays.directions.norm(dim=-1)
        towards = encode_position(rays.directions / norm.unsqueeze(-1), config.direction_frequencies)
        code = self._code(conditions)
        first = self._look(rays, depths, conditions, maps)
        density, rgb = self.coarse(first.encoded, towards, first.feature, code)
        weights = opaque_weights(density, depths, norm)
        coarse = composite_before(weights, rgb, behind)

        chosen = fine_depths(depths, weights.detach(), draws)
        second = self._look(rays, chosen.new, conditions, maps)
        density, rgb, offset_energy = self._look_again((first, second), towards, code, chosen.order)
        weights = opaque_weights(density, chosen.depths, norm)
        fine = composite_before(weights, rgb, behind)
        empty = 1.0 - (weights.detach() * chosen.depths).clamp(max=1.0)
        return PaperRays(coarse, fine, 1.0 - weights[:, -1], (offset_energy * empty).mean())

    @torch.no_grad()
    def frame(
        self,
        conditions: NerfConditions,
        camera_to_world: Float[Tensor, "4 4"],
        torso_image: Float[Tensor, "size size 3"],
        *,
        maps: ReferenceMaps | None = None,
        chunk: int | None = None,
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]; no draw in it, so that equal inputs give equal pictures.

        Args:
            conditions: those of the frame, a batch of one.
            camera_to_world: pose.
            torso_image: torso and background, from the frame that the pose is from.
            maps: the references; ``fixed_maps()``, made anew, where absent.
            chunk: rays at a time; where absent, what a processor's cache holds, or fills a GPU (ours).
        """
        chunk = chunk or RAYS_AT_ONCE[self.intrinsics.is_cuda]
        maps = self.fixed_maps() if maps is None else maps
        pixels = pixel_grid(self.size, self.size, device=self.intrinsics.device)
        picture = torso_image.reshape(-1, 3).clone()
        for part in self._pixels_of_head(pixels, camera_to_world).split(chunk):
            seen = self.rays(pixels[part], camera_to_world, conditions, picture[part], maps)
            picture[part] = seen.fine
        return picture.view(self.size, self.size, 3)

    def _pixels_of_head(
        self, pixels: Float[Tensor, "pixels 2"], camera_to_world: Float[Tensor, "4 4"]
    ) -> Int[Tensor, "hits"]:
        """Numbers of the pixels whose rays meet the head's box."""
        rays = pixel_rays(pixels, camera_to_world, self.intrinsics)
        entry, leave = box_interval(rays.origins, rays.directions, self.box[0], self.box[1])
        return (entry < leave).nonzero().squeeze(-1)

    def ends(self, rays: Rays) -> tuple[Float[Tensor, "rays 1"], Float[Tensor, "rays 1"]]:
        """First and last depth of each ray: the camera's near and far, or where it crosses the head's box.

        Near and far are widened to the box where it reaches beyond them, always: they surround the *mean*
        depth, and a head that leans towards the camera would be cut open (ours). A head that nobody has
        measured has the camera's.
        """
        near, far = self.depth_range.unsqueeze(1).expand(2, len(rays.directions))
        entry, leave = box_interval(rays.origins, rays.directions, self.box[0], self.box[1])
        entry = entry.clamp_min(NEAREST)
        is_measured = self.box.abs().amax() < EVERYWHERE  # asked on the device: a step waits for no answer
        hits = (entry < leave) & is_measured
        if self.config.samples_in_box:
            start, end = torch.where(is_measured, entry, near), torch.where(is_measured, entry, far)
            return start.unsqueeze(1), torch.where(hits, leave, end).unsqueeze(1)
        near = torch.where(hits, torch.minimum(near, entry), near)
        return near.unsqueeze(1), torch.where(hits, torch.maximum(far, leave), far).unsqueeze(1)

    def _code(self, conditions: NerfConditions) -> Float[Tensor, "units"]:
        config = self.config
        parts = [
            _required(part, width, name)
            for part, width, name in (
                (conditions.face, config.face_dim, "face"),
                (conditions.audio, config.audio_dim, "audio"),
                (conditions.landmarks, config.landmark_dim, "landmark"),
            )
            if width
        ]
        return torch.cat([self.intrinsics.new_zeros(0), *parts])

    def _look(
        self,
        rays: Rays,
        depths: Float[Tensor, "rays samples"],
        conditions: NerfConditions,
        maps: ReferenceMaps | None,
    ) -> "_Looked":
        """Everything about samples that both fields share."""
        points = rays.origins.unsqueeze(1) + depths.unsqueeze(-1) * rays.directions.unsqueeze(1)
        encoded = encode_position(self.config.point_scale * points, self.config.point_frequencies)
        if self.identity is None:
            return _Looked(encoded, encoded[..., :0], torch.zeros_like(depths))
        if maps is None:
            message = "this head reads references, and none were given"
            raise ValueError(message)
        heard = self.config.offset_code_dim
        code = _required(conditions.audio, heard, "audio") if heard else points.new_zeros(0)
        said = self.identity(points.flatten(0, 1), encoded.flatten(0, 1), maps, code)
        shape = depths.shape
        return _Looked(encoded, said.feature.unflatten(0, shape), said.offset_energy.view(shape))

    def _look_again(
        self,
        looked: "tuple[_Looked, _Looked]",
        towards: Float[Tensor, "rays waves"],
        code: Float[Tensor, "units"],
        order: Int[Tensor, "rays samples"],
    ) -> tuple[Float[Tensor, "rays samples"], Float[Tensor, "rays samples 3"], Float[Tensor, "rays samples"]]:
        """The second pass's density, colour and offset energy of both passes' samples, by depth.

        A field does not mind the order of its samples, so what is put in order is what it says.
        """
        said = [self.fine(part.encoded, towards, part.feature, code) for part in looked]
        density = torch.cat([part[0] for part in said], dim=1).gather(1, order)
        rgb = torch.cat([part[1] for part in said], dim=1)
        rgb = rgb.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))
        return density, rgb, torch.cat([part.offset_energy for part in looked], dim=1).gather(1, order)


class _Looked(NamedTuple):
    """Samples with what both fields read of them: a sample of the first pass is not looked up again."""

    encoded: Float[Tensor, "rays samples encoded"]
    feature: Float[Tensor, "rays samples features"]
    offset_energy: Float[Tensor, "rays samples"]


def _required(part: Float[Tensor, "batch units"] | None, width: int, name: str) -> Float[Tensor, "units"]:
    if part is None or part.shape != (1, width):
        found = "nothing" if part is None else f"a batch of {tuple(part.shape)}"
        message = f"the head needs one {name} code of {width} numbers and got {found}"
        raise ValueError(message)
    return part[0]


def depth_range(camera_to_world: Float[Tensor, "frames 4 4"]) -> Float[Tensor, "2"]:
    """Near and far in metres: 0.2 before and 0.4 behind the head's mean depth (NeRF-AD's code).

    The head rests at the origin, so its depth is the camera's position along the camera's own z axis.
    """
    depth = (camera_to_world[:, :3, 2] * camera_to_world[:, :3, 3]).sum(dim=1).mean()
    return torch.stack([(depth - 0.2).clamp_min(NEAREST), depth + 0.4])

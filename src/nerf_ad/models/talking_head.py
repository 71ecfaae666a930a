"""One frame from condition and pose: head over torso over background. The one path that renders."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.geometry.rays import Rays, pixel_rays
from nerf_ad.models.fields.field import FieldConfig, build_field
from nerf_ad.models.fields.planes import PlaneFieldConfig, Radiance
from nerf_ad.models.fields.torso import TorsoConfig, TorsoField
from nerf_ad.volume.compositing import composite, over
from nerf_ad.volume.occupancy import OccupancyGrid
from nerf_ad.volume.sampling import Samples, march

POSE_DIM = 12
"""Entries of ``TalkingHead.pose_code``."""

OPAQUE = 0.01
"""Transmittance below which a ray ends when rendering; 2 of 255 grey levels at most."""


class TalkingHeadConfig(Config):
    """What a talking head is built from."""

    field: FieldConfig = PlaneFieldConfig()
    """The head's radiance field."""
    torso: TorsoConfig = TorsoConfig()
    """The picture below it."""
    grid_resolution: int = Field(default=96, ge=8, le=512)
    """Cells along each side of the occupancy grid (decision 0022)."""
    num_steps: int = Field(default=80, ge=8, le=4096)
    """March steps through the whole depth of the box."""
    num_samples: int = Field(default=16, ge=1, le=1024)
    """Samples kept per ray (ER-NeRF's code: at most 16)."""
    num_shots: int = Field(default=1, ge=1, le=4096)
    """Shots of the clip that were trained on."""
    mouth_dim: int = Field(default=12, ge=1, le=1024)
    """Numbers that describe the mouth."""
    eye_dim: int = Field(default=5, ge=1, le=64)
    """Numbers that describe the eyes."""


class Condition(NamedTuple):
    """What a frame is conditioned on."""

    mouth: Float[Tensor, "batch mouth"]
    """Mouth code, about unit variance; 0 is the clip's average mouth."""
    eyes: Float[Tensor, "batch eyes"]
    """Eye state, about unit variance."""
    shot: Int[Tensor, "batch"] | None = None
    """Which of the clip's shots the torso stands as in; the first where absent."""


def plate_numbers(own: Sequence[int], num_shots: int) -> list[int]:
    """Which plate each shot stands before: 0, the common one, or that of its place in ``own``, from 1."""
    return [1 + own.index(shot) if shot in own else 0 for shot in range(num_shots)]


class HeadRays(NamedTuple):
    """What the head's field answers for a bundle of rays."""

    rgb: Float[Tensor, "rays 3"]
    """Premultiplied colour."""
    opacity: Float[Tensor, "rays"]
    """In [0, 1]."""
    points: Float[Tensor, "samples 3"]
    """Where it was sampled, ray by ray; samples that are not there are left out, or have weight 0."""
    weights: Float[Tensor, "samples"]
    """Contribution of each sample."""


class TalkingHead(nn.Module):
    """Head field, torso and background of one person."""

    backgrounds: Tensor
    background_of: Tensor
    intrinsics: Tensor
    mouth_centre: Tensor
    eye_centre: Tensor
    mouth_extent: Tensor
    eye_extent: Tensor
    pose_mean: Tensor
    pose_scale: Tensor

    def __init__(self, config: TalkingHeadConfig, *, size: int) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.field = build_field(config.field, mouth_dim=config.mouth_dim, eye_dim=config.eye_dim)
        self.grid = OccupancyGrid(config.grid_resolution)
        extra = config.num_shots if config.num_shots > 1 else 0
        self.torso = TorsoField(config.torso, size=size, pose_dim=POSE_DIM + extra)
        self.set_backgrounds(torch.zeros(1, 3, size, size), [0] * config.num_shots)
        self.register_buffer("intrinsics", torch.ones(4))
        for part in ("mouth", "eye"):
            self.register_buffer(f"{part}_centre", torch.zeros(3))
            self.register_buffer(f"{part}_extent", torch.ones(3))
        self.register_buffer("pose_mean", torch.zeros(POSE_DIM))
        self.register_buffer("pose_scale", torch.ones(POSE_DIM))

    def set_backgrounds(self, plates: Float[Tensor, "plates 3 size size"], of_shot: Sequence[int]) -> None:
        """Take the clean plates in [0, 1], and which of them each shot stands before."""
        self.register_buffer("backgrounds", plates, persistent=False)
        self.register_buffer("background_of", torch.tensor(of_shot, device=plates.device), persistent=False)

    def background(self, shot: Int[Tensor, "batch"] | None) -> Float[Tensor, "_ 3 size size"]:
        """The plate behind each frame; that of the first shot, once, where no shot is told."""
        which = self.background_of[:1] if shot is None else self.background_of[shot]
        return self.backgrounds[which]

    @property
    def planes(self) -> Radiance:
        """The field of a head whose field is that of dense planes."""
        assert isinstance(self.field, Radiance)
        return self.field

    @property
    def step(self) -> float:
        """March step in metres of depth."""
        return float((self.grid.high - self.grid.low).norm()) / self.config.num_steps

    def head(
        self,
        pixels: Float[Tensor, "rays 2"],
        frames: Int[Tensor, "rays"],
        camera_to_world: Float[Tensor, "batch 4 4"],
        condition: Condition,
        *,
        jitter: Float[Tensor, "rays"] | None = None,
        num_samples: int | None = None,
        is_ragged: bool | None = None,
        stride: int = 1,
    ) -> HeadRays:
        """March rays through the head's field.

        Args:
            pixels: positions in the picture, pixel centres at +0.5.
            frames: which of the batch's frames each ray belongs to.
            camera_to_world: pose of each frame.
            condition: condition of each frame.
            jitter: see ``march``.
            num_samples: samples kept per ray, the config's where absent.
            is_ragged: evaluate only the samples that are there, which saves a CPU work; a GPU would have to
                wait for their number, so it evaluates all. The same picture either way.
            stride: march steps from a sample to the next; each stands for so many of them, and one in so many
                is kept.
        """
        is_ragged = pixels.device.type != "cuda" if is_ragged is None else is_ragged
        # index_select: the gradient of the other form sorts on a GPU, and queues for every frame.
        pose = camera_to_world[frames] if is_ragged else camera_to_world.index_select(0, frames)
        rays = pixel_rays(pixels, pose, self.intrinsics)
        samples = march(
            rays.origins.detach(),
            rays.directions.detach(),
            self.grid,
            step=stride * (self.grid.high - self.grid.low).norm() / self.config.num_steps,
            num_steps=-(-self.config.num_steps // stride),
            num_samples=-(-(num_samples or self.config.num_samples) // stride),
            jitter=jitter,
        )
        if stride > 1:
            samples = samples._replace(lengths=samples.lengths * stride)
        return (self._shade if is_ragged else self._shade_all)(rays, samples, frames, condition)

    def _shade(
        self, rays: Rays, samples: Samples, frames: Int[Tensor, "rays"], condition: Condition
    ) -> HeadRays:
        """Evaluate the field at the samples that are there, and composite."""
        shape = samples.lengths.shape
        there = samples.lengths.reshape(-1).nonzero().squeeze(-1)
        ray = there.div(shape[1], rounding_mode="floor")
        depth = samples.depth.reshape(-1).index_select(0, there).unsqueeze(-1)
        points = torch.addcmul(rays.origins.index_select(0, ray), depth, rays.directions.index_select(0, ray))
        unit = (points - self.grid.low) * (2.0 / (self.grid.high - self.grid.low)) - 1.0
        directions = torch.nn.functional.normalize(rays.directions, dim=-1)
        where = self.local(points.detach(), condition, frames.index_select(0, ray))
        density, rgb = self.field(unit, where, directions, ray)
        spread = density.new_zeros(shape.numel()).index_copy(0, there, density)
        coloured = rgb.new_zeros(3, shape.numel()).index_copy(1, there, rgb)
        result = composite(spread.view(shape), coloured.view(3, *shape), samples.lengths)
        weights = result.weights.detach().reshape(-1).index_select(0, there)
        return HeadRays(result.rgb, result.opacity, points.detach(), weights)

    def _shade_all(
        self, rays: Rays, samples: Samples, frames: Int[Tensor, "rays"], condition: Condition
    ) -> HeadRays:
        """``_shade`` with one shape and no waiting: samples that are not there have length 0."""
        shape = samples.lengths.shape
        # At depth 0 they would all read the same cells, and gradients would queue there.
        middle = (0.5 * (self.grid.low + self.grid.high) - rays.origins.detach()).norm(dim=-1, keepdim=True)
        depth = torch.where(samples.lengths > 0, samples.depth, middle)
        points = (rays.origins.unsqueeze(1) + depth.unsqueeze(-1) * rays.directions.unsqueeze(1)).reshape(
            -1, 3
        )
        unit = (points - self.grid.low) * (2.0 / (self.grid.high - self.grid.low)) - 1.0
        directions = torch.nn.functional.normalize(rays.directions, dim=-1)
        where = self._local_all(points.detach(), condition, frames)
        density, rgb = self.field(unit, where, directions)
        result = composite(density.view(shape), rgb.view(3, *shape), samples.lengths)
        return HeadRays(result.rgb, result.opacity, points.detach(), result.weights.detach().reshape(-1))

    @torch.no_grad()
    def head_in_passes(
        self,
        pixels: Float[Tensor, "rays 2"],
        camera_to_world: Float[Tensor, "1 4 4"],
        condition: Condition,
        *,
        pass_samples: int = 4,
    ) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays"]]:
        """``head`` for one frame, a few samples at a time; rays that are opaque by then stop.

        Returns:
            premultiplied colour and opacity: those of ``head`` up to ``OPAQUE``.
        """
        frames = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
        rays = pixel_rays(pixels, camera_to_world[frames], self.intrinsics)
        samples = march(
            rays.origins,
            rays.directions,
            self.grid,
            step=self.step,
            num_steps=self.config.num_steps,
            num_samples=self.config.num_samples,
        )
        rgb, through = torch.zeros_like(rays.origins), torch.ones_like(rays.origins[:, 0])
        alive = torch.arange(len(pixels), device=pixels.device)
        for start in range(0, self.config.num_samples, pass_samples):
            part = slice(start, start + pass_samples)
            going = (through[alive] > OPAQUE) & (samples.lengths[alive, start] > 0)
            alive = alive[going]
            if len(alive) == 0:
                break
            seen = self._shade(
                Rays(rays.origins[alive], rays.directions[alive]),
                Samples(samples.depth[alive, part], samples.lengths[alive, part]),
                frames[alive],
                condition,
            )
            rgb[alive] += through[alive].unsqueeze(-1) * seen.rgb
            through[alive] *= 1.0 - seen.opacity
        return rgb, 1.0 - through

    def local(
        self, points: Float[Tensor, "samples 3"], condition: Condition, frames: Int[Tensor, "samples"]
    ) -> Float[Tensor, "units samples"]:
        """The condition as each sample feels it: the mouth's around the mouth, the eyes' at the eyes.

        Disentanglement by place: what speech moves cannot make the forehead flicker. Smooth windows that are
        1 inside the region and fall to 0 over one more extent (ours; NeRF-AD learns its mask).
        """
        mouth = region_weight(points, self.mouth_centre, self.mouth_extent)
        eyes = region_weight(points, self.eye_centre, self.eye_extent)
        return torch.cat(
            [
                condition.mouth.T.index_select(1, frames) * mouth,
                condition.eyes.T.index_select(1, frames) * eyes,
            ]
        )

    def _local_all(
        self, points: Float[Tensor, "samples 3"], condition: Condition, frames: Int[Tensor, "rays"]
    ) -> Float[Tensor, "units samples"]:
        """``local`` for rays with the same number of samples each."""
        mouth = region_weight(points, self.mouth_centre, self.mouth_extent).view(len(frames), -1)
        eyes = region_weight(points, self.eye_centre, self.eye_extent).view(len(frames), -1)
        mouth_code = condition.mouth.index_select(0, frames).T.unsqueeze(-1)
        eye_code = condition.eyes.index_select(0, frames).T.unsqueeze(-1)
        return torch.cat([mouth_code * mouth, eye_code * eyes]).flatten(1)

    def pose_code(self, camera_to_world: Float[Tensor, "batch 4 4"]) -> Float[Tensor, "batch pose"]:
        """The head's pose as the camera sees it, normalised over the clip: rotation rows and position."""
        world_to_camera = torch.linalg.inv(camera_to_world)
        raw = world_to_camera[:, :3].flatten(1)
        return (raw - self.pose_mean) / self.pose_scale

    def torso_code(
        self, camera_to_world: Float[Tensor, "batch 4 4"], shot: Int[Tensor, "batch"] | None
    ) -> Float[Tensor, "batch code"]:
        """What bends the torso: the pose, and which shot it is, since a cut moves body and head apart."""
        code = self.pose_code(camera_to_world)
        if self.config.num_shots == 1:
            return code
        which = torch.zeros(len(code), dtype=torch.int64, device=code.device) if shot is None else shot
        return torch.cat([code, torch.nn.functional.one_hot(which, self.config.num_shots).to(code)], dim=1)

    @torch.no_grad()
    def frame(
        self,
        condition: Condition,
        camera_to_world: Float[Tensor, "1 4 4"],
        *,
        background: Float[Tensor, "3 size size"] | None = None,
        chunk: int | None = None,
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]: rays where the head can be, torso and background elsewhere.

        Args:
            condition: of the frame.
            camera_to_world: its pose.
            background: to stand before instead of the clip's plate.
            chunk: rays at once; where absent few on a CPU, for its caches, and many on a GPU, because the
                host waits for it several times a chunk.
        """
        chunk = chunk or (1024 if camera_to_world.device.type == "cpu" else 1 << 16)
        torso = self.torso(self.torso_code(camera_to_world, condition.shot))
        plate = self.background(condition.shot)[0] if background is None else background
        picture = (torso[0, :3] + (1 - torso[0, 3:]) * plate).permute(1, 2, 0).reshape(-1, 3)
        pixels = self.head_pixels(camera_to_world[0])
        for part in pixels.split(chunk):
            where = torch.stack([part % self.size, part // self.size], dim=-1) + 0.5
            rgb, opacity = self.head_in_passes(where, camera_to_world, condition)
            picture[part] = over(rgb, opacity, picture[part])
        return picture.view(self.size, self.size, 3)

    def head_pixels(self, camera_to_world: Float[Tensor, "4 4"]) -> Int[Tensor, "pixels"]:
        """Flat numbers of the pixels that an occupied cell projects onto (as a bounding square)."""
        cells = self.grid.cells
        if not bool(cells.any()):
            return torch.zeros(0, dtype=torch.int64, device=cells.device)
        centres = self.grid.centres()[cells]
        world_to_camera = torch.linalg.inv(camera_to_world)
        points = centres @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
        depth = (-points[:, 2]).clamp_min(1e-3)
        fx, fy, cx, cy = self.intrinsics
        column = (cx + fx * points[:, 0] / depth).floor().long()
        row = (cy - fy * points[:, 1] / depth).floor().long()
        inside = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
        hit = torch.zeros(self.size * self.size, device=cells.device)
        hit[(row * self.size + column)[inside]] = 1.0
        cell = float(((self.grid.high - self.grid.low) / self.grid.resolution).max())
        radius = int(torch.ceil(0.9 * cell * fx / depth.min()).item()) + 1
        if radius >= self.size:  # the camera stands in the box, or nearly: a user's own poses may do that
            return torch.arange(self.size * self.size, device=cells.device)
        spread = torch.nn.functional.max_pool2d(
            hit.view(1, 1, self.size, self.size), 2 * radius + 1, stride=1, padding=radius
        )
        return spread.view(-1).nonzero().squeeze(-1)


def region_weight(
    points: Float[Tensor, "samples 3"], centre: Float[Tensor, "3"], extent: Float[Tensor, "3"]
) -> Float[Tensor, "samples"]:
    """1 inside an ellipsoid, falling smoothly (half a cosine) to 0 at twice its size."""
    radius = ((points - centre) / extent).norm(dim=-1)
    return 0.5 + 0.5 * torch.cos(torch.pi * (radius - 1.0).clamp(0.0, 1.0))

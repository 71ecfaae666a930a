"""Whole frames of a talking head on a CPU: ``TalkingHead.frame`` several times faster.

Two ways, both its twins up to ``OPAQUE``:

* *whole*: rays are marched only between the depths where something can be, samples are evaluated by
  ``PackedPlanes``, a few at a time, until their ray is opaque;
* *by layers*: the mouth is felt only at samples where ``region_weight`` is not 0, which on each ray lie
  between a first and a last one. What is before and behind them does not change while the mouth speaks: for a
  pose that comes again it is kept (``PoseLayers``), and a frame evaluates the samples between only.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerf_ad.core.device import multiplies_bfloat16
from nerf_ad.geometry.rays import pixel_rays
from nerf_ad.models.depth_tiles import depth_range
from nerf_ad.models.fields.packed_planes import FoldedLayers, PackedPlanes
from nerf_ad.models.fields.planes import Radiance
from nerf_ad.models.pose_layers import LayerStore, PoseLayers
from nerf_ad.models.talking_head import OPAQUE, Condition, TalkingHead
from nerf_ad.models.tensor_state import tensor_state
from nerf_ad.volume.sampling import box_interval

PASS_SAMPLES = 4
"""Samples of a ray that are evaluated before it is asked whether it goes on."""
MARCH_RAYS = 1024
"""Rays marched at once."""
SMALL = 255
"""The largest number that fits a byte."""


class _Bundle(NamedTuple):
    """Rays of one frame, and the march steps where they are to be sampled."""

    origin: Float[Tensor, "3 1"]
    """The camera."""
    directions: Float[Tensor, "3 rays"]
    """Of unit depth."""
    entry: Float[Tensor, "rays"]
    """Depth where the march begins."""
    first: Int[Tensor, "rays"]
    """Where in ``steps`` each ray begins."""
    num_steps: Int[Tensor, "rays"]
    """How many steps it has there."""
    steps: Int[Tensor, "samples"]
    """Numbers of march steps."""

    def some(
        self, rays: Int[Tensor, "some"], *, start: Int[Tensor, "some"], stop: Int[Tensor, "some"]
    ) -> "_Bundle":
        """Some of the rays, from step to step."""
        return _Bundle(
            self.origin,
            self.directions.index_select(1, rays),
            self.entry[rays],
            self.first[rays] + start,
            stop - start,
            self.steps,
        )


class _Seen(NamedTuple):
    """What rays see."""

    rgb: Float[Tensor, "3 rays"]
    """Premultiplied colour."""
    through: Float[Tensor, "rays"]
    """How much light comes through from behind."""
    num_seen: Int[Tensor, "rays"]
    """Samples that light comes through to."""


class _Plate(NamedTuple):
    """A user's background, and what names it."""

    picture: Tensor | None
    digest: bytes
    version: int


class LayeredRenderer:
    """Renders frames of a trained head; its weights are taken once, and again where they have changed.

    Safe for threads, each drawing another frame.
    """

    _last_plate: _Plate

    def __init__(
        self, model: TalkingHead, store: LayerStore | None = None, *, dtype: torch.dtype | None = None
    ) -> None:
        """Pack the head, which must be on the CPU.

        Args:
            model: the head.
            store: keeps layers; in memory where absent.
            dtype: of matrix products; bfloat16 where the processor has them and this is absent.
        """
        if not can_layer(model):
            message = "only a field of dense planes can be packed: see can_layer"
            raise ValueError(message)
        self.model = model
        self._dtype = dtype or (torch.bfloat16 if multiplies_bfloat16() else torch.float32)
        self._given = store
        self._modules = tuple(model.modules())
        self._pack()

    @torch.no_grad()
    def draw(
        self,
        condition: Condition,
        camera_to_world: Float[Tensor, "1 4 4"],
        *,
        background: Float[Tensor, "3 size size"] | None = None,
        keep: bool = False,
        lasting: bool = False,
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1].

        Args:
            condition: of this frame.
            camera_to_world: its pose.
            background: in [0, 1], to stand before instead of the clip's plate.
            keep: whether the pose, with these eyes, comes again, so that its layers are worth keeping. Layers
                that are kept already are used in any case.
            lasting: whether they are worth keeping for the next time too, if the store has a folder.
        """
        if tensor_state(self._modules) != self._packed_state:
            self._pack()
        size = self.model.size
        if not keep and self.store.is_empty:
            return self._whole(condition, camera_to_world, background).view(size, size, 3)
        key = self._key(condition, camera_to_world, background)
        layers = self.store.find(key)
        if layers is not None and len(layers.base) != size * size:
            layers = None
        if layers is None and not keep:
            return self._whole(condition, camera_to_world, background).view(size, size, 3)
        if layers is None:
            layers = self.layers(condition, camera_to_world, background=background)
            self.store.keep(key, layers, lasting=lasting)
        return self.speak(layers, condition, camera_to_world)

    @torch.no_grad()
    def layers(
        self,
        condition: Condition,
        camera_to_world: Float[Tensor, "1 4 4"],
        *,
        background: Float[Tensor, "3 size size"] | None = None,
    ) -> PoseLayers:
        """All of a frame that the mouth does not touch."""
        picture = self._behind_head(condition, camera_to_world, background)
        pixels, rays = self._march(camera_to_world)
        start, stop = self._mouth_steps(rays)
        near = stop > start
        folded = self.packed.fold(condition.mouth, condition.eyes)
        at, other = near.nonzero().squeeze(-1), (~near).nonzero().squeeze(-1)
        far_away = rays.some(other, start=torch.zeros_like(other), stop=rays.num_steps[other])
        _lay(picture, pixels[other], self._walk(far_away, folded))
        start, stop = start[at], stop[at]
        front = self._walk(rays.some(at, start=torch.zeros_like(start), stop=start), folded)
        back = self._walk(rays.some(at, start=stop, stop=rays.num_steps[at]), folded)
        between = rays.some(at, start=start, stop=stop)
        seen = self._walk(between, folded, through=front.through)
        which = pixels[at]
        small = (
            torch.uint8
            if max(self.model.config.num_steps, self.model.config.num_samples) <= SMALL
            else torch.int16
        )
        flags = np.zeros(len(picture), np.uint8)
        flags[which.numpy()] = 1
        slots, _ = _ragged(between.num_steps)
        own = between.first.repeat_interleave(between.num_steps) + slots
        return PoseLayers(
            base=(picture.clamp(0, 1) * 255).round().byte(),
            near_mouth=torch.from_numpy(np.packbits(flags)),
            front=torch.cat([front.rgb, front.through[None]]).half(),
            behind=(back.rgb + back.through * picture.index_select(0, which).T).half(),
            num_steps=between.num_steps.to(small),
            num_seen=seen.num_seen.to(small),
            steps=rays.steps[own].to(small),
        )

    @torch.no_grad()
    def speak(
        self, layers: PoseLayers, condition: Condition, camera_to_world: Float[Tensor, "1 4 4"]
    ) -> Float[Tensor, "size size 3"]:
        """The frame of a pose whose layers are given: only what the mouth touches is evaluated."""
        picture = layers.base.float().div_(255)
        count = layers.num_steps.long()
        pixels = layers.pixels
        directions, entry, _ = self._rays(pixels, camera_to_world)
        origin, first = camera_to_world[0, :3, 3:], count.cumsum(0) - count
        rays = _Bundle(origin, directions, entry, first, count, layers.steps)
        folded = self.packed.fold(condition.mouth, condition.eyes)
        front = layers.front.float()
        seen = self._walk(rays, folded, through=front[3], hint=layers.num_seen.long())
        rgb = front[:3] + seen.rgb + seen.through * layers.behind.float()
        picture[pixels] = rgb.T
        return picture.view(self.model.size, self.model.size, 3)

    def _whole(
        self,
        condition: Condition,
        camera_to_world: Float[Tensor, "1 4 4"],
        background: Float[Tensor, "3 size size"] | None,
    ) -> Float[Tensor, "pixels 3"]:
        """A frame without layers."""
        picture = self._behind_head(condition, camera_to_world, background)
        pixels, rays = self._march(camera_to_world)
        _lay(picture, pixels, self._walk(rays, self.packed.fold(condition.mouth, condition.eyes)))
        return picture

    def _behind_head(
        self,
        condition: Condition,
        camera_to_world: Float[Tensor, "1 4 4"],
        background: Float[Tensor, "3 size size"] | None,
    ) -> Float[Tensor, "pixels 3"]:
        """Torso over plate."""
        model = self.model
        torso = model.torso(model.torso_code(camera_to_world, condition.shot))
        plate = model.background(condition.shot)[0] if background is None else background
        return torch.addcmul(torso[0, :3], 1 - torso[0, 3:], plate).permute(1, 2, 0).reshape(-1, 3)

    def _rays(
        self, pixels: Int[Tensor, "rays"], camera_to_world: Float[Tensor, "1 4 4"]
    ) -> tuple[Float[Tensor, "3 rays"], Float[Tensor, "rays"], Float[Tensor, "rays"]]:
        """Directions of rays through pixels, and where they enter and leave the grid's box."""
        model = self.model
        where = torch.stack([pixels % model.size, pixels // model.size], dim=-1) + 0.5
        rays = pixel_rays(where, camera_to_world, model.intrinsics)
        entry, leave = box_interval(rays.origins, rays.directions, model.grid.low, model.grid.high)
        return rays.directions.T.contiguous(), entry, leave

    def _march(self, camera_to_world: Float[Tensor, "1 4 4"]) -> tuple[Int[Tensor, "rays"], _Bundle]:
        """All rays that have samples: their pixels, and the steps that ``sampling.march`` would keep."""
        model, config = self.model, self.model.config
        seen = depth_range(self._centres, model.grid, camera_to_world[0], model.intrinsics, model.size)
        origin = camera_to_world[0, :3, 3:]
        directions, entry, leave = self._rays(seen.pixels, camera_to_world)
        low = ((seen.near - entry) / self._step - 0.5).floor().clamp_(0, config.num_steps).long()
        stop = (torch.minimum(leave, seen.far) - entry) / self._step + 0.5
        stop = stop.ceil().clamp_(0, config.num_steps).long()
        going = (stop > low).nonzero().squeeze(-1)
        pixels, low, stop = seen.pixels[going], low[going], stop[going]
        entry, leave, directions = entry[going], leave[going], directions.index_select(1, going)
        counts, steps = [], []
        for start in range(0, len(going), MARCH_RAYS):
            part = slice(start, start + MARCH_RAYS)
            wide = int((stop[part] - low[part]).max())
            step = low[part, None] + torch.arange(wide)
            depth = entry[part, None] + (step + 0.5) * self._step
            inside = (step < stop[part, None]) & (depth < leave[part, None])
            kept = self._occupied(origin, directions[:, part], depth) & inside
            kept &= kept.cumsum(dim=1, dtype=torch.int32) <= config.num_samples
            counts.append(kept.sum(dim=1))
            steps.append(step[kept])
        count = torch.cat(counts) if counts else pixels
        some = _Bundle(
            origin,
            directions,
            entry,
            count.cumsum(0) - count,
            count,
            torch.cat(steps) if steps else pixels,
        )
        there = (count > 0).nonzero().squeeze(-1)
        return pixels[there], some.some(there, start=torch.zeros_like(there), stop=count[there])

    def _occupied(
        self,
        origin: Float[Tensor, "3 1"],
        directions: Float[Tensor, "3 rays"],
        depth: Float[Tensor, "rays steps"],
    ) -> Tensor:
        """``OccupancyGrid.lookup`` of places along rays, by the same arithmetic."""
        grid = self.model.grid
        cell = torch.zeros(depth.shape, dtype=torch.int32)
        for axis in range(3):
            place = (depth * directions[axis, :, None]).add_(origin[axis])
            place.sub_(grid.low[axis]).mul_(self._cells_per_metre[axis]).clamp_(0, grid.resolution - 1)
            cell.mul_(grid.resolution).add_(place.to(torch.int32))
        return self._cells.index_select(0, cell.view(-1)).view(depth.shape)

    def _mouth_steps(self, rays: _Bundle) -> tuple[Int[Tensor, "rays"], Int[Tensor, "rays"]]:
        """The first of each ray's steps that feels the mouth, and the one after the last; else 0 and 0."""
        rank, ray = _ragged(rays.num_steps)
        depth = rays.entry[ray] + (rays.steps[rays.first[ray] + rank] + 0.5) * self._step
        points = rays.directions.index_select(1, ray).mul_(depth).add_(rays.origin)
        feels = (self._distance(points, 0) < 2.0).nonzero().squeeze(-1)
        ray, rank = ray[feels], rank[feels]
        none = torch.zeros_like(rays.num_steps)
        start = none.scatter_reduce(0, ray, rank, "amin", include_self=False)
        return start, none.scatter_reduce(0, ray, rank + 1, "amax", include_self=False)

    def _distance(self, points: Float[Tensor, "3 samples"], part: int) -> Float[Tensor, "samples"]:
        """From the mouth's (0) or the eyes' (1) centre, in extents; see ``region_weight``."""
        return ((points - self._region[part]) / self._extent[part]).square_().sum(dim=0).sqrt_()

    def _felt(self, points: Float[Tensor, "3 samples"]) -> Float[Tensor, "2 samples"]:
        """``region_weight`` of mouth and eyes."""
        radius = torch.stack([self._distance(points, part) for part in range(2)])
        return radius.sub_(1.0).clamp_(0.0, 1.0).mul_(torch.pi).cos_().mul_(0.5).add_(0.5)

    def _walk(
        self,
        rays: _Bundle,
        folded: FoldedLayers,
        *,
        through: Float[Tensor, "rays"] | None = None,
        hint: Int[Tensor, "rays"] | None = None,
    ) -> _Seen:
        """Evaluate rays a few samples at a time; those that are opaque by then stop.

        Args:
            rays: with their steps.
            folded: the field for this frame.
            through: light that is left for them, all where absent.
            hint: samples to begin with.

        Returns:
            colour and light as ``through`` lets them be seen.
        """
        rgb = torch.zeros_like(rays.directions)
        through = torch.ones_like(rays.entry) if through is None else through.clone()
        done, num_seen = torch.zeros_like(rays.num_steps), torch.zeros_like(rays.num_steps)
        alive = ((rays.num_steps > 0) & (through > OPAQUE)).nonzero().squeeze(-1)
        scale = rays.directions.square().sum(dim=0).rsqrt_()
        while len(alive):
            left = rays.num_steps[alive] - done[alive]
            take = left.clamp(max=PASS_SAMPLES)
            if hint is not None:
                take, hint = torch.minimum(left, hint[alive].clamp_min(1)), None
            rank, which = _ragged(take)
            ray = alive[which]
            step = rays.steps[(rays.first[alive] + done[alive])[which] + rank]
            depth = rays.entry[ray] + (step + 0.5) * self._step
            directions = rays.directions.index_select(1, ray)
            points = (directions * depth).add_(rays.origin)
            density, colour = self.packed.evaluate(
                (points - self._low).mul_(self._to_unit).sub_(1.0),
                self._felt(points),
                directions.mul_(scale[ray]),
                folded,
            )
            wide = int(take.max())
            slot = which * wide + rank
            spread = density.new_zeros(len(alive) * wide).index_copy_(0, slot, density).view(-1, wide)
            depth_behind = spread.cumsum(dim=1)
            left_before = (spread - depth_behind).exp_().mul_(through[alive, None])
            num_seen[alive] += ((left_before > OPAQUE) & (torch.arange(wide) < take[:, None])).sum(dim=1)
            weight = left_before.mul_(spread.neg_().expm1_().neg_())
            coloured = colour.mul_(weight.view(-1)[slot])
            shown = colour.new_zeros(3, len(alive) * wide).index_copy_(1, slot, coloured)
            rgb.index_add_(1, alive, shown.view(3, -1, wide).sum(dim=2))
            light = through[alive] * depth_behind[:, -1].neg().exp_()
            through[alive] = light
            done[alive] += take
            alive = alive[(light > OPAQUE) & (left > take)]
        return _Seen(rgb, through, num_seen)

    def _key(
        self,
        condition: Condition,
        camera_to_world: Float[Tensor, "1 4 4"],
        background: Float[Tensor, "3 size size"] | None,
    ) -> str:
        """Names what layers are made from, but for the head itself."""
        shot = 0 if condition.shot is None else int(condition.shot)
        parts = [camera_to_world.numpy().tobytes(), condition.eyes.numpy().tobytes(), b"%d" % shot]
        if background is not None:
            parts.append(self._plate_key(background))
        return hashlib.blake2b(b"|".join(parts), digest_size=16).hexdigest()

    def _plate_key(self, background: Float[Tensor, "3 size size"]) -> bytes:
        """A digest of a plate; that of the last one is remembered."""
        last, version = self._last_plate, 0 if background.is_inference() else background._version
        if last.picture is not background or last.version != version:
            digest = hashlib.blake2b(background.contiguous().numpy().tobytes(), digest_size=16).digest()
            self._last_plate = last = _Plate(background, digest, version)
        return last.digest

    @torch.no_grad()
    def _pack(self) -> None:
        model, grid = self.model, self.model.grid
        is_first = not hasattr(self, "_packed_state")
        self._packed_state = tensor_state(self._modules)
        self.store = self._given if is_first and self._given is not None else LayerStore()
        self.packed = PackedPlanes(model.planes, mouth_dim=model.config.mouth_dim, dtype=self._dtype)
        self._step = model.step
        self._cells = grid.cells.view(-1)
        self._centres = grid.centres()[grid.cells]
        self._low = grid.low[:, None]
        self._to_unit = (2.0 / (grid.high - grid.low))[:, None]
        self._cells_per_metre = grid.resolution / (grid.high - grid.low)
        self._region = [part[:, None] for part in (model.mouth_centre, model.eye_centre)]
        self._extent = [part[:, None] for part in (model.mouth_extent, model.eye_extent)]
        self._last_plate = _Plate(None, b"", 0)


def can_layer(model: TalkingHead) -> bool:
    """Whether this renderer can draw the head; ``TalkingHead.frame`` draws any."""
    return model.intrinsics.device.type == "cpu" and isinstance(model.field, Radiance)


def _ragged(count: Int[Tensor, "rays"]) -> tuple[Int[Tensor, "samples"], Int[Tensor, "samples"]]:
    """For ``count`` samples on each ray: the sample's place on its ray, and the ray."""
    ray = torch.arange(len(count)).repeat_interleave(count)
    first = count.cumsum(0) - count
    return torch.arange(len(ray)) - first[ray], ray


def _lay(picture: Float[Tensor, "pixels 3"], pixels: Int[Tensor, "rays"], seen: _Seen) -> None:
    """Put what rays see over a picture."""
    picture[pixels] = (seen.rgb + seen.through * picture.index_select(0, pixels).T).T

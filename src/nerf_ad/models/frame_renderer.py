"""Whole frames of a talking head on an NVIDIA GPU: the field in two kernels, the rest as one CUDA graph.

Gives what ``TalkingHead.frame`` gives, up to 2 of 255 grey levels, without waiting for the host: no list of
pixels or of samples is ever made, so that all shapes are known before a frame begins.
"""

import contextlib
import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.core.cuda_graph import recording
from nerf_ad.kernels import head_render
from nerf_ad.kernels.head_render import PackedHead, Scene
from nerf_ad.models.fields.plane_encoding import PLANES
from nerf_ad.models.fields.planes import PlaneFieldConfig
from nerf_ad.models.talking_head import OPAQUE, Condition, TalkingHead
from nerf_ad.models.tensor_state import tensor_state

SHARED_BYTES = 96 << 10
"""Memory of a multiprocessor for the weights and one block of encodings; what consumer cards have."""
BLOCK = 64
"""Rays that one program shades."""
MOST_RECORDINGS = 4
"""Kinds of frames that are kept as graphs; each holds the memory of its frames."""


class Frames(NamedTuple):
    """What some frames are made from."""

    condition: Condition
    """One row per frame."""
    camera_to_world: Float[Tensor, "frames 4 4"]
    """Poses."""
    background: Float[Tensor, "3 size size"] | None = None
    """In [0, 1], to stand before instead of the clip's plate."""


class FrameRenderer:
    """Renders frames of a trained head; its weights are taken once, and again where they have changed."""

    def __init__(
        self, model: TalkingHead, *, dtype: torch.dtype = torch.float16, graphs: bool = True
    ) -> None:
        """Pack the head.

        Args:
            model: on the device to render on.
            dtype: of tables and weights; in single precision it is exact and slow.
            graphs: whether frames of the same kind are recorded once and replayed.
        """
        if not can_render(model, dtype):
            message = "the kernels cannot take this head here: see can_render"
            raise ValueError(message)
        self.model = model
        self.dtype = dtype
        self.graphs = graphs and model.intrinsics.is_cuda
        self._device = model.intrinsics.device
        self._modules = tuple(model.modules())
        self._pack()

    @torch.no_grad()
    def draw(self, frames: Frames) -> Float[Tensor, "frames size size 3"]:
        """Frames in [0, 1]."""
        return self._draw(frames, torch.float32)

    @torch.no_grad()
    def draw_bytes(self, frames: Frames) -> UInt8[Tensor, "frames size size 3"]:
        """Frames as bytes."""
        return self._draw(frames, torch.uint8)

    def scene(self, camera_to_world: Float[Tensor, "frames 4 4"]) -> Scene:
        """The scene as those poses see it."""
        model = self.model
        return Scene(
            camera_to_world,
            model.intrinsics,
            model.grid.low,
            model.grid.high,
            model.grid.cells.view(torch.uint8),
            size=model.size,
            step=self._step,
            num_steps=model.config.num_steps,
            num_samples=model.config.num_samples,
        )

    def behind(self, frames: Frames) -> Float[Tensor, "frames 3 size size"]:
        """Torso over background."""
        shot, model = frames.condition.shot, self.model
        code = (_inverse(frames.camera_to_world)[:, :3].flatten(1) - model.pose_mean) / model.pose_scale
        if model.config.num_shots > 1:
            which = self._first_shot.expand(len(code)) if shot is None else shot
            code = torch.cat([code, self._shots.index_select(0, which)], dim=1)
        torso = model.torso(code)
        plate = frames.background
        if plate is None:
            plate = model.backgrounds.index_select(0, model.background_of.index_select(0, self._first_shot))
            if shot is not None:
                plate = model.backgrounds.index_select(0, model.background_of.index_select(0, shot))
        return torch.addcmul(torso[:, :3], 1 - torso[:, 3:], plate).contiguous()

    def products(self, condition: Condition) -> Float[Tensor, "frames 4 hidden"]:
        """Products of the mouth's and of the eyes' condition with the weights of both networks."""
        rows = [condition.mouth @ self._mouth_in, condition.eyes @ self._eyes_in]
        rows += [condition.mouth @ self._mouth_colour, condition.eyes @ self._eyes_colour]
        return torch.stack(rows, dim=1)

    def render(self, frames: Frames, dtype: torch.dtype) -> Tensor:
        """Frames by plain launches: what ``draw`` records as a graph."""
        scene = self.scene(frames.camera_to_world.contiguous())
        size = (len(scene.camera_to_world), scene.size, scene.size, 3)
        out = torch.empty(size, device=scene.camera_to_world.device, dtype=dtype)
        head_render.shade(
            scene,
            head_render.march(scene),
            self.packed,
            self.products(frames.condition),
            self.behind(frames),
            out,
            opaque=OPAQUE,
            block=BLOCK,
        )
        return out

    def _draw(self, frames: Frames, dtype: torch.dtype) -> Tensor:
        if tensor_state(self._modules) != self._packed_state:
            self._pack()
        with torch.cuda.device(self._device) if self._device.type == "cuda" else contextlib.nullcontext():
            recorded = self._recording(frames, dtype) if self.graphs else None
            return self.render(frames, dtype) if recorded is None else recorded.play(frames)

    def _recording(self, frames: Frames, dtype: torch.dtype) -> "_Recording | None":
        """The graph of frames of this kind, made on the first of them; none where there are enough."""
        condition, poses, background = frames
        key = (len(poses), condition.shot is None, background is None, dtype)
        if key not in self._recordings and len(self._recordings) < MOST_RECORDINGS:
            try:
                self._recordings[key] = _Recording(self, frames, dtype)
            except RuntimeError as error:  # another part of the process disturbs the recording, say
                self.graphs = False
                warnings.warn(f"frames are launched one kernel at a time: {error}", stacklevel=2)
        return self._recordings.get(key)

    @torch.no_grad()
    def _pack(self) -> None:
        model, config = self.model, self.model.config
        self._packed_state = tensor_state(self._modules)
        self._recordings: dict[tuple[int, bool, bool, torch.dtype], _Recording] = {}
        self._step = model.step
        self._first_shot = torch.zeros(1, dtype=torch.int64, device=model.intrinsics.device)
        self._shots = torch.eye(config.num_shots, device=model.intrinsics.device)
        self.packed = pack(model, self.dtype)
        field, hidden = model.planes, self.packed.trunk_out.shape[0]
        parts = [
            (field.trunk_in, field.encoding.out_dim),
            (field.colour_in, field.colour_out.in_features),
        ]
        products = []
        for layer, before in parts:
            weights = _padded(layer.weight[:, before:].T.float(), 1, hidden)
            products += list(weights.split([config.mouth_dim, config.eye_dim]))
        self._mouth_in, self._eyes_in, self._mouth_colour, self._eyes_colour = products


class _Recording:
    """A CUDA graph of one kind of frames: fixed places to put what they are made from, and the frames."""

    def __init__(self, renderer: FrameRenderer, frames: Frames, dtype: torch.dtype) -> None:
        self._inputs = [None if part is None else part.clone() for part in _tensors(frames)]
        mouth, eyes, shot, poses, background = self._inputs
        assert mouth is not None
        assert eyes is not None
        assert poses is not None
        kept = Frames(Condition(mouth, eyes, shot), poses, background)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # compiles kernels and fills the libraries' workspaces, which a graph cannot
                renderer.render(kept, dtype)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with recording(self._graph, stream=stream):
            self._frames = renderer.render(kept, dtype)

    def play(self, frames: Frames) -> Tensor:
        """The frames, as a copy that the next ones leave alone."""
        for kept, part in zip(self._inputs, _tensors(frames), strict=True):
            if kept is not None and part is not None:
                kept.copy_(part)
        self._graph.replay()
        return self._frames.clone()


def can_render(model: TalkingHead, dtype: torch.dtype = torch.float16) -> bool:
    """Whether the kernels run on the head's device and know its field: dense planes, no number too large."""
    config = model.config.field
    if not head_render.is_available(model.intrinsics.device) or not isinstance(config, PlaneFieldConfig):
        return False
    features, hidden = _power(config.num_features), _hidden(config.hidden_dim)
    encoding = _groups(len(config.resolutions)) * features
    shared = dtype.itemsize * (encoding * hidden + 2 * hidden * hidden + BLOCK * encoding)
    numbers = len(PLANES) * features * sum(side * side for side in config.resolutions)
    if shared > SHARED_BYTES or numbers >= 2**31:
        return False
    largest = torch.stack([weights.detach().abs().max() for weights in model.field.parameters()]).max()
    return bool(largest < head_render.LARGEST_HALF)  # false for what is not a number


def pack(model: TalkingHead, dtype: torch.dtype) -> PackedHead:
    """A head's field in the kernels' layout.

    ``PlaneEncoding`` gives features by level, plane and feature, the order of the kernels' groups; its tables
    hold half of a plane's features behind the other half.
    """
    config, field, device = model.config.field, model.planes, model.intrinsics.device
    assert isinstance(config, PlaneFieldConfig)
    sides = config.resolutions
    num_features, num_groups = config.num_features, len(PLANES) * len(sides)
    features, groups = _power(num_features), _groups(len(sides))
    hidden = _hidden(config.hidden_dim)
    tables, starts, at = [], [], 0
    for level, side in zip(field.encoding.levels, sides, strict=True):
        planes = level.detach().view(len(PLANES), num_features, side, side).permute(0, 2, 3, 1)
        tables.append(_padded(planes, 3, features).to(dtype).reshape(-1))
        for _ in PLANES:
            starts.append(at)
            at += side * side
    empty = groups - num_groups
    trunk_in = field.trunk_in.weight[:, : field.encoding.out_dim].T.reshape(num_groups, num_features, -1)
    trunk_in = _padded(_padded(_padded(trunk_in, 0, groups), 1, features), 2, hidden).flatten(0, 1)
    vectors = [
        field.trunk_in.bias,
        field.trunk_out.bias[1:],
        field.colour_in.bias,
        field.trunk_out.weight[0],
        *field.colour_ray.weight.T,
        *field.colour_out.weight,
    ]
    square = config.hidden_dim
    squares = [field.trunk_out.weight[1:].T, field.colour_in.weight[:, :square].T]
    trunk_out, colour_in = (_padded(_padded(part, 0, hidden), 1, hidden).to(dtype) for part in squares)
    return PackedHead(
        torch.cat(tables),
        torch.tensor(starts + [0] * empty, dtype=torch.int32, device=device),
        torch.tensor(
            [side for side in sides for _ in PLANES] + [1] * empty, dtype=torch.int32, device=device
        ),
        trunk_in.to(dtype).contiguous(),
        trunk_out.contiguous(),
        colour_in.contiguous(),
        torch.stack([_padded(part.float(), 0, hidden) for part in vectors]),
        torch.cat([field.trunk_out.bias[:1], field.colour_out.bias]).float(),
        torch.stack([model.mouth_centre, model.mouth_extent, model.eye_centre, model.eye_extent]),
        num_groups=num_groups,
        num_features=features,
    )


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()


def _groups(num_levels: int) -> int:
    """Planes of all levels, padded; a matrix product wants 16 features, and a plane has two at least."""
    return max(8, _power(len(PLANES) * num_levels))


def _hidden(width: int) -> int:
    """Width of the networks, padded."""
    return max(16, _power(width))


def _padded(part: Tensor, axis: int, length: int) -> Tensor:
    """Zeros behind a tensor, so that it has that length."""
    behind = [0, 0] * (part.dim() - 1 - axis) + [0, length - part.shape[axis]]
    return F.pad(part, behind)


def _inverse(poses: Float[Tensor, "frames 4 4"]) -> Float[Tensor, "frames 4 4"]:
    """Of affine matrices, by cofactors: ``torch.linalg.inv`` asks the GPU whether it went well."""
    first, second, third = poses[:, :3, 0], poses[:, :3, 1], poses[:, :3, 2]
    rows = torch.stack([second.cross(third, 1), third.cross(first, 1), first.cross(second, 1)], dim=1)
    rotation = rows / (first * rows[:, 0]).sum(-1)[:, None, None]
    position = -(rotation @ poses[:, :3, 3:])
    return torch.cat([torch.cat([rotation, position], dim=2), poses[:, 3:]], dim=1)


def _tensors(frames: Frames) -> tuple[Tensor | None, ...]:
    mouth, eyes, shot = frames.condition
    return mouth, eyes, shot, frames.camera_to_world, frames.background

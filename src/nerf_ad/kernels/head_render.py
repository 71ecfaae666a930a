"""The planes field's head in two kernels: ``march`` finds each ray's samples, ``shade`` makes pixels of them.

Twins of ``volume.sampling.march`` and ``TalkingHead.head_in_passes``, for whole frames. Nothing comes back to
the host, so that a frame can be a CUDA graph. A program walks a tile of 8 x 8 pixels: neighbouring rays read
the same cells of the planes and end at about the same depth, so that a program stops with its last ray.

A sample's features are read as ``[rays, groups, features]``: a group is one plane of one level, its features
lie side by side in memory (one 16-byte load a corner at 8 features in half precision), and positions are
worked out once a group. The condition enters linearly in front of both networks, times a window of place
(``TalkingHead.local``): its product with the weights is one row per frame, scaled by the window per sample.

Precision: tables and weights in half precision with single-precision sums; positions, windows, density and
compositing in single precision. Packed in single precision instead, products are split in three on the tensor
cores: as exact as plain PyTorch, and slow.
"""
# ruff: noqa: ANN001, ANN201, ANN202, N803 - arguments of kernels are Triton's; capitals are its constants

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple, no_type_check

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # a build of torch for CPUs
    triton, tl = None, SimpleNamespace(constexpr=int)  # what the kernels' signatures name

TILE = 8
"""Pixels along each side of a tile, in whose order rays are counted."""
TILE_RAYS = TILE * TILE
LARGEST_HALF = 65504.0
"""Of half precision; what is larger is cut before it is rounded."""


def is_available(device: torch.device) -> bool:
    """Whether the kernels run there: on NVIDIA GPUs since Ampere, and on a CPU in Triton's interpreter."""
    if triton is None:
        return False
    if device.type != "cuda":
        return not isinstance(march_kernel, triton.runtime.JITFunction)
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


def _kernel(function: Callable[..., Any]) -> Any:  # noqa: ANN401 - Triton is untyped
    return function if triton is None else triton.jit(function)


class PackedHead(NamedTuple):
    """A head's field as the kernels read it; widths are padded with zeros to powers of two."""

    tables: Float[Tensor, "cells"]
    """All levels, each ``[plane, row, column, feature]``."""
    starts: Int[Tensor, "groups"]
    """In which cell of ``tables`` each group, a plane of a level, begins."""
    resolutions: Int[Tensor, "groups"]
    """Cells along its sides."""
    trunk_in: Float[Tensor, "features hidden"]
    """Weights of the trunk's first layer for the encoding, transposed."""
    trunk_out: Float[Tensor, "hidden hidden"]
    """Weights of the trunk's second layer without the density's row, transposed."""
    colour_in: Float[Tensor, "hidden hidden"]
    """Weights of the colour's first layer for the trunk, transposed."""
    vectors: Float[Tensor, "10 hidden"]
    """Biases of the three layers above, the density's row, 3 columns of the view's layer, 3 colour rows."""
    scalars: Float[Tensor, "4"]
    """Biases of density and of the 3 colours."""
    regions: Float[Tensor, "4 3"]
    """Centre and extent of the mouth, then of the eyes; metres in the world."""
    num_groups: int
    """Groups that are there; the others are padding."""
    num_features: int
    """Features of a group, a power of two."""


class Scene(NamedTuple):
    """Where rays come from and where they are sampled."""

    camera_to_world: Float[Tensor, "frames 4 4"]
    """Poses."""
    intrinsics: Float[Tensor, "4"]
    """fx, fy, cx, cy in pixels."""
    low: Float[Tensor, "3"]
    """The grid's box, metres."""
    high: Float[Tensor, "3"]
    """Its other corner."""
    cells: UInt8[Tensor, "x y z"]
    """What is occupied."""
    size: int
    """Pixels along each side of a frame."""
    step: float
    """March step in units of the ray parameter."""
    num_steps: int
    """Candidates per ray."""
    num_samples: int
    """Samples kept per ray."""


class Marched(NamedTuple):
    """Samples of every ray, tile by tile of 8 x 8 pixels: see ``ray_numbers``."""

    depth: Float[Tensor, "frames samples rays"]
    """Ray parameter; only the first ``counts`` of a ray have been written."""
    counts: Int[Tensor, "frames rays"]
    """How many samples each ray has."""


def ray_numbers(size: int) -> Int[Tensor, "size size"]:
    """Which ray passes each pixel: rays are counted tile by tile, row by row in each."""
    tiles = -(-size // TILE)
    axis = torch.arange(size)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    tile = (row // TILE) * tiles + column // TILE
    return tile * TILE_RAYS + (row % TILE) * TILE + column % TILE


def march(scene: Scene) -> Marched:
    """``volume.sampling.march`` for all pixels of some frames, without jitter."""
    frames, device = len(scene.camera_to_world), scene.camera_to_world.device
    num_tiles = (-(-scene.size // TILE)) ** 2
    rays = num_tiles * TILE_RAYS
    depth = torch.empty(frames, scene.num_samples, rays, device=device)
    counts = torch.empty(frames, rays, device=device, dtype=torch.int32)
    march_kernel[(num_tiles, frames)](
        scene.camera_to_world,
        scene.intrinsics,
        scene.low,
        scene.high,
        scene.cells,
        depth,
        counts,
        rays,
        scene.step,
        scene.num_steps,
        SIZE=scene.size,
        RESOLUTION=len(scene.cells),
        NUM_SAMPLES=scene.num_samples,
        BLOCK=TILE_RAYS,
        num_warps=2,
    )
    return Marched(depth, counts)


def shade(
    scene: Scene,
    marched: Marched,
    head: PackedHead,
    condition: Float[Tensor, "frames 4 hidden"],
    behind: Float[Tensor, "frames 3 size size"],
    out: Float[Tensor, "frames size size 3"] | UInt8[Tensor, "frames size size 3"],
    *,
    opaque: float,
    pass_samples: int = 4,
    block: int = 64,
    num_warps: int = 4,
    registers: int | None = 128,
) -> None:
    """Evaluate the field along marched rays, and lay the head over what is behind it.

    Args:
        scene: as it was marched.
        marched: samples of its rays.
        head: the field.
        condition: products of the mouth's and the eyes' condition with their weights in the trunk's first
            layer, then with those in the colour's.
        behind: torso over background, in [0, 1].
        out: filled with the frames; bytes are cut to [0, 1] first and rounded.
        opaque: transmittance below which a ray ends, looked at every ``pass_samples`` samples, as
            ``TalkingHead.head_in_passes`` does.
        pass_samples: see there.
        block: rays of a program, a multiple of 64.
        num_warps: of a program.
        registers: of a thread at most: more programs fit a multiprocessor, and wait for memory together.
    """
    rays = marched.counts.shape[1]
    shade_kernel[(-(-rays // block), len(scene.camera_to_world))](
        scene.camera_to_world,
        scene.intrinsics,
        scene.low,
        scene.high,
        marched.depth,
        marched.counts,
        head.tables,
        head.starts,
        head.resolutions,
        head.trunk_in,
        head.trunk_out,
        head.colour_in,
        head.vectors,
        head.scalars,
        head.regions,
        condition,
        behind,
        out,
        rays,
        opaque,
        SIZE=scene.size,
        NUM_SAMPLES=scene.num_samples,
        NUM_GROUPS=head.num_groups,
        GROUPS=len(head.starts),
        FEATURES=head.num_features,
        HIDDEN=head.trunk_out.shape[0],
        PASS=pass_samples,
        LARGEST=LARGEST_HALF if head.tables.dtype == torch.float16 else 1e30,
        BYTES=out.dtype == torch.uint8,
        BLOCK=block,
        num_warps=num_warps,
        num_stages=1,
        maxnreg=registers,
    )


@_kernel
@no_type_check
def _rays(poses, intrinsics, frame, ray, SIZE: tl.constexpr):
    """Origin and direction of each ray as ``geometry.rays.pixel_rays`` has it, and its pixel."""
    tiles: tl.constexpr = (SIZE + 7) // 8
    tile = ray // 64
    row = (tile // tiles) * 8 + (ray % 64) // 8
    column = (tile % tiles) * 8 + ray % 8
    fx = tl.load(intrinsics)
    fy = tl.load(intrinsics + 1)
    cx = tl.load(intrinsics + 2)
    cy = tl.load(intrinsics + 3)
    right = (column.to(tl.float32) + 0.5 - cx) / fx
    up = -(row.to(tl.float32) + 0.5 - cy) / fy
    pose = poses + frame * 16
    dx = tl.load(pose) * right + tl.load(pose + 1) * up - tl.load(pose + 2)
    dy = tl.load(pose + 4) * right + tl.load(pose + 5) * up - tl.load(pose + 6)
    dz = tl.load(pose + 8) * right + tl.load(pose + 9) * up - tl.load(pose + 10)
    ox = tl.load(pose + 3)
    oy = tl.load(pose + 7)
    oz = tl.load(pose + 11)
    return ox, oy, oz, dx, dy, dz, row, column


@_kernel
@no_type_check
def _slab(origin, direction, low, high):
    """Where rays enter and leave the slab between two planes."""
    inverse = 1.0 / tl.where(tl.abs(direction) < 1e-9, 1e-9, direction)
    first = (low - origin) * inverse
    second = (high - origin) * inverse
    return tl.minimum(first, second), tl.maximum(first, second)


@_kernel
@no_type_check
def _cell(position, low, scale, RESOLUTION: tl.constexpr):
    """Number of the cell along one axis, the border's outside."""
    unit = (position - low) * scale
    return tl.minimum(tl.maximum(unit, 0.0), RESOLUTION - 1.0).to(tl.int32)


@_kernel
@no_type_check
def march_kernel(
    poses,
    intrinsics,
    lows,
    highs,
    cells,
    depths,
    counts,
    num_rays,
    step,
    num_steps,
    SIZE: tl.constexpr,
    RESOLUTION: tl.constexpr,
    NUM_SAMPLES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One lane per ray: step through the box, and write down the first occupied depths."""
    frame = tl.program_id(1)
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ox, oy, oz, dx, dy, dz, row, column = _rays(poses, intrinsics, frame, ray, SIZE)
    low_x = tl.load(lows)
    low_y = tl.load(lows + 1)
    low_z = tl.load(lows + 2)
    high_x = tl.load(highs)
    high_y = tl.load(highs + 1)
    high_z = tl.load(highs + 2)
    entry_x, leave_x = _slab(ox, dx, low_x, high_x)
    entry_y, leave_y = _slab(oy, dy, low_y, high_y)
    entry_z, leave_z = _slab(oz, dz, low_z, high_z)
    entry = tl.maximum(tl.maximum(tl.maximum(entry_x, entry_y), entry_z), 0.0)
    leave = tl.minimum(tl.minimum(leave_x, leave_y), leave_z)
    in_picture = (row < SIZE) & (column < SIZE)
    steps = tl.ceil((leave - entry) / step) + 1.0  # one too many at most: the loop looks again
    steps = tl.where(in_picture & (leave > entry), steps, 0.0)
    last = tl.minimum(tl.max(steps, axis=0), num_steps * 1.0).to(tl.int32)
    scale_x = RESOLUTION / (high_x - low_x)
    scale_y = RESOLUTION / (high_y - low_y)
    scale_z = RESOLUTION / (high_z - low_z)
    count = tl.zeros([BLOCK], tl.int32)
    target = depths + frame.to(tl.int64) * NUM_SAMPLES * num_rays + ray
    index = 0
    while index < last:
        depth = entry + (index + 0.5) * step
        x = _cell(ox + depth * dx, low_x, scale_x, RESOLUTION)
        y = _cell(oy + depth * dy, low_y, scale_y, RESOLUTION)
        z = _cell(oz + depth * dz, low_z, scale_z, RESOLUTION)
        wanted = in_picture & (depth < leave) & (count < NUM_SAMPLES)
        occupied = tl.load(cells + (x * RESOLUTION + y) * RESOLUTION + z, mask=wanted, other=0) != 0
        tl.store(target + count * num_rays, depth, mask=occupied)
        count += occupied.to(tl.int32)
        index += 1
    tl.store(counts + frame * num_rays + ray, count)


@_kernel
@no_type_check
def _window(x, y, z, region):
    """``models.talking_head.region_weight`` of the region whose centre and extent lie at ``region``."""
    x = (x - tl.load(region)) / tl.load(region + 3)
    y = (y - tl.load(region + 1)) / tl.load(region + 4)
    z = (z - tl.load(region + 2)) / tl.load(region + 5)
    beyond = tl.minimum(tl.maximum(tl.sqrt(x * x + y * y + z * z) - 1.0, 0.0), 1.0)
    # The cosine as a sine of at most a quarter turn, by its series: right to 4e-6, and without the branch
    # that a cosine needs for large angles.
    angle = 3.141592653589793 * (beyond - 0.5)
    square = angle * angle
    series = 1.0 - square / 20.0 * (1.0 - square / 42.0 * (1.0 - square / 72.0))
    return 0.5 - 0.5 * angle * (1.0 - square / 6.0 * series)


@_kernel
@no_type_check
def _corner(tables, cell, feature, mask, weight, FEATURES: tl.constexpr):
    """One corner of every group's cell, weighted: rays x groups x features.

    Cells are multiplied last, so that Triton sees that a cell's features can be read at once.
    """
    address = (cell * FEATURES)[:, :, None] + feature[None, None, :]
    values = tl.load(tables + address, mask=mask, other=0.0)
    return values.to(tl.float32) * weight[:, :, None]


@_kernel
@no_type_check
def _encode(
    tables,
    starts,
    resolutions,
    x,
    y,
    z,
    there,
    NUM_GROUPS: tl.constexpr,
    GROUPS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """``PlaneEncoding`` of positions in [-1, 1]^3: rays x groups x features."""
    group = tl.arange(0, GROUPS)
    start = tl.load(starts + group)
    resolution = tl.load(resolutions + group)
    plane = (group % 3)[None, :]
    across = tl.where(plane == 1, y[:, None], x[:, None])
    down = tl.where(plane == 0, y[:, None], z[:, None])
    edge = (resolution - 1).to(tl.float32)[None, :]
    across = tl.minimum(tl.maximum((across + 1.0) * 0.5 * edge, 0.0), edge)
    down = tl.minimum(tl.maximum((down + 1.0) * 0.5 * edge, 0.0), edge)
    left = across.to(tl.int32)
    top = down.to(tl.int32)
    right = tl.minimum(left + 1, resolution[None, :] - 1)
    bottom = tl.minimum(top + 1, resolution[None, :] - 1)
    to_right = across - left.to(tl.float32)
    to_bottom = down - top.to(tl.float32)
    first = start[None, :] + top * resolution[None, :]
    second = start[None, :] + bottom * resolution[None, :]
    feature = tl.arange(0, FEATURES)
    mask = (there[:, None] & (group < NUM_GROUPS)[None, :])[:, :, None]
    read = _corner(tables, first + left, feature, mask, (1.0 - to_right) * (1.0 - to_bottom), FEATURES)
    read += _corner(tables, first + right, feature, mask, to_right * (1.0 - to_bottom), FEATURES)
    read += _corner(tables, second + left, feature, mask, (1.0 - to_right) * to_bottom, FEATURES)
    read += _corner(tables, second + right, feature, mask, to_right * to_bottom, FEATURES)
    return read


@_kernel
@no_type_check
def _put(value, target, mask, BYTES: tl.constexpr):
    """Store one channel of pixels, as a number or as a byte."""
    if BYTES:
        cut = tl.minimum(tl.maximum(value, 0.0), 1.0) * 255.0 + 0.5
        tl.store(target, cut.to(tl.int32).to(tl.uint8), mask=mask)
    else:
        tl.store(target, value, mask=mask)


@_kernel
@no_type_check
def shade_kernel(
    poses,
    intrinsics,
    lows,
    highs,
    depths,
    counts,
    tables,
    starts,
    resolutions,
    trunk_in_weights,
    trunk_out_weights,
    colour_in_weights,
    vectors,
    scalars,
    regions,
    conditions,
    behind,
    out,
    num_rays,
    opaque,
    SIZE: tl.constexpr,
    NUM_SAMPLES: tl.constexpr,
    NUM_GROUPS: tl.constexpr,
    GROUPS: tl.constexpr,
    FEATURES: tl.constexpr,
    HIDDEN: tl.constexpr,
    PASS: tl.constexpr,
    LARGEST: tl.constexpr,
    BYTES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row per ray: sample by sample through encoding, trunk and colour, front to back."""
    frame = tl.program_id(1)
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    ox, oy, oz, dx, dy, dz, row, column = _rays(poses, intrinsics, frame, ray, SIZE)
    in_picture = (ray < num_rays) & (row < SIZE) & (column < SIZE)
    count = tl.load(counts + frame * num_rays + ray, mask=in_picture, other=0)
    through = tl.full([BLOCK], 1.0, tl.float32)
    red = tl.zeros([BLOCK], tl.float32)
    green = tl.zeros([BLOCK], tl.float32)
    blue = tl.zeros([BLOCK], tl.float32)
    going = count > 0
    left = tl.max(count, axis=0)
    if left > 0:
        low_x = tl.load(lows)
        low_y = tl.load(lows + 1)
        low_z = tl.load(lows + 2)
        scale_x = 2.0 / (tl.load(highs) - low_x)
        scale_y = 2.0 / (tl.load(highs + 1) - low_y)
        scale_z = 2.0 / (tl.load(highs + 2) - low_z)
        unit = tl.arange(0, HIDDEN)
        wide = tl.arange(0, GROUPS * FEATURES)
        trunk_in = tl.load(trunk_in_weights + wide[:, None] * HIDDEN + unit[None, :])
        trunk_out = tl.load(trunk_out_weights + unit[:, None] * HIDDEN + unit[None, :])
        colour_in = tl.load(colour_in_weights + unit[:, None] * HIDDEN + unit[None, :])
        condition = conditions + frame * 4 * HIDDEN + unit
        source = depths + frame.to(tl.int64) * NUM_SAMPLES * num_rays + ray
        length = tl.rsqrt(dx * dx + dy * dy + dz * dz)
        index = 0
        while left > 0:
            there = going & (index < count)
            depth = tl.load(source + index * num_rays, mask=there, other=0.0)
            x = ox + depth * dx
            y = oy + depth * dy
            z = oz + depth * dz
            mouth = _window(x, y, z, regions)[:, None]
            eyes = _window(x, y, z, regions + 6)[:, None]
            read = _encode(
                tables,
                starts,
                resolutions,
                (x - low_x) * scale_x - 1.0,
                (y - low_y) * scale_y - 1.0,
                (z - low_z) * scale_z - 1.0,
                there,
                NUM_GROUPS,
                GROUPS,
                FEATURES,
            )
            encoded = tl.reshape(read.to(trunk_in.dtype), (BLOCK, GROUPS * FEATURES))
            hidden = tl.dot(encoded, trunk_in, input_precision="tf32x3")
            hidden += tl.load(vectors + unit)[None, :]
            hidden += mouth * tl.load(condition)[None, :] + eyes * tl.load(condition + HIDDEN)[None, :]
            hidden = tl.minimum(tl.maximum(hidden, 0.0), LARGEST)
            density = tl.sum(hidden * tl.load(vectors + 3 * HIDDEN + unit)[None, :], axis=1)
            density = tl.exp(tl.minimum(density + tl.load(scalars), 8.0) - 1.0)
            trunk = tl.dot(hidden.to(trunk_out.dtype), trunk_out, input_precision="tf32x3")
            trunk += tl.load(vectors + HIDDEN + unit)[None, :]
            trunk = tl.minimum(tl.maximum(trunk, 0.0), LARGEST)
            colour = tl.dot(trunk.to(colour_in.dtype), colour_in, input_precision="tf32x3")
            colour += tl.load(vectors + 2 * HIDDEN + unit)[None, :]
            colour += mouth * tl.load(condition + 2 * HIDDEN)[None, :]
            colour += eyes * tl.load(condition + 3 * HIDDEN)[None, :]
            colour += (dx * length)[:, None] * tl.load(vectors + 4 * HIDDEN + unit)[None, :]
            colour += (dy * length)[:, None] * tl.load(vectors + 5 * HIDDEN + unit)[None, :]
            colour += (dz * length)[:, None] * tl.load(vectors + 6 * HIDDEN + unit)[None, :]
            colour = tl.maximum(colour, 0.0)
            stay = tl.exp(-tl.where(there, density, 0.0))
            weight = through * (1.0 - stay)
            tone = tl.sum(colour * tl.load(vectors + 7 * HIDDEN + unit)[None, :], axis=1)
            red += weight * tl.sigmoid(tone + tl.load(scalars + 1))
            tone = tl.sum(colour * tl.load(vectors + 8 * HIDDEN + unit)[None, :], axis=1)
            green += weight * tl.sigmoid(tone + tl.load(scalars + 2))
            tone = tl.sum(colour * tl.load(vectors + 9 * HIDDEN + unit)[None, :], axis=1)
            blue += weight * tl.sigmoid(tone + tl.load(scalars + 3))
            through *= stay
            index += 1
            least = tl.where(index % PASS == 0, opaque, -1.0)
            going = going & (through > least) & (index < count)
            left = tl.max(going.to(tl.int32), axis=0)
    pixel = row * SIZE + column
    plate = behind + frame * 3 * SIZE * SIZE + pixel
    target = out + (frame * SIZE * SIZE + pixel) * 3
    red += through * tl.load(plate, mask=in_picture, other=0.0)
    green += through * tl.load(plate + SIZE * SIZE, mask=in_picture, other=0.0)
    blue += through * tl.load(plate + 2 * SIZE * SIZE, mask=in_picture, other=0.0)
    _put(red, target, in_picture, BYTES)
    _put(green, target + 1, in_picture, BYTES)
    _put(blue, target + 2, in_picture, BYTES)

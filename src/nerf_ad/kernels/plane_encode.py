"""The planes read on a GPU: Triton twins of ``grid_sample`` and its gradients (performance.md section 3c).

Tables are packed as ``[cells, features]``, level by level and in a level plane by plane, row by row, so that
a corner is one vector. Packing takes microseconds; the parameters stay as ``PlaneEncoding`` keeps them. A
level is one kernel each way. Gradients are added with atomics, so that their last bits may differ from call
to call.
"""

# ruff: noqa: ANN001, ANN201, N803 - arguments of kernels are Triton's; capitals are its constants

import contextlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # a build of torch for CPUs
    triton, tl = None, SimpleNamespace(constexpr=int)  # what the kernels' signatures name

NUM_PLANES = 3
"""The kernels are written for planes (x, y), (y, z) and (x, z)."""
BLOCK = 128
"""Points of a program (ours)."""
LARGEST = 2**31
"""Numbers of a table or a result from which 32-bit offsets would overflow."""


def _kernel(function: Callable[..., None]) -> Any:  # noqa: ANN401 - Triton is untyped
    return function if triton is None else triton.jit(function)


@_kernel
@no_type_check
def read_level(
    points,
    table,
    out,
    num_points,
    resolution,
    edge,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One level, bilinearly, to its ``out`` [3 planes x features, points]; ``edge`` is the resolution - 1."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, FEATURES)
    is_there = n < num_points
    for plane in tl.static_range(3):
        u = tl.load(points + 3 * n + (1 if plane == 1 else 0), mask=is_there, other=0.0)
        v = tl.load(points + 3 * n + (1 if plane == 0 else 2), mask=is_there, other=0.0)
        u = tl.minimum(tl.maximum((u + 1.0) * 0.5 * edge, 0.0), edge)
        v = tl.minimum(tl.maximum((v + 1.0) * 0.5 * edge, 0.0), edge)
        column = tl.minimum(u.to(tl.int32), resolution - 2)
        row = tl.minimum(v.to(tl.int32), resolution - 2)
        a = (u - column.to(tl.float32))[:, None]
        b = (v - row.to(tl.float32))[:, None]
        cell = (plane * resolution + row) * resolution + column
        corner = table + cell[:, None] * FEATURES + feature[None, :]
        down = resolution * FEATURES
        mask = is_there[:, None]
        top = (1.0 - a) * tl.load(corner, mask=mask, other=0.0) + a * tl.load(
            corner + FEATURES, mask=mask, other=0.0
        )
        bottom = (1.0 - a) * tl.load(corner + down, mask=mask, other=0.0) + a * tl.load(
            corner + down + FEATURES, mask=mask, other=0.0
        )
        value = (1.0 - b) * top + b * bottom
        where = out + (plane * FEATURES + feature[None, :]) * num_points + n[:, None]
        tl.store(where, value.to(out.dtype.element_ty), mask=mask)


@_kernel
@no_type_check
def spread_level(
    gradient,
    points,
    table,
    table_gradient,
    point_gradient,
    num_points,
    resolution,
    edge,
    FEATURES: tl.constexpr,
    BLOCK: tl.constexpr,
    NEEDS_POINTS: tl.constexpr,
):
    """Gradients of one level, added to those of the table and, where wanted, of the points."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, FEATURES)
    is_there = n < num_points
    along_x = tl.zeros([BLOCK], tl.float32)
    along_y = tl.zeros([BLOCK], tl.float32)
    along_z = tl.zeros([BLOCK], tl.float32)
    for plane in tl.static_range(3):
        u = tl.load(points + 3 * n + (1 if plane == 1 else 0), mask=is_there, other=0.0)
        v = tl.load(points + 3 * n + (1 if plane == 0 else 2), mask=is_there, other=0.0)
        u = (u + 1.0) * 0.5 * edge
        v = (v + 1.0) * 0.5 * edge
        u_moves = (u > 0.0) & (u < edge)  # grid_sample: the border does not follow the point
        v_moves = (v > 0.0) & (v < edge)
        u = tl.minimum(tl.maximum(u, 0.0), edge)
        v = tl.minimum(tl.maximum(v, 0.0), edge)
        column = tl.minimum(u.to(tl.int32), resolution - 2)
        row = tl.minimum(v.to(tl.int32), resolution - 2)
        a = (u - column.to(tl.float32))[:, None]
        b = (v - row.to(tl.float32))[:, None]
        cell = (plane * resolution + row) * resolution + column
        corner = cell[:, None] * FEATURES + feature[None, :]
        down = resolution * FEATURES
        mine = gradient + (plane * FEATURES + feature[None, :]) * num_points + n[:, None]
        g = tl.load(mine, mask=is_there[:, None], other=0.0).to(tl.float32)
        # Samples that no ray needs have no gradient and all lie in the same cells: their atomics would queue.
        matters = (tl.sum(tl.abs(g), axis=1) != 0.0)[:, None]
        top, bottom = (1.0 - b) * g, b * g
        into = table_gradient + corner
        tl.atomic_add(into, (1.0 - a) * top, mask=matters, sem="relaxed")
        tl.atomic_add(into + FEATURES, a * top, mask=matters, sem="relaxed")
        tl.atomic_add(into + down, (1.0 - a) * bottom, mask=matters, sem="relaxed")
        tl.atomic_add(into + down + FEATURES, a * bottom, mask=matters, sem="relaxed")
        if NEEDS_POINTS:
            value = table + corner
            here = tl.load(value, mask=matters, other=0.0)
            right = tl.load(value + FEATURES, mask=matters, other=0.0)
            below = tl.load(value + down, mask=matters, other=0.0)
            across = tl.load(value + down + FEATURES, mask=matters, other=0.0)
            by_u = tl.sum(top * (right - here) + bottom * (across - below), axis=1)
            by_v = tl.sum(g * ((1.0 - a) * (below - here) + a * (across - right)), axis=1)
            by_u = tl.where(u_moves, by_u * (0.5 * edge), 0.0)
            by_v = tl.where(v_moves, by_v * (0.5 * edge), 0.0)
            if plane == 0:
                along_x += by_u
                along_y += by_v
            elif plane == 1:
                along_y += by_u
                along_z += by_v
            else:
                along_x += by_u
                along_z += by_v
    if NEEDS_POINTS:  # levels run one after the other, and each point has one program
        to = point_gradient + 3 * n
        tl.store(to, tl.load(to, mask=is_there, other=0.0) + along_x, mask=is_there)
        tl.store(to + 1, tl.load(to + 1, mask=is_there, other=0.0) + along_y, mask=is_there)
        tl.store(to + 2, tl.load(to + 2, mask=is_there, other=0.0) + along_z, mask=is_there)


# Schemas of custom operators are read from plain annotations; the shapes are in the docstrings.
@torch.library.custom_op("nerf_ad::read_planes", mutates_args=())
def read_planes(points: Tensor, packed: Tensor, resolutions: list[int], in_bfloat16: bool) -> Tensor:  # noqa: FBT001
    """Features [levels x 3 x features, points] of points [points, 3] in packed tables [cells, features]."""
    num_points, num_features = len(points), packed.shape[1]
    points = points.contiguous()
    rows = NUM_PLANES * num_features
    dtype = torch.bfloat16 if in_bfloat16 else packed.dtype
    out = packed.new_empty(len(resolutions) * rows, num_points, dtype=dtype)
    if num_points:
        with _on(points.device):
            for level, (start, resolution) in enumerate(_starts(resolutions)):
                read_level[(triton.cdiv(num_points, BLOCK),)](
                    points,
                    packed[start:],
                    out[level * rows :],
                    num_points,
                    resolution,
                    float(resolution - 1),
                    FEATURES=num_features,
                    BLOCK=BLOCK,
                )
    return out


@read_planes.register_fake
def _(points: Tensor, packed: Tensor, resolutions: list[int], in_bfloat16: bool) -> Tensor:  # noqa: FBT001
    dtype = torch.bfloat16 if in_bfloat16 else packed.dtype
    return packed.new_empty(len(resolutions) * NUM_PLANES * packed.shape[1], points.shape[0], dtype=dtype)


@torch.library.custom_op("nerf_ad::spread_planes", mutates_args=())
def spread_planes(
    gradient: Tensor,
    points: Tensor,
    packed: Tensor,
    resolutions: list[int],
    needs_points: bool,  # noqa: FBT001
) -> tuple[Tensor, Tensor]:
    """Gradients of points and packed tables from that of the features; zeros for points not needed."""
    num_points, num_features = len(points), packed.shape[1]
    points, gradient = points.contiguous(), gradient.contiguous()
    rows = NUM_PLANES * num_features
    point_gradient, table_gradient = torch.zeros_like(points), torch.zeros_like(packed)
    if num_points:
        with _on(points.device):
            for level, (start, resolution) in enumerate(_starts(resolutions)):
                spread_level[(triton.cdiv(num_points, BLOCK),)](
                    gradient[level * rows :],
                    points,
                    packed[start:],
                    table_gradient[start:],
                    point_gradient,
                    num_points,
                    resolution,
                    float(resolution - 1),
                    FEATURES=num_features,
                    BLOCK=BLOCK,
                    NEEDS_POINTS=needs_points,
                )
    return point_gradient, table_gradient


@spread_planes.register_fake
def _(
    gradient: Tensor,  # noqa: ARG001
    points: Tensor,
    packed: Tensor,
    resolutions: list[int],  # noqa: ARG001
    needs_points: bool,  # noqa: ARG001, FBT001
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(points), torch.empty_like(packed)


def _keep(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor, list[int], bool], output: Tensor
) -> None:
    del output
    points, packed, ctx.resolutions, _ = inputs  # type: ignore[attr-defined]
    ctx.save_for_backward(points, packed)


def _spread(
    ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor
) -> tuple[Tensor | None, Tensor, None, None]:
    points, packed = (ctx.saved_tensors[place] for place in range(2))
    needs_points = bool(ctx.needs_input_grad[0])
    of_points, of_tables = spread_planes(gradient, points, packed, ctx.resolutions, needs_points)  # type: ignore[attr-defined]
    return of_points if needs_points else None, of_tables, None, None


read_planes.register_autograd(_spread, setup_context=_keep)


def encode_planes(
    points: Float[Tensor, "samples 3"], levels: Sequence[Tensor], *, in_bfloat16: bool = False
) -> Float[Tensor, "features samples"]:
    """What ``PlaneEncoding`` makes of points; arithmetic in float32.

    Args:
        points: in [-1, 1]^3; those outside read the border.
        levels: tables [3 planes x 2 halves, features / 2, r, r], float32.
        in_bfloat16: round the result, for matrix products that would round it anyway.
    """
    return read_planes(points, pack_tables(levels), [level.shape[-1] for level in levels], in_bfloat16)


def pack_tables(levels: Sequence[Tensor]) -> Float[Tensor, "cells features"]:
    """Tables of all levels with the features of a cell side by side; gradients find their way back."""
    parts = []
    for level in levels:
        halves, width, resolution, _ = level.shape
        by_cell = level.view(NUM_PLANES, halves // NUM_PLANES, width, resolution, resolution)
        parts.append(by_cell.permute(0, 3, 4, 1, 2).reshape(-1, 2 * width))
    return torch.cat(parts)


def can_encode(points: Tensor, levels: Sequence[Tensor]) -> bool:
    """Whether the kernels are written for these: float32, a power of two of features, 32-bit offsets."""
    num_features = 2 * levels[0].shape[1]
    return (
        triton is not None
        and points.dtype == torch.float32
        and all(level.dtype == torch.float32 for level in levels)
        and num_features & (num_features - 1) == 0
        and max(level.numel() for level in levels) < LARGEST
        and len(points) * NUM_PLANES * num_features < LARGEST  # rows of a level: offsets start at each
    )


def _starts(resolutions: Sequence[int]) -> list[tuple[int, int]]:
    """First cell and resolution of every level."""
    starts, start = [], 0
    for resolution in resolutions:
        starts.append((start, resolution))
        start += NUM_PLANES * resolution**2
    return starts


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()

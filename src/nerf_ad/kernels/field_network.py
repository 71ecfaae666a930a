"""The networks of the planes field with their gradients written out, for training on a CPU.

A step of a few ten thousand samples reads and writes every layer's activations from memory, and autograd
reads them again. Here samples go through all layers in chunks that stay in a core's cache, and each layer's
bias is one more column of its weights, so that a chunk costs four products forward and seven back. In
bfloat16, where the processor multiplies it, chunks of one size also spare oneDNN a new plan for every number
of samples (performance.md section 4). ``Radiance`` is the plain twin.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK = 4096
"""Samples that go through all layers together (ours, measured: decision 0022)."""
DENSITY_LIMIT = 8.0
"""Above it the density's logarithm stands still, as in ``Radiance``."""


class NetworkWeights(NamedTuple):
    """Weights of ``Radiance`` as tensors, rows are outputs."""

    trunk_in: Float[Tensor, "width inputs"]
    trunk_in_bias: Float[Tensor, "width"]
    trunk_out: Float[Tensor, "one_more width"]
    trunk_out_bias: Float[Tensor, "one_more"]
    colour_in: Float[Tensor, "width inputs"]
    colour_in_bias: Float[Tensor, "width"]
    colour_ray: Float[Tensor, "width 3"]
    colour_out: Float[Tensor, "3 width"]
    colour_out_bias: Float[Tensor, "3"]


def shade_samples(
    weights: NetworkWeights,
    read: Sequence[Float[Tensor, "planes features samples 1"]],
    condition: Float[Tensor, "units samples"],
    directions: Float[Tensor, "3 samples"],
    *,
    dtype: torch.dtype = torch.float32,
    chunk: int = CHUNK,
) -> tuple[Float[Tensor, "samples"], Float[Tensor, "3 samples"]]:
    """Density and colour of samples from what the planes say of them.

    Args:
        weights: of the networks; they get gradients.
        read: each level's answer of ``grid_sample``; they get gradients.
        condition: weighted by where each sample is; gets gradients where it asks for them.
        directions: unit view direction of each sample's ray; gets gradients where it asks for them.
        dtype: of the products; sums over samples are kept in float32 from chunk to chunk.
        chunk: samples that go through all layers together.

    Returns:
        density per march step (at least 0) and colour in [0, 1], in float32.
    """
    answer = _Shading.apply(dtype, chunk, condition, directions, *weights, *read)  # type: ignore[no-untyped-call]
    return cast(tuple[Tensor, Tensor], answer)


class _Saved(NamedTuple):
    """What a chunk's gradients need: inputs of each layer with their row of ones, and what came out."""

    trunk_in: Tensor
    trunk_out: Tensor
    colour_in: Tensor
    colour_out: Tensor
    rgb: Tensor


class _Shading(torch.autograd.Function):
    """``shade_samples`` for autograd."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - autograd says no more
        dtype: torch.dtype,
        chunk: int,
        condition: Tensor,
        directions: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        weights, read = NetworkWeights(*tensors[:9]), tensors[9:]
        joined = _joined(weights, dtype)
        rows = [level.flatten(0, 1).squeeze(-1) for level in read]
        num_samples, width = condition.shape[1], len(weights.trunk_in)
        density = condition.new_empty(num_samples, dtype=torch.float32)
        rgb = condition.new_empty(3, num_samples, dtype=torch.float32)
        saved = []
        for start in range(0, num_samples, chunk):
            there = slice(start, min(start + chunk, num_samples))
            first = _input([*(part[:, there] for part in rows), condition[:, there]], joined[0], chunk)
            second = _layer(joined[0], first, joined[1])
            trunk = joined[1] @ second
            parts = [condition[:, there], directions[:, there]]
            third = _input([trunk[1:], *parts], joined[2], chunk)
            third[:width].clamp_min_(0)
            fourth = _layer(joined[2], third, joined[3])
            seen = torch.sigmoid((joined[3] @ fourth).float())
            length = there.stop - there.start
            density[there] = torch.exp(trunk[0, :length].float().clamp(max=DENSITY_LIMIT) - 1.0)
            rgb[:, there] = seen[:, :length]
            saved.append(_Saved(first, second, third, fourth, seen))
        ctx.saved, ctx.joined, ctx.width, ctx.chunk = saved, joined, width, chunk
        ctx.shapes = [level.shape for level in read]
        ctx.units = len(condition)
        ctx.save_for_backward(density)
        return density, rgb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        by_density, by_rgb = gradients
        if ctx.saved is None:
            message = "what the gradients need was given back by the backward pass before"
            raise RuntimeError(message)
        (density,) = ctx.saved_tensors
        joined, width, chunk = ctx.joined, ctx.width, ctx.chunk
        dtype, num_samples = joined[0].dtype, len(density)
        # exp's derivative is its value, and 0 where the logarithm stands still
        by_trunk = by_density * density * (density < _ceiling(density))
        num_encoded = sum(shape[0] * shape[1] for shape in ctx.shapes)
        by_read = density.new_empty(num_encoded, num_samples)
        wants_condition, wants_directions = ctx.needs_input_grad[2:4]
        by_condition = density.new_empty(ctx.units, num_samples) if wants_condition else None
        by_directions = density.new_empty(3, num_samples) if wants_directions else None
        sums = [torch.zeros(part.shape) for part in joined]
        back = [part[:, :width].T.contiguous() for part in joined[1:]]
        first_back = joined[0][:, : num_encoded + ctx.units].T.contiguous()
        for number, saved in enumerate(ctx.saved):
            there = slice(number * chunk, min((number + 1) * chunk, num_samples))
            length = there.stop - there.start
            outer = by_rgb.new_zeros(3, chunk)
            seen = saved.rgb[:, :length]
            torch.mul(by_rgb[:, there], seen * (1.0 - seen), out=outer[:, :length])
            outer = outer.to(dtype)
            sums[3] += outer @ saved.colour_out.T
            outer = _through(back[2] @ outer, saved.colour_out[:width])
            sums[2] += outer @ saved.colour_in.T
            if by_condition is not None:
                late = joined[2][:, width : width + ctx.units].T @ outer
                by_condition[:, there] = late[:, :length]
            if by_directions is not None:
                seen_from = joined[2][:, width + ctx.units : width + ctx.units + 3].T @ outer
                by_directions[:, there] = seen_from[:, :length]
            inner = outer.new_zeros(width + 1, chunk)
            inner[0, :length] = by_trunk[there]
            inner[1:] = _through(back[1] @ outer, saved.colour_in[:width])
            sums[1] += inner @ saved.trunk_out.T
            inner = _through(back[0] @ inner, saved.trunk_out[:width])
            sums[0] += inner @ saved.trunk_in.T
            by_input = first_back @ inner
            by_read[:, there] = by_input[:num_encoded, :length]
            if by_condition is not None:
                by_condition[:, there] += by_input[num_encoded:, :length]
        ctx.saved = None
        levels = by_read.split([shape[0] * shape[1] for shape in ctx.shapes])
        return (
            None,
            None,
            by_condition,
            by_directions,
            *_parted(sums, num_encoded + ctx.units, width, ctx.units),
            *(level.view(shape) for level, shape in zip(levels, ctx.shapes, strict=True)),
        )


def _joined(weights: NetworkWeights, dtype: torch.dtype) -> list[Tensor]:
    """Each layer's weights with its bias as one more column; in half precision up to a multiple of 8."""
    layers = [
        [weights.trunk_in, weights.trunk_in_bias],
        [weights.trunk_out, weights.trunk_out_bias],
        [weights.colour_in, weights.colour_ray, weights.colour_in_bias],
        [weights.colour_out, weights.colour_out_bias],
    ]
    joined = [torch.cat([part.view(len(part), -1) for part in layer], dim=1) for layer in layers]
    if dtype == torch.float32:
        return joined
    return [F.pad(layer, (0, -layer.shape[1] % 8)).to(dtype) for layer in joined]


def _parted(sums: list[Tensor], inputs: int, width: int, units: int) -> list[Tensor]:
    """Gradients of ``_joined`` as those of ``NetworkWeights``."""
    first, second, third, fourth = sums
    seen_from = width + units
    return [
        first[:, :inputs],
        first[:, inputs],
        second[:, :width],
        second[:, width],
        third[:, :seen_from],
        third[:, seen_from + 3],
        third[:, seen_from : seen_from + 3],
        fourth[:, :width],
        fourth[:, width],
    ]


def _input(parts: Sequence[Tensor], layer: Tensor, chunk: int) -> Tensor:
    """A chunk's input of a layer: its parts, a row of ones, zeros in the rest and behind the last sample."""
    made = layer.new_empty(layer.shape[1], chunk)
    row = 0
    for part in parts:
        length = part.shape[1]
        made[row : row + len(part), :length] = part
        if length < chunk:
            made[row : row + len(part), length:] = 0
        row += len(part)
    made[row] = 1
    made[row + 1 :] = 0
    return made


def _layer(layer: Tensor, given: Tensor, following: Tensor) -> Tensor:
    """A layer with its ReLU, as the input of the layer that follows."""
    made = given.new_empty(following.shape[1], given.shape[1])
    torch.mm(layer, given, out=made[: len(layer)])
    made[: len(layer)].clamp_min_(0)
    made[len(layer)] = 1
    made[len(layer) + 1 :] = 0
    return made


def _through(gradient: Tensor, answer: Tensor) -> Tensor:
    """A gradient back through a ReLU."""
    return torch.ops.aten.threshold_backward(gradient, answer, 0)


def _ceiling(density: Tensor) -> Tensor:
    """The density that the limit gives."""
    return torch.exp(density.new_tensor(DENSITY_LIMIT) - 1.0)

"""Slot attention with channels first: few narrow channels beside very many points.

A layer norm is parted into what it does to numbers (``standardised``) and its gain and bias, which the next
linear layer takes (``folded``). Two steps know their own gradients, in fewer passes over memory than
automatic differentiation makes; tests hold them against ``torch``'s modules and finite differences.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

LEAST_ATTENTION = 1e-8
"""Added to each slot's share of a view before the shares are divided out (NeRF-AD's code)."""
MOST_PRODUCTS = 1 << 26
"""Products of slots and views that a GPU makes together: 256 MB; more of them go one by one (ours)."""


def linear_of_columns(
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "#batch outputs #points"],
    columns: Float[Tensor, "batch inputs points"],
) -> Float[Tensor, "batch outputs points"]:
    """A linear layer on channels first: narrow channels beside many points are faster so than last."""
    batch, _, points = columns.shape
    return torch.baddbmm(bias.expand(batch, -1, points), weight.expand(batch, -1, -1), columns)


class _Standardise(torch.autograd.Function):
    """``standardised``; its gradient in few passes over the numbers."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, least: float) -> Tensor:  # noqa: ANN401
        centred = columns - columns.mean(dim=1, keepdim=True)
        scale = (centred.square().mean(dim=1, keepdim=True) + least).rsqrt_()
        out = centred.mul_(scale)
        ctx.save_for_backward(out, scale)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        out, scale = ctx.saved_tensors
        along = (grad * out).mean(dim=1, keepdim=True)
        return (grad - grad.mean(dim=1, keepdim=True)).addcmul_(out, along, value=-1).mul_(scale), None


def standardised(
    columns: Float[Tensor, "batch units points"], least: float
) -> Float[Tensor, "batch units points"]:
    """Mean 0 and variance 1 over units: a layer norm but for what ``folded`` hands on."""
    out: Tensor = _Standardise.apply(columns, least)  # type: ignore[no-untyped-call]
    return out


class _Compete(torch.autograd.Function):
    """``compete``; the products of every slot with every view are never kept."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401
        chosen = _products(query, key).softmax(dim=1)
        total = (chosen + LEAST_ATTENTION).sum(dim=0)
        weights = (chosen + LEAST_ATTENTION) / total
        ctx.save_for_backward(query, key, value, chosen, total, weights)
        return _weighted(weights.transpose(0, 1), value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        query, key, value, chosen, total, weights = ctx.saved_tensors
        of_weights = _products(grad, value)
        of_chosen = (of_weights - (weights * of_weights).sum(dim=0)) / total
        of_logits = chosen * (of_chosen - (chosen * of_chosen).sum(dim=1, keepdim=True))
        of_query = _weighted(of_logits.transpose(0, 1), key)
        if query.shape[2] == 1:
            of_query = of_query.sum(dim=2, keepdim=True)
        return of_query, _weighted(of_logits, query), _weighted(weights, grad)


def _products(slots: Tensor, views: Tensor) -> Tensor:
    """``out[view, slot] = sum over units of slots[slot] * views[view]``; shapes (n units points)."""
    if _at_once(slots, len(views)):
        return (slots.unsqueeze(0) * views.unsqueeze(1)).sum(dim=2)
    return torch.stack([torch.stack([(slot * view).sum(dim=0) for slot in slots]) for view in views])


def _weighted(weights: Tensor, columns: Tensor) -> Tensor:
    """``out[i] = sum over j of weights[i, j] * columns[j]``; shapes (i j points), (j units points)."""
    if _at_once(columns, len(weights)):
        return (weights.unsqueeze(2) * columns.unsqueeze(0)).sum(dim=1)
    made = columns.new_empty(len(weights), columns.shape[1], weights.shape[2])
    for into, row in zip(made, weights, strict=True):
        torch.mul(row[0], columns[0], out=into)
        for weight, column in zip(row[1:], columns[1:], strict=True):
            into.addcmul_(weight, column)
    return made


def _at_once(columns: Tensor, times: int) -> bool:
    """Whether all products are made together: on a GPU, which launches few kernels gladly, if they fit."""
    return columns.is_cuda and columns.numel() * times <= MOST_PRODUCTS


def compete(
    query: Float[Tensor, "slots units #points"],
    key: Float[Tensor, "views units points"],
    value: Float[Tensor, "views units points"],
) -> Float[Tensor, "slots units points"]:
    """What each slot takes from the views: slots compete for each view, then share it out by weight."""
    out: Tensor = _Compete.apply(query, key, value)  # type: ignore[no-untyped-call]
    return out


def folded(
    norm: nn.LayerNorm, weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, "outputs"]
) -> tuple[Float[Tensor, "outputs inputs"], Float[Tensor, "outputs 1"]]:
    """Weight and bias on what is standardised of a linear layer that follows a layer norm."""
    return weight * norm.weight, (bias + weight @ norm.bias).unsqueeze(1)


class SlotAttention(nn.Module):
    """A set of tokens, one per view, joined into a few slots (Locatello et al. 2020; DFRF's code).

    Each slot begins at its own learned vector and no noise is added, in training or later: the paper's code
    draws all slots around one shared vector anew for every picture, which flickers, and would make all slots
    equal without the draw (paper.md section 14, row 7). The vectors' first values are the draw, made once.
    """

    def __init__(self, *, width: int, num_slots: int, num_rounds: int) -> None:
        super().__init__()
        self.num_rounds = num_rounds
        self.start = nn.Parameter(torch.randn(num_slots, width))
        self.norm_tokens = nn.LayerNorm(width)
        self.norm_slots = nn.LayerNorm(width)
        self.norm_update = nn.LayerNorm(width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.recur = nn.GRUCell(width, width)
        self.refine = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, tokens: Float[Tensor, "views units points"]) -> Float[Tensor, "points features"]:
        """All slots of every point, one after the other."""
        width = tokens.shape[1]
        weight, bias = folded(
            self.norm_tokens,
            torch.cat([self.key.weight, self.value.weight]),
            torch.cat([self.key.bias, self.value.bias]),
        )
        both = linear_of_columns(weight, bias.unsqueeze(0), standardised(tokens, self.norm_tokens.eps))
        key, value = both.split(width, dim=1)
        slots = self.start.unsqueeze(2)  # (slots units 1): at first the same for all points
        for _ in range(self.num_rounds):
            weight, bias = folded(
                self.norm_slots, self.query.weight / width**0.5, self.query.bias / width**0.5
            )
            query = linear_of_columns(weight, bias.unsqueeze(0), standardised(slots, self.norm_slots.eps))
            update = compete(query, key, value)
            slots = self._refined(self._recurred(update, slots))
        return slots.flatten(0, 1).T

    def _recurred(
        self, update: Float[Tensor, "slots units points"], slots: Float[Tensor, "slots units #points"]
    ) -> Float[Tensor, "slots units points"]:
        """``self.recur``, channels first."""
        width = update.shape[1]
        parts = [2 * width, width]  # reset and update gates together, then the new state
        given, kept = self.recur.weight_ih.split(parts), self.recur.weight_hh.split(parts)
        given_bias, kept_bias = (
            bias[None, :, None].split(parts, dim=1) for bias in (self.recur.bias_ih, self.recur.bias_hh)
        )
        gates = linear_of_columns(kept[0], given_bias[0] + kept_bias[0], slots)
        reset, stay = linear_of_columns(given[0], gates, update).sigmoid_().split(width, dim=1)
        before = linear_of_columns(kept[1], kept_bias[1], slots)
        new = torch.addcmul(linear_of_columns(given[1], given_bias[1], update), reset, before).tanh_()
        return torch.lerp(new, slots.expand_as(new), stay)

    def _refined(self, slots: Float[Tensor, "slots units points"]) -> Float[Tensor, "slots units points"]:
        first, _, last = self.refine
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        weight, bias = folded(self.norm_update, first.weight, first.bias)
        level = standardised(slots, self.norm_update.eps)
        hidden = linear_of_columns(weight, bias.unsqueeze(0), level).relu_()
        return linear_of_columns(last.weight, slots + last.bias[None, :, None], hidden)

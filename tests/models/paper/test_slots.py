"""Slot attention's own gradients and layouts, against torch's modules and finite differences, in float64."""

import pytest
import torch
from torch import nn

from nerf_ad.models.paper.identity import IdentityBranch, IdentityConfig
from nerf_ad.models.paper.slots import (
    SlotAttention,
    compete,
    folded,
    linear_of_columns,
    standardised,
)
from nerf_ad.volume.encoding import encode_position


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def plain_compete(query, key, value):
    """By the formula, every product kept; gradients are automatic."""
    logits = torch.einsum("swp,vwp->vsp", query.expand(-1, -1, key.shape[2]), key)
    attention = logits.softmax(dim=1) + 1e-8
    return torch.einsum("vsp,vwp->swp", attention / attention.sum(dim=0), value)


def plain_slots(slots: SlotAttention, tokens):
    """The modules as torch runs them, channels last."""
    tokens = slots.norm_tokens(tokens.transpose(1, 2))
    key, value = slots.key(tokens), slots.value(tokens)
    count, width = slots.start.shape
    state = slots.start.expand(tokens.shape[1], count, width)
    for _ in range(slots.num_rounds):
        query = slots.query(slots.norm_slots(state)) / width**0.5
        update = plain_compete(query.permute(1, 2, 0), key.transpose(1, 2), value.transpose(1, 2))
        flat = slots.recur(update.permute(2, 0, 1).reshape(-1, width), state.reshape(-1, width))
        state = flat.view(-1, count, width)
        state = state + slots.refine(slots.norm_update(state))
    return state.flatten(1)


def gradients(output, inputs):
    weight = torch.linspace(-1.0, 2.0, output.numel(), dtype=output.dtype).view(output.shape)
    return torch.autograd.grad((output * weight).sum(), inputs, allow_unused=True)


@pytest.mark.parametrize("at_once", [False, True])
def test_the_competition_knows_its_gradient(monkeypatch: pytest.MonkeyPatch, *, at_once: bool) -> None:
    """One product after the other, as on a CPU, and all together, as on a GPU."""
    monkeypatch.setattr("nerf_ad.models.paper.slots._at_once", lambda _columns, _times: at_once)
    for points in (5, 1):
        query, key, value = draw(2, 3, points), draw(4, 3, 5, seed=1), draw(4, 3, 5, seed=2)
        ours, plain = compete(query, key, value), plain_compete(query, key, value)
        torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-10)
        for mine, truth in zip(
            gradients(ours, (query, key, value)), gradients(plain, (query, key, value)), strict=True
        ):
            torch.testing.assert_close(mine, truth, atol=1e-12, rtol=1e-9)
        assert torch.autograd.gradcheck(compete, (query, key, value))


def test_a_layer_norm_is_standardised_and_folded() -> None:
    columns = draw(2, 6, 7)
    norm, layer = nn.LayerNorm(6).double(), nn.Linear(6, 4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2.0, 6))
        norm.bias.copy_(torch.linspace(-1.0, 1.0, 6))
    weight, bias = folded(norm, layer.weight, layer.bias)
    ours = linear_of_columns(weight, bias.unsqueeze(0), standardised(columns, norm.eps))
    plain = layer(norm(columns.transpose(1, 2))).transpose(1, 2)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-10)
    parameters = (columns, norm.weight, norm.bias, layer.weight, layer.bias)
    for mine, truth in zip(gradients(ours, parameters), gradients(plain, parameters), strict=True):
        torch.testing.assert_close(mine, truth, atol=1e-12, rtol=1e-9)
    assert torch.autograd.gradcheck(lambda given: standardised(given, 1e-5), (columns,))


def test_slots_and_their_gradients_are_those_of_plain_modules() -> None:
    torch.manual_seed(0)
    slots = SlotAttention(width=6, num_slots=3, num_rounds=3).double()
    with torch.no_grad():
        for value in slots.parameters():
            value.add_(0.3 * torch.randn_like(value))
    tokens = draw(4, 6, 5)
    wanted = (tokens, *slots.parameters())
    ours, plain = slots(tokens), plain_slots(slots, tokens)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-10)
    for mine, truth in zip(gradients(ours, wanted), gradients(plain, wanted), strict=True):
        torch.testing.assert_close(mine, truth, atol=1e-10, rtol=1e-8)


def test_tokens_and_their_gradients_are_those_of_the_joined_input() -> None:
    """``leaky_relu(token([read, places, waves, short]))``, layer by layer (paper.md section 6)."""
    torch.manual_seed(0)
    config = IdentityConfig(extractor_dim=8, feature_dim=8, offset_dims=(8, 4), ray_dim=4, slot_dim=8)
    branch = IdentityBranch(config, point_dim=63, code_dim=0).double()
    encoded = encode_position(draw(5, 3).detach(), 10)
    read, places = draw(3, 8, 5), draw(3, 2, 5, seed=1)
    seen = torch.cat([read, places], dim=1).transpose(1, 2)
    joined = torch.cat([seen, encoded.expand(3, 5, 63), branch.short(seen)], dim=-1)
    plain = nn.functional.leaky_relu(branch.token(joined))
    ours = branch.tokens(encoded, read, places).transpose(1, 2)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-10)
    wanted = (read, places, *branch.short.parameters(), *branch.token.parameters())
    for mine, truth in zip(gradients(ours, wanted), gradients(plain, wanted), strict=True):
        torch.testing.assert_close(mine, truth, atol=1e-10, rtol=1e-8)

"""AU-Attention: the paper's parameter counts, and a repainted face that is what the formula says."""

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nerf_ad.models.paper.au_attention import AuAttention, AuAttentionConfig, unit_range
from nerf_ad.models.paper.critic import Critic, CriticConfig

SMALL = AuAttentionConfig(size=16, width=4, num_blocks=1)


def num_parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.fixture
def attention() -> AuAttention:
    torch.manual_seed(0)
    return AuAttention(SMALL)


def test_the_papers_sizes() -> None:
    with torch.device("meta"):
        whole, critic = AuAttention(AuAttentionConfig()), Critic(CriticConfig())
    convolutions = (
        8 * 64 * 49 + 64 * 128 * 16 + 128 * 256 * 16  # down
        + 12 * 256 * 256 * 9  # six residual blocks
        + 256 * 128 * 16 + 128 * 64 * 16  # up
        + 64 * 49 * (1 + 3)  # heads
    )  # fmt: skip
    norms = 2 * (64 + 128 + 256 + 12 * 256 + 128 + 64)
    assert num_parameters(whole) == convolutions + norms
    assert round(num_parameters(whole) / 1e6, 1) == 8.4  # paper.md section 4
    widths = [3, 64, 128, 256, 512, 1024, 2048]
    trunk = sum(16 * a * b + b for a, b in itertools.pairwise(widths))
    assert num_parameters(critic) == trunk + 2048 * 9 + 2048 * 5


def test_the_papers_shapes() -> None:
    crops, units = torch.rand(2, 3, 112, 112), torch.rand(2, 5)
    assert AuAttention(AuAttentionConfig(width=4)).mask(crops, units).shape == (2, 1, 112, 112)
    judged = Critic(CriticConfig(width=4))(crops)  # 112, 56, 28, 14, 7, 3, 1
    assert judged.realness.shape == (2, 1, 1, 1)
    assert judged.units.shape == (2, 5)


def test_weights_are_drawn_as_the_paper_draws_them() -> None:
    torch.manual_seed(0)
    for module in AuAttention(AuAttentionConfig(width=32, num_blocks=1)).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            assert module.bias is None
            weight = module.weight.detach()
            assert float(weight.std()) == pytest.approx(0.02, rel=0.1)
            assert abs(float(weight.mean())) < 0.002


def test_a_closed_mask_keeps_the_face_and_an_open_one_paints_it(attention: AuAttention) -> None:
    face, units = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 5)
    for sign, kept in ((1.0, True), (-1.0, False)):
        with torch.no_grad():
            last = attention.trunk[-2]
            assert isinstance(last, nn.InstanceNorm2d)
            last.weight.zero_()
            last.bias.fill_(1.0)  # the last features are 1 everywhere
            attention.mask_head.weight.fill_(sign * 10.0)
            attention.colour_head.weight.zero_()  # tanh(0): grey
            made = attention.repaint(face, units)
        torch.testing.assert_close(made.face, face if kept else torch.zeros_like(face), atol=1e-5, rtol=0)
        assert bool((made.mask > 0.999).all()) == kept


def test_the_repainted_face_is_composed_of_face_and_colour(attention: AuAttention) -> None:
    face, units = torch.rand(1, 3, 16, 16) * 2 - 1, torch.rand(1, 5)
    planes = units.view(1, 5, 1, 1).repeat(1, 1, 16, 16)
    features = attention.trunk(torch.cat([face, planes], dim=1))
    mask = 1 / (1 + torch.exp(-attention.mask_head(features)))
    colour = torch.tanh(attention.colour_head(features))
    made = attention.repaint(face, units)
    torch.testing.assert_close(made.mask, mask)
    torch.testing.assert_close(made.face, mask * face + (1 - mask) * colour)


def test_the_mask_takes_pictures_and_units_as_they_are_measured(attention: AuAttention) -> None:
    crops, units = torch.rand(2, 3, 16, 16), torch.rand(2, 5) * 0.2
    attention.unit_scale.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
    scaled = (units / torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])).clamp(max=1)
    torch.testing.assert_close(
        attention.mask(crops, units), attention.repaint(crops * 2 - 1, scaled).mask, rtol=0, atol=1e-6
    )


def test_units_matter_to_the_mask(attention: AuAttention) -> None:
    crops = torch.rand(1, 3, 16, 16)
    shut, wide = (attention.mask(crops, torch.full((1, 5), value)) for value in (0.0, 1.0))
    assert not torch.allclose(shut, wide)


def test_the_range_of_a_unit_that_does_not_move_is_not_its_noise() -> None:
    ramp = np.linspace(0, 0.4, 101)
    intensity = np.stack([ramp, np.full(101, 0.003), ramp * 10], axis=1)
    np.testing.assert_allclose(unit_range(intensity, smallest=0.1).numpy(), [0.38, 0.1, 1.0], rtol=1e-6)


def test_a_critic_deeper_than_its_picture_is_refused() -> None:
    with pytest.raises(ValidationError, match="num_layers"):
        CriticConfig(size=16, num_layers=5)

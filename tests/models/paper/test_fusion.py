"""E_a, GRU and D: the paper's sizes, and what each output depends on."""

import pytest
import torch
from torch import nn

from nerf_ad.models.paper.fusion import FaceEncoder, FaceFusion, FusionConfig, with_pose

SMALL = FusionConfig(
    crop_size=32,
    encoder_widths=(4, 6, 8, 10),
    encoder_hidden=12,
    face_code_dim=7,
    gru_dim=9,
    seed_width=5,
    decoder_widths=(6, 5, 4, 4),
    output_width=3,
)


def count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_sizes_are_the_papers() -> None:
    """Counted by hand from the layers of paper.md section 8, which says 7.0, 4.1 and 16.0 million."""
    with torch.device("meta"):
        fusion = FaceFusion(FusionConfig())
        reader = FaceEncoder(FusionConfig())
    encoder = 25 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 128) + 16 + 32 + 64 + 128
    encoder += 6272 * 1024 + 1024 + 1024 * 256 + 256
    gru = 3 * (320 * 1024 + 1024 * 1024 + 2 * 1024)
    decoder = 1024 * 12_544 + 12_544
    decoder += 25 * (384 * 196 + 260 * 128 + 160 * 80 + 96 * 48 + 48 * 16 + 16 * 3)
    decoder += 196 + 128 + 80 + 48 + 16 + 3
    assert count(fusion.encoder) == count(reader) == encoder
    assert count(fusion.gru) == gru
    assert count(fusion.decoder) == decoder
    assert [round(number / 1e6, 1) for number in (encoder, gru, decoder)] == [7.0, 4.1, 16.0]


@pytest.mark.parametrize("size", [32, 64])
def test_layers_follow_the_crop(size: int) -> None:
    fusion = FaceFusion(FusionConfig.model_validate({**SMALL.model_dump(), "crop_size": size}))
    encoded = fusion.encoder(torch.rand(2, 3, size, size))
    assert [tuple(one.shape[1:]) for one in encoded.maps] == [
        (width, size >> level, size >> level) for level, width in enumerate((4, 6, 8, 10), start=1)
    ]
    assert fusion(torch.rand(2, 3, size, size), torch.rand(2, 64)).shape == (2, 3, size, size)


def test_one_still_face_serves_many_codes() -> None:
    torch.manual_seed(0)
    fusion, still, codes = FaceFusion(SMALL), torch.rand(1, 3, 32, 32), torch.randn(4, 64)
    together = fusion(still, codes)
    torch.testing.assert_close(together, fusion(still.expand(4, -1, -1, -1), codes))
    torch.testing.assert_close(together, torch.cat([fusion(still, code[None]) for code in codes]))


def test_the_gru_is_a_gate_without_memory() -> None:
    """One step from a zero state, written out: (1 - z) n, with the state's biases still in place."""
    torch.manual_seed(0)
    gru = FaceFusion(SMALL).gru
    x = torch.randn(3, 1, 7 + 64)
    values = dict(gru.named_parameters())
    weights, bias, held = (values[name] for name in ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0"))
    reset_in, update_in, new_in = (x[:, 0] @ weights.T + bias).chunk(3, dim=-1)
    reset_held, update_held, new_held = held.chunk(3)
    reset, update = torch.sigmoid(reset_in + reset_held), torch.sigmoid(update_in + update_held)
    wanted = (1 - update) * torch.tanh(new_in + reset * new_held)
    torch.testing.assert_close(gru(x)[0][:, 0], wanted)


def test_encoder_has_no_activation_between_its_linear_layers() -> None:
    """So the code is an affine function of the last map."""
    torch.manual_seed(0)
    answer = FaceEncoder(SMALL).answer
    a, b = torch.randn(2, 1, 40)
    middle = answer((a + b) / 2)
    torch.testing.assert_close(middle, (answer(a) + answer(b)) / 2, rtol=1e-4, atol=1e-5)


def test_gradients_flow_through_frozen_parts_to_the_speech() -> None:
    """Stage 3 needs this: E_a, GRU and D stand still, and AudioNet still learns."""
    torch.manual_seed(0)
    fusion, code = FaceFusion(SMALL).requires_grad_(requires_grad=False), torch.randn(2, 64).requires_grad_()
    fusion(torch.rand(1, 3, 32, 32), code).sum().backward()
    assert code.grad is not None
    assert bool((code.grad != 0).any())
    assert all(value.grad is None for value in fusion.parameters())


def test_the_picture_stays_within_tanh() -> None:
    torch.manual_seed(0)
    made = FaceFusion(SMALL)(torch.rand(1, 3, 32, 32), 100 * torch.randn(2, 64))
    assert float(made.detach().abs().max()) <= 1.0


def test_initial_weights_are_those_of_the_code() -> None:
    torch.manual_seed(0)
    fusion = FaceFusion(FusionConfig(crop_size=32))
    convolution, linear = fusion.decoder.enlarging[0], fusion.decoder.seed
    assert isinstance(convolution, nn.ConvTranspose2d)
    assert abs(float(convolution.weight.detach().std()) - 0.02) < 0.0005
    assert convolution.bias is not None
    assert not bool(convolution.bias.any())
    bound = (6 / (1024 + 4 * 256)) ** 0.5
    assert float(linear.weight.detach().abs().max()) <= bound
    assert float(linear.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert bool((linear.bias == 0.01).all())


def test_a_scaled_start_keeps_signals_alive_at_small_widths() -> None:
    """What reaches the picture from different codes, of narrow networks: N(0, 0.02) lets it die out."""
    spread = {}
    for start in ("normal", "scaled"):
        torch.manual_seed(0)
        fusion = FaceFusion(FusionConfig.model_validate({**SMALL.model_dump(), "start": start}))
        made = fusion(torch.rand(1, 3, 32, 32), torch.randn(16, 64)).detach()
        spread[start] = float(made.std(dim=0).mean())
    assert spread["normal"] < 1e-5
    assert spread["scaled"] > 1e-3


def test_the_pose_is_yaw_and_pitch_in_tens_of_degrees() -> None:
    """The head rests at the origin and looks along z; the camera goes round it."""
    pose = torch.eye(4).repeat(3, 1, 1)
    radians = torch.deg2rad(torch.tensor(20.0))
    pose[0, :3, 3] = torch.tensor([0.0, 0.0, 0.7])
    pose[1, :3, 3] = 0.7 * torch.tensor([float(torch.sin(radians)), 0.0, float(torch.cos(radians))])
    pose[2, :3, 3] = 0.7 * torch.tensor([0.0, -float(torch.sin(radians)), float(torch.cos(radians))])
    found = with_pose(torch.zeros(3, 5), pose)
    assert found.shape == (3, 7)
    wanted = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0]])
    torch.testing.assert_close(found[:, 5:], wanted, atol=0.01, rtol=0)
    codes = torch.randn(3, 5)
    assert torch.equal(with_pose(codes, None), codes)


def test_seeing_the_pose_widens_the_gru_alone() -> None:
    blind, seeing = (
        FaceFusion(FusionConfig.model_validate({**SMALL.model_dump(), "sees_pose": sees}))
        for sees in (False, True)
    )
    assert seeing.gru.input_size == blind.gru.input_size + 2
    assert count(seeing.encoder) == count(blind.encoder)
    assert count(seeing.decoder) == count(blind.decoder)


def test_changes_are_painted_over_the_usual_face() -> None:
    """At first nothing changes; then by at most three deviations, and by none where faces never differ."""
    torch.manual_seed(0)
    fusion = FaceFusion(FusionConfig.model_validate({**SMALL.model_dump(), "paints_change": True}))
    faces = torch.rand(5, 3, 32, 32)
    faces[:, :, :16] = 0.25
    fusion.set_usual((faces * 255).round().to(torch.uint8))
    usual = faces.numpy().copy()
    usual.sort(axis=0)
    painted = fusion(faces[:1], torch.randn(4, 64))
    torch.testing.assert_close(painted, torch.from_numpy(usual[2]).expand(4, -1, -1, -1), atol=3e-3, rtol=0)
    nn.init.normal_(fusion.decoder.last.weight, 0, 100)
    change = fusion(faces[:1], 10 * torch.randn(4, 64)) - painted
    largest = 3 * torch.from_numpy(faces.numpy().std(axis=0))
    assert change.abs().max() > 0.1
    assert (change.abs() <= largest + 0.01).all()
    assert change[:, :, :16].abs().max() < 1e-6


def test_the_papers_decoder_knows_no_usual_face() -> None:
    fusion = FaceFusion(SMALL)
    before = {name: value.clone() for name, value in fusion.state_dict().items()}
    fusion.set_usual(torch.rand(3, 3, 32, 32))
    assert before.keys() == fusion.state_dict().keys()
    assert not any("usual" in name for name in before)


def test_shapes_are_the_directions_in_which_faces_differ() -> None:
    """Faces that differ in one picture only: the first shape is that picture, of the changes' own size."""
    torch.manual_seed(0)
    config = {**SMALL.model_dump(), "paints_change": True, "num_shapes": 4}
    fusion = FaceFusion(FusionConfig.model_validate(config))
    picture, amounts = 0.3 * torch.rand(3, 32, 32), torch.linspace(-1, 1, 7)
    fusion.set_usual(0.5 + amounts[:, None, None, None] * picture)
    assert fusion.shapes is not None
    size = float(amounts.square().mean().sqrt())
    sign = fusion.shapes[0].sum().sign()
    torch.testing.assert_close(sign * fusion.shapes[0], size * picture, atol=1e-4, rtol=0)
    assert fusion.shapes[1:].abs().max() < 1e-4

"""The paper's head: sizes, switches, the frame."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from nerf_ad.geometry.camera import Intrinsics, pose_matrix, project
from nerf_ad.geometry.rays import pixel_rays
from nerf_ad.models.paper.identity import IdentityConfig
from nerf_ad.models.paper.nerf import (
    ConditionalNerf,
    ConditionalNerfConfig,
    NerfConditions,
    NoConditions,
    PaperHead,
    PaperHeadConfig,
    depth_range,
)
from nerf_ad.volume.encoding import encode_position

IDENTITY = IdentityConfig(extractor_dim=8, feature_dim=8, offset_dims=(8, 4), ray_dim=4, slot_dim=8)
FIELD = ConditionalNerfConfig(depth=3, width=16, again_after=2, colour_depth=1, colour_width=8)
SMALL = PaperHeadConfig(
    field=FIELD, identity=IDENTITY, face_dim=6, offset_code_dim=5, coarse_samples=8, fine_samples=8
)
SIZE = 12


def parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def frontal(distance=0.8, shift=0.0):
    return torch.from_numpy(pose_matrix(np.eye(3), np.array([shift, 0.0, distance]))).float()


def make_head(config=SMALL, seed=0):
    torch.manual_seed(seed)
    head = PaperHead(config, size=SIZE)
    head.set_camera(torch.tensor([16.0, 15.0, 6.5, 5.5]), frontal()[None])
    if config.uses_references:
        cameras = torch.stack([frontal(shift=0.05 * k) for k in range(4)])
        generator = torch.Generator().manual_seed(1)
        head.set_references(torch.rand(4, 3, SIZE, SIZE, generator=generator), cameras)
    return head.eval()


def conditions(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return NerfConditions(
        audio=torch.randn(1, 5, generator=generator), face=torch.randn(1, 6, generator=generator)
    )


def test_parameter_counts_are_the_papers() -> None:
    """paper.md section 10: 825 k for each field on 575 inputs; by hand, from the layers listed there."""
    full = PaperHead(PaperHeadConfig(), size=32)
    trunk = (575 * 256 + 256) + 6 * (256 * 256 + 256) + (831 * 256 + 256)
    colour = (283 * 128 + 128) + 2 * (128 * 128 + 128) + (128 * 3 + 3)
    assert parameters(full.coarse) == trunk + (256 + 1) + colour
    assert parameters(full.coarse) == parameters(full.fine)
    assert round(parameters(full.coarse) / 1000) == 825


@pytest.mark.parametrize(
    ("row", "inputs"),
    [
        ({}, 256 + 256 + 63),
        ({"face_dim": 0, "audio_dim": 64}, 256 + 64 + 63),
        ({"uses_references": False, "face_dim": 0, "audio_dim": 64}, 64 + 63),
        ({"uses_references": False, "face_dim": 0, "landmark_dim": 64}, 64 + 63),
        ({"uses_references": False, "face_dim": 0}, 63),
        ({"audio_dim": 64}, 639),
    ],
    ids=["NeRF-AD", "DFRF-like", "AD-NeRF", "GeneFace", "NeRF", "older NeRF-AD"],
)
def test_the_rows_of_the_paper_are_configurations(row, inputs) -> None:
    """Input widths of paper.md sections 10, 12 and 15."""
    head = PaperHead(PaperHeadConfig(**row), size=32)
    first = head.fine.layers[0]
    assert isinstance(first, nn.Linear)
    assert first.in_features == inputs
    sixth = head.fine.layers[5]
    assert isinstance(sixth, nn.Linear)
    assert sixth.in_features == inputs + 256


def test_a_field_is_what_its_layers_say() -> None:
    """Split products against plain layers on joined inputs, with the columns put in the stated order."""
    torch.manual_seed(0)
    field = ConditionalNerf(
        ConditionalNerfConfig(depth=4, width=16, again_after=2, colour_depth=2, colour_width=8),
        point_dim=9,
        feature_dim=4,
        code_dim=6,
        direction_dim=7,
    ).double()
    encoded, waves = torch.randn(3, 5, 9).double(), torch.randn(3, 7).double()
    feature = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    code = torch.randn(6, dtype=torch.float64, requires_grad=True)
    density, rgb = field(encoded, waves, feature, code)
    whole = torch.cat([feature, code.expand(3, 5, 6), encoded], dim=-1)
    hidden = whole
    for number, layer in enumerate(field.layers):
        hidden = torch.relu(layer(torch.cat([whole, hidden], dim=-1) if number == 2 else hidden))
    torch.testing.assert_close(density, field.density(hidden).squeeze(-1), atol=1e-5, rtol=1e-4)
    colour = torch.cat([hidden, waves.unsqueeze(1).expand(3, 5, 7)], dim=-1)
    for layer in field.colour_layers:
        colour = torch.relu(layer(colour))
    plain = torch.sigmoid(field.colour(colour))
    torch.testing.assert_close(rgb, plain, atol=1e-5, rtol=1e-4)
    wanted = (feature, code, *field.parameters())
    ours = torch.autograd.grad(density.sum() + rgb.square().sum(), wanted)
    truth = torch.autograd.grad(field.density(hidden).sum() + plain.square().sum(), wanted)
    for mine, other in zip(ours, truth, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-8)


def test_near_and_far_surround_the_mean_head_distance() -> None:
    """A camera that is turned: the head's depth is measured along its axis, not its distance."""
    angle = 0.3
    turn = np.array(
        [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    )
    cameras = np.stack(
        [pose_matrix(np.eye(3), np.array([0, 0, 0.7])), pose_matrix(turn, np.array([0.1, 0, 0.9]))]
    )
    depths = [project(np.zeros(3), camera, Intrinsics(1, 1, 0, 0)).depth for camera in cameras]
    found = depth_range(torch.from_numpy(cameras))
    np.testing.assert_allclose(found.numpy(), [np.mean(depths) - 0.2, np.mean(depths) + 0.4], atol=1e-9)


@pytest.mark.parametrize("uses_references", [True, False])
def test_rays_are_rendered_as_the_papers_write_it(*, uses_references: bool) -> None:
    """Every sample anew, naive compositing in double precision; the fine pass sees all samples."""
    config = PaperHeadConfig.model_validate({**SMALL.model_dump(), "uses_references": uses_references})
    head, given = make_head(config), conditions()
    pixels = torch.tensor([[3.5, 4.5], [8.5, 7.5], [6.5, 0.5]])
    behind = torch.rand(3, 3)
    with torch.no_grad():
        for field in (head.coarse, head.fine):
            field.density.weight.mul_(60)  # a fog thick enough to hide some of what is behind
        maps = head.fixed_maps()
        ours = head.rays(pixels, frontal(), given, behind, maps)
        for number, (u, v) in enumerate(pixels.tolist()):
            direction = torch.tensor([(u - 6.5) / 16, -(v - 5.5) / 15, -1.0])
            origin = torch.tensor([0.0, 0.0, 0.8])
            depths = torch.linspace(0.6, 1.2, 8)
            colour, weights = naive_ray(
                head, head.coarse, origin, direction, depths, given, maps, behind[number]
            )
            np.testing.assert_allclose(ours.coarse[number].numpy(), colour, atol=2e-4)
            depths = (
                torch.cat([depths, torch.from_numpy(naive_draws(depths.numpy(), weights, 8))]).sort().values
            )
            colour, weights = naive_ray(
                head, head.fine, origin, direction, depths, given, maps, behind[number]
            )
            np.testing.assert_allclose(ours.fine[number].numpy(), colour, atol=2e-4)
            assert float(ours.opacity[number]) == pytest.approx(1 - weights[-1], abs=2e-4)
            assert 0.005 < weights[-1] < 0.995


def naive_ray(head, field, origin, direction, depths, given, maps, behind):
    points = origin + depths[:, None] * direction
    encoded = encode_position(points, 10)
    feature = encoded[:, :0]
    if head.identity is not None:
        feature = head.identity(points, encoded, maps, given.audio[0]).feature
    towards = encode_position(direction / direction.norm(), 4)
    density, rgb = field(encoded[None], towards[None], feature[None], given.face[0])
    through, colour, weights = 1.0, np.zeros(3), []
    for i in range(len(depths)):
        delta = float(depths[i + 1] - depths[i]) if i + 1 < len(depths) else 1e10
        alpha = 1 - math.exp(-(max(float(density[0, i]), 0) + 1e-6) * delta * float(direction.norm()))
        weights.append(alpha * through)
        seen = rgb[0, i] if i + 1 < len(depths) else behind
        colour += weights[-1] * seen.double().numpy()
        through *= 1 - alpha + 1e-10
    return colour, np.array(weights)


def naive_draws(depths, weights, count):
    middle = (depths[1:] + depths[:-1]) / 2
    mass = weights[1:-1] + 1e-5
    cdf = np.concatenate([[0], np.cumsum(mass / mass.sum())])
    return np.interp(np.linspace(0, 1, count), cdf, middle).astype(np.float32)


def test_offsets_are_dear_only_where_nothing_is_seen() -> None:
    """L_off of section 10: mean of offset^2 (1 - min(w t, 1)), with the offset fixed to 2 pixels."""
    head, given = make_head(), conditions()
    assert head.identity is not None
    with torch.no_grad():
        head.identity.offset.layers[2].weight.zero_()
        head.identity.offset.layers[2].bias.copy_(torch.tensor([2.0, -2.0]))
        head.fine.density.weight.zero_()
        head.fine.density.bias.fill_(
            -1.0
        )  # empty: all weight on the last sample, at depth 1.2: it costs nothing
        seen = head.rays(torch.tensor([[6.5, 5.5]]), frontal(), given, torch.ones(1, 3), head.fixed_maps())
    assert float(seen.offset_loss) == pytest.approx(4.0 * 15 / 16, rel=1e-4)


def test_a_frame_repeats_itself_bit_for_bit_and_does_not_depend_on_its_chunks() -> None:
    head, given, torso = make_head(), conditions(), torch.rand(SIZE, SIZE, 3)
    first = head.frame(given, frontal(), torso, chunk=37)
    assert torch.equal(first, head.frame(given, frontal(), torso, chunk=37))
    torch.testing.assert_close(first, head.frame(given, frontal(), torso, maps=head.fixed_maps(), chunk=1000))
    assert float((first - torso).abs().max()) > 0.01
    assert not torch.allclose(first, head.frame(conditions(1), frontal(), torso), atol=1e-6)


def test_rays_beside_the_box_show_what_is_behind() -> None:
    """The silhouette of a box against the camera model: its corners, projected."""
    head, torso = make_head(), torch.rand(SIZE, SIZE, 3)
    head.set_box(torch.tensor([-0.1, -0.1, -0.01]), torch.tensor([0.1, 0.1, 0.01]))
    with torch.no_grad():
        head.fine.density.bias.fill_(1000.0)
    picture = head.frame(conditions(), frontal(), torso)
    corner = np.array([0.1, 0.1, 0.01])  # the corners nearest to the camera
    high = project(corner, frontal().numpy(), Intrinsics(16, 15, 6.5, 5.5)).pixels
    low = project(corner * [-1, -1, 1], frontal().numpy(), Intrinsics(16, 15, 6.5, 5.5)).pixels
    centres = np.arange(SIZE) + 0.5
    inside = np.outer((centres > high[1]) & (centres < low[1]), (centres > low[0]) & (centres < high[0]))
    changed = ((picture - torso).abs().amax(dim=2) > 0).numpy()
    assert np.array_equal(changed, inside)


def test_a_missing_code_is_named() -> None:
    head = make_head()
    pixels, behind = torch.tensor([[6.5, 5.5]]), torch.ones(1, 3)
    with pytest.raises(ValueError, match="face code of 6 numbers and got nothing"):
        head.rays(pixels, frontal(), NerfConditions(audio=torch.zeros(1, 5)), behind, head.fixed_maps())
    with pytest.raises(ValueError, match="reads references"):
        head.rays(pixels, frontal(), conditions(), behind, None)


def test_a_head_is_whole_in_its_state() -> None:
    """Camera, depths, box and references travel with the weights."""
    head, given, torso = make_head(), conditions(), torch.rand(SIZE, SIZE, 3)
    other = make_head(seed=5)
    other.load_state_dict(copy.deepcopy(head.state_dict()))
    assert torch.equal(head.frame(given, frontal(), torso), other.frame(given, frontal(), torso))


def test_no_conditions_are_none() -> None:
    assert NoConditions()(torch.tensor([3]), is_smoothed=True) == NerfConditions()
    assert NoConditions().smoothing_parameters() == []


def test_no_start_is_dead() -> None:
    """Whatever the seed, some of the head is seen at first, so that the rectifier passes gradients."""
    for seed in range(8):
        head, given = make_head(seed=seed), conditions()
        seen = head.rays(torch.tensor([[6.5, 5.5]]), frontal(), given, torch.ones(1, 3), head.fixed_maps())
        assert 0.2 < float(seen.opacity.detach()) < 0.8


def span(head, u, v, distance=0.8):
    near, far = head.ends(pixel_rays(torch.tensor([[u, v]]), frontal(distance), head.intrinsics))
    return float(near), float(far)


def test_near_and_far_reach_as_far_as_the_head() -> None:
    """A head 0.25 m nearer than on average would be cut by near; rays beside it stay as they are."""
    head = make_head()
    head.set_box(torch.tensor([-0.1, -0.1, -0.12]), torch.tensor([0.1, 0.1, 0.12]))
    assert span(head, 6.5, 5.5) == pytest.approx((0.6, 1.2))
    assert span(head, 6.5, 5.5, distance=0.55) == pytest.approx((0.43, 1.2))
    assert span(head, 6.5, 5.5, distance=1.3) == pytest.approx((0.6, 1.42))
    assert span(head, 0.5, 0.5, distance=0.55) == pytest.approx((0.6, 1.2))


def test_samples_in_the_box_begin_and_end_with_it() -> None:
    """Entry and exit of an upright ray are the box's front and back; a ray beside it shows what is behind."""
    config = PaperHeadConfig.model_validate({**SMALL.model_dump(), "samples_in_box": True})
    head = make_head(config)
    head.set_box(torch.tensor([-0.1, -0.1, -0.12]), torch.tensor([0.1, 0.1, 0.12]))
    assert span(head, 6.5, 5.5) == pytest.approx((0.68, 0.92))
    with torch.no_grad():
        head.fine.density.bias.fill_(1000.0)
    pixels, behind = torch.tensor([[0.5, 0.5], [6.5, 5.5]]), torch.rand(2, 3)
    seen = head.rays(pixels, frontal(), conditions(), behind, head.fixed_maps())
    torch.testing.assert_close(seen.fine[0], behind[0])
    assert seen.opacity.detach().tolist() == pytest.approx([0.0, 1.0], abs=1e-4)

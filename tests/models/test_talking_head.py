"""The talking head: passes against the plain twin, locality of the condition, layers in their order."""

import pytest
import torch

from nerf_ad.models.talking_head import OPAQUE, Condition, TalkingHead, TalkingHeadConfig, region_weight


@pytest.fixture
def head() -> TalkingHead:
    torch.manual_seed(0)
    config = TalkingHeadConfig(grid_resolution=24, num_steps=40, mouth_dim=3, eye_dim=5)
    model = TalkingHead(config, size=32)
    model.grid.set_box(torch.full((3,), -0.15), torch.full((3,), 0.15))
    model.grid.set_cells(model.grid.centres().norm(dim=-1) < 0.12)
    model.intrinsics.copy_(torch.tensor([60.0, 60, 16, 16]))
    model.mouth_centre.copy_(torch.tensor([0.0, -0.05, 0.1]))
    model.mouth_extent.fill_(0.02)
    model.eye_centre.copy_(torch.tensor([0.0, 0.05, 0.1]))
    model.eye_extent.fill_(0.02)
    model.backgrounds.fill_(0.25)
    with torch.no_grad():
        model.planes.trunk_out.bias[0] += 1.0  # neither empty nor opaque at once
    return model


def pose(distance: float = 0.8) -> torch.Tensor:
    matrix = torch.eye(4)[None].clone()
    matrix[0, 2, 3] = distance
    return matrix


def condition(mouth: float = 0.0) -> Condition:
    return Condition(torch.full((1, 3), mouth), torch.zeros(1, 5))


def test_passes_equal_the_plain_march(head: TalkingHead) -> None:
    pixels = torch.rand(300, 2) * 32
    plain = head.head(pixels, torch.zeros(300, dtype=torch.int64), pose(), condition())
    rgb, opacity = head.head_in_passes(pixels, pose(), condition())
    torch.testing.assert_close(rgb, plain.rgb, atol=OPAQUE, rtol=0)
    torch.testing.assert_close(opacity, plain.opacity, atol=OPAQUE, rtol=0)
    assert float(plain.opacity.detach().max()) > 0.5


def test_the_head_covers_the_pixels_of_its_sphere_and_no_others_change(head: TalkingHead) -> None:
    frame = head.frame(condition(), pose())
    assert torch.allclose(frame[0, 0], torch.full((3,), 0.25))  # the corner shows the plate
    rows, columns = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    radius = torch.hypot(columns - 16, rows - 16)
    reach = 60 * 0.12 / (0.8**2 - 0.12**2) ** 0.5  # silhouette of a sphere
    changed = (frame - 0.25).abs().amax(dim=-1) > 1e-4
    assert not bool(changed[radius > reach + 2].any())
    assert bool(changed[radius < reach - 2].all())


def test_the_mouth_code_changes_nothing_far_from_the_mouth(head: TalkingHead) -> None:
    shut, wide = head.frame(condition(0.0), pose()), head.frame(condition(3.0), pose())
    difference = (shut - wide).abs().amax(dim=-1)
    assert float(difference[:14].max()) == 0.0  # above: forehead and eyes
    assert float(difference[16:].max()) > 1e-3


def test_region_weight_is_one_inside_and_zero_from_twice_the_extent() -> None:
    points = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [1.5, 0, 0], [2.0, 0, 0], [5.0, 0, 0]])
    weight = region_weight(points, torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(weight, torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_the_torso_may_stand_elsewhere_in_every_shot(head: TalkingHead) -> None:
    config = TalkingHeadConfig.model_validate({**head.config.model_dump(), "num_shots": 2})
    model = TalkingHead(config, size=32)
    poses = pose().repeat(2, 1, 1)
    codes = model.torso_code(poses, torch.tensor([0, 1]))
    assert codes.shape == (2, model.pose_code(poses).shape[1] + 2)
    torch.testing.assert_close(codes[:, -2:], torch.eye(2))
    torch.testing.assert_close(model.torso_code(poses[:1], None), codes[:1])


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_coarse_march_sees_the_same_fog(head: TalkingHead, stride: int) -> None:
    """Through a box of even fog 0.3 m deep: opacity by Beer and Lambert, to within a sample's length."""
    head.grid.set_cells(torch.ones_like(head.grid.cells))
    with torch.no_grad():
        head.planes.trunk_out.weight.zero_()
        head.planes.trunk_out.bias.fill_(1.0 + torch.tensor(0.05).log())  # 0.05 a march step
    pixels = torch.full((64, 2), 16.0)
    jitter = torch.arange(64) / 64
    made = head.head(
        pixels,
        torch.zeros(64, dtype=torch.int64),
        pose(),
        condition(),
        jitter=jitter,
        num_samples=40,
        stride=stride,
    )
    steps = 0.3 / head.step
    depth = -torch.log1p(-made.opacity.detach())
    torch.testing.assert_close(depth, torch.full((64,), 0.05 * steps), atol=0.05 * stride, rtol=0)
    # Over all beginnings of the march the mean is the integral.
    assert float(depth.mean()) == pytest.approx(0.05 * steps, rel=0.01)
    assert len(made.points) == pytest.approx(64 * steps / stride, rel=0.05)

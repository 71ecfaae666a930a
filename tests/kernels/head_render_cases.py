"""What the head's kernels do, against plain PyTorch: run by ``test_head_render`` in Triton's interpreter."""

import math

import pytest
import torch
from torch.nn import functional as F

from nerf_ad.geometry.rays import pixel_grid, pixel_rays
from nerf_ad.kernels import head_render
from nerf_ad.models import frame_renderer
from nerf_ad.models.fields.planes import PlaneFieldConfig
from nerf_ad.models.frame_renderer import FrameRenderer, Frames, can_render
from nerf_ad.models.talking_head import Condition, TalkingHead, TalkingHeadConfig, region_weight
from nerf_ad.volume.sampling import march

EXACT = torch.float32
PLANES = PlaneFieldConfig(resolutions=(8, 16), hidden_dim=32)


def make_head(
    size: int = 16, *, field: PlaneFieldConfig = PLANES, num_samples: int = 8, num_shots: int = 1
) -> TalkingHead:
    """A ball of random stuff, neither empty nor opaque at once, seen before a random plate."""
    torch.manual_seed(0)
    config = TalkingHeadConfig(
        field=field,
        grid_resolution=12,
        num_steps=24,
        num_samples=num_samples,
        mouth_dim=3,
        eye_dim=5,
        num_shots=num_shots,
    )
    model = TalkingHead(config, size=size).requires_grad_(requires_grad=False)
    model.grid.set_box(torch.tensor([-0.15, -0.14, -0.13]), torch.tensor([0.15, 0.17, 0.14]))
    model.grid.set_cells(model.grid.centres().norm(dim=-1) < 0.12)
    model.intrinsics.copy_(torch.tensor([1.9, 1.8, 0.5, 0.45]) * size)
    model.mouth_centre.copy_(torch.tensor([0.0, -0.05, 0.1]))
    model.mouth_extent.copy_(torch.tensor([0.04, 0.03, 0.05]))
    model.eye_centre.copy_(torch.tensor([0.0, 0.05, 0.1]))
    model.eye_extent.copy_(torch.tensor([0.05, 0.03, 0.04]))
    model.set_backgrounds(torch.rand(2, 3, size, size), [shot % 2 for shot in range(num_shots)])
    model.torso.texture.uniform_(0, 0.6)
    for table in model.planes.encoding.levels:
        table.normal_()
    return model


def make_poses(num_frames: int = 1, *, distance: float = 0.8) -> torch.Tensor:
    """Looking at the box from about in front; the first exactly, so that a ray may be parallel to an axis."""
    poses = torch.eye(4).repeat(num_frames, 1, 1)
    poses[:, 2, 3] = distance
    for index in range(1, num_frames):
        angle = 0.2 * index
        poses[index, 0, 0] = poses[index, 2, 2] = math.cos(angle)
        poses[index, 0, 2], poses[index, 2, 0] = math.sin(angle), -math.sin(angle)
        poses[index, :3, 3] = poses[index, :3, 2] * distance
    return poses


def make_condition(num_frames: int = 1, *, shot: torch.Tensor | None = None) -> Condition:
    return Condition(torch.randn(num_frames, 3), torch.randn(num_frames, 5), shot)


def assert_marches(model: TalkingHead, pose: torch.Tensor) -> int:
    """Compare all samples of a frame, and say how many there are."""
    marched = head_render.march(FrameRenderer(model, dtype=EXACT).scene(pose))
    rays = pixel_rays(pixel_grid(model.size, model.size), pose, model.intrinsics)
    config = model.config
    wanted = march(
        rays.origins,
        rays.directions,
        model.grid,
        step=model.step,
        num_steps=config.num_steps,
        num_samples=config.num_samples,
    )
    ray = head_render.ray_numbers(model.size).view(-1)
    counts = marched.counts[0, ray].long()
    there = torch.arange(config.num_samples) < counts[:, None]
    torch.testing.assert_close(there.float(), wanted.lengths, atol=0, rtol=0)
    depth = torch.where(there, marched.depth[0][:, ray].T, 0.0)
    torch.testing.assert_close(depth, wanted.depth, atol=1e-6, rtol=1e-6)
    outside = torch.ones(marched.counts.shape[1], dtype=torch.bool)
    outside[ray] = False
    assert not marched.counts[0, outside].any()  # rays of no pixel cost nothing
    return int(counts.sum())


@pytest.mark.parametrize("size", [16, 20])
def test_march_finds_the_samples_of_the_plain_march(size: int) -> None:
    assert assert_marches(make_head(size), make_poses(2)[1:]) > size * size


def test_march_takes_rays_parallel_to_the_axes() -> None:
    model = make_head()
    model.intrinsics[2:] = 8.5  # the middle pixel's ray runs along z: two components are 0
    assert assert_marches(model, make_poses()) > 100


def test_march_keeps_the_budget_and_no_more() -> None:
    model = make_head(num_samples=3)
    model.grid.cells.fill_(value=True)
    marched = head_render.march(FrameRenderer(model, dtype=EXACT).scene(make_poses()))
    assert int(marched.counts.max()) == 3
    assert_marches(model, make_poses())


def test_march_of_an_empty_grid_and_of_a_camera_that_looks_away() -> None:
    model = make_head()
    model.grid.cells.fill_(value=False)
    assert assert_marches(model, make_poses()) == 0
    model.grid.cells.fill_(value=True)
    assert assert_marches(model, make_poses(distance=-0.8)) == 0


def test_march_from_inside_the_box_and_past_it() -> None:
    model = make_head()
    assert assert_marches(model, make_poses(distance=0.05)) > 100
    aside = make_poses()
    aside[0, 0, 3] = 0.25  # some rays miss
    assert assert_marches(model, aside) > 10


def reference(model: TalkingHead, frames: Frames) -> torch.Tensor:
    return torch.cat(
        [
            model.frame(
                Condition(
                    frames.condition.mouth[i : i + 1],
                    frames.condition.eyes[i : i + 1],
                    None if frames.condition.shot is None else frames.condition.shot[i : i + 1],
                ),
                frames.camera_to_world[i : i + 1],
                background=frames.background,
            )[None]
            for i in range(len(frames.camera_to_world))
        ]
    )


def test_frames_equal_the_plain_path() -> None:
    model = make_head()
    frames = Frames(make_condition(2), make_poses(2))
    wanted = reference(model, frames)
    empty = FrameRenderer(model).behind(frames).permute(0, 2, 3, 1)
    assert float((wanted - empty).abs().mean()) > 0.02  # the head is there to be compared
    torch.testing.assert_close(FrameRenderer(model, dtype=EXACT).draw(frames), wanted, atol=1e-5, rtol=0)


def test_half_precision_stays_within_a_grey_level() -> None:
    model = make_head()
    frames = Frames(make_condition(), make_poses(2)[1:])
    wanted = (reference(model, frames).clamp(0, 1) * 255).round()
    drawn = FrameRenderer(model).draw_bytes(frames)
    assert drawn.dtype == torch.uint8
    assert float((drawn.float() - wanted).abs().max()) <= 1


def test_density_that_saturates_and_rays_that_end_early() -> None:
    model = make_head()
    frames = Frames(make_condition(), make_poses())
    model.planes.trunk_out.bias[0] = 100.0
    renderer = FrameRenderer(model, dtype=EXACT)
    torch.testing.assert_close(renderer.draw(frames), reference(model, frames), atol=1e-5, rtol=0)
    model.planes.trunk_out.weight[0] = 0.0
    for density in (1.0, 1.3):  # after four samples 0.018 and 0.0055 go through: on, and not, says OPAQUE
        model.planes.trunk_out.bias[0] = 1.0 + math.log(density)
        torch.testing.assert_close(renderer.draw(frames), reference(model, frames), atol=1e-5, rtol=0)
    model.planes.trunk_out.bias[0] = -100.0  # nothing to be seen
    empty = renderer.behind(frames).permute(0, 2, 3, 1)
    torch.testing.assert_close(renderer.draw(frames), empty, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "field",
    [
        PlaneFieldConfig(resolutions=(7,), num_features=2, hidden_dim=8),
        PlaneFieldConfig(resolutions=(4, 9, 12), num_features=6, hidden_dim=20),
        PlaneFieldConfig(resolutions=(4, 6, 8, 10, 12), num_features=8, hidden_dim=64),
    ],
    ids=["thin", "odd", "deep"],
)
def test_widths_are_padded(field: PlaneFieldConfig) -> None:
    model = make_head(field=field)
    frames = Frames(make_condition(), make_poses(2)[1:])
    drawn = FrameRenderer(model, dtype=EXACT).draw(frames)
    torch.testing.assert_close(drawn, reference(model, frames), atol=1e-5, rtol=0)


def test_shots_and_backgrounds_stand_behind() -> None:
    model = make_head(num_shots=3)
    renderer = FrameRenderer(model, dtype=EXACT)
    for shot, background in [
        (torch.tensor([1, 2]), None),
        (torch.tensor([2, 0]), torch.rand(16, 16, 3).permute(2, 0, 1)),
        (None, None),
    ]:
        frames = Frames(make_condition(2, shot=shot), make_poses(2), background)
        torch.testing.assert_close(renderer.draw(frames), reference(model, frames), atol=1e-5, rtol=0)


def test_weights_that_changed_are_taken_again() -> None:
    model = make_head()
    frames = Frames(make_condition(), make_poses())
    renderer = FrameRenderer(model, dtype=EXACT)
    before = renderer.draw(frames)
    model.planes.colour_out.bias.add_(1.0)
    model.set_backgrounds(1 - model.backgrounds, [0])
    after = renderer.draw(frames)
    assert float((after - before).abs().max()) > 0.05
    torch.testing.assert_close(after, reference(model, frames), atol=1e-5, rtol=0)


def test_the_window_is_that_of_the_plain_path() -> None:
    """The condition alone, by another route: a field that shows nothing but the mouth's window."""
    model = make_head()
    for weights in model.field.parameters():
        weights.zero_()
    model.planes.trunk_out.bias[0] = 100.0
    model.planes.colour_in.weight[0, 32] = 1.0  # the mouth's first number
    model.planes.colour_out.weight[:, 0] = 1.0
    pose = make_poses()
    condition = Condition(torch.tensor([[2.0, 0, 0]]), torch.zeros(1, 5))
    drawn = FrameRenderer(model, dtype=EXACT).draw(Frames(condition, pose))[0]
    rays = pixel_rays(pixel_grid(16, 16), pose, model.intrinsics)
    first = march(rays.origins, rays.directions, model.grid, step=model.step, num_steps=24, num_samples=1)
    points = rays.origins + first.depth * rays.directions
    wanted = torch.sigmoid(2 * region_weight(points, model.mouth_centre, model.mouth_extent))
    seen = first.lengths[:, 0] > 0
    assert float(wanted[seen].std()) > 0.02
    torch.testing.assert_close(drawn.view(-1, 3)[seen, 1], wanted[seen], atol=1e-5, rtol=0)


def test_a_head_that_does_not_fit_is_left_to_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not can_render(make_head(field=PlaneFieldConfig(resolutions=(8,), hidden_dim=512)))
    broken = make_head()
    assert can_render(broken)
    broken.planes.encoding.levels[0][0, 0, 0, 0] = 1e6
    assert not can_render(broken)
    broken.planes.encoding.levels[0][0, 0, 0, 0] = math.nan
    assert not can_render(broken)
    with pytest.raises(ValueError, match="cannot take"):
        FrameRenderer(broken)
    monkeypatch.setattr(head_render, "triton", None)
    assert not can_render(make_head())


def test_the_inverse_of_a_pose() -> None:
    poses = make_poses(3)
    poses[:, :3, :3] *= 1.1
    found = frame_renderer._inverse(poses)
    torch.testing.assert_close(found, torch.linalg.inv(poses), atol=1e-6, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # of a sigmoid, which is right about it
def test_activations_beyond_half_precision_are_cut() -> None:
    model = make_head()
    model.planes.trunk_in.weight.mul_(1e5 / model.planes.trunk_in.weight.abs().max())
    model.planes.trunk_in.weight.clamp_(-6e4, 6e4)
    drawn = FrameRenderer(model).draw(Frames(make_condition(), make_poses()))
    assert bool(drawn.isfinite().all())
    assert F.l1_loss(drawn, drawn.mean().expand_as(drawn)) > 0

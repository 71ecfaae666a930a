"""The identity branch: projection, reading, slots; sizes against paper.md."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nerf_ad.geometry.camera import Intrinsics, pose_matrix, project
from nerf_ad.models.paper.identity import (
    IdentityBranch,
    IdentityConfig,
    OffsetNetwork,
    clamp_to_picture,
    normalise_pixels,
    project_into_views,
    read_between,
    read_nearest,
    shrink,
)
from nerf_ad.models.paper.slots import SlotAttention
from nerf_ad.volume.encoding import encode_position

SMALL = IdentityConfig(extractor_dim=8, feature_dim=8, offset_dims=(8, 4), ray_dim=4, slot_dim=8)


def parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def poses(count, seed=0):
    """Cameras about 0.8 m before the head, turned a little."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        rotation, _ = np.linalg.qr(np.eye(3) + 0.1 * draw.normal(size=(3, 3)))
        rotation = rotation * np.sign(np.diag(rotation))
        found.append(pose_matrix(rotation, rotation[:, 2] * 0.8 + 0.02 * draw.normal(size=3)))
    return np.stack(found)


@pytest.fixture(scope="module")
def branch() -> IdentityBranch:
    torch.manual_seed(0)
    made = IdentityBranch(SMALL, point_dim=63, code_dim=5)
    for layer in made.offset.layers:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=0.5)  # so that offsets matter
    return made.eval()


def inputs(branch, views=4, points=50):
    generator = torch.Generator().manual_seed(1)
    places = 0.1 * torch.randn(points, 3, generator=generator)
    cameras = torch.from_numpy(poses(views)).float()
    pictures = torch.rand(views, 3, 24, 24, generator=generator)
    maps = branch.maps(pictures, cameras, torch.tensor([40.0, 42.0, 11.0, 13.0]))
    return places, encode_position(places, 10), maps, torch.randn(5, generator=generator)


def test_parameter_counts_are_the_papers() -> None:
    """paper.md section 6: extractor 83 k, offset 37 k, slots 217 k. By hand, from the layers listed there."""
    full = IdentityBranch(IdentityConfig(), point_dim=63, code_dim=64)
    extractor = (66 * 9 * 64 + 64) + (64 * 9 * 64 + 64) + (64 * 128 + 128)
    offset = (255 * 128 + 128) + (128 * 32 + 32) + (32 * 2 + 2)
    linear, norm = 128 * 128 + 128, 2 * 128
    tokens = (130 * 32 + 32) + (32 * 32 + 32) + (225 * 128 + 128)
    gru = 3 * (2 * 128 * 128 + 2 * 128)
    slots = 2 * 128 + 3 * norm + 3 * linear + gru + 2 * linear
    assert parameters(full.extractor) == extractor
    assert parameters(full.offset) == offset
    assert parameters(full) == extractor + offset + tokens + slots
    assert [round(count / 1000) for count in (extractor, offset, tokens + slots)] == [83, 37, 217]
    assert IdentityConfig().out_dim == 256


def test_projection_agrees_with_the_camera_model() -> None:
    """Axes, principal point, both focal lengths: against ``geometry.camera.project`` in double precision."""
    draw = np.random.default_rng(0)
    points, cameras = 0.15 * draw.normal(size=(200, 3)), poses(3)
    intrinsics = Intrinsics(1100.0, 900.0, 230.0, 210.0)
    truth = project(points[None], cameras[:, None], intrinsics).pixels
    ours = project_into_views(
        torch.from_numpy(points), torch.from_numpy(cameras), torch.tensor(intrinsics, dtype=torch.float64)
    )
    np.testing.assert_allclose(ours.transpose(1, 2).numpy(), truth, atol=1e-6)


def test_a_point_behind_the_camera_stays_a_number() -> None:
    pixels = project_into_views(torch.tensor([[0.1, 0.0, 2.0]]), torch.eye(4)[None], torch.ones(4))
    assert torch.isfinite(clamp_to_picture(pixels, width=8, height=8)).all()


def test_positions_are_clamped_and_normalised_axis_by_axis() -> None:
    pixels = torch.tensor([[[-3.0, 100.0, 8.0], [2.0, 100.0, 2.0]]])
    inside = clamp_to_picture(pixels, width=16, height=4)
    assert inside[0].tolist() == [[0.5, 15.5, 8.0], [2.0, 3.5, 2.0]]
    assert normalise_pixels(inside, width=16, height=4)[0, :, 2].tolist() == [0.0, 0.0]


def test_reading_matches_a_naive_loop() -> None:
    """A picture that is not square; the border is repeated beyond the outermost pixel centres."""
    draw = np.random.default_rng(0)
    maps = draw.normal(size=(2, 3, 5, 9))
    pixels = draw.uniform([0.5, 0.5], [8.5, 4.5], size=(2, 40, 2))
    between, nearest = np.zeros((2, 40, 3)), np.zeros((2, 40, 3))
    for view in range(2):
        for i, (u, v) in enumerate(pixels[view]):
            nearest[view, i] = maps[view, :, int(v), int(u)]
            x, y = u - 0.5, v - 0.5
            for column in (math.floor(x), math.floor(x) + 1):
                for row in (math.floor(y), math.floor(y) + 1):
                    weight = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                    between[view, i] += weight * maps[view, :, min(row, 4), min(column, 8)]
    tensor, where = torch.from_numpy(maps), torch.from_numpy(pixels).transpose(1, 2)
    places = normalise_pixels(where, width=9, height=5)
    np.testing.assert_allclose(read_between(tensor, places).transpose(1, 2).numpy(), between, atol=1e-9)
    assert np.array_equal(read_nearest(tensor, where).transpose(1, 2).numpy(), nearest)


def test_a_painted_point_is_found_where_the_camera_sees_it() -> None:
    """End to end: a blob around a point's projection is read there and not elsewhere."""
    point = torch.tensor([[0.03, -0.05, 0.02], [-0.06, 0.04, 0.0]])
    camera = torch.from_numpy(poses(1)).float()
    intrinsics = torch.tensor([60.0, 60.0, 17.0, 14.0])
    seen = project(point[0].numpy(), camera[0].numpy(), Intrinsics.from_array(intrinsics.numpy())).pixels
    rows, columns = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5, indexing="ij")
    blob = np.exp(-((columns - seen[0]) ** 2 + (rows - seen[1]) ** 2) / 2)
    places = normalise_pixels(project_into_views(point, camera, intrinsics), width=32, height=32)
    read = read_between(torch.from_numpy(blob).float()[None, None], places)[0, 0]
    assert float(read[0]) > 0.75
    assert float(read[1]) < 0.01


def test_slots_do_not_care_for_the_order_of_the_views(branch: IdentityBranch) -> None:
    points, encoded, maps, code = inputs(branch)
    order = torch.tensor([2, 0, 3, 1])
    turned = maps._replace(features=maps.features[order], camera_to_world=maps.camera_to_world[order])
    with torch.no_grad():
        first, second = branch(points, encoded, maps, code), branch(points, encoded, turned, code)
    torch.testing.assert_close(first.feature, second.feature, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first.offset_energy, second.offset_energy)


def test_slots_match_a_naive_loop() -> None:
    """Slot attention as section 6 of paper.md writes it, point by point and slot by slot."""
    torch.manual_seed(3)
    slots = SlotAttention(width=8, num_slots=2, num_rounds=2)
    tokens = torch.randn(3, 4, 8)
    with torch.no_grad():
        ours = slots(tokens.transpose(1, 2))
        for point in range(4):
            token = slots.norm_tokens(tokens[:, point])
            key, value = slots.key(token), slots.value(token)
            state = [slots.start[0], slots.start[1]]
            for _ in range(2):
                query = [slots.query(slots.norm_slots(slot)) for slot in state]
                shares = torch.zeros(3, 2)
                for view in range(3):
                    score = [math.exp(float(key[view] @ q) / math.sqrt(8)) for q in query]
                    shares[view] = torch.tensor([s / sum(score) + 1e-8 for s in score])
                shares = shares / shares.sum(dim=0)
                for number in range(2):
                    update = sum(shares[view, number] * value[view] for view in range(3))
                    new = slots.recur(update[None], state[number][None])[0]
                    state[number] = new + slots.refine(slots.norm_update(new))
            torch.testing.assert_close(ours[point], torch.cat(state), atol=1e-5, rtol=1e-4)


def test_two_slots_differ_and_repeat_themselves(branch: IdentityBranch) -> None:
    """Row 7 of section 14: no draw in them, and yet they are not one slot twice."""
    with torch.no_grad():
        one, two = branch(*inputs(branch)), branch(*inputs(branch))
    assert torch.equal(one.feature, two.feature)
    first, second = one.feature.chunk(2, dim=1)
    assert float((first - second).abs().mean()) > 0.05


def test_offsets_are_those_of_the_joined_input_and_are_clamped() -> None:
    """Split products against one layer on ``[waves, f_a, feature]``; the clamp in map pixels."""
    torch.manual_seed(0)
    network = OffsetNetwork(IdentityConfig(largest_offset=0.3), point_dim=63, code_dim=64)
    for layer in network.layers:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=0.1)
    encoded, code, seen = torch.randn(6, 63), torch.randn(64), torch.randn(4, 6, 128)
    whole = torch.cat([encoded.expand(4, 6, 63), code.expand(4, 6, 64), seen], dim=-1)
    first, second, last = network.layers
    truth = last(torch.relu(second(torch.relu(first(whole))))).clamp(-0.3, 0.3)
    ours = network(encoded, code, seen.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, truth, atol=1e-5, rtol=1e-4)
    assert float(ours.detach().abs().max()) == pytest.approx(0.3)


def test_nothing_learns_through_the_inputs_of_the_offsets() -> None:
    network = OffsetNetwork(SMALL, point_dim=4, code_dim=3)
    code, seen = torch.randn(3, requires_grad=True), torch.randn(2, 8, 5, requires_grad=True)
    network(torch.randn(5, 4), code, seen).sum().backward()
    assert code.grad is None
    assert seen.grad is None
    assert all(value.grad is not None for value in network.parameters())


def test_the_offset_acts_when_rendering_too(branch: IdentityBranch) -> None:
    """Defect 4: the same path in training and at test."""
    points, encoded, maps, code = inputs(branch)
    with torch.no_grad():
        branch.train()
        trained = branch(points, encoded, maps, code)
        branch.eval()
        tested = branch(points, encoded, maps, code)
        other = branch(points, encoded, maps, code + 1.0)
    assert torch.equal(trained.feature, tested.feature)
    assert not torch.allclose(tested.feature, other.feature, atol=1e-3)


def test_a_smaller_map_has_a_smaller_camera() -> None:
    branch = IdentityBranch(
        IdentityConfig(**{**SMALL.model_dump(), "reference_size": 12}), point_dim=63, code_dim=0
    )
    pictures, camera = torch.rand(2, 3, 24, 24), torch.from_numpy(poses(2)).float()
    maps = branch.maps(pictures, camera, torch.tensor([40.0, 42.0, 11.0, 13.0]))
    assert maps.features.shape == (2, 8, 12, 12)
    assert maps.intrinsics.tolist() == [20.0, 21.0, 5.5, 6.5]
    flat = shrink(torch.full((1, 3, 24, 24), 0.25), 12)
    torch.testing.assert_close(flat, torch.full((1, 3, 12, 12), 0.25))
    assert shrink(pictures, 0) is pictures


def test_gradients_reach_everything_that_learns() -> None:
    torch.manual_seed(0)
    branch = IdentityBranch(SMALL, point_dim=63, code_dim=5)
    points, encoded, maps, code = inputs(branch)
    branch(points, encoded, maps, code).feature.square().sum().backward()
    silent = [name for name, value in branch.named_parameters() if value.grad is None]
    assert silent == []

"""Frames on a CPU, whole and by layers, against ``TalkingHead.frame``, their plain twin."""

import pytest
import torch

from nerf_ad.models.layered_renderer import LayeredRenderer
from nerf_ad.models.pose_layers import LayerStore
from nerf_ad.models.talking_head import OPAQUE, Condition, TalkingHead, TalkingHeadConfig

SIZE = 48
LEVEL = 1 / 255
"""One grey level."""


def make_head(seed: int, *, density: float = 1.0, num_shots: int = 1, mouth: float = 0.02) -> TalkingHead:
    torch.manual_seed(seed)
    config = TalkingHeadConfig(grid_resolution=24, num_steps=40, mouth_dim=3, eye_dim=5, num_shots=num_shots)
    model = TalkingHead(config, size=SIZE)
    model.grid.set_box(torch.full((3,), -0.15), torch.full((3,), 0.15))
    model.grid.set_cells(model.grid.centres().norm(dim=-1) < 0.12)
    model.intrinsics.copy_(torch.tensor([90.0, 90, SIZE / 2, SIZE / 2]))
    model.mouth_centre.copy_(torch.tensor([0.0, -0.05, 0.1]))
    model.mouth_extent.fill_(mouth)
    model.eye_centre.copy_(torch.tensor([0.0, 0.05, 0.1]))
    model.eye_extent.fill_(0.02)
    plates = torch.rand(num_shots, 3, 1, 1).expand(-1, -1, SIZE, SIZE).clone()
    model.set_backgrounds(plates, list(range(num_shots)))
    with torch.no_grad():
        model.planes.trunk_out.bias[0] += density
        model.torso.texture.copy_(torch.rand(4, 1, 1))
        for level in model.planes.encoding.levels:
            level.mul_(50)
    return model.eval()


def make_pose(turn: float = 0.0, distance: float = 0.8) -> torch.Tensor:
    cos, sin = torch.cos(torch.tensor(turn)), torch.sin(torch.tensor(turn))
    pose = torch.eye(4)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = cos, sin, -sin, cos
    pose[:3, 3] = distance * pose[:3, 2]
    return pose[None]


def make_condition(seed: int, *, eyes: float = 0.0, shot: int | None = None) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    where = None if shot is None else torch.tensor([shot])
    return Condition(torch.randn(1, 3, generator=generator), torch.full((1, 5), eyes), where)


@pytest.mark.parametrize("density", [-1.0, 1.0, 4.0])
@pytest.mark.parametrize("turn", [0.0, 0.6])
def test_both_ways_equal_the_plain_frame(density: float, turn: float) -> None:
    head, pose = make_head(0, density=density), make_pose(turn)
    renderer = LayeredRenderer(head, dtype=torch.float32)
    layers = renderer.layers(make_condition(1), pose)
    assert len(layers.num_steps) > 30
    for seed in range(2, 5):
        said = make_condition(seed)
        plain = head.frame(said, pose)
        torch.testing.assert_close(renderer.draw(said, pose), plain, atol=1e-5, rtol=0)
        torch.testing.assert_close(renderer.speak(layers, said, pose), plain, atol=LEVEL, rtol=0)


def test_products_in_bfloat16_draw_nearly_the_plain_frame() -> None:
    head, pose = make_head(3), make_pose(0.4)
    renderer = LayeredRenderer(head, dtype=torch.bfloat16)
    layers = renderer.layers(make_condition(1), pose)
    said = make_condition(2)
    plain = head.frame(said, pose)
    for drawn in (renderer.draw(said, pose), renderer.speak(layers, said, pose)):
        assert -10 * float((drawn - plain).square().mean().log10()) > 47  # 30 dB become 29.91
        assert not torch.equal(drawn, plain)


@pytest.mark.parametrize("density", [-1.0, 1.0, 4.0])
def test_before_noise_they_differ_by_what_an_opaque_ray_lets_through(density: float) -> None:
    head, pose = make_head(1, density=density), make_pose(0.3)
    head.set_backgrounds(torch.rand(1, 3, SIZE, SIZE), [0])
    renderer = LayeredRenderer(head, dtype=torch.float32)
    drawn = renderer.speak(renderer.layers(make_condition(1), pose), make_condition(2), pose)
    torch.testing.assert_close(drawn, head.frame(make_condition(2), pose), atol=OPAQUE, rtol=0)


def test_what_the_mouth_does_not_touch_is_exactly_the_plain_frame_in_bytes() -> None:
    head, pose = make_head(3), make_pose(0.2)
    renderer = LayeredRenderer(head, dtype=torch.float32)
    layers = renderer.layers(make_condition(1), pose)
    said = make_condition(2)
    drawn = (renderer.speak(layers, said, pose) * 255).round().view(-1, 3)
    plain = (head.frame(said, pose).clamp(0, 1) * 255).round().view(-1, 3)
    other = torch.ones(SIZE * SIZE, dtype=torch.bool)
    other[layers.pixels] = False
    assert torch.equal(drawn[other], plain[other])
    changed = (head.frame(make_condition(7), pose) - head.frame(said, pose)).abs().amax(dim=-1).view(-1) > 0
    assert bool(changed.any())
    assert not bool((changed & other).any())


def test_a_head_without_a_mouth_in_the_picture_and_one_without_cells_have_layers_too() -> None:
    head, pose = make_head(0), make_pose()
    head.mouth_centre.copy_(torch.tensor([5.0, 5, 5]))
    renderer = LayeredRenderer(head, dtype=torch.float32)
    layers = renderer.layers(make_condition(1), pose)
    assert len(layers.num_steps) == 0
    said = make_condition(2)
    torch.testing.assert_close(renderer.speak(layers, said, pose), head.frame(said, pose), atol=LEVEL, rtol=0)
    head.grid.cells.fill_(False)  # noqa: FBT003
    assert torch.allclose(renderer.draw(said, pose, keep=True), head.frame(said, pose), atol=LEVEL)


@pytest.mark.parametrize("distance", [0.2, 0.05])
def test_a_camera_that_stands_near_or_in_the_box(distance: float) -> None:
    head, pose = make_head(0), make_pose(0.1, distance)
    said = make_condition(2)
    drawn = LayeredRenderer(head, dtype=torch.float32).draw(said, pose)
    plain = head.frame(said, pose)
    torch.testing.assert_close(drawn, plain, atol=LEVEL, rtol=0)


def test_layers_are_kept_for_poses_that_come_again_and_used_with_another_mouth() -> None:
    head, store = make_head(0), LayerStore()
    renderer = LayeredRenderer(head, store, dtype=torch.float32)
    first, second = make_condition(1), make_condition(2)
    renderer.draw(first, make_pose())
    assert store.is_empty
    renderer.draw(first, make_pose(), keep=True)
    assert store.num_kept == 1
    drawn = renderer.draw(second, make_pose())
    torch.testing.assert_close(drawn, head.frame(second, make_pose()), atol=LEVEL, rtol=0)
    assert not torch.allclose(drawn, renderer.draw(first, make_pose()), atol=1e-3)


def test_eyes_poses_shots_and_backgrounds_have_layers_of_their_own() -> None:
    head = make_head(0, num_shots=2)
    store = LayerStore()
    renderer = LayeredRenderer(head, store, dtype=torch.float32)
    plates = [torch.full((3, SIZE, SIZE), level) for level in (0.2, 0.7)]
    made = 0
    for eyes in (0.0, 2.0):
        for turn in (0.0, 0.3):
            for shot in (0, 1):
                for plate in (None, *plates):
                    said, pose = make_condition(made, eyes=eyes, shot=shot), make_pose(turn)
                    made += 1
                    for _ in range(2):
                        drawn = renderer.draw(said, pose, background=plate, keep=True)
                        plain = head.frame(said, pose, background=plate)
                        torch.testing.assert_close(drawn, plain, atol=OPAQUE / 2, rtol=0)
    assert store.num_kept == made
    plates[0].mul_(0.5)  # the same tensor, another picture
    said = make_condition(99, shot=0)
    drawn = renderer.draw(said, make_pose(), background=plates[0])
    torch.testing.assert_close(drawn, head.frame(said, make_pose(), background=plates[0]), atol=1e-5, rtol=0)


def test_a_head_that_is_trained_further_forgets_its_layers() -> None:
    head = make_head(0)
    renderer = LayeredRenderer(head, dtype=torch.float32)
    said = make_condition(1)
    renderer.draw(said, make_pose(), keep=True)
    with torch.no_grad():
        head.planes.colour_out.bias.add_(0.5)
        head.grid.cells[:12] = False
    drawn = renderer.draw(said, make_pose(), keep=True)
    torch.testing.assert_close(drawn, head.frame(said, make_pose()), atol=LEVEL, rtol=0)


def test_memory_is_bounded_and_the_last_used_stay() -> None:
    head = make_head(0)
    size = LayeredRenderer(head, dtype=torch.float32).layers(make_condition(1), make_pose()).num_bytes
    store = LayerStore(most_bytes=int(3.5 * size))
    renderer = LayeredRenderer(head, store, dtype=torch.float32)
    said = make_condition(1)
    for index in range(8):
        renderer.draw(said, make_pose(0.01 * index), keep=True)
        renderer.draw(said, make_pose(0.0), keep=True)
        assert store.num_bytes <= 3.5 * size
    assert store.num_kept == 3
    layers = renderer.layers(said, make_pose())
    LayerStore(most_bytes=1).keep("a", layers)  # larger than all the room: not kept, no fault


def test_a_folder_keeps_lasting_layers_for_the_next_time(tmp_path) -> None:
    head, said, folder = make_head(0), make_condition(1), tmp_path / "layers" / "now"
    stale = tmp_path / "layers" / "before"
    stale.mkdir(parents=True)
    store = LayerStore(folder=folder)
    store.clear_others()
    assert not stale.exists()
    renderer = LayeredRenderer(head, store, dtype=torch.float32)
    renderer.draw(said, make_pose(), keep=True, lasting=True)
    renderer.draw(said, make_pose(0.3), keep=True)
    (kept,) = folder.glob("*.npz")
    again = LayerStore(folder=folder)
    assert not again.is_empty
    assert again.find(kept.stem) is not None
    plain = head.frame(make_condition(5), make_pose())
    renderer = LayeredRenderer(head, again, dtype=torch.float32)
    torch.testing.assert_close(renderer.draw(make_condition(5), make_pose()), plain, atol=LEVEL, rtol=0)
    kept.write_bytes(b"nonsense")
    renderer = LayeredRenderer(head, LayerStore(folder=folder), dtype=torch.float32)
    torch.testing.assert_close(renderer.draw(make_condition(5), make_pose()), plain, atol=1e-5, rtol=0)


def test_a_full_folder_takes_no_more(tmp_path) -> None:
    head = make_head(0)
    size = LayeredRenderer(head, dtype=torch.float32).layers(make_condition(1), make_pose()).num_bytes
    renderer = LayeredRenderer(head, LayerStore(folder=tmp_path, most_bytes_on_disk=int(2.5 * size)))
    for index in range(5):
        renderer.draw(make_condition(1), make_pose(0.01 * index), keep=True, lasting=True)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_parts_that_do_not_fit_are_not_sound() -> None:
    layers = LayeredRenderer(make_head(0)).layers(make_condition(1), make_pose())
    assert layers.is_sound()
    assert not layers._replace(steps=layers.steps[1:]).is_sound()
    assert not layers._replace(front=layers.front * torch.nan).is_sound()
    assert not layers._replace(near_mouth=torch.zeros_like(layers.near_mouth)).is_sound()
    assert not layers._replace(num_seen=layers.num_seen + 100).is_sound()

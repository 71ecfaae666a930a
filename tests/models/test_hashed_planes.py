"""ER-NeRF's hashed planes and heads: its sizes, its hash by hand, ``grid_sample``, finite differences."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError
from nerf_ad.models.fields.field import build_field
from nerf_ad.models.fields.hashed_planes import (
    HashedPlaneEncoding,
    HashedPlaneFieldConfig,
    HashedPlanes,
    node_entry,
)
from nerf_ad.models.fields.plane_encoding import PLANES
from nerf_ad.models.fields.planes import PlaneFieldConfig, Radiance
from nerf_ad.models.frame_renderer import can_render
from nerf_ad.models.layered_renderer import LayeredRenderer, can_layer
from nerf_ad.models.talking_head import TalkingHead, TalkingHeadConfig

SMALL = HashedPlaneFieldConfig(
    num_levels=3, base_resolution=3, finest_resolution=9, log2_table_size=5, hidden_dim=6, eye_hidden_dim=4
)


def test_sizes_are_those_of_er_nerfs_code() -> None:
    config = HashedPlaneFieldConfig()
    field = HashedPlanes(config, mouth_dim=12, eye_dim=5)
    assert (config.resolutions[0], config.resolutions[-1], len(config.resolutions)) == (64, 512, 12)
    shapes = {name: [tuple(w.shape) for w in getattr(field, name).weights] for name in ("density", "colour")}
    assert shapes == {"density": [(64, 69), (64, 64), (65, 64)], "colour": [(64, 84), (3, 64)]}
    attention = [tuple(w.shape) for w in field.mouth_attention.weights]
    assert attention == [(64, 36), (32, 64)]
    assert [tuple(w.shape) for w in field.eye_attention.weights] == [(16, 36), (1, 16)]
    tables = [table.shape[1] for table in field.encoding.tables]
    assert tables == [64**2, 78**2, 94**2, 113**2, *[2**14] * 8]  # 137^2 no longer fits


def test_the_hash_is_that_of_a_hand_computed_node() -> None:
    """5 x 2654435761 is 13272178805, or 0x317156075; its last 14 bits are 0x2075, and xor 3 is 0x2076."""
    entry = node_entry(torch.tensor([3]), torch.tensor([5]), side=512, table_size=1 << 14)
    assert entry.item() == 0x2076
    assert (
        node_entry(torch.tensor([3]), torch.tensor([5]), side=128, table_size=1 << 14).item() == 5 * 128 + 3
    )


def test_hashes_are_those_of_whole_32_bit_numbers() -> None:
    column, row = torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    whole = ((column * 1) ^ (row * 2_654_435_761 % 2**32)) % 2**14
    small = node_entry(column.int(), row.int(), side=512, table_size=1 << 14)
    assert torch.equal(small.long(), whole)


def test_nodes_answer_with_their_entries() -> None:
    encoding = HashedPlaneEncoding((4, 9), table_size=32).double()  # 16 nodes fit, 81 are hashed
    for level, side in enumerate((4, 9)):
        nodes = torch.cartesian_prod(*[torch.arange(side)] * 3)
        answers = encoding(2.0 * nodes.double() / (side - 1) - 1.0).view(2, 3, -1)[level]
        for plane, (first, second) in enumerate(PLANES):
            entry = node_entry(nodes[:, first], nodes[:, second], side=side, table_size=32)
            expected = encoding.tables[level][plane, entry]
            torch.testing.assert_close(answers[plane], expected, atol=1e-12, rtol=0)


def test_a_level_that_fits_its_table_is_grid_sample() -> None:
    encoding = HashedPlaneEncoding((7,), table_size=64).double()
    points = torch.rand(50, 3, dtype=torch.float64) * 2.6 - 1.3  # some outside: the border
    grids = torch.stack([points[:, axes] for axes in PLANES]).unsqueeze(2)
    table = encoding.tables[0].view(3, 1, 7, 7)
    expected = F.grid_sample(table, grids, padding_mode="border", align_corners=True)
    torch.testing.assert_close(encoding(points), expected.view(3, -1), atol=1e-12, rtol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    field = HashedPlanes(SMALL, mouth_dim=3, eye_dim=2).double()
    with torch.no_grad():
        for table in field.encoding.tables:
            table.normal_()
    points = (torch.rand(6, 3, dtype=torch.float64) * 1.6 - 0.8).requires_grad_()
    condition = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    directions = F.normalize(torch.randn(2, 3, dtype=torch.float64), dim=-1).requires_grad_()
    names, values = zip(*field.named_parameters(), strict=True)
    learnt = tuple(value.detach().clone().requires_grad_() for value in values)

    def evaluate(*given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points, condition, directions, *weights = given
        named = dict(zip(names, weights, strict=True))
        answer: tuple[torch.Tensor, torch.Tensor] = torch.func.functional_call(
            field, named, (points, condition, directions)
        )
        return answer

    assert torch.autograd.gradcheck(evaluate, (points, condition, directions, *learnt))


def test_rays_may_be_told_and_conditions_that_are_not_felt_change_nothing() -> None:
    torch.manual_seed(0)
    field = HashedPlanes(SMALL, mouth_dim=3, eye_dim=2)
    points, directions = torch.rand(8, 3) * 2 - 1, F.normalize(torch.randn(4, 3), dim=-1)
    condition = torch.randn(5, 8)
    ray = torch.arange(4).repeat_interleave(2)
    density, rgb = field(points, condition, directions)
    told = field(points, condition, directions, ray)
    assert torch.equal(density, told[0])
    assert torch.equal(rgb, told[1])
    assert bool((density > 0).all())
    assert bool(((rgb > 0) & (rgb < 1)).all())
    condition[:, 3] = 0.0
    changed, _ = field(points, condition, directions)
    assert changed[3] != density[3]
    assert torch.equal(changed[:3], density[:3])


def test_the_choice_is_told_by_its_kind() -> None:
    given = {"mouth_dim": 3, "eye_dim": 2}
    assert isinstance(build_field(SMALL, **given), HashedPlanes)
    assert isinstance(build_field(PlaneFieldConfig(resolutions=(8,)), **given), Radiance)
    for field in (SMALL, PlaneFieldConfig(num_features=4)):
        config = TalkingHeadConfig(field=field)
        assert TalkingHeadConfig.from_mapping(config.model_dump(mode="json"), source="x") == config
    with pytest.raises(FormatError, match="field"):
        TalkingHeadConfig.from_mapping({"field": {"kind": "voxels"}}, source="x")
    with pytest.raises(ValidationError, match="finest_resolution"):
        HashedPlaneFieldConfig(base_resolution=64, finest_resolution=32)
    assert issubclass(HashedPlaneFieldConfig, Config)


def test_renderers_that_pack_dense_planes_leave_it_alone() -> None:
    head = TalkingHead(TalkingHeadConfig(field=SMALL, grid_resolution=8), size=8)
    assert not can_layer(head)
    assert not can_render(head)
    with pytest.raises(ValueError, match="dense planes"):
        LayeredRenderer(head)
    assert can_layer(TalkingHead(TalkingHeadConfig(grid_resolution=8), size=8))

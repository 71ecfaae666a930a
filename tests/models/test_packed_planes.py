"""Packed fields against ``Radiance``, their plain twin."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.models.fields.merged_planes import MergedPlanes, can_merge
from nerf_ad.models.fields.packed_planes import PackedPlanes
from nerf_ad.models.fields.planes import PlaneFieldConfig, Radiance
from nerf_ad.models.fields.sampled_planes import SampledPlanes

MOUTH, EYES = 12, 5


def make_field(*sides: int, num_features: int = 8, hidden_dim: int = 64) -> Radiance:
    torch.manual_seed(sum(sides))
    config = PlaneFieldConfig(resolutions=sides, num_features=num_features, hidden_dim=hidden_dim)
    field = Radiance(config, condition_dim=MOUTH + EYES)
    for level in field.encoding.levels:
        level.data.normal_()
    return field.requires_grad_(requires_grad=False)


def ask(field: Radiance, packed: PackedPlanes, points: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Logarithmic density and colour by the field and as packed."""
    count = len(points)
    felt = torch.rand(2, count)
    directions = F.normalize(torch.randn(3, count), dim=0)
    mouth, eyes = torch.randn(1, MOUTH), torch.randn(1, EYES)
    density, rgb = field(points, torch.cat([mouth.T * felt[:1], eyes.T * felt[1:]]), directions.T)
    fast, fast_rgb = packed.evaluate(points.T, felt, directions, packed.fold(mouth, eyes))
    return [(density.log(), rgb), (fast.log(), fast_rgb)]


@pytest.mark.parametrize(
    ("field", "first"),
    [
        (make_field(33, 65, 129, 257), MergedPlanes),
        (make_field(9, 3, 5, num_features=2, hidden_dim=20), MergedPlanes),
        (make_field(7, hidden_dim=8), MergedPlanes),
        (make_field(32, 64), SampledPlanes),
        (make_field(4, 9, 12, num_features=6, hidden_dim=20), SampledPlanes),
    ],
)
@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-5), (torch.bfloat16, 0.04)])
@torch.no_grad()
def test_packed_planes_say_what_the_field_says(
    field: Radiance, first: type, dtype: torch.dtype, off: float
) -> None:
    """More samples than a chunk, in the cube, on its edges and outside."""
    packed = PackedPlanes(field, mouth_dim=MOUTH, dtype=dtype)
    assert type(packed._first) is first
    points = torch.rand(9001, 3) * 2.4 - 1.2
    points[:8] = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    points[8] = 0.0
    (density, rgb), (fast, fast_rgb) = ask(field, packed, points)
    torch.testing.assert_close(fast, density, atol=off, rtol=0)
    torch.testing.assert_close(fast_rgb, rgb, atol=off, rtol=0)
    # Fewer samples after more: what the memory still holds of the others does not matter.
    (density, rgb), (fast, fast_rgb) = ask(field, packed, points[:3])
    torch.testing.assert_close(fast, density, atol=off, rtol=0)
    torch.testing.assert_close(fast_rgb, rgb, atol=off, rtol=0)


@torch.no_grad()
def test_merged_and_sampled_planes_are_twins() -> None:
    field = make_field(17, 33)
    points, felt, columns = torch.rand(3, 500) * 2 - 1, torch.rand(2, 500), torch.randn(64, 2)
    merged, sampled = MergedPlanes(field, dtype=torch.float32), SampledPlanes(field, dtype=torch.float32)
    answer = merged.answer(points, felt, merged.fold(columns), 512)[:, :500]
    wanted = sampled.answer(points, felt, sampled.fold(columns), 512)[:, :500]
    torch.testing.assert_close(answer, wanted, atol=1e-5, rtol=0)


def test_levels_merge_where_they_nest_and_the_table_is_not_too_large() -> None:
    assert can_merge(make_field(33, 65, 129, 257))
    assert can_merge(make_field(2, 3, 7))
    assert not can_merge(make_field(32, 64))
    assert not can_merge(make_field(33, 65, 66))
    assert not can_merge(make_field(2049, num_features=2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_places_that_are_not_numbers_read_no_other_memory_and_spoil_nothing_after(dtype: torch.dtype) -> None:
    field = make_field(9)
    packed = PackedPlanes(field, mouth_dim=MOUTH, dtype=dtype)
    (_, _), (density, _) = ask(field, packed, torch.full((400, 3), torch.nan))
    assert density.isnan().all()
    (density, _), (fast, _) = ask(field, packed, torch.rand(3, 3))
    torch.testing.assert_close(fast, density, atol=0.04, rtol=0)

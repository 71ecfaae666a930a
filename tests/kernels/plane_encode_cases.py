"""The plane encoding's kernels in Triton's interpreter: run by ``test_plane_encode``."""

import pytest
import torch
from torch import Tensor

from nerf_ad.kernels.plane_encode import can_encode, encode_planes, pack_tables
from nerf_ad.models.fields.plane_encoding import PlaneEncoding

RESOLUTIONS = (2, 5, 16)


def nowhere() -> Tensor:
    return torch.zeros(0, 3)


def inside() -> Tensor:
    return torch.rand(300, 3) * 1.98 - 0.99


def outside() -> Tensor:
    return torch.rand(200, 3) * 6 - 3


def on_cells() -> Tensor:
    """Exact corners of the level of 5, borders and the cube's own corners among them."""
    axis = torch.linspace(-1, 1, 5)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)


def all_in_one_place() -> Tensor:
    return torch.tensor([[0.3, -0.23, 0.7]]).expand(260, 3)


def one() -> Tensor:
    return torch.tensor([[0.1, 0.2, -0.3]])


def compare(points: Tensor, num_features: int, *, silent: slice | None = None) -> None:
    """Features, and gradients of tables and points, next to double precision."""
    torch.manual_seed(0)
    encoding = PlaneEncoding(RESOLUTIONS, num_features)
    with torch.no_grad():
        for level in encoding.levels:
            level.normal_()
    exact = PlaneEncoding(RESOLUTIONS, num_features).double()
    exact.load_state_dict(encoding.state_dict())
    ours, theirs = points.clone().requires_grad_(), points.double().requires_grad_()
    made, truth = encode_planes(ours, list(encoding.levels)), exact(theirs)
    torch.testing.assert_close(made.double(), truth, atol=1e-5, rtol=1e-5)
    gradient = torch.randn_like(made)
    if silent is not None:
        gradient[:, silent] = 0
    found = torch.autograd.grad(made, [ours, *encoding.levels], gradient)
    wanted = torch.autograd.grad(truth, [theirs, *exact.levels], gradient.double())
    for name, one_, other in zip(("points", *RESOLUTIONS), found, wanted, strict=True):
        scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(one_.double(), other, atol=1e-5 * scale, rtol=1e-5, msg=str(name))


@pytest.mark.parametrize("points", [nowhere, one, inside, outside, all_in_one_place])
def test_kernels_equal_grid_sample(points) -> None:
    torch.manual_seed(1)
    compare(points(), 8)


@pytest.mark.parametrize("num_features", [2, 4, 16])
def test_other_numbers_of_features(num_features: int) -> None:
    torch.manual_seed(1)
    compare(inside()[:70], num_features)


def test_samples_without_gradient_give_none() -> None:
    torch.manual_seed(1)
    compare(inside(), 8, silent=slice(20, 200))


def test_on_corners_features_are_the_cells() -> None:
    """The gradient of a point has a kink there, so only that of the tables is compared."""
    torch.manual_seed(0)
    encoding = PlaneEncoding((5,), 8)
    exact = PlaneEncoding((5,), 8).double()
    exact.load_state_dict(encoding.state_dict())
    points = on_cells()
    made, truth = encode_planes(points, list(encoding.levels)), exact(points.double())
    torch.testing.assert_close(made.double(), truth, atol=1e-7, rtol=1e-6)
    gradient = torch.randn_like(made)
    (found,) = torch.autograd.grad(made, list(encoding.levels), gradient)
    (wanted,) = torch.autograd.grad(truth, list(exact.levels), gradient.double())
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


def test_the_border_does_not_follow_a_point() -> None:
    torch.manual_seed(0)
    levels = list(PlaneEncoding((6,), 8).levels)
    points = torch.tensor([[1.0, -1.0, 1.5], [-1.0, 1.0, -2.0]]).requires_grad_()
    (gradient,) = torch.autograd.grad(encode_planes(points, levels).sum(), points)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_bfloat16_is_the_result_rounded_and_its_gradient_is_taken() -> None:
    torch.manual_seed(0)
    levels, points = list(PlaneEncoding((4, 8), 8).levels), inside()
    exact = encode_planes(points, levels)
    rounded = encode_planes(points, levels, in_bfloat16=True)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=2**-7, atol=0)  # the interpreter cuts bits off
    gradient = torch.randn_like(rounded)
    found = torch.autograd.grad(rounded, levels, gradient)
    for one_, other in zip(found, torch.autograd.grad(exact, levels, gradient.float()), strict=True):
        torch.testing.assert_close(one_, other, atol=1e-5, rtol=1e-5)


def test_packed_tables_hold_a_cell_s_features_side_by_side() -> None:
    levels = list(PlaneEncoding((3, 4), 8).levels)
    packed = pack_tables(levels)
    assert packed.shape == (3 * 9 + 3 * 16, 8)
    plane, row, column = 2, 3, 1
    cell = 3 * 9 + (plane * 4 + row) * 4 + column
    torch.testing.assert_close(packed[cell], levels[1][2 * plane : 2 * plane + 2, :, row, column].flatten())


def test_operators_are_what_they_say() -> None:
    """Schema, fake and autograd registration, by torch's own checks."""
    torch.manual_seed(0)
    levels = list(PlaneEncoding((4,), 4).levels)
    points = inside()[:20].requires_grad_()
    operator = torch.ops.nerf_ad.read_planes.default
    torch.library.opcheck(
        operator,
        (points, pack_tables(levels).detach().requires_grad_(), [4], False),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


def test_what_the_kernels_cannot_take_is_left_to_grid_sample() -> None:
    levels = list(PlaneEncoding((4,), 8).levels)
    assert can_encode(inside(), levels)
    assert not can_encode(inside().double(), levels)
    assert not can_encode(inside(), [level.double() for level in levels])
    assert not can_encode(inside(), list(PlaneEncoding((4,), 6).levels))

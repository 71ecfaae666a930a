"""Written-out gradients of the field's networks against autograd through ``Radiance``, in float64."""

import pytest
import torch
from torch import Tensor

from nerf_ad.kernels.field_network import CHUNK, shade_samples
from nerf_ad.models.fields.planes import PlaneFieldConfig, Radiance

MOUTH_AND_EYES = 7
SMALL = PlaneFieldConfig(resolutions=(8, 16), num_features=4, hidden_dim=24)


class Case:
    """A field with samples on rays, and what each route says of them."""

    def __init__(self, num_samples: int, *, gain: float = 30.0) -> None:
        torch.manual_seed(num_samples)
        self.field = Radiance(SMALL, condition_dim=MOUTH_AND_EYES)
        for table in self.field.encoding.parameters():
            table.data.mul_(gain)
        self.points = torch.rand(num_samples, 3) * 2.2 - 1.1
        self.condition = torch.randn(MOUTH_AND_EYES, num_samples)
        self.directions = torch.nn.functional.normalize(torch.randn(max(num_samples // 5, 1), 3), dim=1)
        self.ray = (torch.arange(num_samples) // 5).clamp(max=len(self.directions) - 1)
        self.by_density, self.by_rgb = torch.randn(num_samples), torch.randn(3, num_samples)

    def answers(self, *, is_reference: bool, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Density, colour, and the gradient of a fixed sum of them by everything that learns."""
        wide = torch.float64 if is_reference else torch.float32
        field = Radiance(SMALL, condition_dim=MOUTH_AND_EYES).to(wide)
        field.load_state_dict(self.field.state_dict())
        condition = self.condition.to(wide).requires_grad_()
        points = self.points.to(wide).requires_grad_()
        directions = self.directions.to(wide).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            density, rgb = field(points, condition, directions, self.ray)
        assert is_reference != ("Shading" in str(density.grad_fn))
        loss = (density * self.by_density.to(wide)).sum() + (rgb * self.by_rgb.to(wide)).sum()
        loss.backward()
        found = {"density": density, "rgb": rgb, "by condition": condition.grad, "by points": points.grad}
        found["by directions"] = directions.grad
        found |= {f"by {name}": value.grad for name, value in field.named_parameters()}
        return {name: value.detach().double() for name, value in found.items() if value is not None}


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative, over all entries."""
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12))


@pytest.mark.parametrize("num_samples", [1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17])
def test_answers_and_gradients_equal_autograd_in_float64(num_samples: int) -> None:
    case = Case(num_samples)
    theirs, ours = case.answers(is_reference=True), case.answers(is_reference=False)
    assert theirs.keys() == ours.keys()
    off = {name: distance(ours[name], value) for name, value in theirs.items()}
    assert max(off.values()) < 2e-5, off


def test_a_density_at_its_limit_gets_no_gradient() -> None:
    case = Case(50)
    with torch.no_grad():
        case.field.trunk_out.bias[0] = 20.0
    theirs, ours = case.answers(is_reference=True), case.answers(is_reference=False)
    assert torch.equal(ours["density"], ours["density"][:1].expand(50))
    for name, value in theirs.items():
        assert distance(ours[name], value) < 2e-5 or float(value.norm()) < 1e-9 > float(ours[name].norm())


def test_bfloat16_rounds_as_much_as_its_eight_bits() -> None:
    case = Case(3000)
    theirs = case.answers(is_reference=True)
    ours = case.answers(is_reference=False, dtype=torch.bfloat16)
    off = {name: distance(ours[name], value) for name, value in theirs.items()}
    assert off["density"] < 0.02 > off["rgb"], off
    assert max(off.values()) < 0.15, off  # a rounded activation may fall on the other side of a ReLU


def test_no_gradient_is_made_for_a_condition_that_wants_none() -> None:
    case = Case(64)
    read = [level.requires_grad_() for level in case.field.encoding.read(case.points)]
    seen_from = case.directions.T.index_select(1, case.ray)
    density, rgb = shade_samples(case.field.weights(), read, case.condition, seen_from)
    (density.sum() + rgb.sum()).backward()
    assert case.condition.grad is None
    assert all(value.grad is not None for value in case.field.weights())


def test_without_gradients_the_plain_path_answers() -> None:
    case = Case(64)
    with torch.no_grad():
        density, _ = case.field(case.points, case.condition, case.directions, case.ray)
    kernel, _ = case.field(case.points, case.condition, case.directions, case.ray)
    torch.testing.assert_close(kernel.detach(), density, atol=1e-6, rtol=1e-5)

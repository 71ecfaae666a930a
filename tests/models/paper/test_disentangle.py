"""Taking faces apart: the parts add up, and pasting back changes nothing outside the box."""

import torch

from nerf_ad.models.paper.disentangle import paste_back, split_face


def test_the_parts_add_up_to_the_face() -> None:
    torch.manual_seed(0)
    crop, mask = torch.rand(2, 3, 8, 8), torch.rand(2, 1, 8, 8)
    parts = split_face(crop, mask)
    torch.testing.assert_close(parts.identity + parts.audio, crop)
    torch.testing.assert_close(parts.audio[1, 2, 3, 4], (1 - mask[1, 0, 3, 4]) * crop[1, 2, 3, 4])


def test_a_mask_of_one_changes_nothing() -> None:
    frame = torch.rand(3, 20, 30)
    made = paste_back(frame, torch.tensor([4, 2, 14, 12]), torch.ones(1, 6, 6))
    torch.testing.assert_close(made, frame, rtol=1e-6, atol=0)


def test_the_box_is_darkened_at_full_resolution() -> None:
    frame = torch.rand(3, 20, 30)
    made = paste_back(frame, torch.tensor([4, 2, 14, 12]), torch.full((1, 6, 6), 0.25))
    torch.testing.assert_close(made[:, 2:12, 4:14], frame[:, 2:12, 4:14] * 0.25)
    outside = torch.ones(20, 30, dtype=torch.bool)
    outside[2:12, 4:14] = False
    assert torch.equal(made[:, outside], frame[:, outside])


def test_the_mask_is_stretched_over_the_box_in_the_right_order() -> None:
    """A linear ramp stays linear between the outer pixels' centres; rows are rows."""
    ramp = (torch.arange(4.0) + 0.5) / 4
    mask = ramp.view(1, 4, 1).expand(1, 4, 4)
    made = paste_back(torch.ones(3, 16, 20), torch.tensor([6, 3, 14, 11]), mask)
    rows = (torch.arange(8.0) + 0.5) / 8
    expected = rows.clamp(0.125, 0.875).view(8, 1).expand(8, 8)
    torch.testing.assert_close(made[0, 3:11, 6:14], expected)


def test_gradients_reach_the_mask() -> None:
    mask = torch.full((1, 4, 4), 0.5, requires_grad=True)
    paste_back(torch.ones(3, 8, 8), torch.tensor([0, 0, 8, 8]), mask).sum().backward()
    assert mask.grad is not None
    torch.testing.assert_close(mask.grad.sum(), torch.tensor(3.0 * 64))

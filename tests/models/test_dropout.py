"""Dropout from random bytes: its share, its mean, its repeatability, its gradient."""

import pytest
import torch

from nerf_ad.models.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_is_dropped_and_the_mean_stays(share: float) -> None:
    part = Dropout(share)
    given = torch.ones(1000, 1001)
    made = part(given)
    assert (made == 0).float().mean() == pytest.approx(share, abs=0.004)  # a 256th's half, and chance
    assert made.mean() == pytest.approx(1.0, abs=0.004)
    assert len(made.unique()) == 2
    # Neighbours in the same word are independent.
    dropped = (made.flatten()[: 8 * 100_000] == 0).float().view(-1, 8)
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 0.02


def test_nothing_is_dropped_out_of_training_or_without_a_share() -> None:
    given = torch.randn(7, 3)
    assert torch.equal(Dropout(0.5).eval()(given), given)
    assert torch.equal(Dropout(0.0)(given), given)


def test_a_seed_repeats_it() -> None:
    part, given = Dropout(0.5), torch.ones(33)
    part.seed(3)
    first, second = part(given), part(given)
    part.seed(3)
    assert torch.equal(part(given), first)
    assert torch.equal(part(given), second)
    assert not torch.equal(first, second)


def test_without_a_seed_parts_differ_and_follow_torchs_own() -> None:
    given, made = torch.ones(64), []
    for _ in range(2):
        torch.manual_seed(1)
        made.append([Dropout(0.5)(given), Dropout(0.5)(given)])
    assert torch.equal(made[0][0], made[1][0])
    assert not torch.equal(*made[0])


def test_its_gradient_is_what_was_kept() -> None:
    part, given = Dropout(0.25), torch.randn(40, requires_grad=True)
    made = part(given)
    (gradient,) = torch.autograd.grad(made.sum(), given)
    torch.testing.assert_close(gradient * given.detach(), made.detach())

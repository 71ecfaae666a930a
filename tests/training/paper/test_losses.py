"""The losses of stage 2 against their formulas, written out in plain Python on hand-made values."""

import math

import pytest
import torch

from nerf_ad.training.paper.losses import bce_loss, dice_loss, reconstruction_loss, unit_weights

PROBABILITY = [[0.9, 0.2, 0.5], [0.1, 0.7, 0.99]]
PRESENCE = [[True, False, True], [False, False, True]]
WEIGHTS = [0.5, 2.0, 0.5]


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor(PROBABILITY), torch.tensor(PRESENCE), torch.tensor(WEIGHTS)


def test_weights_follow_the_inverse_rates() -> None:
    """Rates 1/2, 1/4, 1/8: inverse 2, 4, 8 of 14, times 3."""
    wanted = torch.tensor([3 * 2 / 14, 3 * 4 / 14, 3 * 8 / 14])
    torch.testing.assert_close(unit_weights(torch.tensor([0.5, 0.25, 0.125])), wanted)


def test_a_unit_almost_absent_does_not_take_all_the_weight() -> None:
    weights = unit_weights(torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(weights, torch.tensor([2 * 2 / 22, 2 * 20 / 22]))
    torch.testing.assert_close(weights.sum(), torch.tensor(2.0))


def test_bce_is_the_papers_formula() -> None:
    wanted = 0.0
    for probabilities, labels in zip(PROBABILITY, PRESENCE, strict=True):
        for p, x, w in zip(probabilities, map(float, labels), WEIGHTS, strict=True):
            wanted -= w * (x * math.log(p) + (1 - x) * math.log(1 - p)) / 3
    assert float(bce_loss(*tensors())) == pytest.approx(wanted / 2, rel=1e-5)


@pytest.mark.parametrize("epsilon", [1.0, 0.1])
def test_dice_is_the_papers_formula(epsilon: float) -> None:
    wanted = 0.0
    for probabilities, labels in zip(PROBABILITY, PRESENCE, strict=True):
        for p, x, w in zip(probabilities, map(float, labels), WEIGHTS, strict=True):
            wanted += w * (1 - (2 * x * p + epsilon) / (x**2 + p**2 + epsilon)) / 3
    assert float(dice_loss(*tensors(), epsilon=epsilon)) == pytest.approx(wanted / 2, rel=1e-5)


def test_dice_does_not_depend_on_the_batch_size() -> None:
    """Defect 3 of the released code: it divides the ratio by the batch size."""
    probability, presence, weights = tensors()
    twice = dice_loss(probability.repeat(2, 1), presence.repeat(2, 1), weights)
    torch.testing.assert_close(twice, dice_loss(probability, presence, weights))


def test_a_sure_classifier_costs_nothing_where_it_is_right() -> None:
    presence = torch.tensor([[True, False]])
    right, weights = presence.float(), torch.ones(2)
    assert float(bce_loss(right, presence, weights)) < 1e-5
    assert float(dice_loss(right, presence, weights)) == 0.0
    wrong = bce_loss(1 - right, presence, weights)
    assert bool(torch.isfinite(wrong))
    assert float(wrong) > 10
    assert float(dice_loss(1 - right, presence, weights)) == pytest.approx(0.5)  # (0 + 1) / (1 + 1)


@pytest.mark.parametrize("loss", [bce_loss, dice_loss])
def test_gradients_are_those_of_differences(loss) -> None:
    probability, presence, weights = tensors()
    probability = probability.double().requires_grad_()
    weights = weights.double()
    assert torch.autograd.gradcheck(lambda p: loss(p, presence, weights), (probability,))


def test_reconstruction_is_the_mean_over_pixels() -> None:
    target = torch.zeros(2, 3, 4, 4)
    decoded = target.clone()
    decoded[0, 0, 0, 0] = 0.96
    decoded[1, 2, 3, 3] = -0.96
    assert float(reconstruction_loss(decoded, target)) == pytest.approx(2 * 0.96 / 96)

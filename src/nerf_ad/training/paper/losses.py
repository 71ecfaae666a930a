"""Losses of the fusion pre-training: equations of the paper (paper.md section 9), on probabilities.

The printed Dice sum runs from i = 0; it is read from 1. Dice is a sum of ratios, one for each unit and frame,
of which the batch is averaged at the end (paper.md section 13, defect 3).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST_RATE = 0.05
"""Occurrence rates count as at least this: a unit almost absent would take all the weight (paper.md)."""
_SMALLEST_PROBABILITY = 1e-6


def unit_weights(rates: Float[Tensor, "units"], *, smallest: float = SMALLEST_RATE) -> Float[Tensor, "units"]:
    """Weights ``w_i = n (1/r_i) / sum_j (1/r_j)`` from the rates of occurrence in training (JAA-Net)."""
    inverse = 1 / rates.clamp_min(smallest)
    return len(rates) * inverse / inverse.sum()


def reconstruction_loss(
    decoded: Float[Tensor, "batch 3 height width"], target: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, ""]:
    """L_rec: the mean absolute difference of fused and true audio face."""
    return (decoded - target).abs().mean()


def bce_loss(
    probability: Float[Tensor, "batch units"],
    presence: Bool[Tensor, "batch units"],
    weights: Float[Tensor, "units"],
) -> Float[Tensor, ""]:
    """L_bce: weighted cross-entropy of presence labels x and predicted probabilities."""
    sure = probability.clamp(_SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    likelihood = torch.where(presence, sure, 1 - sure)
    return -(weights * likelihood.log()).mean()


def dice_loss(
    probability: Float[Tensor, "batch units"],
    presence: Bool[Tensor, "batch units"],
    weights: Float[Tensor, "units"],
    *,
    epsilon: float = 1.0,
) -> Float[Tensor, ""]:
    """L_dice: weighted ``1 - (2 x p + e) / (x^2 + p^2 + e)``."""
    label = presence.to(probability.dtype)
    overlap = (2 * label * probability + epsilon) / (label.square() + probability.square() + epsilon)
    return (weights * (1 - overlap)).mean()

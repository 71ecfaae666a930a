"""LPIPS v0.1: how far two pictures are apart in the eyes of a trained network (Zhang et al. 2018).

An own port of the published networks, AlexNet and VGG16, whose files `core.weights` finds. Pictures are
compared at their native size.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from nerf_ad.core import weights
from nerf_ad.core.array_pickles import Arrays, read_array_pickle
from nerf_ad.core.errors import WeightsError

Backbone = Literal["alex", "vgg"]
"""Which network looks; figures of the two cannot be compared. Tables show AlexNet's."""

SHIFT: Final = (-0.030, -0.088, -0.188)
"""Subtracted from R, G, B in [-1, 1] (the published network's)."""
SCALE: Final = (0.458, 0.448, 0.450)
"""What is left is divided by these (the published network's)."""
SMALLEST: Final = 32
"""Least width and height: below, nothing is left after the pools."""


class _Plan(NamedTuple):
    """How convolutions follow each other; a ReLU comes after each."""

    root: str
    """The file's name of the network."""
    strides: tuple[int, ...]
    paddings: tuple[int, ...]
    pool: int
    """Width of the windows whose maximum is taken; they are 2 apart."""
    pooled: frozenset[int]
    """Convolutions that a pool comes before."""
    taps: tuple[int, ...]
    """Convolutions behind whose ReLU the pictures are compared."""


_PLANS: Final = {
    "alex": _Plan("AlexNet_0", (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), 3, frozenset({1, 2}), (0, 1, 2, 3, 4)),
    "vgg": _Plan("VGG16_0", (1,) * 13, (1,) * 13, 2, frozenset({2, 4, 7, 10}), (1, 3, 6, 9, 12)),
}


class Lpips:
    """A network that compares pictures."""

    def __init__(self, backbone: Backbone, arrays: Arrays, *, device: torch.device | str = "cpu") -> None:
        """Take the network from a file's arrays.

        Raises:
            WeightsError: an array is missing or does not fit to the others.
        """
        self.backbone: Backbone = backbone
        plan = self._plan = _PLANS[backbone]
        kernels, biases = (
            [_array(arrays, f"{plan.root}/Conv_{i}/{part}", rank) for i in range(len(plan.strides))]
            for part, rank in (("kernel", 4), ("bias", 1))
        )
        heads = [_array(arrays, f"NetLinLayer_{i}/Conv_0/kernel", 4) for i in range(len(plan.taps))]
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            channels = 3 if i == 0 else len(biases[i - 1])
            if kernel.shape[2:] != (channels, len(bias)):
                raise WeightsError(f"the layer {plan.root}/Conv_{i} does not fit to its neighbours")
        for tap, head in zip(plan.taps, heads, strict=True):
            if head.shape != (1, 1, len(biases[tap]), 1):
                raise WeightsError(f"the head of {plan.root}/Conv_{tap} does not fit to it")
        # The file's kernels are height, width, in, out.
        self._kernels = [kernel.permute(3, 2, 0, 1).contiguous().to(device) for kernel in kernels]
        self._biases = [bias.to(device) for bias in biases]
        self._heads = [head.reshape(1, -1, 1, 1).to(device) for head in heads]
        self._shift, self._scale = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
        self._device = device

    @torch.no_grad()
    def distance(
        self, made: UInt8[np.ndarray, "height width 3"], real: UInt8[np.ndarray, "height width 3"]
    ) -> float:
        """How far two pictures of at least 32x32 are apart; 0 for equal ones.

        ``sum_l mean_xy w_l . (f_l(made)/|f_l(made)| - f_l(real)/|f_l(real)|)^2``
        """
        pair = torch.from_numpy(np.stack([made, real])).to(self._device).permute(0, 3, 1, 2).float() / 255
        return float(self.distances(pair[:1], pair[1:]))

    def distances(
        self, made: Float[Tensor, "batch 3 height width"], real: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch"]:
        """``distance`` of pictures in [0, 1], with gradients for whoever learns from them."""
        total = made.new_zeros(len(made))
        for head, features in zip(self._heads, self._look(torch.cat([made, real]) * 2 - 1), strict=True):
            unit = features / (features.square().sum(dim=1, keepdim=True) + 1e-20).sqrt()
            ours, theirs = unit.chunk(2)
            total = total + (head * (ours - theirs).square()).sum(dim=1).mean(dim=(1, 2))
        return total

    def _look(self, pictures: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Features at every tap, (batch, channels, height, width) each, of pictures in [-1, 1]."""
        plan, found = self._plan, []
        x = (pictures - self._shift) / self._scale
        for i, (kernel, bias) in enumerate(zip(self._kernels, self._biases, strict=True)):
            if i in plan.pooled:
                x = F.max_pool2d(x, plan.pool, stride=2)
            x = F.conv2d(x, kernel, bias, stride=plan.strides[i], padding=plan.paddings[i]).relu()
            if i in plan.taps:
                found.append(x)
        return found


def build_lpips(backbone: Backbone = "alex", *, device: torch.device | str = "cpu") -> Lpips:
    """The published network, from its file.

    Raises:
        WeightsError: the file is not there, or is another one.
    """
    return Lpips(backbone, read_array_pickle(weights.locate(f"lpips-{backbone}")), device=device)


def _array(arrays: Arrays, name: str, rank: int) -> Tensor:
    if name not in arrays or arrays[name].ndim != rank:
        raise WeightsError(
            f"the LPIPS file has no {name} of {rank} axes", hint="fetch it again with: nerf-ad weights fetch"
        )
    return torch.from_numpy(np.array(arrays[name], np.float32))

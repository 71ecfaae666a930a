"""Dropout from random bytes."""

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

BYTE = 256
"""Values of a byte."""


class Dropout(nn.Module):
    """``nn.Dropout`` with a random byte for each number, and a generator of its own once it is seeded.

    On a CPU torch's draws were two fifths of a speech step (decision 0024). What is dropped is rounded to
    256ths: 0.3 is 77 of them.
    """

    def __init__(self, share: float) -> None:
        """``share`` of the numbers becomes 0 while training, in [0, 1)."""
        super().__init__()
        self.dropped = min(round(BYTE * share), BYTE - 1)
        self._generator: torch.Generator | None = None
        self._seed: int | None = None

    def seed(self, seed: int) -> None:
        """Begin the random numbers anew."""
        self._seed, self._generator = seed, None

    def forward(self, given: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """Numbers that are left are scaled so that their mean stays."""
        if not self.training or not self.dropped:
            return given
        is_new = self._generator is None or self._generator.device != given.device
        if self._seed is not None and is_new:
            self._generator = torch.Generator(given.device).manual_seed(self._seed)
        words = torch.empty(-(-given.numel() // 8), dtype=torch.int64, device=given.device)
        draws = words.random_(-(2**63), None, generator=self._generator).view(torch.uint8)
        kept = (draws[: given.numel()] >= self.dropped).view(given.shape)
        return (given * kept).mul_(BYTE / (BYTE - self.dropped))

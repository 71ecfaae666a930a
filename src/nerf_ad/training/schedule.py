"""Learning rates, moving averages, and the clock that a time budget runs on."""

import math
import time

import torch
from torch import nn


class Clock:
    """Seconds of work, across interruptions."""

    def __init__(self, already: float = 0.0) -> None:
        self._already = already
        self._start: float | None = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds worked so far."""
        return self._already + (0.0 if self._start is None else time.monotonic() - self._start)

    def stop(self) -> None:
        """Stand still."""
        self._already, self._start = self.seconds, None


class Budget:
    """How far a stage has come: by steps, or by seconds, whichever is further.

    Seconds end nothing before ``least_steps``: on a busy machine a stage takes longer instead of ending with
    nothing learnt.
    """

    def __init__(self, *, num_steps: int, seconds: float | None, least_steps: int = 0) -> None:
        self.num_steps = num_steps
        self.seconds = seconds
        self.least_steps = min(least_steps, num_steps)

    def share(self, step: int, seconds: float) -> float:
        """Part of the budget that is spent, in [0, 1]."""
        by_step = step / self.num_steps
        by_time = seconds / self.seconds if self.seconds else 0.0
        if self.least_steps:
            by_time = min(by_time, step / self.least_steps)
        return min(1.0, max(by_step, by_time))

    def is_spent(self, step: int, seconds: float) -> bool:
        """Whether nothing is left."""
        return self.share(step, seconds) >= 1.0

    def seconds_left(self, step: int, seconds: float) -> float | None:
        """Estimate of the seconds left."""
        share = self.share(step, seconds)
        return None if share < 0.005 else seconds * (1 - share) / share


def decayed(start: float, end: float, share: float, *, warm_share: float = 0.01) -> float:
    """Exponential decay from ``start`` to ``end`` after a short linear warm-up."""
    warm = min(1.0, share / warm_share) if warm_share > 0 else 1.0
    return (0.1 + 0.9 * warm) * start * math.exp(math.log(end / start) * share)


class MovingAverage:
    """Exponential moving average of a module's parameters, per step (RAD-NeRF's code: 0.95 per epoch)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.names = [name for name, _ in module.named_parameters()]
        self.tensors = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Follow the parameters; quickly at first."""
        decay = min(self.decay, (1 + step) / (10 + step))
        theirs = [value.detach() for _, value in module.named_parameters()]
        torch._foreach_lerp_([self.tensors[name] for name in self.names], theirs, 1 - decay)

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the averages with the parameters; swap again to go back."""
        for name, value in module.named_parameters():
            held = value.detach().clone()
            value.copy_(self.tensors[name])
            self.tensors[name].copy_(held)

    @torch.no_grad()
    def restart(self, module: nn.Module) -> None:
        """Begin again from the parameters as they are."""
        for name, value in module.named_parameters():
            self.tensors[name].copy_(value)

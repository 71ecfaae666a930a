"""What every stage keeps between steps, and how it survives a kill."""

import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nerf_ad.core.errors import FormatError, NerfAdError
from nerf_ad.core.events import Warned
from nerf_ad.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    optimiser_state,
    restore_optimiser,
    save_checkpoint,
    under_prefix,
    with_prefix,
)
from nerf_ad.training.schedule import Clock, MovingAverage

SAVE_EVERY_SECONDS = 30.0
"""A kill loses at most this much, and the writing itself (ecosystem.md R1 allows 60 s)."""


class StageState:
    """Module, optimiser, average, generators, step and clock of one stage, with their resume file."""

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        average_decay: float,
        seed: int,
        fingerprint: str,
        made_from: str = "",
    ) -> None:
        """Begin; ``resume`` goes on.

        Args:
            path: the resume file.
            module: what is trained.
            optimiser: over its parameters.
            average_decay: of the moving average of the parameters.
            seed: of both generators.
            fingerprint: of the choices and the dataset; a file with another one is refused.
            made_from: digests of the earlier stages' results that this one is made from; a file made from
                others is not gone on with.
        """
        self.path = path
        self.module = module
        self.optimiser = optimiser
        self.average = MovingAverage(module, average_decay)
        self.numpy = np.random.default_rng(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self.device = next((value.device for value in module.parameters()), torch.device("cpu"))
        self.generator = self.torch
        """The generator where the module is; ``torch`` itself except on CUDA."""
        if self.device.type == "cuda":
            self.generator = torch.Generator(self.device).manual_seed(seed)
        self._bad_on_device = torch.zeros(2, dtype=torch.int32, device=self.device)
        self.fingerprint = fingerprint
        self.made_from = made_from
        self.begins_anew = False
        self.step = 0
        self.finished = False
        self.clock = Clock()
        self._saved_at = time.monotonic()
        self._bad_in_a_row = 0
        self._rollbacks = 0

    @property
    def seconds(self) -> float:
        """Seconds of work on this stage; the clock stands still once it is finished."""
        return self.clock.seconds

    def finish(self) -> None:
        """The stage is done."""
        self.finished = True
        self.clock.stop()

    def reopen(self) -> None:
        """Go on although the stage was finished: it was given more time or steps."""
        if self.finished:
            self.finished = False
            self.clock = Clock(self.clock.seconds)

    def resume(self) -> bool:
        """Go on where the resume file stopped; False where there is none, or earlier stages moved on since.

        Raises:
            FormatError: the file is damaged, or belongs to another configuration or dataset.
        """
        found = load_checkpoint(self.path)
        if found is None:
            return False
        facts = found.facts
        if not isinstance(facts, dict) or facts.get("fingerprint") != self.fingerprint:
            raise FormatError(
                f"{self.path} was made with other settings or another dataset",
                hint="train into a new avatar folder, or delete this one",
            )
        self.begins_anew = facts.get("made_from", "") != self.made_from
        if self.begins_anew:
            return False
        try:
            self._restore(found)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            what = " ".join(str(error).split())[:200]
            raise FormatError(
                f"{self.path} is damaged: {what}", hint="delete it to train this stage from its start"
            ) from error
        return True

    def _restore(self, found: Checkpoint) -> None:
        facts = found.facts
        self.module.load_state_dict(under_prefix("module", found.tensors))
        average = under_prefix("average", found.tensors)
        for name, tensor in self.average.tensors.items():
            tensor.copy_(average[name])
        restore_optimiser(self.optimiser, under_prefix("optimiser", found.tensors))
        self.numpy.bit_generator.state = json.loads(facts["numpy"])
        self.torch.set_state(found.tensors["torch"])
        if self.generator is not self.torch and "generator" in found.tensors:
            self.generator.set_state(found.tensors["generator"])
        self.step, self.finished = int(facts["step"]), bool(facts["finished"])
        self.clock = Clock(float(facts["seconds"]))
        if self.finished:
            self.clock.stop()

    def save(self) -> None:
        """Write the resume file."""
        tensors = {
            **with_prefix("module", self.module.state_dict()),
            **with_prefix("average", self.average.tensors),
            **with_prefix("optimiser", optimiser_state(self.optimiser)),
            "torch": self.torch.get_state(),
        }
        if self.generator is not self.torch:
            tensors["generator"] = self.generator.get_state()
        facts = {
            "fingerprint": self.fingerprint,
            "made_from": self.made_from,
            "numpy": json.dumps(self.numpy.bit_generator.state),
            "step": self.step,
            "seconds": self.seconds,
            "finished": self.finished,
        }
        save_checkpoint(self.path, tensors, facts)
        self._saved_at = time.monotonic()

    def save_is_due(self) -> bool:
        """Whether it is time to write the resume file again."""
        return time.monotonic() - self._saved_at > SAVE_EVERY_SECONDS

    def apply(
        self,
        loss: torch.Tensor,
        *,
        largest_gradient: float = 1.0,
        counts: bool = True,
        has_gradients: bool = False,
    ) -> bool:
        """Back-propagate and step; a loss or gradient that is not finite is skipped (ecosystem.md R3).

        Three in a row roll back to the resume file with half the learning rate; after three roll-backs the
        stage stops.

        Args:
            loss: what to lower; parameters that it does not depend on stay as they are.
            largest_gradient: norm to which the gradient is clipped.
            has_gradients: whether the caller cleared the gradients and back-propagated already, in parts.
            counts: whether this is a step of the stage, or a further one of the optimiser within it.

        Returns:
            whether the step was taken; events refuse figures that are not finite, so say ``skipped`` instead.

        Raises:
            NerfAdError: the stage cannot be saved from diverging.
        """
        if not has_gradients:
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        norm = nn.utils.clip_grad_norm_(
            [p for group in self.optimiser.param_groups for p in group["params"]], largest_gradient
        )
        self.step += counts
        if not bool(torch.isfinite(norm + loss.detach())):
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= 3:
                self._roll_back()
            return False
        self._bad_in_a_row = 0
        self.optimiser.step()
        self.average.update(self.module, self.step)
        return True

    @torch.no_grad()
    def apply_unseen(self, loss: torch.Tensor, *, largest_gradient: float = 1.0) -> None:
        """``apply`` without waiting for the device, for a fused Adam whose gradients are there already.

        The device itself skips a step that is not finite; ``look`` says so later.
        """
        adam = self.optimiser
        assert all(group["fused"] for group in adam.param_groups)  # others would ignore the two tensors
        gradients = [p.grad for group in adam.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        is_bad = ~torch.isfinite(norm + loss.detach())
        adam.grad_scale = ((norm + 1e-6) / largest_gradient).clamp_min(1.0)  # type: ignore[attr-defined]
        adam.found_inf = is_bad.float()  # type: ignore[attr-defined]
        in_a_row, since_look = self._bad_on_device.unbind()
        in_a_row.add_(1).mul_(is_bad)
        since_look.add_(is_bad)
        self.step += 1
        adam.step()
        self.average.update(self.module, self.step)

    def look(self) -> bool:
        """Wait for the steps of ``apply_unseen``; False where any since the last look was skipped.

        Raises:
            NerfAdError: the stage cannot be saved from diverging.
        """
        in_a_row, since_look = self._bad_on_device.tolist()
        self._bad_on_device[1:].zero_()
        if in_a_row >= 3:
            self._bad_on_device.zero_()
            self._roll_back()
        return since_look == 0

    def skipped(self) -> Warned:
        """What to say of a step that ``apply`` did not take."""
        return Warned(message=f"step {self.step} of {self.path.stem} was not finite and is skipped")

    def warnings(self) -> list[Warned]:
        """What to say before the first step: why a resume file that is there was not gone on with."""
        if not self.begins_anew:
            return []
        name = self.path.stem
        return [Warned(message=f"the stage {name} begins anew: one that it follows from was trained further")]

    @property
    def rate_factor(self) -> float:
        """Halved with every roll-back."""
        return 0.5**self._rollbacks

    def _roll_back(self) -> None:
        self._rollbacks += 1
        self._bad_in_a_row = 0
        if self._rollbacks > 3 or not self.resume():
            raise NerfAdError(
                "training diverged: the loss was not finite three times in a row",
                hint="the last good state is kept; try a smaller learning rate",
            )

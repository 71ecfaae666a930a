"""Stage 1 of NeRF-AD: AU-Attention learns to repaint a face with other action units (paper.md section 4).

What it must change to do so is what speech moves; the mask that it learns on the way is all that is kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.dataset.face_crops import FaceCrops
from nerf_ad.models.paper.au_attention import AuAttention, AuAttentionConfig, Repainted, unit_range
from nerf_ad.models.paper.critic import Critic, CriticConfig, Judgement
from nerf_ad.training.schedule import Budget
from nerf_ad.training.stage import StageState

NO_CLIPPING = float("inf")
"""The paper's code does not clip gradients."""


class AttentionTrainingConfig(Config):
    """Fitting AU-Attention."""

    num_epochs: int = Field(default=30, ge=1)
    """Passes over the training frames; an epoch counts the critic's steps (NeRF-AD's code)."""
    constant_share: float = Field(default=20 / 30, gt=0, le=1)
    """Part of the training at the full rate, which then falls to 0 (NeRF-AD's code: 20 of 30 epochs)."""
    batch_size: int = Field(default=4, ge=1)
    """Faces per step (NeRF-AD's code)."""
    critic_steps: int = Field(default=5, ge=1)
    """Steps of the critic for each of the generator (NeRF-AD's code)."""
    head_start: int = Field(default=0, ge=0)
    """Steps that the critic makes alone before the first of the generator (ours; NeRF-AD's code has none)."""
    rate: float = Field(default=1e-4, gt=0)
    """Adam's rate of both (NeRF-AD's code)."""
    betas: tuple[float, float] = Field(default=(0.5, 0.999), strict=False)
    """Adam's decays of both (NeRF-AD's code)."""
    realness_weight: float = Field(default=1.0, ge=0)
    """Weight of the critic's opinion in the generator's loss (NeRF-AD's code)."""
    penalty_weight: float = Field(default=10.0, ge=0)
    """Weight of the gradient penalty (NeRF-AD's code)."""
    unit_weight: float = Field(default=4000.0, ge=0)
    """Weight of the action units' squared error, divided by the batch size (NeRF-AD's code)."""
    cycle_weight: float = Field(default=10.0, ge=0)
    """Weight of the absolute error of a face painted there and back (NeRF-AD's code)."""
    mask_weight: float = Field(default=0.1, ge=0)
    """Weight of the masks' mean, which keeps A from being 1 everywhere (NeRF-AD's code)."""
    roughness_weight: float = Field(default=1e-5, ge=0)
    """Weight of the masks' total variation, summed over the batch (NeRF-AD's code)."""
    unit_noise: float = Field(default=0.1, ge=0)
    """Largest random change of a wanted action unit (NeRF-AD's code)."""
    flip: bool = True
    """Mirror faces at random (NeRF-AD's code)."""
    fill_units: bool = True
    """Map each person's action units to [0, 1] (ours; NeRF-AD's code takes OpenFace's 0 to 5 as they are)."""
    average_decay: float = Field(default=0.0, ge=0, lt=1)
    """Moving average of the parameters; 0 is none (NeRF-AD's code has none)."""


class AttentionModule(nn.Module):
    """What the stage trains: the generator, and the critic, which is thrown away afterwards."""

    def __init__(self, attention: AuAttentionConfig, critic: CriticConfig) -> None:
        super().__init__()
        self.attention = AuAttention(attention)
        self.critic = Critic(critic)


class FaceBatch(NamedTuple):
    """One step's faces."""

    faces: Float[Tensor, "batch 3 size size"]
    """In [-1, 1]."""
    units: Float[Tensor, "batch units"]
    """Their own action units, scaled."""
    wanted: Float[Tensor, "batch units"]
    """The action units that they shall have, scaled."""


class FaceSampler:
    """Draws faces of the training frames, every frame once in each epoch."""

    def __init__(
        self,
        config: AttentionTrainingConfig,
        crops: FaceCrops,
        scaled_units: Float[Tensor, "frames units"],
        *,
        train: range,
        seed: int,
    ) -> None:
        self.config = config
        self.crops = crops
        self.units = scaled_units
        self.train = train
        self.seed = seed
        self.steps_per_epoch = max(1, len(train) // config.batch_size)

    @property
    def num_steps(self) -> int:
        """Critic's steps of the whole training."""
        return self.config.num_epochs * self.steps_per_epoch

    def frames(self, step: int) -> Int[np.ndarray, "batch"]:
        """The frames of a step, counted from 0: the same whenever it is asked."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
        start = place * self.config.batch_size
        return order[start : start + self.config.batch_size] + self.train.start

    def draw(self, step: int, generator: np.random.Generator) -> FaceBatch:
        """The faces of a step; mirrors and wanted units come from the generator."""
        frames = self.frames(step)
        faces = 2 * self.crops.batch(frames) - 1
        if self.config.flip:
            mirrored = torch.from_numpy(generator.random(len(frames)) < 0.5)
            faces = torch.where(mirrored[:, None, None, None], faces.flip(-1), faces)
        models = generator.integers(self.train.start, self.train.stop, len(frames))
        shape = (len(frames), self.units.shape[1])
        noise = generator.uniform(-self.config.unit_noise, self.config.unit_noise, shape)
        device = self.units.device
        wanted = self.units[torch.from_numpy(models)] + torch.from_numpy(noise).float().to(device)
        return FaceBatch(faces.to(device), self.units[torch.from_numpy(frames)], wanted)


def attention_optimiser(module: AttentionModule, config: AttentionTrainingConfig) -> torch.optim.Adam:
    """Generator and critic in one Adam, for one resume file.

    They never step together: Adam passes over parameters without a gradient, and keeps moments and counts of
    each parameter apart, so this equals two optimisers.
    """
    groups = [{"params": list(part.parameters())} for part in (module.attention, module.critic)]
    return torch.optim.Adam(groups, lr=config.rate, betas=config.betas)


def scale_units(
    module: AttentionModule, config: AttentionTrainingConfig, units: Float[Tensor, "frames units"]
) -> None:
    """Set how the measured action units of the training frames are scaled, once before the training."""
    if config.fill_units:
        module.attention.unit_scale.copy_(unit_range(units.cpu().numpy()))


def fit_attention(
    config: AttentionTrainingConfig,
    module: AttentionModule,
    state: StageState,
    sampler: FaceSampler,
    *,
    seconds: float | None,
) -> Iterator[Event]:
    """Fit the generator against its critic.

    Args:
        config: the numbers.
        module: what is trained; its units are scaled.
        state: step, ``attention_optimiser``, generators; a step is one of the critic.
        sampler: faces of the training frames.
        seconds: time budget of the stage.
    """
    budget = Budget(num_steps=sampler.num_steps, seconds=seconds)
    if not budget.is_spent(state.step, state.seconds):
        state.reopen()
    figures: dict[str, Tensor] = {}
    try:
        while not state.finished:
            share = budget.share(state.step, state.seconds)
            for group in state.optimiser.param_groups:
                group["lr"] = (
                    falling(config.rate, share, constant_share=config.constant_share) * state.rate_factor
                )
            is_good = attention_step(config, module, state, sampler, figures)
            if budget.is_spent(state.step, state.seconds):
                state.finish()
            if not is_good:
                yield state.skipped()
            elif state.step % (4 * config.critic_steps) == 0 or state.finished:
                yield from _tell(figures, state, budget, share)
            if state.save_is_due():
                state.save()
    finally:
        state.save()
    state.average.swap(module)


def attention_step(
    config: AttentionTrainingConfig,
    module: AttentionModule,
    state: StageState,
    sampler: FaceSampler,
    figures: dict[str, Tensor],
) -> bool:
    """A step of the critic, one of its penalty, and every ``critic_steps`` one of the generator.

    Returns:
        False where one of them was not finite; the rest is then left out.
    """
    batch = sampler.draw(state.step, state.numpy)
    step = state.step + 1
    is_generators_turn = step > config.head_start and step % config.critic_steps == 0
    with torch.set_grad_enabled(is_generators_turn):
        there = module.attention.repaint(batch.faces, batch.wanted)
    made = there.face.detach()
    module.critic.requires_grad_(requires_grad=True)
    loss = critic_loss(config, module.critic(batch.faces), module.critic(made), batch.units)
    if not state.apply(loss, largest_gradient=NO_CLIPPING):
        return False
    figures["critic loss"] = loss.detach()
    mix = torch.rand(len(made), generator=state.torch).to(made.device)
    penalty = config.penalty_weight * gradient_penalty(module.critic, batch.faces, made, mix)
    if not state.apply(penalty, largest_gradient=NO_CLIPPING, counts=False):
        return False
    figures["critic penalty"] = penalty.detach()
    if not is_generators_turn:
        return True
    module.critic.requires_grad_(requires_grad=False)
    back = module.attention.repaint(there.face, batch.units)
    loss = generator_loss(config, batch, there, back, module.critic(there.face), figures)
    return state.apply(loss, largest_gradient=NO_CLIPPING, counts=False)


def critic_loss(
    config: AttentionTrainingConfig, real: Judgement, made: Judgement, units: Float[Tensor, "batch units"]
) -> Float[Tensor, ""]:
    """L_K = -E[K(I)] + E[K(I')] + 4000/B MSE(K_au(I), a)."""
    wrong = (real.units - units).square().mean()
    return made.realness.mean() - real.realness.mean() + config.unit_weight / len(units) * wrong


def gradient_penalty(
    critic: nn.Module,
    real: Float[Tensor, "batch 3 size size"],
    made: Float[Tensor, "batch 3 size size"],
    mix: Float[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """E[(|grad K(x)| - 1)^2] at faces x between the real and the made ones."""
    share = mix[:, None, None, None]
    between = (share * real + (1 - share) * made).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).realness.sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def generator_loss(
    config: AttentionTrainingConfig,
    batch: FaceBatch,
    there: Repainted,
    back: Repainted,
    judged: Judgement,
    figures: dict[str, Tensor] | None = None,
) -> Float[Tensor, ""]:
    """L_G = -E[K(I')] + 4000/B MSE(K_au(I'), a*) + 10 |I'' - I|_1 + 0.1 mean A + 1e-5 TV(A), both passes."""
    units = (judged.units - batch.wanted).square().mean()
    cycle = (back.face - batch.faces).abs().mean()
    mean = there.mask.mean() + back.mask.mean()
    rough = total_variation(there.mask) + total_variation(back.mask)
    loss = (
        config.unit_weight / len(batch.units) * units
        - config.realness_weight * judged.realness.mean()
        + config.cycle_weight * cycle
        + config.mask_weight * mean
        + config.roughness_weight * rough
    )
    if figures is not None:
        parts = {"loss": loss, "unit error": units, "cycle": cycle, "mask mean": there.mask.mean()}
        figures |= {f"attention {name}": part.detach() for name, part in parts.items()}
    return loss


def total_variation(mask: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, ""]:
    """Sum of the absolute differences of neighbouring pixels, over the whole batch."""
    across, down = mask[..., 1:] - mask[..., :-1], mask[..., 1:, :] - mask[..., :-1, :]
    return across.abs().sum() + down.abs().sum()


def falling(rate: float, share: float, *, constant_share: float) -> float:
    """A rate that is constant at first and then falls to 0 along a line."""
    if constant_share >= 1 or share <= constant_share:
        return rate
    return rate * (1 - share) / (1 - constant_share)


def _tell(figures: dict[str, Tensor], state: StageState, budget: Budget, share: float) -> Iterator[Event]:
    values = {name: float(value) for name, value in figures.items()}
    for name, value in values.items():
        yield Metric(name=name, step=state.step, value=value, seconds=state.seconds)
    note = " ".join(
        f"{name.removeprefix('attention ')} {values[name]:.3f}"
        for name in ("attention unit error", "attention cycle", "attention mask mean")
        if name in values
    )
    yield Progress(
        stage="attention",
        done=round(1000 * share),
        total=1000,
        note=note,
        seconds_left=budget.seconds_left(state.step, state.seconds),
    )

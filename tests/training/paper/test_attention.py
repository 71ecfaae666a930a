"""Stage 1: losses by hand, two optimisers in one, resumed bit for bit, and a mask that finds what moves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nerf_ad.core.events import Event, Metric, Progress, Warned
from nerf_ad.dataset.face_crops import FaceCrops
from nerf_ad.models.paper.au_attention import AuAttentionConfig, Repainted
from nerf_ad.models.paper.critic import Critic, CriticConfig, Judgement
from nerf_ad.training.paper.attention import (
    AttentionModule,
    AttentionTrainingConfig,
    FaceBatch,
    FaceSampler,
    attention_optimiser,
    attention_step,
    critic_loss,
    falling,
    fit_attention,
    generator_loss,
    gradient_penalty,
    total_variation,
)
from nerf_ad.training.stage import StageState

SIZE = 16
NUM_FRAMES = 24
TRAIN = range(20)
CONFIG = AttentionTrainingConfig(num_epochs=2, batch_size=4, critic_steps=2, rate=1e-3)


class LinearCritic(nn.Module):
    """K(x) = <w, x>: its gradient is w everywhere."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, face: Tensor) -> Judgement:
        realness = (face * self.weight).sum(dim=(1, 2, 3)).view(-1, 1, 1, 1)
        return Judgement(realness, torch.zeros(len(face), 5))


@pytest.fixture
def units() -> Tensor:
    return torch.rand(NUM_FRAMES, 5, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def crops(tmp_path: Path, units: Tensor) -> FaceCrops:
    """A texture that never changes, and in its lower middle a patch as bright as the first unit is strong."""
    rng = np.random.default_rng(0)
    pixels = np.tile(rng.integers(60, 200, (1, SIZE, SIZE, 3)), (NUM_FRAMES, 1, 1, 1))
    pixels[:, 10:15, 5:11] = (255 * units[:, 0].numpy()).astype(int)[:, None, None, None]
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "crops.raw").write_bytes(pixels.astype(np.uint8).tobytes())
    np.save(folder / "boxes.npy", np.tile([0, 0, SIZE, SIZE], (NUM_FRAMES, 1)))
    return FaceCrops(folder, num_frames=NUM_FRAMES, size=SIZE)


def build(path: Path, config: AttentionTrainingConfig) -> tuple[AttentionModule, StageState]:
    torch.manual_seed(0)
    module = AttentionModule(
        AuAttentionConfig(size=SIZE, width=8, num_blocks=1), CriticConfig(size=SIZE, width=8, num_layers=3)
    )
    optimiser = attention_optimiser(module, config)
    state = StageState(path, module, optimiser, average_decay=config.average_decay, seed=0, fingerprint="x")
    return module, state


def make_sampler(config: AttentionTrainingConfig, crops: FaceCrops, units: Tensor) -> FaceSampler:
    return FaceSampler(config, crops, units, train=TRAIN, seed=0)


def test_the_critics_loss_by_hand() -> None:
    real = Judgement(torch.tensor([3.0, 1.0]).view(2, 1, 1, 1), torch.full((2, 5), 0.5))
    made = Judgement(torch.tensor([-1.0, 2.0]).view(2, 1, 1, 1), torch.full((2, 5), 9.0))
    loss = critic_loss(AttentionTrainingConfig(), real, made, torch.full((2, 5), 0.3))
    assert float(loss) == pytest.approx(-2.0 + 0.5 + 4000 / 2 * 0.04, rel=1e-5)


def test_the_generators_loss_by_hand() -> None:
    face = torch.zeros(1, 3, 2, 2)
    batch = FaceBatch(face, torch.zeros(1, 5), torch.full((1, 5), 0.6))
    there = Repainted(face, torch.tensor([[0.1, 0.4], [0.2, 0.9]]).view(1, 1, 2, 2))
    back = Repainted(face + 0.25, torch.full((1, 1, 2, 2), 0.5))
    judged = Judgement(torch.full((1, 1, 1, 1), 7.0), torch.full((1, 5), 0.5))
    loss = generator_loss(AttentionTrainingConfig(), batch, there, back, judged)
    rough = 0.3 + 0.7 + 0.1 + 0.5
    expected = -7.0 + 4000 * 0.01 + 10 * 0.25 + 0.1 * (0.4 + 0.5) + 1e-5 * rough
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_total_variation_is_summed_over_the_batch() -> None:
    mask = torch.zeros(3, 1, 4, 4)
    mask[:, :, 1, 1] = 1.0  # a single pixel differs from four neighbours
    assert float(total_variation(mask)) == 12.0


def test_the_penalty_of_a_critic_whose_slope_is_known() -> None:
    weight = torch.full((3, 2, 2), 2.0)
    real, made, mix = torch.rand(4, 3, 2, 2), torch.rand(4, 3, 2, 2), torch.rand(4)
    critic = LinearCritic(weight)
    penalty = gradient_penalty(critic, real, made, mix)
    norm = float(np.sqrt(12 * 4.0))
    assert float(penalty.detach()) == pytest.approx((norm - 1) ** 2, rel=1e-5)
    penalty.backward()
    assert critic.weight.grad is not None  # d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|
    torch.testing.assert_close(critic.weight.grad, torch.full((3, 2, 2), 2 * (norm - 1) * 2.0 / norm))


def test_the_penalty_lies_between_the_real_and_the_made_face() -> None:
    seen: list[Tensor] = []

    class Spy(LinearCritic):
        def forward(self, face: Tensor) -> Judgement:
            seen.append(face)
            return super().forward(face)

    real, made = torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    gradient_penalty(Spy(torch.ones(3, 2, 2)), real, made, torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(seen[0], torch.tensor([0.25, 1.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2))


def test_the_penaltys_gradient_is_the_slope_of_the_penalty() -> None:
    torch.manual_seed(0)
    critic = Critic(CriticConfig(size=16, width=4, num_layers=2)).double()
    real, made, mix = (
        torch.rand(2, 3, 16, 16).double(),
        torch.rand(2, 3, 16, 16).double(),
        torch.rand(2).double(),
    )
    weight = critic.trunk[2].weight
    assert isinstance(weight, nn.Parameter)
    gradient_penalty(critic, real, made, mix).backward()
    assert weight.grad is not None
    there, step = (1, 2, 0, 3), 1e-5
    around = []
    for change in (step, -2 * step):
        with torch.no_grad():
            weight[there] += change
        around.append(float(gradient_penalty(critic, real, made, mix).detach()))
    assert float(weight.grad[there]) == pytest.approx((around[0] - around[1]) / (2 * step), rel=1e-4)


def test_the_rate_is_constant_and_then_falls_to_nothing() -> None:
    shares = [0.0, 0.5, 2 / 3, 5 / 6, 1.0]
    rates = [falling(3.0, share, constant_share=2 / 3) for share in shares]
    assert rates == pytest.approx([3.0, 3.0, 3.0, 1.5, 0.0])
    assert falling(3.0, 1.0, constant_share=1.0) == 3.0


def test_every_training_frame_is_seen_once_in_each_epoch(crops: FaceCrops, units: Tensor) -> None:
    sampler = make_sampler(CONFIG, crops, units)
    assert sampler.num_steps == 10
    epochs = [np.concatenate([sampler.frames(step) for step in range(5 * n, 5 * n + 5)]) for n in (0, 1)]
    assert all(sorted(frames) == list(TRAIN) for frames in epochs)
    assert list(epochs[0]) != list(epochs[1])


def test_wanted_units_are_those_of_a_training_frame_up_to_noise(crops: FaceCrops, units: Tensor) -> None:
    sampler = make_sampler(CONFIG, crops, units)
    generator = np.random.default_rng(0)
    mirrored = 0
    for step in range(20):
        batch = sampler.draw(step, generator)
        far = (batch.wanted[:, None] - units[None, : TRAIN.stop]).abs().amax(dim=-1).amin(dim=-1)
        assert float(far.max()) <= 0.1 + 1e-6
        frames = sampler.frames(step)
        torch.testing.assert_close(batch.units, units[torch.from_numpy(frames)])
        plain = 2 * crops.batch(frames) - 1
        for made, face in zip(batch.faces, plain, strict=True):
            assert torch.equal(made, face) or torch.equal(made, face.flip(-1))
            mirrored += not torch.equal(made, face)
    assert 20 < mirrored < 60


def test_one_adam_equals_two(crops: FaceCrops, units: Tensor, tmp_path: Path) -> None:
    """Against a plain loop with an optimiser each, in the order of paper.md section 4."""
    config = CONFIG
    module, state = build(tmp_path / "one.safetensors", config)
    sampler, figures = make_sampler(config, crops, units), dict[str, Tensor]()
    for _ in range(4):
        assert attention_step(config, module, state, sampler, figures)

    twin, other = build(tmp_path / "two.safetensors", config)
    generator, critic = (
        torch.optim.Adam(part.parameters(), config.rate, betas=config.betas)
        for part in (twin.attention, twin.critic)
    )
    for step in range(4):
        batch = sampler.draw(step, other.numpy)
        made = twin.attention.repaint(batch.faces, batch.wanted).face.detach()
        critic.zero_grad()
        critic_loss(config, twin.critic(batch.faces), twin.critic(made), batch.units).backward()
        critic.step()
        critic.zero_grad()
        mix = torch.rand(len(made), generator=other.torch)
        (10.0 * gradient_penalty(twin.critic, batch.faces, made, mix)).backward()
        critic.step()
        if step % 2 == 1:
            there = twin.attention.repaint(batch.faces, batch.wanted)
            back = twin.attention.repaint(there.face, batch.units)
            generator.zero_grad()
            generator_loss(config, batch, there, back, twin.critic(there.face)).backward()
            generator.step()
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], tensor, msg=name)


def test_the_critic_alone_moves_until_it_is_the_generators_turn(
    crops: FaceCrops, units: Tensor, tmp_path: Path
) -> None:
    module, state = build(tmp_path / "attention.safetensors", CONFIG)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert attention_step(CONFIG, module, state, make_sampler(CONFIG, crops, units), {})
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith("attention."), name


def test_stopped_and_resumed_equals_never_stopped(crops: FaceCrops, units: Tensor, tmp_path: Path) -> None:
    def run(path: Path, stops: list[int]) -> AttentionModule:
        for stop in stops:  # at the full rate, as the whole training begins
            module, state = build(path, CONFIG)
            state.resume()
            sampler = make_sampler(CONFIG, crops, units)
            while state.step < stop:
                attention_step(CONFIG, module, state, sampler, {})
            state.save()
        module, state = build(path, CONFIG)
        state.resume()
        list(fit_attention(CONFIG, module, state, make_sampler(CONFIG, crops, units), seconds=None))
        assert state.step == 10
        return module

    whole, parts = run(tmp_path / "whole.safetensors", [5]), run(tmp_path / "parts.safetensors", [1, 2, 5])
    for name, tensor in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], tensor), name


def test_a_closed_generator_saves_and_goes_on(crops: FaceCrops, units: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "attention.safetensors"
    config = AttentionTrainingConfig(num_epochs=8, critic_steps=1, rate=1e-3)

    def events(path: Path) -> tuple[StageState, AttentionModule, list[Event]]:
        module, state = build(path, config)
        state.resume()
        stream = fit_attention(config, module, state, make_sampler(config, crops, units), seconds=None)
        if state.step:
            return state, module, list(stream)
        first = next(stream)
        stream.close()  # type: ignore[attr-defined]
        return state, module, [first]

    state, _, _ = events(path)
    assert state.step == 4
    assert path.is_file()
    state, parts, rest = events(path)
    assert state.step == 40
    assert state.finished
    assert {event.stage for event in rest if isinstance(event, Progress)} == {"attention"}
    names = {event.name for event in rest if isinstance(event, Metric)}
    assert names >= {"attention loss", "attention unit error", "attention cycle", "attention mask mean"}

    whole, held = build(tmp_path / "whole.safetensors", config)
    list(fit_attention(config, whole, held, make_sampler(config, crops, units), seconds=None))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[name], tensor), name


def test_a_step_that_is_not_finite_is_left_out_and_told(
    crops: FaceCrops, units: Tensor, tmp_path: Path
) -> None:
    module, state = build(tmp_path / "attention.safetensors", CONFIG)
    broken = units.clone()
    broken[: TRAIN.stop] = torch.nan
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    event = next(fit_attention(CONFIG, module, state, make_sampler(CONFIG, crops, broken), seconds=None))
    assert isinstance(event, Warned)
    assert "not finite" in event.message
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_head_start_leaves_the_generator_alone(crops: FaceCrops, units: Tensor, tmp_path: Path) -> None:
    config = AttentionTrainingConfig(critic_steps=1, head_start=2)
    module, state = build(tmp_path / "attention.safetensors", config)
    before = module.attention.mask_head.weight.detach().clone()
    moved = []
    for _ in range(3):
        attention_step(config, module, state, make_sampler(config, crops, units), {})
        moved.append(not torch.equal(module.attention.mask_head.weight, before))
    assert moved == [False, False, True]


@pytest.mark.slow
def test_the_mask_opens_where_the_action_unit_acts(crops: FaceCrops, units: Tensor, tmp_path: Path) -> None:
    config = AttentionTrainingConfig(
        num_epochs=30,
        critic_steps=1,
        head_start=40,
        rate=2e-3,
        realness_weight=0.1,
        unit_weight=400.0,
        mask_weight=0.3,
    )
    module, state = build(tmp_path / "attention.safetensors", config)
    list(fit_attention(config, module, state, make_sampler(config, crops, units), seconds=None))
    frames = np.arange(TRAIN.stop, NUM_FRAMES)
    with torch.no_grad():
        opened = 1 - module.attention.mask(crops.batch(frames), units[TRAIN.stop :])
    moving = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    moving[10:15, 5:11] = True
    still = torch.ones(SIZE, SIZE, dtype=torch.bool)
    still[7:, 2:14] = False
    assert float(opened[:, 0, moving].mean()) > 2 * float(opened[:, 0, still].mean())

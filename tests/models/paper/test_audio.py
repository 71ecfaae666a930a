"""The audio branch: sizes, windows by another route, and attention as a mean."""

import numpy as np
import torch

from nerf_ad.models.paper.audio import (
    AudioAttention,
    AudioBranch,
    AudioConfig,
    AudioNet,
    audio_windows,
    neighbour_windows,
)

CONFIG = AudioConfig()


def count(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_sizes_are_the_papers() -> None:
    """29-32-32-64-64 with kernel 3, then 64-64-64 (paper.md section 7), counted by hand."""
    convolutions = 3 * (29 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 32 + 32 + 64 + 64
    assert count(AudioNet(CONFIG, 29)) == convolutions + 2 * (64 * 64 + 64)
    attention = 3 * (32 * 16 + 16 * 8 + 8 * 4 + 4 * 2 + 2) + 16 + 8 + 4 + 2 + 1
    assert count(AudioAttention(CONFIG)) == attention + 8 * 8 + 8


def test_four_convolutions_shorten_sixteen_steps_to_one() -> None:
    net = AudioNet(CONFIG, 29)
    assert net.convolutions(torch.zeros(2, 29, 16)).shape == (2, 64, 1)
    assert net(torch.zeros(2, 16, 29)).shape == (2, 64)


def test_windows_are_those_of_padding_and_striding() -> None:
    """The paper's recipe at 50 Hz and 25 fps: pad 8 zeros on each side, window 16, stride 2."""
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    padded = np.pad(features, ((8, 8), (0, 0)))
    wanted = np.stack([padded[2 * frame : 2 * frame + 16] for frame in range(20)])
    found = audio_windows(torch.from_numpy(features), 50.0, 20, 25.0, CONFIG)
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_windows_do_not_drift_at_odd_rates() -> None:
    """At 49.9 steps and 30 frames a second the middle step of an hour's last frame is where it belongs."""
    num_steps, num_frames = 179_640, 108_000
    features = torch.arange(num_steps, dtype=torch.float32)[:, None]
    one = AudioConfig(num_steps=2)
    middle = audio_windows(features, 49.9, num_frames, 30.0, one)[:, 1, 0]
    seconds = torch.arange(num_frames, dtype=torch.float64) / 30
    assert float((middle.double() / 49.9 - seconds).abs().max()) <= 0.5 / 49.9 + 1e-9


def test_windows_beyond_the_sound_are_zero() -> None:
    windows = audio_windows(torch.ones(10, 2), 50.0, 30, 25.0, CONFIG)
    assert float(windows[20:].abs().max()) == 0.0
    assert float(audio_windows(torch.ones(0, 2), 50.0, 3, 25.0, CONFIG).abs().max()) == 0.0


def test_neighbours_are_four_before_to_three_behind() -> None:
    windows = torch.arange(1.0, 11.0).view(10, 1, 1).expand(10, 16, 2)
    found = neighbour_windows(windows, torch.tensor([0, 5, 9]), CONFIG)[:, :, 0, 0]
    assert found.tolist() == [
        [0, 0, 0, 0, 1, 2, 3, 4],
        [2, 3, 4, 5, 6, 7, 8, 9],
        [6, 7, 8, 9, 10, 0, 0, 0],
    ]


def test_attention_is_a_weighted_mean() -> None:
    torch.manual_seed(0)
    attention, codes = AudioAttention(CONFIG), torch.randn(3, 8, 64)
    weights = attention.weights(codes).detach()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
    assert bool((weights > 0).all())
    same = codes[:, :1].expand(-1, 8, -1).contiguous()
    torch.testing.assert_close(attention(same), codes[:, 0])
    wanted = torch.zeros(3, 64)
    for item in range(3):
        for neighbour in range(8):
            wanted[item] += weights[item, neighbour] * codes[item, neighbour]
    torch.testing.assert_close(attention(codes).detach(), wanted)


def test_attention_weighs_by_the_first_half_of_a_code() -> None:
    torch.manual_seed(0)
    attention, codes = AudioAttention(CONFIG), torch.randn(2, 8, 64)
    other = codes.clone()
    other[:, :, 32:] += 1.0
    torch.testing.assert_close(attention.weights(other), attention.weights(codes))


def test_branch_hears_only_its_surroundings() -> None:
    """Frame 20 with neighbours sees steps 2*(20-4)-8 to 2*(20+3)+7: nothing else changes its code."""
    torch.manual_seed(0)
    branch, features = AudioBranch(CONFIG, 5), torch.randn(100, 5)
    frame = torch.tensor([20])

    def code(sound: torch.Tensor, *, smooth: bool) -> torch.Tensor:
        return branch(branch.windows(sound, 50.0, 50, 25.0), frame, smooth=smooth).detach()

    for smooth, low, high in ((True, 24, 53), (False, 32, 47)):
        before = code(features, smooth=smooth)
        outside, inside = features.clone(), features.clone()
        outside[:low] += 1
        outside[high + 1 :] += 1
        assert torch.equal(code(outside, smooth=smooth), before)
        for step in (low, high):
            inside = features.clone()
            inside[step] += 10
            assert not torch.equal(code(inside, smooth=smooth), before), step


def test_normalisation_only_where_it_is_asked_for() -> None:
    torch.manual_seed(0)
    features = 5 + 3 * torch.randn(400, 4)
    raw, scaled = AudioBranch(CONFIG, 4), AudioBranch(AudioConfig(normalised=True), 4)
    for branch in (raw, scaled):
        branch.set_normalisation(features)
    inside = slice(10, 190)
    torch.testing.assert_close(
        raw.windows(features, 50.0, 200, 25.0)[inside],
        audio_windows(features, 50.0, 200, 25.0, CONFIG)[inside],
    )
    middle = scaled.windows(features, 50.0, 200, 25.0)[:, 8]
    assert float(middle.mean().abs()) < 0.1
    assert abs(float(middle.std()) - 1) < 0.1
    assert float(scaled.windows(features, 50.0, 200, 25.0)[0, :8].abs().max()) == 0.0


def test_both_parts_learn() -> None:
    torch.manual_seed(0)
    branch = AudioBranch(CONFIG, 5)
    windows = branch.windows(torch.randn(40, 5), 50.0, 20, 25.0)
    branch(windows, torch.arange(20), smooth=True).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.any()) for value in branch.net.parameters())
    assert all(value.grad is not None for value in branch.attention.parameters())


def test_a_scaled_start_lets_speech_through() -> None:
    """Codes of unlike speech differ about as much as the speech does; as PyTorch draws, by far less."""
    heard = torch.randn(64, 16, 29, generator=torch.Generator().manual_seed(0))
    spread = {}
    for start in ("default", "scaled"):
        torch.manual_seed(0)
        net = AudioNet(AudioConfig.model_validate({"start": start}), 29)
        spread[start] = float(net(heard).std(dim=0).mean().detach())
    assert 0.3 < spread["scaled"] < 3
    assert spread["default"] < 0.1

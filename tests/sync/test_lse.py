"""LSE-C and LSE-D on embeddings whose offset is known, against a plain loop."""

import numpy as np
import pytest
import torch

from nerf_ad.sync.lse import MAX_SHIFT, lip_sync_error, shift_distances


@pytest.mark.parametrize("offset", [-15, -7, 0, 4, 15])
def test_a_known_offset_is_found(offset: int) -> None:
    generator = torch.Generator().manual_seed(1)
    sounds = torch.randn(400, 8, generator=generator)
    pictures = torch.roll(sounds, offset, dims=0)  # the mouth does later what is heard now
    found = lip_sync_error(pictures, sounds)
    assert found.offset == offset
    if offset == 0:
        assert found.distance == pytest.approx(8**0.5 * 1e-6, rel=0.01)
    wrong = float((torch.randn(99999, 8, generator=generator) * 2**0.5).norm(dim=1).mean())
    assert found.confidence == pytest.approx(wrong, rel=0.1) or abs(offset) == MAX_SHIFT
    assert found.confidence > 0.8 * wrong


def test_against_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    pictures, sounds = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    means = []
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        at = [sounds[i + shift] if 0 <= i + shift < 40 else np.zeros(6) for i in range(40)]
        means.append(np.mean([np.linalg.norm(v - a + 1e-6) for v, a in zip(pictures, at, strict=True)]))
    found = lip_sync_error(torch.from_numpy(pictures), torch.from_numpy(sounds))
    assert found.distance == pytest.approx(min(means))
    assert found.confidence == pytest.approx(np.median(means) - min(means))
    assert found.offset == MAX_SHIFT - int(np.argmin(means))


def test_unrelated_sound_has_no_confidence() -> None:
    generator = torch.Generator().manual_seed(3)
    pictures, sounds = (torch.randn(2000, 8, generator=generator) for _ in range(2))
    assert lip_sync_error(pictures, sounds).confidence < 0.1


def test_distances_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(4)
    pictures, sounds = (torch.randn(50, 8, generator=generator) for _ in range(2))
    found = shift_distances(pictures, sounds, 3)
    expected = torch.nn.functional.pairwise_distance(pictures[5], sounds[3])
    assert found[5, 1].item() == pytest.approx(expected.item())

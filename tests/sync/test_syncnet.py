"""SyncNet with random weights: sizes, names, files; no weights come with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nerf_ad.core.errors import UsageError, WeightsError
from nerf_ad.sync.syncnet import NUM_COEFFICIENTS, SyncNet, cepstrum, load_syncnet, measure_lip_sync


@pytest.fixture(scope="module")
def network() -> SyncNet:
    torch.manual_seed(0)
    return SyncNet(32).eval()


def test_layers_have_the_published_sizes() -> None:
    shapes = {name: tuple(value.shape) for name, value in SyncNet().state_dict().items()}
    assert shapes["netcnnaud.0.weight"] == (64, 1, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)


def test_a_clip_is_measured(network: SyncNet) -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (8, 224, 224, 3), np.uint8)
    waveform = rng.normal(0, 0.1, 16000 * 8 // 25).astype(np.float32)
    found = measure_lip_sync(network, crops, waveform)
    assert np.isfinite(found.distance)
    assert found.distance > 0
    assert found.confidence >= 0
    with pytest.raises(UsageError, match="too short"):
        measure_lip_sync(network, crops[:5], waveform)


def test_colours_are_turned_round_for_the_network(network: SyncNet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    embed = network.embed_pictures

    def watched(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(pictures)
        return embed(pictures)

    monkeypatch.setattr(network, "embed_pictures", watched)
    crops = np.zeros((6, 224, 224, 3), np.uint8)
    crops[..., 0] = 200  # red
    measure_lip_sync(network, crops, np.full(16000, 0.1, np.float32))
    assert float(seen[0][0, 2].min()) == 200
    assert float(seen[0][0, 0].max()) == 0


def test_weights_come_from_a_file_of_the_users(network: SyncNet, tmp_path: Path) -> None:
    path = tmp_path / "syncnet.safetensors"
    save_file(network.state_dict(), path)
    loaded = load_syncnet(path)
    assert torch.equal(loaded.state_dict()["netfclip.3.weight"], network.state_dict()["netfclip.3.weight"])
    save_file({"other": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="another network"):
        load_syncnet(path)
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(WeightsError, match="safetensors") as caught:
        load_syncnet(path)
    assert caught.value.hint is not None


def test_twice_as_loud_is_more_energy_and_nothing_else() -> None:
    noise = np.random.default_rng(5).normal(0, 0.1, 16000).astype(np.float32)
    steps = cepstrum(noise)
    assert steps.shape == (99, NUM_COEFFICIENTS)
    change = cepstrum(2 * noise) - steps
    assert np.allclose(change[:, 0], np.log(4), atol=1e-3)  # the log of the energy
    assert np.abs(change[:, 1:]).max() < 0.02
    assert len(cepstrum(np.zeros(0, np.float32))) == 0

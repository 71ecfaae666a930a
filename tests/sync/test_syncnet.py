"""SyncNet with random weights: sizes, names, files; no weights come with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nerf_ad.core.errors import BadInputError, UsageError
from nerf_ad.sync.syncnet import (
    NUM_COEFFICIENTS,
    PictureReader,
    PictureTrack,
    SyncNet,
    cepstrum,
    embed_sound,
    load_syncnet,
    measure_lip_sync,
)


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
    with pytest.raises(BadInputError, match="another network"):
        load_syncnet(path)
    path.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BadInputError, match="safetensors") as caught:
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


def test_crops_one_by_one_are_embedded_as_their_windows_are(network: SyncNet) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (7, 224, 224, 3), np.uint8)
    reader = PictureReader(network)
    track = PictureTrack(reader)
    for crop in crops:
        track.add(crop)
    turned = torch.from_numpy(crops[..., ::-1].copy()).float().permute(3, 0, 1, 2)
    with torch.inference_mode():
        windows = network.embed_pictures(torch.stack([turned[:, at : at + 5] for at in range(3)]))
    assert torch.allclose(track.embeddings(), windows, atol=1e-4)


def test_the_same_crops_are_embedded_once(network: SyncNet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def watched(pictures: torch.Tensor) -> torch.Tensor:
        calls.append(len(pictures))
        return torch.zeros(len(pictures), 32) + pictures.mean()

    monkeypatch.setattr(network, "embed_pictures", watched)
    reader = PictureReader(network)
    film = [np.full((224, 224, 3), level, np.uint8) for level in range(12)]
    for crops in (film, film[:4] + film, [film[0]] * 40):
        track = PictureTrack(reader)
        for crop in crops:
            track.add(crop)
        assert len(track.embeddings()) == len(crops) - 4
    assert sum(calls) == 8 + 4 + 1  # the film; the windows that its late copy begins with; a still
    with pytest.raises(UsageError, match="too short"):
        PictureTrack(reader).embeddings()


def test_sound_that_is_a_frame_late_has_embeddings_a_frame_later(network: SyncNet) -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, 16_000).astype(np.float32)
    early, late = (embed_sound(network, sound) for sound in (noise[640:], noise))
    assert late[2:20].numpy() == pytest.approx(early[1:19].numpy(), abs=1e-5)
    apart = (late[2:19] - early[2:19]).norm(dim=1)
    assert apart.min() > 100 * (late[2:20] - early[1:19]).norm(dim=1).max()
    with pytest.raises(UsageError, match="too short"):
        embed_sound(network, noise[:1000])


def test_a_folder_and_nothing_are_no_weights(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.safetensors"):
        with pytest.raises(BadInputError, match="is not a file") as caught:
            load_syncnet(path)
        assert caught.value.exit_code == 2

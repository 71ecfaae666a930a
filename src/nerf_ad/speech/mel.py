"""Log-mel spectrum at 50 Hz: speech features that need no weights.

Step ``i`` is centred on sample ``320 i``. The scale is Slaney's: linear to 1 kHz (200/3 Hz a mel), then
logarithmic (27 mels from 1 kHz to 6.4 kHz), triangles of equal area. It is the one Whisper was trained on.
"""

import functools
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

SAMPLE_RATE: Final = 16_000
"""Samples per second of every waveform here."""
STEP_SAMPLES: Final = 320
"""Samples per step at 50 Hz."""
WINDOW_SAMPLES: Final = 400
"""25 ms: the Hann window and the length of the Fourier transform."""
NUM_BINS: Final = 80

_LINEAR_HZ = 200 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27
_PIECE: Final = 6000
"""Frames that are transformed together: an hour's spectrum at once would be over a gigabyte."""
_FLOOR: Final = 1e-8
"""Power below which everything is silence: 16-bit quantisation noise, and well below a quiet room."""


def num_steps(num_samples: int) -> int:
    """How many 50 Hz steps a waveform has: the last one may be partly silence."""
    return -(-num_samples // STEP_SAMPLES)


def hz_to_mel(hz: Float[np.ndarray, "*values"]) -> Float[np.ndarray, "*values"]:
    """Slaney's mel scale."""
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def mel_to_hz(mel: Float[np.ndarray, "*values"]) -> Float[np.ndarray, "*values"]:
    """The inverse of ``hz_to_mel``."""
    above = _BREAK_HZ * np.exp((np.maximum(mel, _BREAK_MEL) - _BREAK_MEL) * _LOG_STEP)
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, above)


@functools.cache
def mel_filters() -> Float32[Tensor, "bins frequencies"]:
    """Triangular filters of equal area over the 201 frequencies from 0 to 8 kHz."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, WINDOW_SAMPLES // 2 + 1)
    limits = hz_to_mel(np.array([0.0, SAMPLE_RATE / 2]))
    edges = mel_to_hz(np.linspace(limits[0], limits[1], NUM_BINS + 2))
    widths = np.diff(edges)
    rising = (frequencies - edges[:-2, None]) / widths[:-1, None]
    falling = (edges[2:, None] - frequencies) / widths[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    area = 2 / (edges[2:] - edges[:-2])
    return torch.from_numpy((triangles * area[:, None]).astype(np.float32))


def mel_power(waveform: Float32[Tensor, "samples"], hop: int) -> Float32[Tensor, "bins frames"]:
    """Power in each mel band; frame ``i`` is centred on sample ``hop * i``, the ends are reflected.

    Needs more than 200 samples.
    """
    window, reach = torch.hann_window(WINDOW_SAMPLES), WINDOW_SAMPLES // 2
    padded = F.pad(waveform[None], (reach, reach), mode="reflect")[0]
    count = 1 + len(waveform) // hop
    power = waveform.new_empty(NUM_BINS, count)
    for first in range(0, count, _PIECE):
        last = min(first + _PIECE, count)
        part = padded[first * hop : (last - 1) * hop + WINDOW_SAMPLES]
        spectrum = torch.stft(part, WINDOW_SAMPLES, hop, window=window, center=False, return_complex=True)
        power[:, first:last] = mel_filters() @ spectrum.abs().square_()
    return power


class MelEncoder:
    """80 log-mel bands at 50 Hz, about [0, 1.5] for speech; the same sound always gives the same numbers."""

    name = "mel"
    id = "mel:1"
    """Changes with the formula."""
    rate_hz = 50.0
    channels = NUM_BINS

    def encode(self, waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Features of a mono 16 kHz waveform in [-1, 1]; ``steps = ceil(samples / 320)``."""
        steps = num_steps(len(waveform))
        padded = np.pad(waveform, (0, (steps + 1) * STEP_SAMPLES - len(waveform)))
        power = mel_power(torch.from_numpy(padded), STEP_SAMPLES)[:, :steps]
        features: np.ndarray = power.clamp_(min=_FLOOR).log10_().add_(8).div_(8).T.contiguous().numpy()
        return features

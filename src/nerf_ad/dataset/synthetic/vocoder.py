"""Source and filter: pulses at the pitch and white noise, shaped frame by frame, to sound.

    S = transfer * STFT(pulses(f0)) + noise * Z + free        Z complex white noise

followed by one inverse short-time Fourier transform (1200 points, a frame every 300 samples = 12.5 ms,
Hann window, 24 kHz). It is the synthesis that the Hibari model was trained for, written anew after
hibari-tts 0.2.1, ``hibari/dsp.py`` (Apache-2.0); our tone voice feeds it formants instead.
"""

import numpy as np
from jaxtyping import Complex, Float, Float32
from scipy import fft

SAMPLE_RATE = 24_000
"""Samples per second."""
HOP = 300
"""Samples per frame: 12.5 ms."""
NUM_BINS = 601
"""Frequencies of a frame: bin k is 20 k hertz."""
BIN_HERTZ = 20.0
"""Distance between two bins."""
LEAST_PITCH = 40.0
"""Hertz; where the pitch is below it there are no pulses."""
UNIT = HOP
"""Magnitude in a frame of a tone of amplitude 1: half the sum of the window."""

_N_FFT = 1200
_TOP_HERTZ = 11_000.0
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_N_FFT) / _N_FFT)).astype(np.float32)


def synthesise(
    transfer: Complex[np.ndarray, "bins frames"],
    noise: Float[np.ndarray, "bins frames"],
    pitch: Float[np.ndarray, "frames"],
    rng: np.random.Generator,
    *,
    free: Complex[np.ndarray, "bins frames"] | None = None,
) -> Float32[np.ndarray, "samples"]:
    """Sound of ``HOP`` samples per frame.

    Args:
        transfer: what each frequency of the pulses is multiplied by; ``UNIT`` makes harmonics of amplitude 1.
        noise: magnitude of the noise.
        pitch: hertz; frame k is centred on sample ``HOP * k``.
        rng: makes the noise.
        free: a part that depends on neither pulses nor noise.
    """
    spectrum = transfer * _analyse(pulses(pitch))
    white = rng.standard_normal((*noise.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum = spectrum + noise * white
    return _resynthesise(spectrum if free is None else spectrum + free)


def pulses(pitch: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "samples"]:
    """All harmonics below 11 kHz with amplitude 1.

    ``sum_h cos(h t) = sin((H + 1/2) t) / (2 sin(t/2)) - 1/2`` for h from 1 to H.
    """
    frames = np.arange(len(pitch))
    at = (np.arange(len(pitch) * HOP) + 0.5) / HOP - 0.5
    hertz = np.interp(at, frames, pitch.astype(np.float64))
    voiced = hertz > LEAST_PITCH
    hertz = np.maximum(hertz, LEAST_PITCH)
    angle = 2 * np.pi * np.modf(np.cumsum(hertz) / SAMPLE_RATE)[0]
    most = np.floor(_TOP_HERTZ / hertz) + 0.5
    below = 2 * np.sin(angle / 2)
    at_peak = np.abs(below) < 1e-3
    ratio = np.sin(most * angle) / np.where(at_peak, 1.0, below)
    return np.where(voiced, np.where(at_peak, most, ratio) - 0.5, 0.0)


def _analyse(signal: Float[np.ndarray, "samples"]) -> Complex[np.ndarray, "bins frames"]:
    """A tone of amplitude 1 peaks at 1."""
    padded = np.pad(signal, _N_FFT // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::HOP][: len(signal) // HOP]
    return np.asarray(fft.rfft(windows * (_WINDOW / UNIT), axis=1)).T


def _resynthesise(spectrum: Complex[np.ndarray, "bins frames"]) -> Float32[np.ndarray, "samples"]:
    pieces = np.asarray(fft.irfft(spectrum.T, _N_FFT, axis=1)) * _WINDOW
    num_frames, overlap = len(pieces), _N_FFT // HOP
    blocks = pieces.reshape(num_frames, overlap, HOP)
    weights = (_WINDOW**2).reshape(overlap, HOP)
    total = np.zeros((num_frames + overlap - 1, HOP))
    weight = np.full_like(total, 1e-11)
    for shift in range(overlap):
        total[shift : shift + num_frames] += blocks[:, shift]
        weight[shift : shift + num_frames] += weights[shift]
    start = _N_FFT // 2
    return (total / weight).reshape(-1)[start : start + num_frames * HOP].astype(np.float32)

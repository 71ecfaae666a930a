"""The paper's speech features, for those who have them: logits of DeepSpeech 0.1.0, 29 numbers at 50 Hz.

Its weights are not passed on here. Whoever has features that another tool made gives that file; whoever has
the network as ONNX or TFLite gives that, and new audio can be spoken too. The network reads cepstra: 26 of
them every 10 ms, every second of these kept, each with the 9 before and the 9 behind it beside it.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32
from scipy import fft

from nerf_ad.core.errors import FormatError, WeightsError
from nerf_ad.core.files import sha256_file
from nerf_ad.speech.mel import SAMPLE_RATE, num_steps
from nerf_ad.speech.network import Array, brief, open_network

NUM_LOGITS: Final = 29
"""Letters, space, apostrophe and the blank."""
RATE_HZ: Final = 50.0
NUM_CEPSTRA: Final = 26
CONTEXT: Final = 9
"""Steps before, and as many behind, that the network sees at once."""
INPUTS: Final = (2 * CONTEXT + 1) * NUM_CEPSTRA

_WINDOW, _HOP, _TRANSFORM = 400, 160, 512
_PREEMPHASIS, _LIFTER = 0.97, 22
_FULL_SCALE = 32768.0
"""The network was trained on 16-bit numbers; the first cepstrum is a logarithm and feels it."""
_ADNERF_WINDOW = 16
ARRAYS_ID: Final = "deepspeech:arrays"
"""Id of features that came as arrays: which network made them, nobody can tell."""
SLACK_STEPS: Final = 10
"""Steps by which an array may differ from its sound: tools round, and cut a little off (ours)."""
_HINT = "give an array of (steps 29) at 50 Hz, or AD-NeRF's (frames 16 29)"


def read_deepspeech(path: Path) -> Float32[np.ndarray, "steps channels"]:
    """Features that another tool made.

    Args:
        path: ``.npy`` or ``.npz`` (with ``features``, or one array) of (steps 29) at 50 Hz, or the windows
            (frames 16 29) at 25 fps that AD-NeRF's preparation writes; those are unrolled.

    Raises:
        FormatError: missing, damaged, of another shape, not finite, or holding Python objects.
    """
    array = _read(path)
    if array.ndim == 3 and array.shape[1:] == (_ADNERF_WINDOW, NUM_LOGITS):
        # Window i covers the steps 2i-8 to 2i+7: its middle two are the frame's own.
        middle = _ADNERF_WINDOW // 2
        array = array[:, middle : middle + 2].reshape(-1, NUM_LOGITS)
    if array.ndim != 2 or array.shape[1] != NUM_LOGITS or len(array) == 0:
        raise FormatError(f"{path} has the shape {array.shape}, not (steps {NUM_LOGITS})", hint=_HINT)
    is_number = array.dtype.kind in "fiu"
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=np.float32) if is_number else None
    if found is None or not bool(np.isfinite(found).all()):
        raise FormatError(f"{path} holds values that are no finite numbers", hint=_HINT)
    return found


def _read(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    try:
        found: Any = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            names = list(found.files)
            name = "features" if "features" in names else names[0] if len(names) == 1 else None
            if name is not None:
                array: np.ndarray[Any, np.dtype[Any]] = found[name]
                return array
    except FileNotFoundError:
        raise FormatError(f"{path} is missing") from None
    except Exception as error:
        raise FormatError(f"{path} cannot be read as an array: {error}", hint=_HINT) from error
    raise FormatError(f"{path} holds several arrays and none is called features", hint=_HINT)


def cepstra(waveform: Float32[np.ndarray, "samples"]) -> Float[np.ndarray, "frames 26"]:
    """Mel-frequency cepstra every 10 ms as DeepSpeech 0.1.0 was trained on.

    Pre-emphasis 0.97, windows of 25 ms without taper, 512-point power spectrum, 26 triangles on the mel scale
    from 0 to 8 kHz, logarithm, orthonormal cosine transform, sine lifter of 22; the first is replaced by the
    logarithm of the window's energy.
    """
    signal = waveform.astype(np.float64) * _FULL_SCALE
    signal = np.append(signal[:1], signal[1:] - _PREEMPHASIS * signal[:-1])
    count = 1 + max(0, -(-(len(signal) - _WINDOW) // _HOP))
    signal = np.pad(signal, (0, max(0, (count - 1) * _HOP + _WINDOW - len(signal))))
    windows = np.lib.stride_tricks.sliding_window_view(signal, _WINDOW)[::_HOP][:count]
    power = np.abs(np.fft.rfft(windows, _TRANSFORM)) ** 2 / _TRANSFORM
    smallest = np.finfo(np.float64).eps
    energy = np.maximum(power.sum(axis=1), smallest)
    bands = np.maximum(power @ _triangles().T, smallest)
    found = fft.dct(np.log(bands), type=2, norm="ortho", axis=1)
    found = found * (1 + _LIFTER / 2 * np.sin(np.pi * np.arange(NUM_CEPSTRA) / _LIFTER))
    found[:, 0] = np.log(energy)
    return found


def network_inputs(waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps inputs"]:
    """What the network reads: cepstra with their context, of zero mean and unit deviation over the sound."""
    steps = num_steps(len(waveform))
    # The last step's window may reach beyond the sound: silence follows.
    padded = np.pad(waveform, (0, max(0, 2 * _HOP * (steps - 1) + _WINDOW - len(waveform))))
    kept = np.pad(cepstra(padded)[::2][:steps], ((CONTEXT, CONTEXT), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(kept, 2 * CONTEXT + 1, axis=0)
    inputs = windows.transpose(0, 2, 1).reshape(steps, INPUTS)
    scaled = (inputs - inputs.mean()) / max(float(inputs.std()), 1e-8)
    return scaled.astype(np.float32)


def _triangles() -> Float[np.ndarray, "bands frequencies"]:
    """Triangles between whole bins of the spectrum, evenly spaced on the mel scale 2595 log10(1 + f/700)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, NUM_CEPSTRA + 2) / 2595) - 1)
    bins = np.floor((_TRANSFORM + 1) * edges / SAMPLE_RATE)
    left, centre, right = bins[:-2, None], bins[1:-1, None], bins[2:, None]
    place = np.arange(_TRANSFORM // 2 + 1)[None, :]
    rising = (place - left) / np.maximum(centre - left, 1)
    falling = (right - place) / np.maximum(right - centre, 1)
    return np.where(place < centre, rising, falling) * ((place >= left) & (place < right))


class DeepSpeechArrays:
    """DeepSpeech's logits of one sound, made by another tool."""

    id = ARRAYS_ID
    name = "deepspeech"
    rate_hz = RATE_HZ
    channels = NUM_LOGITS

    def __init__(self, path: Path) -> None:
        """Read the array; see ``read_deepspeech``.

        Raises:
            FormatError: it cannot be used.
        """
        self._path = path
        self._features = read_deepspeech(path)

    def refuse_other_length(self, steps: int) -> None:
        """Stop at a sound that the array cannot be of.

        Raises:
            FormatError: it lasts longer or shorter by more than 0.2 s.
        """
        if abs(len(self._features) - steps) > SLACK_STEPS:
            raise FormatError(
                f"{self._path} holds features of {len(self._features) / RATE_HZ:.2f} s, "
                f"the sound lasts {steps / RATE_HZ:.2f} s",
                hint="give the features of this very sound, or a network (--speech-model) for any sound",
            )

    def encode(self, waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps channels"]:
        """The features, if the sound is as long as they are; the last few steps are cut or repeated.

        Raises:
            FormatError: they are of another sound.
        """
        steps = num_steps(len(waveform))
        self.refuse_other_length(steps)
        return self._features[np.minimum(np.arange(steps), len(self._features) - 1)]


class DeepSpeechEncoder:
    """DeepSpeech's logits from a network that the user supplies as ONNX or TFLite."""

    name = "deepspeech"
    rate_hz = RATE_HZ
    channels = NUM_LOGITS

    def __init__(self, path: Path) -> None:
        """Open the network.

        Args:
            path: ``.onnx`` or ``.tflite`` with one float input whose last axis is 494 (cepstra with context)
                or that takes a waveform, perhaps a whole-number input for the number of steps, and a first
                output whose last axis is 29.

        Raises:
            NerfAdError: what runs it cannot be imported.
            WeightsError: the file is missing, or is not such a network.
        """
        self._path = path
        self._network = open_network(path)
        signals = [entry.name for entry in self._network.inputs if not entry.is_whole]
        if len(signals) != 1:
            raise WeightsError(
                f"{path} takes {len(signals)} signals ({', '.join(signals) or 'none'}), not one",
                hint="networks that hear in pieces (DeepSpeech 0.6 and later) read other cepstra: use 0.1.0",
            )
        self.id = f"deepspeech:{sha256_file(path)[:12]}"

    def encode(self, waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Logits of a mono 16 kHz waveform in [-1, 1], ``ceil(samples / 320)`` steps.

        Raises:
            WeightsError: the network does not take speech, or does not give 29 numbers for each step.
        """
        steps = num_steps(len(waveform))
        if steps == 0:
            return np.zeros((0, NUM_LOGITS), np.float32)
        feeds: dict[str, Array] = {}
        for name, shape, dtype in self._network.inputs:
            if issubclass(dtype, np.integer):
                feeds[name] = np.full((1,) * len(shape), steps, dtype)
                continue
            value = network_inputs(waveform) if shape and shape[-1] == INPUTS else waveform
            feeds[name] = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
        try:
            made = self._network.run(feeds)
        except Exception as error:
            raise WeightsError(f"{self._path} does not take speech: {brief(error)}") from error
        if made.ndim == 0 or made.shape[-1] != NUM_LOGITS or made.size < steps * NUM_LOGITS:
            raise WeightsError(
                f"{self._path} gives numbers of shape {made.shape} for {steps} steps of {NUM_LOGITS}"
            )
        return np.ascontiguousarray(made.reshape(-1, NUM_LOGITS)[:steps])

"""Phoneme posteriors: the logarithm of how probable each of 191 symbols is, 50 times a second.

The nearest to DeepSpeech's logits that anybody may have: a small network that was taught to recognise speech
(hama 1.7.0). Symbols 0 to 188 are its alphabet of phonemes, 189 is a word's end, 190 the blank of CTC.

The network is run by a library of its author's, which is found and verified like every weight
(`core.weights`) and called through ``ctypes``; nothing of the package is imported. It reads 30 s at a time,
and silently cuts off what is longer: see ``pieces``.

Why logarithms: CTC is peaky, three steps of four are "blank" with a probability near 1, and there the
probabilities of all phonemes look like 0. Their logarithms still tell which of them are near.
"""

import ctypes
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from nerf_ad.core.errors import WeightsError
from nerf_ad.speech.mel import STEP_SAMPLES, num_steps
from nerf_ad.speech.pieces import PIECE, RATE, piece_starts, piece_weight

NUM_SYMBOLS: Final = 191
"""Numbers per step."""
BLANK: Final = 190
"""Which of them means that no symbol begins here."""
FLOOR: Final = -50.0
"""Smallest logarithm. Speech reaches about -46; a higher floor costs information about the lips (ours)."""

_FETCH: Final = "fetch it again with: nerf-ad weights fetch phoneme-encoder phoneme-engine"
_FLOATS = ctypes.POINTER(ctypes.c_float)


class PhonemeEncoder:
    """Log-probabilities of phonemes for any length of sound."""

    name = "phonemes"
    rate_hz = float(RATE)
    channels = NUM_SYMBOLS

    def __init__(self, engine: Path, model: Path, *, extractor: str) -> None:
        """Load the network into the engine.

        Args:
            engine: the library, verified.
            model: ``asr_waveform.hama``, verified.
            extractor: id of the model.

        Raises:
            WeightsError: the library cannot be loaded, or does not take the model.
        """
        self.id = extractor
        self._engine = _open_engine(engine)
        try:
            data = model.read_bytes()
        except OSError as error:
            raise WeightsError(f"{model} cannot be read: {error.strerror}", hint=_FETCH) from error
        self._model: int | None = self._engine.hama_asr_load(data, len(data))
        if not self._model:
            raise WeightsError(f"{model} is not a network that {engine.name} takes", hint=_FETCH)

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self._engine.hama_asr_free(self._model)
            self._model = None

    def encode(self, waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Log-probabilities of a mono 16 kHz waveform in [-1, 1]; step ``i`` is centred on sample ``320 i``.

        Returns as many as ``ceil(samples / 320)`` steps.

        Raises:
            WeightsError: the engine fails.
        """
        steps = num_steps(len(waveform))
        total = np.zeros((steps, NUM_SYMBOLS), np.float32)
        weight = np.zeros((steps, 1), np.float32)
        starts = piece_starts(steps) if steps else []
        for start in starts:
            count = min(PIECE, steps - start)
            found = self._piece(waveform[start * STEP_SAMPLES : (start + count) * STEP_SAMPLES], count)
            fade = piece_weight(is_first=start == 0, is_last=start == starts[-1]).numpy()[:count]
            total[start : start + count] += fade * found
            weight[start : start + count] += fade
        return total / weight

    def _piece(
        self, waveform: Float32[np.ndarray, "samples"], steps: int
    ) -> Float32[np.ndarray, "steps channels"]:
        """One call: 30 s at most."""
        length = max(steps, 2) * STEP_SAMPLES  # shorter than a window, there is nothing to transform
        padded = np.zeros(length, np.float32)
        padded[: len(waveform)] = waveform
        rows = int(self._engine.hama_asr_num_frames(length))
        if not steps <= rows <= PIECE + 1:
            raise WeightsError(f"the phoneme engine wants to give {rows} steps, not {steps}", hint=_FETCH)
        found = np.zeros((rows, NUM_SYMBOLS), np.float32)
        made = ctypes.c_int64(0)
        status = self._engine.hama_asr_run(
            self._model, padded.ctypes.data_as(_FLOATS), length, found.ctypes.data_as(_FLOATS), made
        )
        if status < 0 or made.value < steps or not bool(np.isfinite(found[:steps]).all()):
            raise WeightsError(f"the phoneme engine gave {made.value} of {steps} steps", hint=_FETCH)
        return np.maximum(found[:steps], np.float32(FLOOR))


def _open_engine(path: Path) -> Any:  # noqa: ANN401 - a library has no types
    """The library with the types of what is called (hama 1.7.0, its ``_engine.py``)."""
    try:
        engine = ctypes.CDLL(str(path))
        load, free = engine.hama_asr_load, engine.hama_asr_free
        count, run = engine.hama_asr_num_frames, engine.hama_asr_run
    except (OSError, AttributeError) as error:
        what = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path} is no phoneme engine for this machine: {what}", hint=_FETCH) from error
    load.argtypes, load.restype = [ctypes.c_char_p, ctypes.c_size_t], ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    count.argtypes, count.restype = [ctypes.c_int64], ctypes.c_int64
    run.argtypes = [ctypes.c_void_p, _FLOATS, ctypes.c_int64, _FLOATS, ctypes.POINTER(ctypes.c_int64)]
    run.restype = ctypes.c_int64
    return engine

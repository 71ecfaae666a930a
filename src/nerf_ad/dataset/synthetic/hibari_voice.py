"""The natural voice: Hibari's network gives a spectrum every 12.5 ms, `vocoder` makes it sound.

Two things the network does not say by itself:

* How long each phoneme lasts is the tensor ``/Clip_output_0`` inside its graph, in steps of 25 ms. It becomes
  an output by appending a few bytes to the file: protobuf joins the parts of a message that is given twice.
* The sound runs ahead of those lengths. Over ten sentences the energy of 56 stops is least, the treble of 47
  sibilants greatest and 121 vowels loudest when the table is moved 50 ms to the front, so it is.
"""

# ruff: noqa: RUF001 - phonetic letters look like others

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from nerf_ad.core.errors import NerfAdError, WeightsError
from nerf_ad.core.files import read_json
from nerf_ad.dataset.synthetic.pronunciation import CONSONANTS, STOPS, STRESS, VOWELS, Lexicon, phonemise
from nerf_ad.dataset.synthetic.vocoder import synthesise
from nerf_ad.dataset.synthetic.voice import GRID, PAUSE, HibariConfig, Utterance, to_phonemes

_DURATIONS = "/Clip_output_0"
_LEAD = 2
"""Grid steps by which the sound runs ahead of the lengths."""
_LONGEST = 400
"""Phonemes the network was made for at once (hibari-tts: ``MAX_PHONEMES``)."""
_FAINT = 10 ** (-40 / 20)
"""Level against the loudest step below which a sentence's last phoneme has ended."""
_LARGEST_LOG = 7.0
"""Magnitudes are clipped at its exponential (hibari-tts)."""


class HibariVoice:
    """The default American voice."""

    def __init__(self, folder: Path, config: HibariConfig, *, extractor: str) -> None:
        """Load the network, its alphabet and the lexica.

        Raises:
            NerfAdError: onnxruntime cannot be imported.
            WeightsError: the files are damaged.
        """
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")  # it has no types
        except ImportError as error:
            raise NerfAdError(
                f"the natural voice needs onnxruntime, which cannot be imported: {error}",
                hint="pip install 'nerf-ad[synthetic]', or choose the tone voice",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same bits on every machine
        options.log_severity_level = 3
        try:
            model = with_output((folder / "hibari.onnx").read_bytes(), _DURATIONS)
            self._session: Any = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise WeightsError(
                f"{folder / 'hibari.onnx'} cannot be loaded: {error}", hint="nerf-ad weights fetch hibari"
            ) from error
        self._ids: dict[str, int] = read_json(folder / "vocab.json")
        self._ids |= {"ɾ": self._ids["T"], "ʔ": self._ids["t"]}  # as hibari-tts writes flap and glottal stop
        self._lexicon = Lexicon(folder)
        self._config = config
        self.id = extractor

    def say(self, sentence: str, *, seed: int) -> Utterance:
        """Speak one sentence of at most 400 phonemes; the rest of a longer one is not spoken."""
        text = [c for c in phonemise(sentence, self._lexicon) if c in self._ids][:_LONGEST]
        if not any(c in VOWELS + CONSONANTS for c in text):
            return Utterance(np.zeros(0, np.float32), (), ())
        samples, lengths = self._speak([0, *(self._ids[c] for c in text), 0], seed)
        lengths[0] -= _LEAD
        lengths[-1] += _LEAD
        return Utterance(samples, to_phonemes(_table(["", *text, ""], lengths, samples)), ())

    def _speak(
        self, ids: list[int], seed: int
    ) -> tuple[Float32[np.ndarray, "samples"], Int[np.ndarray, "ids"]]:
        feeds = {
            "ids": np.array([ids], np.int64),
            "speed": np.array([self._config.speed], np.float32),
        }
        names = ["lh", "theta", "ln", "lr", "phi", "f0", _DURATIONS]
        harmonic, turn, noise, rest, phase, pitch, lengths = self._session.run(names, feeds)
        samples = synthesise(
            _magnitude(harmonic[0]) * np.exp(1j * np.pi * np.tanh(turn[0])),
            _magnitude(noise[0]),
            pitch[0] * self._config.pitch,
            np.random.default_rng(seed),
            free=_magnitude(rest[0]) * np.exp(1j * phase[0]),
        )
        return samples, np.rint(lengths).reshape(-1).astype(np.int64)


def with_output(model: bytes, tensor: str) -> bytes:
    """An ONNX model with one more output.

    Protobuf merges what is appended: ``ModelProto.graph`` (field 7) ``GraphProto.output`` (field 12)
    ``ValueInfoProto.name`` (field 1).
    """
    message = tensor.encode()
    for field in (1, 12, 7):
        if len(message) > 127:
            message_ = f"the name {tensor} is too long"
            raise ValueError(message_)
        message = bytes([field << 3 | 2, len(message)]) + message
    return model + message


def _table(
    text: list[str], lengths: Int[np.ndarray, "ids"], samples: Float32[np.ndarray, "samples"]
) -> list[tuple[str, int, int]]:
    """(symbol, grid steps, stress); a stress mark's time is its vowel's, that of a blank its neighbours'."""
    table: list[tuple[str, int, int]] = []
    carried = stress = 0
    for sign, length in zip(text, map(int, lengths), strict=True):
        if sign in ("", *STOPS):
            if sign in STOPS[1:] or sign == "":
                table, length = _ended(table, length, samples)  # noqa: PLW2901
            table.append((PAUSE, length + carried, 0))
            carried = 0
        elif sign == " ":
            before = min(length, 1) if table and table[-1][0] != PAUSE else 0
            if before:
                table[-1] = (table[-1][0], table[-1][1] + before, table[-1][2])
            carried += length - before
        elif sign in STRESS:
            carried, stress = carried + length, 2 - STRESS.index(sign)
        elif sign in VOWELS + CONSONANTS:
            table.append((sign, length + carried, stress if sign in VOWELS else 0))
            carried, stress = 0, (0 if sign in VOWELS else stress)
        else:  # a sign without a sound of its own lengthens the one before
            table[-1] = (table[-1][0], table[-1][1] + length, table[-1][2])
    return table


def _ended(
    table: list[tuple[str, int, int]], pause: int, samples: Float32[np.ndarray, "samples"]
) -> tuple[list[tuple[str, int, int]], int]:
    """The last phoneme before a full stop holds its own decay: where it has become faint the pause begins."""
    if not table or table[-1][0] == PAUSE:
        return table, pause
    symbol, length, stress = table[-1]
    levels = np.sqrt((samples.reshape(-1, GRID).astype(np.float64) ** 2).mean(axis=1))
    start = sum(entry[1] for entry in table[:-1])
    loud = np.flatnonzero(levels[start : start + length] > _FAINT * levels.max())
    kept = min(length, max(2, int(loud[-1]) + 1 if len(loud) else 0))
    return [*table[:-1], (symbol, kept, stress)], pause + length - kept


def _magnitude(logarithm: Float32[np.ndarray, "bins frames"]) -> Float32[np.ndarray, "bins frames"]:
    return np.exp(np.minimum(logarithm, _LARGEST_LOG))

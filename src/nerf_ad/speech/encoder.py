"""What turns a waveform into speech features: the protocol, the choices, and the way between them."""

import platform
import sys
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol, assert_never, runtime_checkable

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from nerf_ad.core import weights
from nerf_ad.core.catalogue import WEIGHTS
from nerf_ad.core.config import Config
from nerf_ad.core.errors import UsageError, WeightsError

WhisperLayer = Literal["block1", "block2", "block3", "block4", "final"]
"""The output of one of Whisper's four blocks, or of the last one after its layer norm."""


@runtime_checkable
class SpeechEncoder(Protocol):
    """A waveform to features, one row per step."""

    @property
    def id(self) -> str:
        """What made the features, with the digest of its weights; another id means other numbers."""
        ...

    @property
    def name(self) -> str:
        """Short, fit for a file name."""
        ...

    @property
    def rate_hz(self) -> float:
        """Steps per second; step ``i`` is centred on second ``i / rate_hz``."""
        ...

    @property
    def channels(self) -> int:
        """Numbers per step."""
        ...

    def encode(self, waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Features of a mono 16 kHz waveform in [-1, 1], ``ceil(seconds * rate_hz)`` steps."""
        ...


class WhisperConfig(Config):
    """The encoder of Whisper tiny.en: 384 numbers a step for each layer."""

    kind: Literal["whisper"] = "whisper"
    """Which encoder this is."""
    layers: tuple[WhisperLayer, ...] = Field(default=("final",), min_length=1, strict=False)
    """Which layers to use, side by side."""


class PhonemeConfig(Config):
    """Log-probabilities of 191 phonemes and marks: of what anybody may have the nearest to the paper's."""

    kind: Literal["phonemes"] = "phonemes"
    """Which encoder this is (ours: DeepSpeech's weights may not be passed on)."""


class DeepSpeechConfig(Config):
    """DeepSpeech's 29 logits, from arrays or a network that the user supplies (``SpeechFiles``)."""

    kind: Literal["deepspeech"] = "deepspeech"
    """Which encoder this is (paper.md section 3)."""


class MelConfig(Config):
    """80 log-mel bands: no weights, weaker lips."""

    kind: Literal["mel"] = "mel"
    """Which encoder this is."""


AnySpeechConfig = WhisperConfig | PhonemeConfig | DeepSpeechConfig | MelConfig
SpeechConfig = Annotated[AnySpeechConfig, Field(discriminator="kind")]
SpeechKind = Literal["whisper", "phonemes", "deepspeech", "mel"]
"""The kinds of all of them."""


class SpeechFiles(NamedTuple):
    """What the user supplies where an encoder cannot be fetched: one of the two."""

    features: Path | None = None
    """DeepSpeech's logits of the very sound that is to be encoded: ``.npy`` or ``.npz``."""
    model: Path | None = None
    """DeepSpeech's network: ``.onnx`` or ``.tflite``."""


NO_FILES = SpeechFiles()
"""Nothing."""


def speech_config(kind: SpeechKind) -> AnySpeechConfig:
    """The default choice of a kind."""
    match kind:
        case "whisper":
            return WhisperConfig()
        case "phonemes":
            return PhonemeConfig()
        case "deepspeech":
            return DeepSpeechConfig()
        case "mel":
            return MelConfig()
        case _:
            assert_never(kind)


def speech_weights(config: AnySpeechConfig) -> tuple[str, ...]:
    """Names of the third-party weights of a choice.

    Raises:
        WeightsError: it does not run on this system.
    """
    match config:
        case WhisperConfig():
            return ("speech-encoder",)
        case PhonemeConfig():
            if "phoneme-engine" not in WEIGHTS:
                raise WeightsError(
                    f"there is no phoneme engine for {sys.platform} on {platform.machine()}",
                    hint="use whisper or mel features",
                )
            return ("phoneme-encoder", "phoneme-engine")
        case DeepSpeechConfig() | MelConfig():
            return ()
        case _:
            assert_never(config)


def refuse_misplaced_files(config: AnySpeechConfig, files: SpeechFiles) -> None:
    """Stop at files that an encoder does not want, or where one is wanting.

    Raises:
        UsageError: in a sentence.
    """
    given = [file for file in files if file is not None]
    if given and config.kind != "deepspeech":
        raise UsageError(
            f"{given[0]} cannot serve {config.kind} features",
            hint="--speech-features and --speech-model are for deepspeech features",
        )
    if config.kind == "deepspeech" and len(given) != 1:
        raise UsageError(
            "DeepSpeech's features need an array or a network of yours"
            + (", not both" if given else ", and none is given"),
            hint="--speech-model FILE.onnx, or --speech-features FILE.npy with those of this very sound",
        )


def build_speech_encoder(config: AnySpeechConfig, files: SpeechFiles = NO_FILES) -> SpeechEncoder:
    """The encoder of a choice.

    Args:
        config: the choice.
        files: what the user supplies for it.

    Raises:
        WeightsError: its weights are not there or damaged.
        UsageError: it needs other files.
        FormatError: the user's array cannot be used.
        NerfAdError: what runs the user's network cannot be imported.
    """
    refuse_misplaced_files(config, files)
    match config:
        case WhisperConfig():
            from nerf_ad.speech.whisper import load_whisper

            (name,) = speech_weights(config)
            return load_whisper(
                weights.locate(name), extractor=weights.extractor_id(name), layers=config.layers
            )
        case PhonemeConfig():
            from nerf_ad.speech.phonemes import PhonemeEncoder

            model, engine = speech_weights(config)
            return PhonemeEncoder(
                weights.locate(engine), weights.locate(model), extractor=weights.extractor_id(model)
            )
        case DeepSpeechConfig():
            from nerf_ad.speech.deepspeech import DeepSpeechArrays, DeepSpeechEncoder

            if files.features is not None:
                return DeepSpeechArrays(files.features)
            assert files.model is not None
            return DeepSpeechEncoder(files.model)
        case MelConfig():
            from nerf_ad.speech.mel import MelEncoder

            return MelEncoder()
        case _:
            assert_never(config)

"""What turns a waveform into speech features: the protocol, the choices, and the way between them."""

from typing import Annotated, Literal, Protocol, assert_never, runtime_checkable

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from nerf_ad.core.config import Config

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


class MelConfig(Config):
    """80 log-mel bands: no weights, weaker lips."""

    kind: Literal["mel"] = "mel"
    """Which encoder this is."""


SpeechConfig = Annotated[WhisperConfig | MelConfig, Field(discriminator="kind")]


def build_speech_encoder(config: WhisperConfig | MelConfig) -> SpeechEncoder:
    """The encoder of a choice.

    Raises:
        WeightsError: its weights are not there or damaged.
    """
    match config:
        case WhisperConfig():
            from nerf_ad.core import weights
            from nerf_ad.speech.whisper import load_whisper

            name = "speech-encoder"
            return load_whisper(
                weights.locate(name), extractor=weights.extractor_id(name), layers=config.layers
            )
        case MelConfig():
            from nerf_ad.speech.mel import MelEncoder

            return MelEncoder()
        case _:
            assert_never(config)

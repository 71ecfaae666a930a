"""A training of any method, and which speech features of the data set it hears."""

from typing import TypeVar, cast

from nerf_ad.core.config import merged
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.models.fields.field import FieldKind
from nerf_ad.speech.encoder import MelConfig, SpeechKind, WhisperConfig
from nerf_ad.training.fast import TrainConfig
from nerf_ad.training.fast_ad import FastAdTrainConfig
from nerf_ad.training.paper.config import FacePartsConfig, PaperTrainConfig

AnyTrainConfig = TrainConfig | FastAdTrainConfig | PaperTrainConfig
"""A whole training of any method."""
Chosen = TypeVar("Chosen", bound=AnyTrainConfig)


def with_speech(config: Chosen, kind: SpeechKind | None) -> Chosen:
    """A training that hears other features of the data set; the same where ``kind`` is absent.

    AudioNet takes DeepSpeech's logits as they are, like the paper; others are normalised.
    """
    if kind is None or kind == config.speech.kind:
        return config
    choices = config.model_dump()
    choices["speech"] = {"kind": kind}
    audio = {"audio": {"normalised": kind != "deepspeech"}}
    if isinstance(config, PaperTrainConfig):
        choices["model"] = merged(choices["model"], {"conditions": audio})
    elif isinstance(config, FastAdTrainConfig):
        choices["conditions"] = merged(choices["conditions"], audio)
    return cast(Chosen, type(config).model_validate(choices))


def with_field(config: TrainConfig, kind: FieldKind | None) -> TrainConfig:
    """A training of another radiance field, with that field's numbers; the same where none is asked for."""
    if kind is None or kind == config.model.field.kind:
        return config
    model = {**config.model.model_dump(), "field": {"kind": kind}}
    return TrainConfig.model_validate({**config.model_dump(), "model": model})


def with_features_of(dataset: Dataset, config: Chosen) -> Chosen:
    """A training that hears what the data set has: the features of the config, or log-mel for Whisper's.

    Whisper's are what nobody had to ask for; others are never replaced.

    Raises:
        FormatError: it has neither.
    """
    wanted, spare = config.speech.kind, MelConfig().kind
    names = dataset.speech_names()
    if wanted == WhisperConfig().kind and wanted not in names and spare in names:
        return with_speech(config, spare)
    dataset.speech_file(wanted)
    return config


def hears(config: AnyTrainConfig) -> bool:
    """Whether speech teaches any part of it."""
    return not isinstance(config, FacePartsConfig) or config.speech_networks.hears

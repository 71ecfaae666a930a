"""Train an avatar: the stages of its method in order, each resumed where it stopped."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import assert_never

import torch

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.device import choose_device, prepare_cpu, seed_everything
from nerf_ad.core.errors import UsageError
from nerf_ad.core.events import Event, Warned
from nerf_ad.core.files import file_in_the_way
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.training.config import AnyTrainConfig, hears, with_features_of
from nerf_ad.training.fast import TrainConfig, fast_stages
from nerf_ad.training.fast_ad import FastAdTrainConfig, fast_ad_stages
from nerf_ad.training.paper.config import FacePartsConfig, PaperTrainConfig
from nerf_ad.training.paper.train import paper_stages
from nerf_ad.training.run_log import RunLog, open_run

__all__ = [
    "AnyTrainConfig",
    "FastAdTrainConfig",
    "PaperTrainConfig",
    "TrainConfig",
    "train",
    "train_events",
]


def train_events(
    dataset: Dataset,
    root: Path,
    config: AnyTrainConfig,
    *,
    size: int | None = None,
    minutes: float | None = None,
    device: torch.device,
    parts: Path | None = None,
) -> Iterator[Event]:
    """All stages as one stream of events; the avatar folder is whole when it ends.

    Where the dataset lacks Whisper's speech features and has log-mel, that is heard, with a warning; other
    features are never replaced. A stage is gone on with while the stages that it follows from stay as they
    were; where one of these was trained further, because more time was given, it begins anew, with a warning.

    Args:
        dataset: what to train on.
        root: the avatar's folder.
        config: the choices; their type says which method it is.
        size: picture size; the config's or the dataset's where absent.
        minutes: time budget of all stages together, interruptions not counted.
        device: where to work.
        parts: folder of stages that this training may have in common with others that part and paint faces,
            made there or found there.

    Raises:
        BadInputError: the folder belongs to another training, or the dataset does not fit or lacks the
            speech features.
        UsageError: another process trains this avatar, ``size`` is larger than the dataset's, or ``parts`` is
            or lies below a file.
    """
    prepare_cpu()
    seed_everything(config.seed)
    size = size or _own_size(config, dataset)
    if size > dataset.size:
        raise UsageError(
            f"--size {size} is larger than the data set's {dataset.size}",
            hint="capture it again with that --size",
        )
    if parts is not None:
        _refuse_file_in_the_way(parts)
    heard = with_features_of(dataset, config)
    with (
        open_run(root, _fingerprint(dataset, heard, size), heard) as log,
        contextlib.closing(
            _stages(dataset, root, heard, size=size, minutes=minutes, device=device, log=log, parts=parts)
        ) as events,
    ):
        for event in itertools.chain(_about_speech(config, heard), events):
            log.write(event)
            yield event


def train(
    dataset: Dataset | str | Path,
    avatar: str | Path,
    config: AnyTrainConfig,
    *,
    size: int | None = None,
    minutes: float | None = None,
    device: torch.device | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Avatar:
    """Fit an avatar to a dataset, continuing where an earlier run stopped.

    Returns:
        the finished avatar.
    """
    opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    device = device or choose_device()
    for event in train_events(opened, Path(avatar), config, size=size, minutes=minutes, device=device):
        if on_event is not None:
            on_event(event)
    return Avatar.load(avatar, device=device)


def _stages(
    dataset: Dataset,
    root: Path,
    config: AnyTrainConfig,
    *,
    size: int,
    minutes: float | None,
    device: torch.device,
    log: RunLog,
    parts: Path | None,
) -> Generator[Event, None, None]:
    match config:
        case TrainConfig():
            return fast_stages(dataset, root, config, size=size, minutes=minutes, device=device, log=log)
        case FastAdTrainConfig():
            return fast_ad_stages(
                dataset, root, config, size=size, minutes=minutes, device=device, log=log, parts=parts
            )
        case PaperTrainConfig():
            return paper_stages(
                dataset, root, config, size=size, minutes=minutes, device=device, log=log, parts=parts
            )
        case _:
            assert_never(config)


def _refuse_file_in_the_way(parts: Path) -> None:
    place = file_in_the_way(parts)
    if place is not None:
        below = "" if place == parts else f" lies below {place}, which"
        raise UsageError(f"--parts {parts}{below} is a file, not a folder", hint="choose another folder")


def _about_speech(wanted: AnyTrainConfig, heard: AnyTrainConfig) -> list[Event]:
    if heard.speech == wanted.speech or not hears(heard):
        return []
    what, instead = wanted.speech.kind, heard.speech.kind
    message = f"the data set has no {what} speech features, so {instead} is heard"
    return [Warned(message=f"{message} (nerf-ad capture --speech {what} adds them)")]


def _own_size(config: AnyTrainConfig, dataset: Dataset) -> int:
    wanted = config.size if isinstance(config, PaperTrainConfig) else None
    return min(wanted or dataset.size, dataset.size)


def _fingerprint(dataset: Dataset, config: AnyTrainConfig, size: int) -> str:
    steps = dataset.inputs_for_training(with_units=isinstance(config, FacePartsConfig))
    choices = config.model_dump(mode="json")
    if isinstance(config, PaperTrainConfig):
        del choices["nerf"]["num_steps"]  # no schedule depends on it: more of them go on
    if not hears(config):
        del choices["speech"]
    origin = dataset.speech_origin(config.speech.kind) if hears(config) else None
    facts = [dataset.manifest.source.sha256, steps, choices, size, origin]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

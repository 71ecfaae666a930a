"""``nerf-ad train PRESET DATASET AVATAR``."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, assert_never

import tyro

from nerf_ad.cli.progress import ProgressPrinter
from nerf_ad.core.device import choose_device
from nerf_ad.core.errors import UsageError
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.models.fields.field import FieldKind
from nerf_ad.presets import PRESETS, as_row
from nerf_ad.speech.encoder import SpeechKind
from nerf_ad.training.config import with_field, with_speech
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.train import AnyTrainConfig, FastAdTrainConfig, TrainConfig, train_events

SUMMARIES = {
    "fast": "Fit the planes field: half an hour on a laptop's CPU, minutes on a GPU.",
    "fast-ad": "Fit the planes field behind NeRF-AD's mask and painted audio face: minutes more than fast.",
    "tiny": "Fit a very small avatar in a minute, to try things out.",
    "paper": "Fit NeRF-AD with the paper's sizes and numbers: meant for a GPU.",
    "paper-small": "Fit NeRF-AD's three stages with small networks at 128x128, meant for two cores.",
}
RESUMES = """Stops and saves on Ctrl-C; the same command goes on where it stopped. Progress is also written to
    AVATAR/runs/train/events.jsonl"""


def _fit(
    dataset: Path,
    avatar: Path,
    config: AnyTrainConfig,
    size: int | None,
    minutes: float | None,
    speech: SpeechKind | None,
    device: str,
    parts: Path | None = None,
) -> int:
    if minutes is not None and not 0 < minutes < math.inf:
        raise UsageError(
            f"--minutes must be a number above 0, not {minutes}",
            hint="such as --minutes 30; without it the preset's numbers of steps are made",
        )
    if size is not None and not 32 <= size <= 2048:
        raise UsageError("--size must lie between 32 and 2048")
    if not 0 <= config.seed < 2**63:
        raise UsageError("--seed must be a whole number from 0 to 2^63 - 1")
    opened = Dataset.open(dataset)
    if speech is not None:
        opened.speech_file(speech)  # what was asked for by name is not replaced
        config = with_speech(config, speech)
    where = choose_device(device)
    with ProgressPrinter() as on_event:
        events = train_events(opened, avatar, config, size=size, minutes=minutes, device=where, parts=parts)
        for event in events:
            on_event(event)
    return 0


def _fast_verb(name: str, preset: TrainConfig) -> Callable[..., int]:
    def fit(
        dataset: Path,
        avatar: Path,
        *,
        minutes: float | None = None,
        size: int | None = None,
        speech: SpeechKind | None = None,
        field: FieldKind | None = None,
        device: str = "auto",
        config: Annotated[TrainConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands] = preset,
    ) -> int:
        return _fit(dataset, avatar, with_field(config, field), size, minutes, speech, device)

    fit.__doc__ = f"""{SUMMARIES[name]}

    {RESUMES}, with previews beside it.

    Args:
        dataset: folder that nerf-ad capture made.
        avatar: folder to make.
        minutes: time budget of all stages together (default: the preset's numbers of steps).
        size: width and height of the avatar's frames in pixels (default: the data set's).
        speech: which speech features of the data set, such as phonemes (default: what the config says;
            log-mel where the data set lacks Whisper's).
        field: the head's radiance field (default: the config's); hashed-planes is ER-NeRF's, to compare with:
            slower, in plain PyTorch.
        device: auto, cpu or cuda.
        config: every number of the preset (--static trains the baseline that hears nothing).
    """
    return fit


def _fast_ad_verb(name: str, preset: FastAdTrainConfig) -> Callable[..., int]:
    def fit(
        dataset: Path,
        avatar: Path,
        *,
        minutes: float | None = None,
        size: int | None = None,
        parts: Path | None = None,
        speech: SpeechKind | None = None,
        device: str = "auto",
        config: Annotated[FastAdTrainConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands] = preset,
    ) -> int:
        return _fit(dataset, avatar, config, size, minutes, speech, device, parts)

    fit.__doc__ = f"""{SUMMARIES[name]}

    Stages: torso, attention (what of the face does speech move), classifiers and fusion (speech paints it),
    head (its mouth code is read off the painted face). {RESUMES}, with previews beside it.

    Args:
        dataset: folder that nerf-ad capture made, with action units.
        avatar: folder to make.
        minutes: time budget of all stages together (default: the preset's numbers of steps).
        size: width and height of the avatar's frames in pixels (default: the data set's).
        parts: folder where stages are kept that several trainings have in common, so that each is trained
            once; those of paper-small fit.
        speech: which speech features of the data set, such as phonemes (default: what the config says;
            log-mel where the data set lacks Whisper's).
        device: auto, cpu or cuda.
        config: every number of the preset.
    """
    return fit


def _paper_verb(name: str, preset: PaperTrainConfig) -> Callable[..., int]:
    def fit(
        dataset: Path,
        avatar: Path,
        *,
        minutes: float | None = None,
        parts: Path | None = None,
        speech: SpeechKind | None = None,
        device: str = "auto",
        config: Annotated[PaperTrainConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands] = preset,
    ) -> int:
        # --row is a field of the config; what follows from it is done here. A size is the preset's wish,
        # which a smaller data set limits; one that is asked for is not.
        size = config.size if config.size != preset.size else None
        return _fit(dataset, avatar, as_row(config, config.row), size, minutes, speech, device, parts)

    fit.__doc__ = f"""{SUMMARIES[name]}

    Stages: attention (what of the face does speech move), classifiers and fusion (speech paints it), nerf.
    --row trains one of the paper's comparisons instead, with the same sizes. {RESUMES}.

    Args:
        dataset: folder that nerf-ad capture made, with action units.
        avatar: folder to make.
        minutes: time budget of all stages together (default: the preset's numbers of steps).
        parts: folder where stages are kept that several rows have in common, so that each is trained once.
        speech: which speech features of the data set, such as phonemes (default: what the config says;
            log-mel where the data set lacks Whisper's).
        device: auto, cpu or cuda.
        config: every number of the preset.
    """
    return fit


def _verb(name: str) -> Callable[..., int]:
    preset = PRESETS[name]
    match preset:
        case TrainConfig():
            return _fast_verb(name, preset)
        case FastAdTrainConfig():
            return _fast_ad_verb(name, preset)
        case PaperTrainConfig():
            return _paper_verb(name, preset)
        case _:
            assert_never(preset)


train = {name: _verb(name) for name in PRESETS}

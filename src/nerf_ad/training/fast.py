"""Train an avatar of the planes field: torso, speech and head in order, each resumed where it stopped."""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from nerf_ad import __version__
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.dataset.dataset import Dataset, SpeechTrack
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.models.speech_code import SpeechCode, SpeechCodeConfig
from nerf_ad.models.talking_head import Condition, TalkingHeadConfig
from nerf_ad.speech.encoder import SpeechConfig, WhisperConfig
from nerf_ad.speech.windows import window_steps
from nerf_ad.training.head import HeadModule, HeadTrainingConfig, MeasuredConditions, head_parameters
from nerf_ad.training.planes import PlanesBench, open_bench, recorded_motion, teach_head, teach_torso
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.speech import SpeechTrainingConfig, fit_speech
from nerf_ad.training.torso import TorsoTrainingConfig


class TrainConfig(Config):
    """A whole training: what is built, and one part for each stage."""

    preset: str
    """Name that it started from."""
    model: TalkingHeadConfig = TalkingHeadConfig()
    """Head and torso networks."""
    speech_code: SpeechCodeConfig = SpeechCodeConfig()
    """The speech branch."""
    speech: SpeechConfig = WhisperConfig()
    """Which speech features of the data set are used; log-mel where they are Whisper's and absent."""
    torso: TorsoTrainingConfig = TorsoTrainingConfig()
    """Stage 1."""
    speech_training: SpeechTrainingConfig = SpeechTrainingConfig()
    """Stage 2."""
    head: HeadTrainingConfig = HeadTrainingConfig()
    """Stage 3."""
    torso_share: float = Field(default=0.1, gt=0, lt=1)
    """Part of a time budget for the torso."""
    static: bool = False
    """Train the baseline that hears nothing: the mouth code is zero, in training and ever after."""
    seed: int = 0
    """Seed of everything random."""


def fast_stages(
    dataset: Dataset,
    root: Path,
    config: TrainConfig,
    *,
    size: int,
    minutes: float | None,
    device: torch.device,
    log: RunLog,
) -> Generator[Event, None, None]:
    """Torso, speech and head as one stream of events; arguments as in ``train.train_events``.

    The data set has the speech features that ``config`` says.
    """
    yield from open_pixels(dataset, size)
    bench = open_bench(
        dataset,
        config.model,
        size=size,
        seed=config.seed,
        device=device,
        log=log,
        resident_megabytes=config.head.on_gpu.resident_megabytes,
    )
    ready, model = bench.ready, bench.model
    budget = None if minutes is None else 60 * minutes
    spent = yield from teach_torso(
        bench, config.torso, None if budget is None else config.torso_share * budget
    )

    codes = torch.from_numpy(ready.expression.mouth).to(device)
    heard = yield from teach_speech(bench, config, codes)

    module = HeadModule(model, dataset.num_frames).to(device)
    mouth = torch.zeros_like(codes) if config.static else codes
    eyes = torch.from_numpy(ready.expression.eyes).to(device)
    conditions = MeasuredConditions(Condition(mouth, eyes, bench.shots), code_noise=config.head.code_noise)
    parameters = head_parameters(module, config.head)
    left = None if budget is None else max(10.0, budget - spent - heard.seconds)
    sharpened_by = yield from teach_head(bench, config.head, module, parameters, conditions, left)

    manifest = FastManifest(
        name=root.name,
        made_by=f"nerf-ad {__version__}",
        preset=config.preset,
        fps=dataset.manifest.fps,
        size=size,
        head=model.config,
        speech_code=config.speech_code,
        sharpened_by=sharpened_by,
        speech=config.speech,
        speech_channels=heard.channels,
        speech_id=heard.encoder,
        driven_by="nothing" if config.static else "speech",
        source_sha256=dataset.manifest.source.sha256,
    )
    yield Progress(stage="saving", done=0, total=1)
    FastAvatar(manifest, model, heard.code, ready.basis, recorded_motion(bench), root).save()
    config.save_toml(root / "config.toml")
    yield Progress(stage="saving", done=1, total=1)
    yield Saved(path=str(root))


class Heard(NamedTuple):
    """What stage 2 leaves; the clip's features are not among it: those of ten minutes are 46 MB."""

    code: SpeechCode
    """From speech to mouth code."""
    channels: int
    """Of the features."""
    encoder: str
    """Id of what made them."""
    seconds: float
    """What the stage took."""


def teach_speech(
    bench: PlanesBench, config: TrainConfig, codes: Float[Tensor, "frames units"]
) -> Generator[Event, None, Heard]:
    """Stage 2: from speech to the mouth codes that were measured in the frames."""
    dataset, train, device = bench.dataset, bench.ready.train, codes.device
    track = dataset.speech(config.speech.kind)
    channels = track.features.shape[1]
    features = torch.from_numpy(track.features).float().to(device)
    heard = speech_windows(dataset, track, config.speech_code)[train.start : train.stop]
    code = SpeechCode(config.speech_code, channels=channels, out_dim=config.model.mouth_dim).to(device)
    code.set_normalisation(features[int(heard.min()) : int(heard.max()) + 1])
    training = config.speech_training
    optimiser = torch.optim.AdamW(code.parameters(), training.rate, weight_decay=training.weight_decay)
    state = bench.state("speech", code, optimiser, 0.9)
    yield from fit_speech(training, code, state, features, heard.to(device), codes[train.start : train.stop])
    return Heard(code, channels, track.encoder, state.seconds)


def speech_windows(
    dataset: Dataset, track: SpeechTrack, config: SpeechCodeConfig
) -> Int[Tensor, "frames window"]:
    """The feature steps around every frame."""
    return torch.from_numpy(
        window_steps(
            len(track.features),
            dataset.num_frames,
            fps=float(dataset.manifest.fps),
            reach=config.reach,
            rate_hz=track.rate_hz,
        )
    )

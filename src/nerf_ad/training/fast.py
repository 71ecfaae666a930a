"""Train an avatar of the planes field: torso, speech and head in order, each resumed where it stopped."""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from nerf_ad import __version__
from nerf_ad.avatar.avatar import Motion
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.core.config import Config
from nerf_ad.core.errors import UsageError
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.dataset.dataset import Dataset, SpeechTrack
from nerf_ad.dataset.expression import (
    EYE_STATES,
    EYES,
    MOUTH,
    Expression,
    ExpressionBasis,
    encode_expression,
    fit_expression_basis,
)
from nerf_ad.dataset.pixels import PixelCache, boxes_around, mouth_boxes, open_pixels
from nerf_ad.dataset.sampler import RaySampler
from nerf_ad.models.speech_code import SpeechCode, SpeechCodeConfig
from nerf_ad.models.talking_head import Condition, TalkingHead, TalkingHeadConfig
from nerf_ad.speech.encoder import SpeechConfig, WhisperConfig
from nerf_ad.speech.windows import window_steps
from nerf_ad.training.clip import Clip, carve_head, read_clip, speech_in_use
from nerf_ad.training.head import HeadModule, HeadTrainingConfig, fit_head, head_parameters, tighten_grid
from nerf_ad.training.previews import Previewer
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.speech import SpeechTrainingConfig, fit_speech
from nerf_ad.training.stage import StageState
from nerf_ad.training.torso import (
    TorsoTrainingConfig,
    TorsoTruth,
    fit_torso,
    pose_statistics,
    torso_parameters,
)


class TrainConfig(Config):
    """A whole training: what is built, and one part for each stage."""

    preset: str
    """Name that it started from."""
    model: TalkingHeadConfig = TalkingHeadConfig()
    """Head and torso networks."""
    speech_code: SpeechCodeConfig = SpeechCodeConfig()
    """The speech branch."""
    speech: SpeechConfig = WhisperConfig()
    """Which speech features of the data set are used; log-mel where these are absent."""
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


class Prepared(NamedTuple):
    """The clip as the stages want it."""

    clip: Clip
    basis: ExpressionBasis
    expression: Expression

    @property
    def cache(self) -> PixelCache:
        """Recorded frames."""
        return self.clip.cache

    @property
    def train(self) -> range:
        """Training frames."""
        return self.clip.train


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
    """Torso, speech and head as one stream of events; arguments as in ``train.train_events``."""
    yield from open_pixels(dataset, size)
    ready = prepare(dataset, config, size)
    model = build_model(config, ready, size).to(device)
    poses = torch.from_numpy(ready.clip.tracking.camera_to_world).float().to(device)
    pose_statistics(model, poses[ready.train.start : ready.train.stop])
    shots = torch.from_numpy(ready.clip.shots).to(device)
    budget = None if minutes is None else 60 * minutes

    def state(
        name: str, module: torch.nn.Module, optimiser: torch.optim.Optimizer, decay: float
    ) -> StageState:
        held = StageState(
            log.folder / f"{name}.safetensors",
            module,
            optimiser,
            average_decay=decay,
            seed=config.seed,
            fingerprint=log.fingerprint,
        )
        held.resume()
        return held

    torso = state(
        "torso",
        model.torso,
        torch.optim.Adam(torso_parameters(model, config.torso), betas=(0.9, 0.99)),
        config.torso.average_decay,
    )
    truth = TorsoTruth(ready.cache, ready.train)
    if torso.step == 0:
        turned = model.pose_code(poses[ready.train.start : ready.train.stop])
        nearest = ready.train.start + int(turned.square().sum(dim=1).argmin())
        model.torso.set_picture(torch.from_numpy(truth.one(nearest)).to(device))
        torso.average.restart(model.torso)
    seconds = None if budget is None else config.torso_share * budget
    yield from fit_torso(config.torso, model, torso, truth, poses, shots, seconds=seconds)

    track = dataset.speech(speech_in_use(dataset, config.speech).kind)
    channels = track.features.shape[1]
    features = torch.from_numpy(track.features).float().to(device)
    heard = speech_windows(dataset, track, config.speech_code)[ready.train.start : ready.train.stop]
    speech_code = SpeechCode(config.speech_code, channels=channels, out_dim=config.model.mouth_dim).to(device)
    speech_code.set_normalisation(features[int(heard.min()) : int(heard.max()) + 1])
    training = config.speech_training
    speech = state(
        "speech",
        speech_code,
        torch.optim.AdamW(speech_code.parameters(), training.rate, weight_decay=training.weight_decay),
        0.9,
    )
    codes = torch.from_numpy(ready.expression.mouth).to(device)
    inside = slice(ready.train.start, ready.train.stop)
    yield from fit_speech(training, speech_code, speech, features, heard.to(device), codes[inside])

    module = HeadModule(model, dataset.num_frames).to(device)
    head = state(
        "head",
        module,
        torch.optim.Adam(head_parameters(module, config.head), betas=(0.9, 0.99), eps=1e-15),
        config.head.average_decay,
    )
    mouth = torch.zeros_like(codes) if config.static else codes
    conditions = Condition(mouth, torch.from_numpy(ready.expression.eyes).to(device), shots)
    sampler = ray_sampler(config, dataset, ready, head)
    previewer = Previewer(log.folder, model, module, head, poses, conditions, ready)
    left = None if budget is None else max(10.0, budget - torso.seconds - speech.seconds)
    events = fit_head(config.head, model, module, head, sampler, poses, conditions, seconds=left)
    for event in events:
        yield event
        if isinstance(event, Progress):
            yield from previewer.look()
    yield from tighten_grid(config.head, model, sampler, poses, conditions)

    manifest = FastManifest(
        name=root.name,
        made_by=f"nerf-ad {__version__}",
        preset=config.preset,
        fps=dataset.manifest.fps,
        size=size,
        head=model.config,
        speech_code=config.speech_code,
        speech=speech_in_use(dataset, config.speech),
        speech_channels=channels,
        speech_id=track.encoder,
        driven_by="nothing" if config.static else "speech",
        source_sha256=dataset.manifest.source.sha256,
    )
    motion = Motion(
        ready.clip.tracking.camera_to_world.astype(np.float32),
        ready.expression.eyes,
        np.array(dataset.manifest.shots, np.int64),
        np.array([ready.train.start, ready.train.stop], np.int64),
    )
    yield Progress(stage="saving", done=0, total=1)
    FastAvatar(manifest, model, speech_code, ready.basis, motion, root).save()
    config.save_toml(root / "config.toml")
    yield Progress(stage="saving", done=1, total=1)
    yield Saved(path=str(root))


def prepare(dataset: Dataset, config: TrainConfig, size: int) -> Prepared:
    """Read and derive what the stages share; pixel figures at the training size."""
    clip = read_clip(dataset, size)
    basis = fit_expression_basis(clip.landmarks, clip.train, mouth_dim=config.model.mouth_dim)
    return Prepared(clip, basis, encode_expression(clip.landmarks, basis))


def build_model(config: TrainConfig, ready: Prepared, size: int) -> TalkingHead:
    """An untrained talking head with its background, camera, regions and hull in place."""
    if config.model.eye_dim != len(EYE_STATES):
        raise UsageError(f"eye_dim must be {len(EYE_STATES)}")
    sized = TalkingHeadConfig.model_validate(
        {**config.model.model_dump(), "num_shots": len(ready.clip.background_of)}
    )
    model = TalkingHead(sized, size=size)
    model.set_backgrounds(
        torch.from_numpy(ready.clip.backgrounds).permute(0, 3, 1, 2), ready.clip.background_of
    )
    model.intrinsics.copy_(torch.from_numpy(ready.clip.tracking.intrinsics))
    face = ready.clip.landmarks[ready.train.start : ready.train.stop].mean(axis=0)
    for part, points, depth in (("mouth", MOUTH, 0.05), ("eye", EYES, 0.05)):
        low, high = face[list(points)].min(axis=0), face[list(points)].max(axis=0)
        extent = (high - low) / 2 * 1.15 + 0.008
        extent[2] = max(float(extent[2]), depth)
        getattr(model, f"{part}_centre").copy_(torch.from_numpy((low + high) / 2))
        getattr(model, f"{part}_extent").copy_(torch.from_numpy(extent))
    hull = carve_head(ready.clip, resolution=config.model.grid_resolution)
    model.grid.set_box(torch.from_numpy(hull.low), torch.from_numpy(hull.high))
    model.grid.set_cells(torch.from_numpy(hull.cells))
    return model


def ray_sampler(config: TrainConfig, dataset: Dataset, ready: Prepared, state: StageState) -> RaySampler:
    """Rays of the training frames, more of them on mouth and eyes."""
    points = dataset.landmarks().points[:, :, :2] * (ready.cache.size / dataset.size)
    return RaySampler(
        config.head.rays,
        ready.cache,
        ready.clip.backgrounds,
        np.array(ready.clip.background_of)[ready.clip.shots],
        train=ready.train,
        mouth_boxes=mouth_boxes(points, ready.cache.size),
        eye_boxes=boxes_around(points[:, list(EYES)], margin=0.1, size=ready.cache.size),
        generator=state.numpy,
    )


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

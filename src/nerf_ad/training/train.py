"""Train an avatar: the stages in order, each resumed where it stopped."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from nerf_ad import __version__
from nerf_ad.avatar.avatar import Avatar, Motion
from nerf_ad.avatar.manifest import AvatarManifest
from nerf_ad.core.config import Config
from nerf_ad.core.device import choose_device, prepare_cpu, seed_everything
from nerf_ad.core.errors import FormatError, UsageError
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.dataset.dataset import Dataset, SpeechTrack, Tracking, shot_numbers
from nerf_ad.dataset.expression import (
    EYE_STATES,
    EYES,
    MOUTH,
    Expression,
    ExpressionBasis,
    encode_expression,
    fit_expression_basis,
    head_landmarks,
)
from nerf_ad.dataset.hull import carve
from nerf_ad.dataset.pixels import (
    PixelCache,
    boxes_around,
    fit_picture,
    mouth_boxes,
    open_pixels,
    pixels_folder,
)
from nerf_ad.dataset.sampler import RaySampler
from nerf_ad.models.speech_code import SpeechCode, SpeechCodeConfig
from nerf_ad.models.talking_head import Condition, TalkingHead, TalkingHeadConfig, plate_numbers
from nerf_ad.speech.encoder import MelConfig, SpeechConfig, WhisperConfig
from nerf_ad.speech.windows import window_steps
from nerf_ad.training.head import HeadModule, HeadTrainingConfig, fit_head, head_parameters, tighten_grid
from nerf_ad.training.previews import Previewer
from nerf_ad.training.run_log import RunLog, open_run
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
    """The dataset as the stages want it."""

    tracking: Tracking
    landmarks: np.ndarray
    basis: ExpressionBasis
    expression: Expression
    cache: PixelCache
    backgrounds: np.ndarray
    background_of: list[int]
    train: range


def train_events(
    dataset: Dataset,
    root: Path,
    config: TrainConfig,
    *,
    size: int | None = None,
    minutes: float | None = None,
    device: torch.device,
) -> Iterator[Event]:
    """All stages as one stream of events; the avatar folder is whole when it ends.

    Args:
        dataset: what to train on.
        root: the avatar's folder.
        config: the choices.
        size: picture size, the dataset's where absent.
        minutes: time budget of all stages together, interruptions not counted.
        device: where to work.

    Raises:
        BadInputError: the folder belongs to another training, or the dataset does not fit.
        UsageError: another process trains this avatar, or ``size`` is larger than the dataset's.
    """
    prepare_cpu()
    seed_everything(config.seed)
    size = size or dataset.size
    if size > dataset.size:
        raise UsageError(
            f"--size {size} is larger than the data set's {dataset.size}",
            hint="capture it again with that --size",
        )
    fingerprint = _fingerprint(dataset, config, size)
    with (
        open_run(root, fingerprint, config) as log,
        contextlib.closing(
            _stages(dataset, root, config, size=size, minutes=minutes, device=device, log=log)
        ) as events,
    ):
        for event in events:
            log.write(event)
            yield event


def train(
    dataset: Dataset | str | Path,
    avatar: str | Path,
    config: TrainConfig,
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
    config: TrainConfig,
    *,
    size: int,
    minutes: float | None,
    device: torch.device,
    log: RunLog,
) -> Generator[Event, None, None]:
    yield from open_pixels(dataset, size)
    ready = prepare(dataset, config, size)
    model = build_model(config, ready, size).to(device)
    poses = torch.from_numpy(ready.tracking.camera_to_world).float().to(device)
    pose_statistics(model, poses[ready.train.start : ready.train.stop])
    numbers = shot_numbers(dataset.manifest.shots, dataset.num_frames, model.config.num_shots)
    shots = torch.from_numpy(numbers).to(device)
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

    track = dataset.speech(speech_in_use(dataset, config).kind)
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

    manifest = AvatarManifest(
        name=root.name,
        made_by=f"nerf-ad {__version__}",
        preset=config.preset,
        fps=dataset.manifest.fps,
        size=size,
        head=model.config,
        speech_code=config.speech_code,
        speech=speech_in_use(dataset, config),
        speech_channels=channels,
        speech_id=track.encoder,
        driven_by="nothing" if config.static else "speech",
        source_sha256=dataset.manifest.source.sha256,
    )
    motion = Motion(
        ready.tracking.camera_to_world.astype(np.float32),
        ready.expression.eyes,
        np.array(dataset.manifest.shots, np.int64),
        np.array([ready.train.start, ready.train.stop], np.int64),
    )
    yield Progress(stage="saving", done=0, total=1)
    Avatar(manifest, model, speech_code, ready.basis, motion, root).save()
    config.save_toml(root / "config.toml")
    yield Progress(stage="saving", done=1, total=1)
    yield Saved(path=str(root))


def prepare(dataset: Dataset, config: TrainConfig, size: int) -> Prepared:
    """Read and derive what the stages share; pixel figures at the training size."""
    scale = size / dataset.size
    tracking = dataset.tracking()
    landmarks = head_landmarks(dataset.landmarks(), tracking)
    split = dataset.split()
    basis = fit_expression_basis(landmarks, split.train, mouth_dim=config.model.mouth_dim)
    num_shots = sum(shot < split.train.stop for shot in dataset.manifest.shots)
    own = [shot for shot in range(num_shots) if dataset.layout.shot_background(shot).is_file()]
    plates = [dataset.background(), *(dataset.background(shot) for shot in own)]
    return Prepared(
        tracking._replace(intrinsics=tracking.intrinsics * scale),
        landmarks,
        basis,
        encode_expression(landmarks, basis),
        PixelCache(pixels_folder(dataset, size), num_frames=dataset.num_frames, size=size),
        np.stack([fit_picture(plate, size).astype(np.float32) / 255 for plate in plates]),
        plate_numbers(own, num_shots),
        split.train,
    )


def build_model(config: TrainConfig, ready: Prepared, size: int) -> TalkingHead:
    """An untrained talking head with its background, camera, regions and hull in place."""
    if config.model.eye_dim != len(EYE_STATES):
        raise UsageError(f"eye_dim must be {len(EYE_STATES)}")
    sized = TalkingHeadConfig.model_validate(
        {**config.model.model_dump(), "num_shots": len(ready.background_of)}
    )
    model = TalkingHead(sized, size=size)
    model.set_backgrounds(torch.from_numpy(ready.backgrounds).permute(0, 3, 1, 2), ready.background_of)
    model.intrinsics.copy_(torch.from_numpy(ready.tracking.intrinsics))
    face = ready.landmarks[ready.train.start : ready.train.stop].mean(axis=0)
    for part, points, depth in (("mouth", MOUTH, 0.05), ("eye", EYES, 0.05)):
        low, high = face[list(points)].min(axis=0), face[list(points)].max(axis=0)
        extent = (high - low) / 2 * 1.15 + 0.008
        extent[2] = max(float(extent[2]), depth)
        getattr(model, f"{part}_centre").copy_(torch.from_numpy((low + high) / 2))
        getattr(model, f"{part}_extent").copy_(torch.from_numpy(extent))
    hull = carve(
        ready.cache,
        ready.tracking.camera_to_world,
        ready.tracking.intrinsics,
        ready.landmarks[ready.train.start : ready.train.stop],
        train=ready.train,
        resolution=config.model.grid_resolution,
    )
    if not hull.cells.any():
        raise FormatError(
            "the head masks and the head poses do not meet anywhere", hint="capture the video again"
        )
    model.grid.set_box(torch.from_numpy(hull.low), torch.from_numpy(hull.high))
    model.grid.set_cells(torch.from_numpy(hull.cells))
    return model


def ray_sampler(config: TrainConfig, dataset: Dataset, ready: Prepared, state: StageState) -> RaySampler:
    """Rays of the training frames, more of them on mouth and eyes."""
    points = dataset.landmarks().points[:, :, :2] * (ready.cache.size / dataset.size)
    shots = shot_numbers(dataset.manifest.shots, dataset.num_frames, len(ready.background_of))
    background_of = np.array(ready.background_of)[shots]
    return RaySampler(
        config.head.rays,
        ready.cache,
        ready.backgrounds,
        background_of,
        train=ready.train,
        mouth_boxes=mouth_boxes(points, ready.cache.size),
        eye_boxes=boxes_around(points[:, list(EYES)], margin=0.1, size=ready.cache.size),
        generator=state.numpy,
    )


def speech_in_use(dataset: Dataset, config: TrainConfig) -> SpeechConfig:
    """The configured encoder where the dataset has its features, else log-mel."""
    return config.speech if config.speech.kind in dataset.speech_names() else MelConfig()


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


def _fingerprint(dataset: Dataset, config: TrainConfig, size: int) -> str:
    steps = dataset.inputs_for_training()
    facts = [dataset.manifest.source.sha256, steps, config.model_dump(mode="json"), size]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

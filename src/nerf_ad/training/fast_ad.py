"""Train NeRF-AD's AU-Attention and fusion in front of the planes field: torso, stages 1 and 2, head.

Stages 1 and 2 are the paper's own, and a folder of parts serves both methods. Stage 3 is the fast field: its
mouth code is read off the painted face, and the picture teaches E_f and AudioNet as it does in the paper.
"""

import gc
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from nerf_ad import __version__
from nerf_ad.avatar.fast_ad import FastAdAvatar
from nerf_ad.avatar.manifest import FastAdManifest
from nerf_ad.core.device import seed_everything
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.face.landmarks import LOWER_LIP_INNER, UPPER_LIP_INNER
from nerf_ad.models.paper.conditions import ConditionConfig
from nerf_ad.models.paper.mouth_code import HeardMouth
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.training.head import HeadModule, HeadTrainingConfig, head_parameters
from nerf_ad.training.hearing import HeardConditions, HearingConfig, features_of, hearing_parameters
from nerf_ad.training.paper.anatomy import write_anatomy
from nerf_ad.training.paper.config import FacePartsConfig
from nerf_ad.training.paper.faces import part_faces
from nerf_ad.training.paper.fields import prepare_conditions
from nerf_ad.training.paper.painting import Learned, made_from_both, teach_fusion
from nerf_ad.training.paper.workshop import Workshop
from nerf_ad.training.planes import PlanesBench, open_bench, recorded_motion, teach_head, teach_torso
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.torso import TorsoTrainingConfig

CLOSED_SHARE = 0.1
"""Part of the training frames that show a mouth at rest: those with the least gap between the lips (ours)."""


class FastAdTrainConfig(FacePartsConfig):
    """A whole training: what parts and paints faces, what is built behind it, and the stages of both."""

    conditions: ConditionConfig = ConditionConfig()
    """Speech to painted face and its code; the kind audio leaves faces out (ours)."""
    model: TalkingHeadConfig = TalkingHeadConfig()
    """Head and torso networks."""
    torso: TorsoTrainingConfig = TorsoTrainingConfig()
    """The torso, before stage 1."""
    head: HeadTrainingConfig = HeadTrainingConfig()
    """The head, instead of the paper's stage 3."""
    hearing: HearingConfig = HearingConfig()
    """What learns with the head between speech and field."""
    torso_share: float = Field(default=0.1, gt=0, lt=1)
    """Part of a time budget for the torso (ours)."""

    @property
    def speech_networks(self) -> ConditionConfig:
        """The networks between speech and field."""
        return self.conditions

    @model_validator(mode="after")
    def _hears(self) -> "FastAdTrainConfig":
        if not self.conditions.hears:
            message = f"conditions of the kind {self.conditions.kind} do not hear"
            raise ValueError(message)
        return self


def fast_ad_stages(
    dataset: Dataset,
    root: Path,
    config: FastAdTrainConfig,
    *,
    size: int,
    minutes: float | None,
    device: torch.device,
    log: RunLog,
    parts: Path | None = None,
) -> Generator[Event, None, None]:
    """All stages as one stream of events; arguments as in ``train.train_events``.

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
    track = dataset.speech(config.speech.kind)
    shop = Workshop(dataset, config, bench.ready.clip, track, device, log, parts)
    budget = None if minutes is None else 60 * minutes
    spent = yield from teach_torso(
        bench, config.torso, None if budget is None else config.torso_share * budget
    )
    faces, learned = None, None
    if config.needs_faces:
        faces, seconds = yield from part_faces(shop, budget)
        learned = yield from teach_fusion(shop, faces, budget)
        spent += seconds + learned.seconds
    gc.collect()  # critic and optimisers of the stages before

    mouth = _prepare_mouth(shop, config, learned)
    module = HeadModule(bench.model, dataset.num_frames, speech=mouth).to(device)
    eyes = torch.from_numpy(bench.ready.expression.eyes).to(device)
    noise = config.head.code_noise
    conditions = HeardConditions(config.hearing, mouth, eyes, bench.shots, code_noise=noise)
    parameters = head_parameters(module, config.head) + hearing_parameters(mouth, config.hearing)
    left = None if budget is None else max(10.0, budget - spent)
    made_from = made_from_both(faces, learned)
    sharpened_by = yield from teach_head(
        bench, config.head, module, parameters, conditions, left, made_from=made_from
    )

    yield Progress(stage="saving", done=0, total=2)
    mouth.eval()
    _find_rest(bench, mouth)
    if faces is not None:
        write_anatomy(root / "anatomy.npz", dataset, faces, learned, mouth.conditions, is_smoothed=True)
    yield Progress(stage="saving", done=1, total=2)
    _assemble(bench, shop, config, root, mouth, sharpened_by).save()
    config.save_toml(root / "config.toml")
    yield Progress(stage="saving", done=2, total=2)
    yield Saved(path=str(root))


def _prepare_mouth(shop: Workshop, config: FastAdTrainConfig, learned: Learned | None) -> HeardMouth:
    """What stage 2 taught, hearing the clip, with a mouth code that starts where painted faces differ."""
    seed_everything(config.seed)
    channels = shop.track.features.shape[1]
    mouth = HeardMouth(config.conditions, channels=channels, mouth_dim=config.model.mouth_dim)
    mouth = mouth.to(shop.device)
    prepare_conditions(shop, mouth.conditions, learned)
    mouth.start_from(features_of(mouth, torch.arange(shop.clip.train.start, shop.clip.train.stop)))
    return mouth


@torch.no_grad()
def _find_rest(bench: PlanesBench, mouth: HeardMouth) -> None:
    train = bench.ready.train
    features = features_of(mouth, torch.arange(train.start, train.stop))
    codes = mouth.standardised(mouth.projection(features))
    is_closed = closed_lips(bench.ready.clip.landmarks.read((UPPER_LIP_INNER, LOWER_LIP_INNER), train))
    mouth.rest_at(codes, is_closed.to(codes.device))


def closed_lips(lips: Float[np.ndarray, "frames 2 3"]) -> Bool[Tensor, "frames"]:
    """Which frames have the least gap between two points of them: ``CLOSED_SHARE`` of them, at least one."""
    gap = np.linalg.norm(lips[:, 0] - lips[:, 1], axis=-1)
    return torch.from_numpy(gap <= np.quantile(gap, CLOSED_SHARE))


def _assemble(
    bench: PlanesBench,
    shop: Workshop,
    config: FastAdTrainConfig,
    root: Path,
    mouth: HeardMouth,
    sharpened_by: str,
) -> FastAdAvatar:
    dataset = bench.dataset
    manifest = FastAdManifest(
        name=root.name,
        made_by=f"nerf-ad {__version__}",
        preset=config.preset,
        fps=dataset.manifest.fps,
        size=bench.ready.clip.size,
        speech=config.speech,
        speech_channels=shop.track.features.shape[1],
        speech_id=shop.track.encoder,
        source_sha256=dataset.manifest.source.sha256,
        head=bench.model.config,
        conditions=config.conditions,
        sharpened_by=sharpened_by,
    )
    return FastAdAvatar(manifest, bench.model, mouth, bench.ready.basis, recorded_motion(bench), root)

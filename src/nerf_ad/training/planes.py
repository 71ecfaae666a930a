"""The planes field around its mouth code: the clip as its stages want it, its torso and its head.

Where the mouth code comes from is the caller's: ``fast`` measures it, ``fast_ad`` makes it from speech.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from nerf_ad.avatar.avatar import Motion
from nerf_ad.core.errors import UsageError, WeightsError
from nerf_ad.core.events import Event, Progress, Warned
from nerf_ad.core.weights import extractor_id
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import (
    EYE_STATES,
    EYES,
    MOUTH,
    Expression,
    ExpressionBasis,
    encode_expression,
    fit_expression_basis,
)
from nerf_ad.dataset.head_landmarks import AT_ONCE
from nerf_ad.dataset.pixels import PixelCache, boxes_around, mouth_boxes
from nerf_ad.dataset.resident import ResidentFrames, ResidentRays
from nerf_ad.dataset.sampler import HostRays, RaySampler, RaySamplingConfig, RaySource
from nerf_ad.metrics.perceptual import Lpips, build_lpips
from nerf_ad.models.talking_head import TalkingHead, TalkingHeadConfig
from nerf_ad.training.clip import Clip, carve_head, read_clip
from nerf_ad.training.head import (
    HeadConditions,
    HeadModule,
    HeadOnGpuConfig,
    HeadTrainingConfig,
)
from nerf_ad.training.head_fit import fit_head, tighten_grid
from nerf_ad.training.previews import Previewer
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.stage import StageState
from nerf_ad.training.torso import (
    RecordedTruth,
    ResidentTruth,
    TorsoTrainingConfig,
    TorsoTruth,
    fit_torso,
    pose_statistics,
    torso_parameters,
)


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


class PlanesBench(NamedTuple):
    """What the stages of a planes field share."""

    dataset: Dataset
    ready: Prepared
    model: TalkingHead
    poses: Float[Tensor, "frames 4 4"]
    """Tracked poses of all frames."""
    shots: Int[Tensor, "frames"]
    """Shot of every frame."""
    log: RunLog
    seed: int
    frames: ResidentFrames | None = None
    """Training frames in a GPU's memory; absent on a CPU."""

    def state(
        self,
        name: str,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        decay: float,
        *,
        made_from: str = "",
    ) -> StageState:
        """What a stage keeps between steps, as its resume file left it; ``made_from``: see ``StageState``."""
        held = StageState(
            self.log.folder / f"{name}.safetensors",
            module,
            optimiser,
            average_decay=decay,
            seed=self.seed,
            fingerprint=self.log.fingerprint,
            made_from=made_from,
        )
        held.resume()
        return held


def open_bench(
    dataset: Dataset,
    config: TalkingHeadConfig,
    *,
    size: int,
    seed: int,
    device: torch.device,
    log: RunLog,
    resident_megabytes: int = HeadOnGpuConfig().resident_megabytes,
) -> PlanesBench:
    """An untrained head with everything that its stages need; ``open_pixels`` has made the cache."""
    ready = prepare(dataset, config, size)
    model = build_model(config, ready, size).to(device)
    poses = torch.from_numpy(ready.clip.tracking.camera_to_world).float().to(device)
    pose_statistics(model, poses[ready.train.start : ready.train.stop])
    shots = torch.from_numpy(ready.clip.shots).to(device)
    frames = None
    if device.type == "cuda":
        frames = open_frames(dataset, ready, device, megabytes=resident_megabytes, seed=seed)
    return PlanesBench(dataset, ready, model, poses, shots, log, seed, frames)


def teach_torso(
    bench: PlanesBench, config: TorsoTrainingConfig, seconds: float | None
) -> Generator[Event, None, float]:
    """Fit the torso; returns the seconds that it took."""
    model, train, poses = bench.model, bench.ready.train, bench.poses
    state = bench.state(
        "torso",
        model.torso,
        torch.optim.Adam(torso_parameters(model, config), betas=(0.9, 0.99)),
        config.average_decay,
    )
    truth: TorsoTruth = RecordedTruth(bench.ready.cache, train)
    if bench.frames is not None:
        truth = ResidentTruth(bench.frames, bench.ready.cache)
    if state.step == 0:
        turned = model.pose_code(poses[train.start : train.stop])
        nearest = train.start + int(turned.square().sum(dim=1).argmin())
        model.torso.set_picture(torch.from_numpy(truth.one(nearest)).to(poses.device))
        state.average.restart(model.torso)
    yield from fit_torso(config, model, state, truth, poses, bench.shots, seconds=seconds)
    return state.seconds


def teach_head(
    bench: PlanesBench,
    config: HeadTrainingConfig,
    module: HeadModule,
    parameters: list[dict[str, object]],
    conditions: HeadConditions,
    seconds: float | None,
    *,
    made_from: str = "",
) -> Generator[Event, None, str]:
    """Fit the head with previews, and drop what its grid does not need; returns what sharpened it.

    ``made_from``: digests of the stages whose networks make the mouth code.
    """
    model, poses = bench.model, bench.poses
    optimiser = torch.optim.Adam(parameters, betas=(0.9, 0.99), eps=1e-15, fused=True)
    state = bench.state("head", module, optimiser, config.average_decay, made_from=made_from)
    yield from state.warnings()
    rays = open_rays(bench, config, state)
    previewer = Previewer(bench.log.folder, model, module, state, poses, conditions, bench.ready)
    lpips = yield from _find_lpips(config, model)
    for event in fit_head(
        config, model, module, state, rays, poses, conditions, seconds=seconds, lpips=lpips
    ):
        yield event
        if isinstance(event, Progress):
            yield from previewer.look()
    yield from tighten_grid(config, model, rays, poses, conditions)
    return "" if lpips is None else extractor_id(f"lpips-{lpips.backbone}")


def _find_lpips(config: HeadTrainingConfig, model: TalkingHead) -> Generator[Event, None, Lpips | None]:
    """What looks at squares of mouth and eyes, if it is wanted, fits into the picture, and is there."""
    if config.perceptual_weight == 0 or model.size < config.rays.patch_size:
        return None
    try:
        return build_lpips(device=model.intrinsics.device)
    except WeightsError as error:
        yield Warned(message=f"mouth and eyes are not sharpened by LPIPS: {error.with_hint}")
        return None


def recorded_motion(bench: PlanesBench) -> Motion:
    """How the person moved, for the avatar to move so."""
    ready = bench.ready
    return Motion(
        ready.clip.tracking.camera_to_world.astype(np.float32),
        ready.expression.eyes,
        np.array(bench.dataset.manifest.shots, np.int64),
        np.array([ready.train.start, ready.train.stop], np.int64),
    )


def prepare(dataset: Dataset, config: TalkingHeadConfig, size: int) -> Prepared:
    """Read and derive what the stages share; pixel figures at the training size."""
    clip = read_clip(dataset, size)
    basis = fit_expression_basis(clip.landmarks, clip.train, mouth_dim=config.mouth_dim)
    return Prepared(clip, basis, encode_expression(clip.landmarks, basis))


def build_model(config: TalkingHeadConfig, ready: Prepared, size: int) -> TalkingHead:
    """An untrained talking head with its background, camera, regions and hull in place."""
    if config.eye_dim != len(EYE_STATES):
        raise UsageError(f"eye_dim must be {len(EYE_STATES)}")
    sized = TalkingHeadConfig.model_validate(
        {**config.model_dump(), "num_shots": len(ready.clip.background_of)}
    )
    model = TalkingHead(sized, size=size)
    model.set_backgrounds(
        torch.from_numpy(ready.clip.backgrounds).permute(0, 3, 1, 2), ready.clip.background_of
    )
    model.intrinsics.copy_(torch.from_numpy(ready.clip.tracking.intrinsics))
    face = ready.clip.face.mean
    for part, points, depth in (("mouth", MOUTH, 0.05), ("eye", EYES, 0.05)):
        low, high = face[list(points)].min(axis=0), face[list(points)].max(axis=0)
        extent = (high - low) / 2 * 1.15 + 0.008
        extent[2] = max(float(extent[2]), depth)
        getattr(model, f"{part}_centre").copy_(torch.from_numpy((low + high) / 2))
        getattr(model, f"{part}_extent").copy_(torch.from_numpy(extent))
    hull = carve_head(ready.clip, resolution=config.grid_resolution)
    model.grid.set_box(torch.from_numpy(hull.low), torch.from_numpy(hull.high))
    model.grid.set_cells(torch.from_numpy(hull.cells))
    return model


def open_rays(bench: PlanesBench, config: HeadTrainingConfig, state: StageState) -> RaySource:
    """Rays of the training frames, more of them on mouth and eyes: from a GPU's own memory on one."""
    if bench.frames is not None:
        return ResidentRays(config.rays_on_gpu, bench.frames, state.generator)
    return HostRays(ray_sampler(config.rays, bench.dataset, bench.ready, state), bench.poses.device)


def open_frames(
    dataset: Dataset, ready: Prepared, device: torch.device, *, megabytes: int, seed: int
) -> ResidentFrames:
    """Training frames in the device's memory, for torso and head."""
    return ResidentFrames(
        ready.cache,
        ready.clip.backgrounds,
        np.array(ready.clip.background_of)[ready.clip.shots],
        train=ready.train,
        boxes=np.stack(part_boxes(dataset, ready)),
        device=device,
        largest_bytes=megabytes << 20,
        seed=seed,
    )


def ray_sampler(
    config: RaySamplingConfig, dataset: Dataset, ready: Prepared, state: StageState
) -> RaySampler:
    """Rays drawn by the host."""
    mouth, eyes = part_boxes(dataset, ready)
    return RaySampler(
        config,
        ready.cache,
        ready.clip.backgrounds,
        np.array(ready.clip.background_of)[ready.clip.shots],
        train=ready.train,
        mouth_boxes=mouth,
        eye_boxes=eyes,
        generator=state.numpy,
    )


def part_boxes(
    dataset: Dataset, ready: Prepared
) -> tuple[Int[np.ndarray, "frames 4"], Int[np.ndarray, "frames 4"]]:
    """Boxes around mouth and eyes of every frame."""
    size, pixels = ready.cache.size, ready.clip.landmarks.pixels
    mouths, eyes = [], []
    for block in pixels.blocks(0, len(pixels), AT_ONCE):
        points = block[:, :, :2] * (size / dataset.size)
        mouths.append(mouth_boxes(points, size))
        eyes.append(boxes_around(points[:, list(EYES)], margin=0.1, size=size))
    return np.concatenate(mouths), np.concatenate(eyes)

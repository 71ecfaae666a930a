"""Train an avatar by the paper's method: attention, classifiers, fusion, fields.

Each is resumed where it stopped. A row of the comparisons leaves out the stages that it has no use for.
"""

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from nerf_ad import __version__
from nerf_ad.avatar.avatar import Motion
from nerf_ad.avatar.folder import Plates
from nerf_ad.avatar.manifest import PaperManifest
from nerf_ad.avatar.paper import PaperAvatar
from nerf_ad.core.device import peak_memory, seed_everything
from nerf_ad.core.events import Event, Metric, Progress, Saved
from nerf_ad.core.files import explained
from nerf_ad.dataset.dataset import Dataset, SpeechTrack
from nerf_ad.dataset.face_crops import FaceCrops, crops_folder, make_face_crops
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.dataset.references import choose_references, neutral_frame
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.face.landmarks import IBUG_68
from nerf_ad.models.paper.au_attention import AuAttention
from nerf_ad.models.paper.au_classifier import AuClassifiers
from nerf_ad.models.paper.audio import AudioBranch
from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.conditions import build_conditions
from nerf_ad.models.paper.disentangle import paste_back
from nerf_ad.models.paper.fusion import FaceFusion
from nerf_ad.models.paper.identity import shrink
from nerf_ad.models.paper.landmark_code import LandmarkCode
from nerf_ad.models.paper.nerf import ConditionModule, PaperHead
from nerf_ad.models.paper.resting_face import points_in_crops, similarities
from nerf_ad.training.clip import Clip, carve_head, read_clip, speech_in_use
from nerf_ad.training.paper.anatomy import write_anatomy
from nerf_ad.training.paper.attention import (
    AttentionModule,
    FaceSampler,
    attention_optimiser,
    fit_attention,
    scale_units,
)
from nerf_ad.training.paper.classifiers import fit_classifiers, learnable_units, unit_presence
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.paper.fusion import (
    FusionModule,
    FusionParts,
    FusionTruth,
    collect_audio_faces,
    fit_fusion,
    fusion_optimiser,
    inner_split,
)
from nerf_ad.training.paper.nerf import (
    NerfModule,
    NerfSampler,
    NerfTruth,
    ReferencePictures,
    face_rects,
    fit_nerf,
    is_smoothed,
    nerf_parameters,
)
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.stage import StageState

COLLECTED = 16
"""Faces at a time where all frames are gone through."""
BOX_RESOLUTION = 48
"""Cells a side of the hull that says which rays can meet the head (ours)."""


class Workshop(NamedTuple):
    """What all stages share."""

    dataset: Dataset
    config: PaperTrainConfig
    clip: Clip
    track: SpeechTrack
    device: torch.device
    log: RunLog

    def state(
        self, name: str, module: nn.Module, optimiser: torch.optim.Optimizer, *, decay: float
    ) -> StageState:
        """What a stage keeps between steps, from its resume file where there is one."""
        held = StageState(
            self.log.folder / f"{name}.safetensors",
            module,
            optimiser,
            average_decay=decay,
            seed=self.config.seed,
            fingerprint=self.log.fingerprint,
        )
        held.resume()
        return held

    def features(self) -> Float[Tensor, "steps channels"]:
        """Speech features of the whole clip."""
        return torch.from_numpy(np.asarray(self.track.features, np.float32)).to(self.device)

    def poses(self) -> Float[Tensor, "frames 4 4"]:
        """Head poses of all frames."""
        return torch.from_numpy(self.clip.tracking.camera_to_world).float().to(self.device)

    def hear(self, audio: AudioBranch) -> Float[Tensor, "frames window channels"]:
        """Speech as an audio branch sees it around every frame of the clip."""
        fps = float(self.dataset.manifest.fps)
        return audio.windows(self.features(), self.track.rate_hz, self.dataset.num_frames, fps)

    def set_normalisation(self, audio: AudioBranch) -> None:
        """Let an audio branch know the features of the training frames."""
        per_frame = self.track.rate_hz / self.dataset.manifest.fps
        first, last = (int(edge * per_frame) for edge in (self.clip.train.start, self.clip.train.stop))
        audio.set_normalisation(self.features()[first : max(last, first + 2)])


class Faces(NamedTuple):
    """The clip's faces, parted by the mask."""

    crops: FaceCrops
    units: Float[Tensor, "frames units"]
    """Intensity of the speech action units."""
    masks: UInt8[Tensor, "frames 1 size size"]
    """A of every frame, in 256 steps; 0 where faces are not parted: the whole face is the audio face."""
    are_parted: bool
    """Whether the masks are more than 0."""

    def mask(self, frames: Int[np.ndarray, "batch"]) -> Float[Tensor, "batch 1 size size"]:
        """A of some frames."""
        return self.masks[torch.from_numpy(frames)].float() / 255

    def collect(
        self, moves: Float[Tensor, "frames 2 3"] | None
    ) -> Generator[Event, None, UInt8[Tensor, "frames 3 size size"]]:
        """(1-A)·c of every frame; ``moves``: brings each to rest."""
        parts = iter(self.masks.split(COLLECTED))

        def next_masks(crops: Tensor, _units: Tensor) -> Tensor:
            return next(parts).to(crops.device).float() / 255

        return collect_audio_faces(
            self.crops.batch, next_masks, self.units, moves=moves, batch_size=COLLECTED
        )


class Learned(NamedTuple):
    """What stage 2 and what comes before it give to stage 3."""

    audio_faces: UInt8[Tensor, "frames 3 size size"]
    """(1-A)·c of every frame."""
    neutral: int
    """The frame whose audio face is fed to E_a."""
    parts: FusionParts | None
    """Trained AudioNet, AudioAttNet, E_a, GRU and D; None without pre-training."""
    classifiers: AuClassifiers | None
    seconds: float
    """Spent on classifiers and fusion."""


def paper_stages(
    dataset: Dataset,
    root: Path,
    config: PaperTrainConfig,
    *,
    size: int,
    minutes: float | None,
    device: torch.device,
    log: RunLog,
) -> Generator[Event, None, None]:
    """All stages as one stream of events; arguments as in ``train.train_events``."""
    yield from open_pixels(dataset, size)
    speech = speech_in_use(dataset, config.speech)
    shop = Workshop(dataset, config, read_clip(dataset, size), dataset.speech(speech.kind), device, log)
    budget = None if minutes is None else 60 * minutes
    spent, faces, learned = 0.0, None, None
    if config.needs_faces or config.needs_mask:
        faces, seconds = yield from _part_faces(shop, budget)
        spent += seconds
    if faces is not None and config.needs_faces:
        learned = yield from _teach_fusion(shop, faces, budget)
        spent += learned.seconds
    left = None if budget is None else max(10.0, budget - spent)
    module, smoothed = yield from _fit_fields(shop, faces, learned, left)

    yield Progress(stage="saving", done=0, total=2)
    avatar = _assemble(shop, root, module, smoothed=smoothed)
    if faces is not None:
        write_anatomy(
            root / "anatomy.npz",
            dataset,
            faces.crops,
            faces.masks if faces.are_parted else None,
            faces.units,
            module.conditions if isinstance(module.conditions, AudioFace) else None,
            None if learned is None else learned.audio_faces,
            None if learned is None else learned.classifiers,
            is_smoothed=smoothed,
        )
    yield Progress(stage="saving", done=1, total=2)
    avatar.save()
    config.save_toml(root / "config.toml")
    yield Progress(stage="saving", done=2, total=2)
    yield Saved(path=str(root))


def speech_units(dataset: Dataset) -> Float[Tensor, "frames units"]:
    """Intensity of the speech action units of every frame.

    Raises:
        FormatError: the dataset lacks one.
    """
    found = dataset.action_units()
    return torch.from_numpy(np.stack([found.channel(name) for name in SPEECH_UNITS], axis=1)).float()


def _part_faces(shop: Workshop, budget: float | None) -> Generator[Event, None, tuple[Faces, float]]:
    """Stage 1, where faces are parted."""
    config, train = shop.config, shop.clip.train
    yield from make_face_crops(shop.dataset, config.mask.size)
    folder = crops_folder(shop.dataset, config.mask.size)
    crops = FaceCrops(folder, num_frames=shop.dataset.num_frames, size=config.mask.size)
    units = speech_units(shop.dataset).to(shop.device)
    if not config.needs_mask:
        none = torch.zeros(len(units), 1, crops.size, crops.size, dtype=torch.uint8)
        return Faces(crops, units, none, are_parted=False), 0.0
    seed_everything(config.seed)
    module = AttentionModule(config.mask, config.critic).to(shop.device)
    scale_units(module, config.attention, units[train.start : train.stop])
    optimiser = attention_optimiser(module, config.attention)
    state = shop.state("attention", module, optimiser, decay=config.attention.average_decay)
    scaled = module.attention.scaled(units)
    sampler = FaceSampler(config.attention, crops, scaled, train=train, seed=config.seed)
    seconds = None if budget is None else config.attention_share * budget
    yield from fit_attention(config.attention, module, state, sampler, seconds=seconds)
    masks = yield from _make_masks(module.attention.eval(), crops, units)
    return Faces(crops, units, masks, are_parted=True), state.seconds


def _make_masks(
    attention: AuAttention, crops: FaceCrops, units: Float[Tensor, "frames units"]
) -> Generator[Event, None, UInt8[Tensor, "frames 1 size size"]]:
    """A of every frame with its own action units: once, for the generator learns no more."""
    made = []
    for start in range(0, len(units), COLLECTED):
        own = units[start : start + COLLECTED]
        batch = crops.batch(np.arange(start, start + len(own))).to(units.device)
        with torch.no_grad():
            made.append((attention.mask(batch, own) * 255).round().to(torch.uint8).cpu())
        yield Progress(stage="masks", done=start + len(own), total=len(units))
    return torch.cat(made)


def _teach_fusion(shop: Workshop, faces: Faces, budget: float | None) -> Generator[Event, None, Learned]:
    """Audio faces; and, where it is pre-trained, stage 2 with the classifiers that judge it."""
    config = shop.config
    audio_faces = yield from faces.collect(_moves_to_rest(shop, faces) if config.rests_faces else None)
    neutral = neutral_frame(shop.dataset)
    if not config.needs_fusion:
        return Learned(audio_faces, neutral, None, None, 0.0)
    train, validation = inner_split(shop.clip.train, config.fusion.validation_share)
    classifiers, spent = None, 0.0
    if config.needs_classifiers:
        classifiers, spent = yield from _teach_classifiers(shop, audio_faces, train, validation)
    seed_everything(config.seed)
    conditions = config.model.conditions
    audio = AudioBranch(conditions.audio, shop.track.features.shape[1])
    face = FaceFusion(conditions.fusion, audio_code_dim=conditions.audio.code_dim)
    module = FusionModule(audio, face).to(shop.device)
    shop.set_normalisation(audio)
    optimiser = fusion_optimiser(config.fusion, module)
    state = shop.state("fusion", module, optimiser, decay=0.0)
    names = () if classifiers is None else classifiers.units
    truth = FusionTruth(
        audio_faces,
        audio_faces[neutral : neutral + 1].to(shop.device).float() / 255,
        shop.hear(audio),
        unit_presence(shop.dataset.action_units(), names),
        train,
        validation,
        shop.poses() if conditions.fusion.sees_pose else None,
    )
    seconds = None if budget is None else max(10.0, config.fusion_share * budget - spent)
    yield from fit_fusion(config.fusion, module, state, truth, classifiers, seconds=seconds)
    return Learned(audio_faces, neutral, module.parts, classifiers, spent + state.seconds)


def _moves_to_rest(shop: Workshop, faces: Faces) -> Float[Tensor, "frames 2 3"]:
    """How each face is turned and shifted to where the training faces are on average, by its rigid points."""
    points = shop.dataset.landmarks().points[:, shop.clip.tracking.point_indices, :2].astype(np.float64)
    places, train = points_in_crops(points, faces.crops.boxes), shop.clip.train
    return similarities(places[train.start : train.stop].mean(axis=0), places)


def _teach_classifiers(
    shop: Workshop, audio_faces: UInt8[Tensor, "frames 3 size size"], train: range, validation: range
) -> Generator[Event, None, tuple[AuClassifiers, float]]:
    """Classifiers of the units that the person shows often enough, frozen."""
    config = shop.config
    found = shop.dataset.action_units()
    names, warnings = learnable_units(found, train, config.classifier_training)
    yield from warnings
    seed_everything(config.seed)
    model = AuClassifiers(config.classifier, names).to(shop.device)
    if not names:
        return model, 0.0
    optimiser = torch.optim.Adam(model.parameters(), config.classifier_training.rate)
    state = shop.state("classifiers", model, optimiser, decay=0.0)
    yield from fit_classifiers(
        config.classifier_training,
        model,
        state,
        audio_faces,
        unit_presence(found, names),
        train=train,
        validation=validation,
    )
    return model, state.seconds


def _fit_fields(
    shop: Workshop, faces: Faces | None, learned: Learned | None, seconds: float | None
) -> Generator[Event, None, tuple[NerfModule, bool]]:
    """Stage 3."""
    config, clip = shop.config, shop.clip
    gc.collect()  # critic and optimisers of the stages before
    poses = shop.poses()
    seed_everything(config.seed)
    conditions = build_conditions(config.model.conditions, channels=shop.track.features.shape[1])
    module = NerfModule(PaperHead(config.model.head, size=clip.size), conditions).to(shop.device)
    _prepare_conditions(shop, conditions, learned)
    module.head.set_camera(
        torch.from_numpy(clip.tracking.intrinsics).float(), poses[clip.train.start : clip.train.stop]
    )
    hull = carve_head(clip, resolution=BOX_RESOLUTION)
    module.head.set_box(torch.from_numpy(hull.low), torch.from_numpy(hull.high))
    references = ReferencePictures(
        np.zeros((0, 1, 1, 3), np.uint8), first_frame=clip.train.start, device=shop.device
    )
    if config.model.head.uses_references:
        references = yield from _reference_pictures(shop, faces if config.disentangles else None)
        chosen = np.array(choose_references(shop.dataset, config.model.head.num_references))
        module.head.set_references(references(chosen), poses[torch.from_numpy(chosen)])
    parameters = nerf_parameters(module, config.nerf)
    state = shop.state(
        "nerf", module, torch.optim.Adam(parameters, betas=(0.9, 0.999)), decay=config.nerf.average_decay
    )
    points = shop.dataset.landmarks().points[:, :, :2] * (clip.size / shop.dataset.size)
    sampler = NerfSampler(
        config.nerf,
        NerfTruth(clip.cache, clip.backgrounds, np.array(clip.background_of)[clip.shots]),
        train=clip.train,
        rects=face_rects(points, clip.size),
        generator=state.numpy,
    )
    started = state.step, state.seconds
    events = fit_nerf(config.nerf, module, state, sampler, poses, references, seconds=seconds)
    yield from _with_costs(events, state, started, shop.device)
    return module.eval(), is_smoothed(config.nerf, state.step)


def _with_costs(
    events: Iterator[Event], state: StageState, started: tuple[int, float], device: torch.device
) -> Iterator[Event]:
    """Stage 3's events, and what an iteration takes: seconds, and the most memory so far."""
    for event in events:
        yield event
        if isinstance(event, Progress) and state.step > started[0]:
            each = (state.seconds - started[1]) / (state.step - started[0])
            seconds = state.seconds
            yield Metric(name="nerf seconds per step", step=state.step, value=each, seconds=seconds)
            memory = peak_memory(device)
            if memory is not None:
                yield Metric(name="peak memory GB", step=state.step, value=memory / 1e9, seconds=seconds)


def _prepare_conditions(shop: Workshop, conditions: ConditionModule, learned: Learned | None) -> None:
    """What stage 2 taught, the clip's sound or landmarks, and how their numbers are scaled."""
    if isinstance(conditions, LandmarkCode):
        points = torch.from_numpy(shop.clip.landmarks[:, list(IBUG_68)]).float().to(shop.device)
        conditions.set_normalisation(points[shop.clip.train.start : shop.clip.train.stop])
        conditions.look(points)
    if isinstance(conditions, AudioFace | AudioCode):
        shop.set_normalisation(conditions.audio)
    if isinstance(conditions, AudioFace) and learned is not None:
        still = learned.audio_faces[learned.neutral : learned.neutral + 1]
        conditions.still.copy_(still.float() / 255)
        if learned.parts is not None:
            conditions.audio.load_state_dict(learned.parts.audio.state_dict())
            conditions.fusion.load_state_dict(learned.parts.face.state_dict())
            conditions.freeze_fusion()
    if isinstance(conditions, AudioFace):
        conditions.hear(shop.hear(conditions.audio), shop.poses())
    elif isinstance(conditions, AudioCode):
        conditions.hear(shop.hear(conditions.audio))


def _reference_pictures(shop: Workshop, faces: Faces | None) -> Generator[Event, None, ReferencePictures]:
    """I_id-face of every training frame, made once; whole frames where faces are not parted."""
    clip, train = shop.clip, shop.clip.train
    side = min(clip.size, shop.config.model.head.identity.reference_size or clip.size)
    path = shop.log.folder / "references.raw"
    with explained(path), path.open("wb") as file:
        for start in range(train.start, train.stop, 16):
            frames = np.arange(start, min(start + 16, train.stop))
            pictures = torch.from_numpy(clip.cache.frames[frames]).permute(0, 3, 1, 2).float() / 255
            if faces is not None:
                pictures = _identity_faces(shop, faces, frames, pictures)
            small = (shrink(pictures, side).clamp(0, 1) * 255).round().to(torch.uint8)
            file.write(np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy()).data)
            yield Progress(stage="identity faces", done=int(frames[-1]) + 1 - train.start, total=len(train))
    pictures_on_disk = np.memmap(path, np.uint8, "r", shape=(len(train), side, side, 3))
    return ReferencePictures(pictures_on_disk, first_frame=train.start, device=shop.device)


def _identity_faces(
    shop: Workshop,
    faces: Faces,
    frames: Int[np.ndarray, "batch"],
    pictures: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    masks = faces.mask(frames)
    boxes = np.round(faces.crops.boxes[frames] * (shop.clip.size / shop.dataset.size)).astype(np.int64)
    pasted = [paste_back(*each) for each in zip(pictures, torch.from_numpy(boxes), masks, strict=True)]
    return torch.stack(pasted)


def _assemble(shop: Workshop, root: Path, module: NerfModule, *, smoothed: bool) -> PaperAvatar:
    config, clip, dataset = shop.config, shop.clip, shop.dataset
    kind = config.model.conditions.kind
    manifest = PaperManifest(
        name=root.name,
        made_by=f"nerf-ad {__version__}",
        preset=config.preset,
        row=config.row,
        fps=dataset.manifest.fps,
        size=clip.size,
        speech=speech_in_use(dataset, config.speech),
        speech_channels=shop.track.features.shape[1],
        speech_id=shop.track.encoder,
        driven_by="landmarks" if kind == "landmarks" else "nothing" if kind == "nothing" else "speech",
        source_sha256=dataset.manifest.source.sha256,
        model=config.model,
        is_smoothed=smoothed,
        num_shots=len(clip.background_of),
    )
    motion = Motion(
        clip.tracking.camera_to_world.astype(np.float32),
        np.zeros((dataset.num_frames, 0), np.float32),
        np.array(dataset.manifest.shots, np.int64),
        np.array([clip.train.start, clip.train.stop], np.int64),
    )
    plates = Plates(torch.from_numpy(clip.backgrounds).permute(0, 3, 1, 2), clip.background_of)

    def torso(frame: int) -> UInt8[np.ndarray, "size size 4"]:
        return np.array(clip.cache.torso[frame])

    return PaperAvatar(manifest, module.head, module.conditions, plates, torso, motion, root)

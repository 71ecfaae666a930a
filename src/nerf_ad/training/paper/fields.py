"""Stage 3 as a whole: what conditions the fields, the references they read, and their fitting."""

import gc
from collections.abc import Generator, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from nerf_ad.core.device import peak_memory, seed_everything
from nerf_ad.core.events import Event, Metric, Progress
from nerf_ad.core.files import explained
from nerf_ad.dataset.frame_file import FrameFile
from nerf_ad.dataset.references import choose_references
from nerf_ad.face.landmarks import IBUG_68
from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.conditions import build_conditions
from nerf_ad.models.paper.disentangle import paste_back
from nerf_ad.models.paper.identity import shrink
from nerf_ad.models.paper.landmark_code import LandmarkCode
from nerf_ad.models.paper.nerf import ConditionModule, PaperHead
from nerf_ad.training.clip import carve_head
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.paper.faces import Faces
from nerf_ad.training.paper.nerf import fit_nerf, is_smoothed, nerf_parameters
from nerf_ad.training.paper.nerf_rays import NerfSampler, NerfTruth, ReferencePictures, face_rects
from nerf_ad.training.paper.nerf_step import NerfModule
from nerf_ad.training.paper.painting import Learned, made_from_both
from nerf_ad.training.paper.workshop import Workshop
from nerf_ad.training.stage import StageState

BOX_RESOLUTION = 48
"""Cells a side of the hull that says which rays can meet the head (ours)."""


def fit_fields(
    shop: Workshop,
    config: PaperTrainConfig,
    faces: Faces | None,
    learned: Learned | None,
    seconds: float | None,
) -> Generator[Event, None, tuple[NerfModule, bool]]:
    """Stage 3."""
    clip = shop.clip
    gc.collect()  # critic and optimisers of the stages before
    poses = shop.poses()
    seed_everything(config.seed)
    conditions = build_conditions(config.model.conditions, channels=shop.track.features.shape[1])
    module = NerfModule(PaperHead(config.model.head, size=clip.size), conditions).to(shop.device)
    prepare_conditions(shop, conditions, learned)
    module.head.set_camera(
        torch.from_numpy(clip.tracking.intrinsics).float(), poses[clip.train.start : clip.train.stop]
    )
    hull = carve_head(clip, resolution=BOX_RESOLUTION)
    module.head.set_box(torch.from_numpy(hull.low), torch.from_numpy(hull.high))
    references = ReferencePictures(
        np.zeros((0, 1, 1, 3), np.uint8), first_frame=clip.train.start, device=shop.device
    )
    if config.model.head.uses_references:
        side = config.model.head.identity.reference_size
        references = yield from _reference_pictures(shop, faces if config.disentangles else None, side)
        chosen = np.array(choose_references(shop.dataset, config.model.head.num_references))
        module.head.set_references(references(chosen), poses[torch.from_numpy(chosen)])
    parameters = nerf_parameters(module, config.nerf)
    optimiser = torch.optim.Adam(parameters, betas=(0.9, 0.999))
    made_from = made_from_both(faces, learned)
    state = shop.state("nerf", module, optimiser, decay=config.nerf.average_decay, made_from=made_from)
    yield from state.warnings()
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


def prepare_conditions(shop: Workshop, conditions: ConditionModule, learned: Learned | None) -> None:
    """What stage 2 taught, the clip's sound or landmarks, and how their numbers are scaled."""
    if isinstance(conditions, LandmarkCode):
        points = torch.from_numpy(shop.clip.landmarks.read(IBUG_68)).to(shop.device)
        conditions.set_normalisation(points[shop.clip.train.start : shop.clip.train.stop])
        conditions.look(points)
    if isinstance(conditions, AudioFace | AudioCode):
        shop.set_normalisation(conditions.audio)
    if isinstance(conditions, AudioFace) and learned is not None:
        still = learned.audio_faces[learned.neutral : learned.neutral + 1]
        conditions.still.copy_(still.float() / 255)
        conditions.fusion.set_usual(learned.audio_faces[shop.clip.train.start : shop.clip.train.stop])
        if learned.parts is not None:
            conditions.audio.load_state_dict(learned.parts.audio.state_dict())
            conditions.fusion.load_state_dict(learned.parts.face.state_dict())
            conditions.freeze_fusion()
    if isinstance(conditions, AudioFace):
        conditions.hear(shop.hear(conditions.audio), shop.poses())
    elif isinstance(conditions, AudioCode):
        conditions.hear(shop.hear(conditions.audio))


def _reference_pictures(
    shop: Workshop, faces: Faces | None, largest: int
) -> Generator[Event, None, ReferencePictures]:
    """I_id-face of every training frame, made once; whole frames where faces are not parted."""
    clip, train = shop.clip, shop.clip.train
    side = min(clip.size, largest or clip.size)
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
    pictures_on_disk = FrameFile(path, (len(train), side, side, 3))
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

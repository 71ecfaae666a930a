"""Stage 2 as a whole: audio faces, the classifiers that judge them, and the fusion that paints them."""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerf_ad.core.device import seed_everything
from nerf_ad.core.events import Event
from nerf_ad.dataset.references import neutral_frame
from nerf_ad.models.paper.au_classifier import AuClassifiers
from nerf_ad.models.paper.audio import AudioBranch
from nerf_ad.models.paper.fusion import FaceFusion
from nerf_ad.models.paper.resting_face import points_in_crops, similarities
from nerf_ad.training.checkpoint import tensors_digest
from nerf_ad.training.paper.classifiers import fit_classifiers, learnable_units, unit_presence
from nerf_ad.training.paper.faces import Faces
from nerf_ad.training.paper.fusion import (
    FusionModule,
    FusionParts,
    FusionTruth,
    fit_fusion,
    fusion_optimiser,
    inner_split,
)
from nerf_ad.training.paper.steady_mask import collect_steady_faces, speech_region
from nerf_ad.training.paper.workshop import Workshop


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
    digest: str
    """Of ``parts``; empty without."""


def teach_fusion(shop: Workshop, faces: Faces, budget: float | None) -> Generator[Event, None, Learned]:
    """Audio faces; and, where it is pre-trained, stage 2 with the classifiers that judge it."""
    config = shop.config
    audio_faces = yield from _audio_faces(shop, faces)
    neutral = neutral_frame(shop.dataset)
    if not config.needs_fusion:
        return Learned(audio_faces, neutral, None, None, 0.0, digest="")
    train, validation = inner_split(shop.clip.train, config.fusion.validation_share)
    classifiers, spent = None, 0.0
    if config.needs_classifiers:
        classifiers, spent = yield from _teach_classifiers(shop, faces, audio_faces, train, validation)
    seed_everything(config.seed)
    conditions = config.speech_networks
    audio = AudioBranch(conditions.audio, shop.track.features.shape[1])
    face = FaceFusion(conditions.fusion, audio_code_dim=conditions.audio.code_dim)
    module = FusionModule(audio, face).to(shop.device)
    shop.set_normalisation(audio)
    face.set_usual(audio_faces[train.start : train.stop])
    optimiser = fusion_optimiser(config.fusion, module)
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
    judges = "" if classifiers is None else tensors_digest(classifiers.state_dict())
    made_from = f"{faces.digest} {judges}"
    with shop.shared_state("fusion", module, optimiser, decay=0.0, made_from=made_from) as state:
        yield from state.warnings()
        yield from fit_fusion(config.fusion, module, state, truth, classifiers, seconds=seconds)
    digest = tensors_digest(module.parts.state_dict())
    return Learned(audio_faces, neutral, module.parts, classifiers, spent + state.seconds, digest=digest)


def made_from_both(faces: Faces | None, learned: Learned | None) -> str:
    """Digests of what stages 1 and 2 gave to the last stage."""
    return " ".join("" if part is None else part.digest for part in (faces, learned))


def _audio_faces(shop: Workshop, faces: Faces) -> Generator[Event, None, UInt8[Tensor, "frames 3 size size"]]:
    """The speech region of every frame: what stage 2 learns to paint."""
    config, train = shop.config, shop.clip.train
    moves = _moves_to_rest(shop, faces) if config.rests_faces else None
    if not config.fusion.steadies_mask:
        return (yield from faces.collect(moves))
    own = slice(train.start, train.stop)
    region = speech_region(faces.masks[own], None if moves is None else moves[own])
    return (yield from collect_steady_faces(faces.crops.batch, region, moves, num_frames=len(faces.units)))


def _moves_to_rest(shop: Workshop, faces: Faces) -> Float[Tensor, "frames 2 3"]:
    """How each face is turned and shifted to where the training faces are on average, by its rigid points."""
    points = shop.dataset.landmarks().points[:, shop.clip.tracking.point_indices, :2].astype(np.float64)
    places, train = points_in_crops(points, faces.crops.boxes), shop.clip.train
    return similarities(places[train.start : train.stop].mean(axis=0), places)


def _teach_classifiers(
    shop: Workshop,
    faces: Faces,
    audio_faces: UInt8[Tensor, "frames 3 size size"],
    train: range,
    validation: range,
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
    presence = unit_presence(found, names)
    with shop.shared_state("classifiers", model, optimiser, decay=0.0, made_from=faces.digest) as state:
        yield from state.warnings()
        yield from fit_classifiers(
            config.classifier_training,
            model,
            state,
            audio_faces,
            presence,
            train=train,
            validation=validation,
        )
    return model, state.seconds

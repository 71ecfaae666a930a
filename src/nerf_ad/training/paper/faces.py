"""Stage 1 and what it gives to all others: every face crop of the clip, parted by its mask."""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from nerf_ad.core.device import seed_everything
from nerf_ad.core.events import Event, Progress
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.face_crops import FaceCrops, crops_folder, make_face_crops
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.models.paper.au_attention import AuAttention
from nerf_ad.training.checkpoint import tensors_digest
from nerf_ad.training.paper.attention import (
    AttentionModule,
    FaceSampler,
    attention_optimiser,
    fit_attention,
    scale_units,
)
from nerf_ad.training.paper.fusion import collect_audio_faces
from nerf_ad.training.paper.workshop import Workshop

COLLECTED = 16
"""Faces at a time where all frames are gone through."""


class Faces(NamedTuple):
    """The clip's faces, parted by the mask."""

    crops: FaceCrops
    units: Float[Tensor, "frames units"]
    """Intensity of the speech action units."""
    masks: UInt8[Tensor, "frames 1 size size"]
    """A of every frame, in 256 steps; 0 where faces are not parted: the whole face is the audio face."""
    are_parted: bool
    """Whether the masks are more than 0."""
    digest: str
    """Of what makes the masks; empty where faces are not parted."""

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


def speech_units(dataset: Dataset) -> Float[Tensor, "frames units"]:
    """Intensity of the speech action units of every frame.

    Raises:
        FormatError: the dataset lacks one.
    """
    found = dataset.action_units()
    return torch.from_numpy(np.stack([found.channel(name) for name in SPEECH_UNITS], axis=1)).float()


def part_faces(shop: Workshop, budget: float | None) -> Generator[Event, None, tuple[Faces, float]]:
    """Stage 1, where faces are parted."""
    config, train = shop.config, shop.clip.train
    yield from make_face_crops(shop.dataset, config.mask.size)
    folder = crops_folder(shop.dataset, config.mask.size)
    crops = FaceCrops(folder, num_frames=shop.dataset.num_frames, size=config.mask.size)
    units = speech_units(shop.dataset).to(shop.device)
    if not config.needs_mask:
        none = torch.zeros(len(units), 1, crops.size, crops.size, dtype=torch.uint8)
        return Faces(crops, units, none, are_parted=False, digest=""), 0.0
    seed_everything(config.seed)
    module = AttentionModule(config.mask, config.critic).to(shop.device)
    scale_units(module, config.attention, units[train.start : train.stop])
    optimiser = attention_optimiser(module, config.attention)
    seconds = None if budget is None else config.attention_share * budget
    with shop.shared_state("attention", module, optimiser, decay=config.attention.average_decay) as state:
        scaled = module.attention.scaled(units)
        sampler = FaceSampler(config.attention, crops, scaled, train=train, seed=config.seed)
        yield from fit_attention(config.attention, module, state, sampler, seconds=seconds)
    masks = yield from _make_masks(module.attention.eval(), crops, units)
    digest = tensors_digest(module.attention.state_dict())
    return Faces(crops, units, masks, are_parted=True, digest=digest), state.seconds


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

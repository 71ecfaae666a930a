"""Train an avatar by the paper's method: attention, classifiers, fusion, fields.

Each is resumed where it stopped. A row of the comparisons leaves out the stages that it has no use for.
"""

from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from nerf_ad import __version__
from nerf_ad.avatar.avatar import Motion
from nerf_ad.avatar.folder import Plates
from nerf_ad.avatar.manifest import PaperManifest
from nerf_ad.avatar.paper import PaperAvatar
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import open_pixels
from nerf_ad.training.clip import read_clip
from nerf_ad.training.paper.anatomy import write_anatomy
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.paper.faces import part_faces
from nerf_ad.training.paper.fields import fit_fields
from nerf_ad.training.paper.nerf_step import NerfModule
from nerf_ad.training.paper.painting import teach_fusion
from nerf_ad.training.paper.workshop import Workshop
from nerf_ad.training.run_log import RunLog


def paper_stages(
    dataset: Dataset,
    root: Path,
    config: PaperTrainConfig,
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
    track = dataset.speech(config.speech.kind)
    shop = Workshop(dataset, config, read_clip(dataset, size), track, device, log, parts)
    budget = None if minutes is None else 60 * minutes
    spent, faces, learned = 0.0, None, None
    if config.needs_faces or config.needs_mask:
        faces, seconds = yield from part_faces(shop, budget)
        spent += seconds
    if faces is not None and config.needs_faces:
        learned = yield from teach_fusion(shop, faces, budget)
        spent += learned.seconds
    left = None if budget is None else max(10.0, budget - spent)
    module, smoothed = yield from fit_fields(shop, config, faces, learned, left)

    yield Progress(stage="saving", done=0, total=2)
    avatar = _assemble(shop, config, root, module, smoothed=smoothed)
    if faces is not None:
        write_anatomy(root / "anatomy.npz", dataset, faces, learned, module.conditions, is_smoothed=smoothed)
    yield Progress(stage="saving", done=1, total=2)
    avatar.save()
    config.save_toml(root / "config.toml")
    yield Progress(stage="saving", done=2, total=2)
    yield Saved(path=str(root))


def _assemble(
    shop: Workshop, config: PaperTrainConfig, root: Path, module: NerfModule, *, smoothed: bool
) -> PaperAvatar:
    clip, dataset = shop.clip, shop.dataset
    kind = config.model.conditions.kind
    manifest = PaperManifest(
        name=root.name,
        made_by=f"nerf-ad {__version__}",
        preset=config.preset,
        row=config.row,
        fps=dataset.manifest.fps,
        size=clip.size,
        speech=config.speech,
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

"""What the stages made of a sentence of held-out frames: mask, both faces, decoded face, action units.

Written into the avatar, so that it can be looked at (``nerf-ad inspect AVATAR --html``) without the data set.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from nerf_ad.core.files import write_npz
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.models.paper.audio_face import AudioFace
from nerf_ad.training.paper.classifiers import unit_presence
from nerf_ad.training.paper.faces import Faces
from nerf_ad.training.paper.painting import Learned

SENTENCE = 100
"""Frames at most: four seconds."""


@torch.no_grad()
def write_anatomy(
    path: Path,
    dataset: Dataset,
    faces: Faces,
    learned: Learned | None,
    conditions: nn.Module,
    *,
    is_smoothed: bool,
) -> None:
    """Write the arrays.

    Args:
        path: ``.npz`` to write.
        dataset: the clip.
        faces: what stage 1 gave.
        learned: what stage 2 gave; None where no faces are painted.
        conditions: what conditions the field, hearing the clip; shown where it paints audio faces.
        is_smoothed: whether the temporal attention is in use.
    """
    test, train = dataset.split().test, dataset.split().train
    stretch = test if len(test) else train
    frames = np.arange(stretch.start, min(stretch.stop, stretch.start + SENTENCE))
    where = torch.from_numpy(frames).to(faces.units.device)
    labels = unit_presence(dataset.action_units(), SPEECH_UNITS)
    arrays: dict[str, np.ndarray] = {
        "frames": frames,
        "crops": faces.crops.pixels[frames],
        "boxes": faces.crops.boxes[frames],
        "points": dataset.landmarks().points[frames, :, :2],
        "units": faces.units[where].cpu().numpy(),
        "presence": labels[frames].numpy(),
    }
    if faces.are_parted:
        arrays["masks"] = faces.masks[frames, 0].numpy()
    if isinstance(conditions, AudioFace) and learned is not None:
        audio_faces, classifiers = learned.audio_faces, learned.classifiers
        painted = torch.cat(
            [conditions.faces(part, is_smoothed=is_smoothed).clamp(0, 1).cpu() for part in where.split(16)]
        )
        targets = audio_faces[frames]
        arrays |= {
            "decoded": _bytes(painted.permute(0, 2, 3, 1)),
            "targets": targets.permute(0, 2, 3, 1).numpy(),
            "mean_face": _bytes(_mean(audio_faces[train.start : train.stop]).permute(1, 2, 0)),
        }
        if classifiers is not None and classifiers.units:
            device = next(classifiers.parameters()).device
            said, of_targets = (
                torch.cat([classifiers(part.to(device)).cpu() for part in pictures.split(16)])
                for pictures in (painted, targets.float() / 255)
            )
            arrays |= {
                "classified": np.array([SPEECH_UNITS.index(name) for name in classifiers.units]),
                "probability": said.numpy(),
                "probability_of_targets": of_targets.numpy(),
            }
    write_npz(path, arrays)


def _mean(faces: UInt8[Tensor, "frames 3 size size"]) -> Float[Tensor, "3 size size"]:
    total = torch.zeros(faces.shape[1:], dtype=torch.float64)
    for part in faces.split(64):
        total += part.double().sum(dim=0)
    return (total / (255 * len(faces))).float()


def _bytes(values: Float[Tensor, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    return (values * 255).round().to(torch.uint8).numpy()

"""How good the fused audio faces of held-out frames are: against one mean face, and by their action units.

A face that never moves is the rival: whoever hears nothing does best with it. For each action unit the rival
is the label that is right most often.
"""

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from nerf_ad.core.config import Config


class UnitReport(Config):
    """One action unit on the held-out frames."""

    rate: float = Field(ge=0, le=1)
    """Part of the frames in which it is present."""
    majority: float = Field(ge=0, le=1)
    """Accuracy of always giving the label that is more frequent on these very frames."""
    accuracy: float = Field(ge=0, le=1)
    """Of the classifier on the decoded faces against the recording's labels."""
    balanced_accuracy: float | None = None
    """Mean of the accuracies on present and on absent frames; absent where only one label occurs."""
    ceiling: float = Field(ge=0, le=1)
    """Accuracy of the same classifier on the recorded faces: what a perfect decoder would get."""


class FusedFaceReport(Config):
    """Held-out audio faces made from sound."""

    l_rec: float
    """Mean absolute error of the decoded faces."""
    l_rec_mean_face: float
    """Of the mean training face, shown all the time."""
    ratio: float
    """The first over the second: the part of the error that is left."""
    units: dict[str, UnitReport]
    """By action unit."""
    accuracy: float | None = None
    """Mean over the units."""


def measure_fused_faces(
    decoded: Float[Tensor, "frames 3 size size"],
    recorded: Float[Tensor, "frames 3 size size"],
    mean_face: Float[Tensor, "3 size size"],
    *,
    said: Bool[Tensor, "frames units"],
    said_of_recorded: Bool[Tensor, "frames units"],
    presence: Bool[Tensor, "frames units"],
    names: tuple[str, ...],
) -> FusedFaceReport:
    """Compare decoded with recorded audio faces.

    Args:
        decoded: what speech painted, in [0, 1].
        recorded: (1-A)·c of the same frames.
        mean_face: mean of the training frames' audio faces.
        said: presence that a classifier sees in the decoded faces. Of a classifier that was not part of the
            loss, if its verdict shall count as evidence.
        said_of_recorded: presence that it sees in the recorded faces.
        presence: labels of the recording.
        names: of the units.
    """
    error = float((decoded - recorded).abs().mean())
    still = float((mean_face - recorded).abs().mean())
    units = {name: _unit(said[:, i], said_of_recorded[:, i], presence[:, i]) for i, name in enumerate(names)}
    return FusedFaceReport(
        l_rec=error,
        l_rec_mean_face=still,
        ratio=error / max(still, 1e-12),
        units=units,
        accuracy=sum(unit.accuracy for unit in units.values()) / len(units) if units else None,
    )


def _unit(
    said: Bool[Tensor, "frames"], said_of_recorded: Bool[Tensor, "frames"], presence: Bool[Tensor, "frames"]
) -> UnitReport:
    rate = float(presence.float().mean())
    right = said == presence
    both = bool(presence.any()) and not bool(presence.all())
    balanced = [float(right[label].float().mean()) for label in (presence, ~presence)] if both else []
    return UnitReport(
        rate=rate,
        majority=max(rate, 1 - rate),
        accuracy=float(right.float().mean()),
        balanced_accuracy=sum(balanced) / 2 if both else None,
        ceiling=float((said_of_recorded == presence).float().mean()),
    )


def mean_audio_face(faces: Tensor, train: range) -> Float[Tensor, "3 size size"]:
    """The mean of the training frames' audio faces, in [0, 1]."""
    total = torch.zeros(faces.shape[1:], dtype=torch.float64)
    for part in faces[train.start : train.stop].split(64):
        total += part.double().sum(dim=0)
    scale = 1.0 if faces.is_floating_point() else 255.0
    return (total / (len(train) * scale)).float()

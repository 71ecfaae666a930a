"""nerf-ad: a minute of video of one person becomes an avatar that speaks any audio.

Public names are loaded when they are first used: ``import nerf_ad`` costs nothing and does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerf_ad.avatar.avatar import Avatar
    from nerf_ad.capture.capture import capture
    from nerf_ad.core.errors import (
        BadInputError,
        FormatError,
        MediaError,
        NerfAdError,
        UsageError,
        WeightsError,
    )
    from nerf_ad.core.events import Event
    from nerf_ad.dataset.dataset import Dataset
    from nerf_ad.evaluation.held_out import evaluate
    from nerf_ad.evaluation.pair import evaluate_pair
    from nerf_ad.presets import PRESETS
    from nerf_ad.rendering.render import render
    from nerf_ad.training.train import train

__version__ = "0.1.0"

_HOMES = {
    "Avatar": "nerf_ad.avatar.avatar",
    "BadInputError": "nerf_ad.core.errors",
    "Dataset": "nerf_ad.dataset.dataset",
    "Event": "nerf_ad.core.events",
    "FormatError": "nerf_ad.core.errors",
    "MediaError": "nerf_ad.core.errors",
    "NerfAdError": "nerf_ad.core.errors",
    "PRESETS": "nerf_ad.presets",
    "UsageError": "nerf_ad.core.errors",
    "WeightsError": "nerf_ad.core.errors",
    "capture": "nerf_ad.capture.capture",
    "evaluate": "nerf_ad.evaluation.held_out",
    "evaluate_pair": "nerf_ad.evaluation.pair",
    "render": "nerf_ad.rendering.render",
    "train": "nerf_ad.training.train",
}
"""Where each public name is defined."""

__all__ = [
    "PRESETS",
    "Avatar",
    "BadInputError",
    "Dataset",
    "Event",
    "FormatError",
    "MediaError",
    "NerfAdError",
    "UsageError",
    "WeightsError",
    "capture",
    "evaluate",
    "evaluate_pair",
    "render",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in _HOMES:
        message = f"module 'nerf_ad' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

"""A look at the avatar while it trains: held-out frames beside the recording."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerf_ad.core.events import Event, Preview
from nerf_ad.dataset.pixels import PixelCache
from nerf_ad.media.images import write_image
from nerf_ad.models.talking_head import TalkingHead
from nerf_ad.training.head import HeadConditions
from nerf_ad.training.stage import StageState


@runtime_checkable
class Recording(Protocol):
    """What a preview is compared with."""

    @property
    def cache(self) -> PixelCache:
        """Recorded frames."""

    @property
    def train(self) -> range:
        """Training frames."""


class Previewer:
    """Renders four frames (two seen, two held out) now and then."""

    def __init__(
        self,
        folder: Path,
        model: TalkingHead,
        module: nn.Module,
        state: StageState,
        poses: Float[Tensor, "frames 4 4"],
        conditions: HeadConditions,
        recording: Recording,
        *,
        every_seconds: float = 60.0,
    ) -> None:
        self.folder = folder
        self.model = model
        self.module = module
        self.state = state
        self.poses = poses
        self.conditions = conditions
        self.recording = recording
        self.every_seconds = every_seconds
        train, total = recording.train, len(poses)
        self.chosen = [train.start + len(train) // 3, train.start + 2 * len(train) // 3]
        self.chosen += sorted({min(train.stop + (total - train.stop) // 2, total - 1), total - 1})
        self._looked_at = time.monotonic()

    def look(self) -> Iterator[Event]:
        """Write a preview where it is time for one."""
        if time.monotonic() - self._looked_at < self.every_seconds:
            return
        self._looked_at = time.monotonic()
        path = self.folder / "previews" / f"{self.state.step:07d}.png"
        self.state.average.swap(self.module)
        try:
            write_image(path, self._sheet())
        finally:
            self.state.average.swap(self.module)
        yield Preview(step=self.state.step, path=str(path.relative_to(self.folder)))

    def _sheet(self) -> np.ndarray:
        rows = []
        for index in self.chosen:
            pose = self.poses[index : index + 1]
            with torch.no_grad():
                frame = torch.tensor([index], device=pose.device)
                made = self.model.frame(self.conditions.show(frame), pose)
            picture = (made.clamp(0, 1) * 255).round().byte().cpu().numpy()
            rows.append(np.concatenate([picture, np.asarray(self.recording.cache.frames[index])], axis=0))
        return np.concatenate(rows, axis=1)

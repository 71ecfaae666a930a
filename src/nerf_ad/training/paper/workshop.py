"""What all stages of the paper's method share: the clip, its speech, and where each stage's state is kept."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from nerf_ad.core.files import locked
from nerf_ad.dataset.dataset import Dataset, SpeechTrack
from nerf_ad.models.paper.audio import AudioBranch
from nerf_ad.training.clip import Clip
from nerf_ad.training.paper.config import FacePartsConfig, SharedStage
from nerf_ad.training.run_log import RunLog
from nerf_ad.training.stage import StageState


class Workshop(NamedTuple):
    """What all stages share."""

    dataset: Dataset
    config: FacePartsConfig
    clip: Clip
    track: SpeechTrack
    device: torch.device
    log: RunLog
    parts: Path | None = None
    """Folder where stages are kept that several trainings have in common; None: each has its own."""

    def state(
        self,
        name: str,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        decay: float,
        made_from: str,
    ) -> StageState:
        """What a stage that is this training's alone keeps between steps, as its resume file left it.

        ``made_from``: digests of the earlier stages' results; made from others, the stage begins anew.
        """
        path = self.log.folder / f"{name}.safetensors"
        return self._resumed(path, self.log.fingerprint, made_from, module, optimiser, decay)

    @contextlib.contextmanager
    def shared_state(
        self,
        name: SharedStage,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        decay: float,
        made_from: str = "",
    ) -> Iterator[StageState]:
        """What a stage keeps that other trainings may have made already: rows differ in few of their choices.

        Its resume file is named by what it follows from, the results of earlier stages (``made_from``)
        included, and is worked on by one training at a time.
        """
        fingerprint = self._shared_fingerprint(name)
        if self.parts is None:
            path = self.log.folder / f"{name}.safetensors"
            yield self._resumed(path, fingerprint, made_from, module, optimiser, decay)
            return
        origin = hashlib.sha256(f"{fingerprint} {made_from}".encode()).hexdigest()[:16]
        path = self.parts / f"{name}-{origin}.safetensors"
        with locked(path.with_suffix(".lock"), wait=True):
            state = self._resumed(path, fingerprint, made_from, module, optimiser, decay)
            yield state
            self.log.note_shared(name, step=state.step, seconds=state.seconds)

    def _shared_fingerprint(self, name: SharedStage) -> str:
        facts = [
            self.dataset.manifest.source.sha256,
            self.dataset.inputs_for_training(with_units=True),
            name,
            self.config.stage_facts(name),
            self.track.origin if name == "fusion" else None,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def _resumed(
        self,
        path: Path,
        fingerprint: str,
        made_from: str,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        decay: float,
    ) -> StageState:
        held = StageState(
            path,
            module,
            optimiser,
            average_decay=decay,
            seed=self.config.seed,
            fingerprint=fingerprint,
            made_from=made_from,
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

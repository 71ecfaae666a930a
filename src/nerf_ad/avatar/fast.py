"""The avatar of the planes field: head, torso and plate from networks, steered by mouth codes and eyes."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.avatar.avatar import Avatar, Moment, Motion
from nerf_ad.avatar.folder import hash_files, read_weights, refuse_misfit_tensors
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.avatar.planes import PlanesBody
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import ExpressionBasis, rest_code
from nerf_ad.media.audio import Waveform
from nerf_ad.models.speech_code import SpeechCode
from nerf_ad.models.talking_head import TalkingHead
from nerf_ad.speech.activity import speech_activity
from nerf_ad.speech.windows import window_steps


class FastAvatar(Avatar):
    """A person as a planes field."""

    def __init__(
        self,
        manifest: FastManifest,
        head: TalkingHead,
        speech_code: SpeechCode,
        basis: ExpressionBasis,
        motion: Motion,
        root: Path,
    ) -> None:
        self.manifest: FastManifest = manifest
        self.body = PlanesBody(head, basis, motion)
        self.head = head
        self.speech_code = speech_code
        self.basis = basis
        self.motion = motion
        self.root = root

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.body.device

    @property
    def borrows_torso(self) -> bool:
        """No: the torso is a picture that bends with any pose."""
        return False

    @classmethod
    def read(cls, root: Path, manifest: FastManifest, *, device: str | torch.device) -> "FastAvatar":
        """Read everything but the manifest; ``Avatar.load`` does it all.

        Raises:
            FormatError: damaged, or with a missing tensor.
        """
        path = root / "weights" / "speech.safetensors"
        code = read_weights(path)
        with torch.device("meta"):
            refuse_misfit_tensors(_build(manifest), code, path)
        body = PlanesBody.read(root, manifest, device=device)
        speech_code = _build(manifest)
        speech_code.load_state_dict(code)
        return cls(manifest, body.head, speech_code.eval().to(device), body.basis, body.motion, root)

    def save(self) -> None:
        """Write the folder; ``avatar.toml`` comes last, so that an avatar is whole or not there."""
        self.body.write(self.root)
        write_tensors(self.root / "weights" / "speech.safetensors", self.speech_code.state_dict())
        values = {**self.manifest.model_dump(mode="json"), "files": hash_files(self.root)}
        self.manifest = FastManifest.from_mapping(values, source=str(self.root / "avatar.toml"))
        self.manifest.save_toml(self.root / "avatar.toml")

    def speak(
        self,
        waveform: Waveform,
        features: Float[np.ndarray, "steps channels"],
        rate_hz: float,
        num_frames: int,
        *,
        camera_to_world: Float[np.ndarray, "frames 4 4"] | None = None,  # noqa: ARG002 - of no effect
    ) -> Float[np.ndarray, "frames units"]:
        """Mouth code of every frame from speech features; in pauses the mouth comes to rest.

        An avatar that is driven by nothing keeps its mean mouth (the static baseline).
        """
        if self.manifest.driven_by == "nothing":
            return np.zeros((num_frames, self.manifest.head.mouth_dim), np.float32)
        fps = float(self.manifest.fps)
        reach = self.manifest.speech_code.reach
        steps = window_steps(len(features), num_frames, fps=fps, reach=reach, rate_hz=rate_hz)
        parts = []  # piece by piece: the windows of an hour take 2.4 GB together
        with torch.no_grad():
            for start in range(0, num_frames, 256):
                chunk = np.asarray(features[steps[start : start + 256]], np.float32)
                parts.append(self.speech_code(torch.from_numpy(chunk).to(self.device)).cpu().numpy())
        activity = speech_activity(waveform.samples, waveform.rate, num_frames, fps)
        rest = rest_code(self.basis)
        return np.asarray(rest + activity[:, None] * (np.concatenate(parts) - rest), np.float32)

    def eyes_of(self, dataset: Dataset) -> Float[np.ndarray, "frames states"]:
        """Eye states of a recording's frames."""
        return self.body.eyes_of(dataset)

    def keep_layers(self) -> None:
        """Keep what speech does not touch of poses that come again in ``runs/layers``, for the next time."""
        self.body.keep_layers(self.root, self.manifest)

    def frame(
        self, moment: Moment, *, background: Float[Tensor, "3 size size"] | None = None
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]: head over torso over background."""
        return self.body.frame(moment, background)


def _build(manifest: FastManifest) -> SpeechCode:
    out_dim, channels = manifest.head.mouth_dim, manifest.speech_channels
    return SpeechCode(manifest.speech_code, channels=channels, out_dim=out_dim)

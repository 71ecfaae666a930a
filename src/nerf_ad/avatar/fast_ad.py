"""NeRF-AD's fusion in front of the planes field: mouth codes are read off the face that speech paints."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.avatar.avatar import Avatar, Moment, Motion
from nerf_ad.avatar.folder import hash_files, read_weights, refuse_misfit_tensors
from nerf_ad.avatar.manifest import FastAdManifest
from nerf_ad.avatar.planes import PlanesBody
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import ExpressionBasis
from nerf_ad.media.audio import Waveform
from nerf_ad.models.paper.mouth_code import HeardMouth
from nerf_ad.models.talking_head import TalkingHead
from nerf_ad.speech.activity import speech_activity


class FastAdAvatar(Avatar):
    """A person as a planes field whose mouth speech paints first."""

    def __init__(
        self,
        manifest: FastAdManifest,
        head: TalkingHead,
        mouth: HeardMouth,
        basis: ExpressionBasis,
        motion: Motion,
        root: Path,
    ) -> None:
        self.manifest: FastAdManifest = manifest
        self.body = PlanesBody(head, basis, motion)
        self.head = head
        self.mouth = mouth
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
    def read(cls, root: Path, manifest: FastAdManifest, *, device: str | torch.device) -> "FastAdAvatar":
        """Read everything but the manifest; ``Avatar.load`` does it all.

        Raises:
            FormatError: damaged, or with a missing tensor.
        """
        path = root / "weights" / "conditions.safetensors"
        tensors = read_weights(path)
        # Shapes are compared before memory is taken: a manifest cannot claim more than the files hold.
        with torch.device("meta"):
            refuse_misfit_tensors(_build(manifest), tensors, path)
        body = PlanesBody.read(root, manifest, device=device)
        mouth = _build(manifest)
        mouth.load_state_dict(tensors)
        return cls(manifest, body.head, mouth.eval().to(device), body.basis, body.motion, root)

    def save(self) -> None:
        """Write the folder; ``avatar.toml`` comes last, so that an avatar is whole or not there."""
        self.body.write(self.root)
        write_tensors(self.root / "weights" / "conditions.safetensors", self.mouth.state_dict())
        values = {**self.manifest.model_dump(mode="json"), "files": hash_files(self.root)}
        self.manifest = FastAdManifest.from_mapping(values, source=str(self.root / "avatar.toml"))
        self.manifest.save_toml(self.root / "avatar.toml")

    def speak(
        self,
        waveform: Waveform,
        features: Float[np.ndarray, "steps channels"],
        rate_hz: float,
        num_frames: int,
        *,
        camera_to_world: Float[np.ndarray, "frames 4 4"] | None = None,
    ) -> Float[np.ndarray, "frames units"]:
        """Mouth code of every frame; in pauses the mouth comes to rest, as that of ``fast`` does."""
        poses = None
        if camera_to_world is not None:
            poses = torch.from_numpy(np.asarray(camera_to_world, np.float32)).to(self.device)
        heard = torch.from_numpy(np.asarray(features, np.float32)).to(self.device)
        fps = float(self.manifest.fps)
        codes = self.mouth.speak(heard, rate_hz, num_frames, fps, camera_to_world=poses).cpu().numpy()
        activity = speech_activity(waveform.samples, waveform.rate, num_frames, fps)
        rest = self.mouth.rest.cpu().numpy()
        return np.asarray(rest + activity[:, None] * (codes - rest), np.float32)

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


def _build(manifest: FastAdManifest) -> HeardMouth:
    return HeardMouth(
        manifest.conditions, channels=manifest.speech_channels, mouth_dim=manifest.head.mouth_dim
    )

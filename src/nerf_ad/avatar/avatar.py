"""Avatar: a trained person, whatever made it; loaded from a folder, driven by codes, giving frames.

``fast``, ``fast_ad`` and ``paper`` implement it. What renders (``rendering``) and what measures
(``evaluation``) know no more than this class says.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple, TypeVar, assert_never

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerf_ad.avatar.folder import HINT, read_manifest, verify_files
from nerf_ad.avatar.manifest import AvatarManifest, FastAdManifest, FastManifest, PaperManifest
from nerf_ad.core.errors import FormatError
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.geometry.rotations import are_rigid
from nerf_ad.media.audio import Waveform, read_audio

AvatarT = TypeVar("AvatarT", bound="Avatar")
"""Instead of ``Self``, which the run-time type check in tests cannot resolve on a single method."""


class Motion(NamedTuple):
    """How the person moved in the clip: the default head motion."""

    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Poses of the clip."""
    eyes: Float[np.ndarray, "frames states"]
    """Eye states of the same frames; no numbers where an avatar's eyes are not steered."""
    shots: np.ndarray[tuple[int], np.dtype[np.int64]]
    """First frame of every shot."""
    train_frames: np.ndarray[tuple[int], np.dtype[np.int64]]
    """First training frame and the one after the last."""


class Moment(NamedTuple):
    """What one frame is made from."""

    code: Float[Tensor, "1 units"]
    """What speech makes of the face, from ``Avatar.speak``."""
    eyes: Float[Tensor, "1 states"]
    """Eye state; no numbers where an avatar's eyes are not steered."""
    camera_to_world: Float[Tensor, "1 4 4"]
    """Head pose."""
    place: int
    """Frame of the clip where the head is: its shot says what is behind, or it lends its torso picture."""
    torso: UInt8[np.ndarray, "size size 4"] | None = None
    """A recorded torso to use instead of the avatar's own picture; only of avatars that ``borrows_torso``."""
    comes_again: bool = False
    """Whether a later frame has this pose with these eyes, so that keeping the rest of it may pay."""


class Avatar(ABC):
    """A trained person, ready to be driven."""

    manifest: AvatarManifest
    motion: Motion
    root: Path

    @classmethod
    def load(
        cls: type[AvatarT], root: str | Path, *, device: str | torch.device = "cpu", verify: bool = True
    ) -> AvatarT:
        """Read an avatar folder.

        Args:
            root: the folder.
            device: where to put the networks.
            verify: compare every file with its hash first.

        Raises:
            FormatError: not an avatar, of another version or method, damaged, or with a missing tensor.
        """
        from nerf_ad.avatar.fast import FastAvatar
        from nerf_ad.avatar.fast_ad import FastAdAvatar
        from nerf_ad.avatar.paper import PaperAvatar

        root = Path(root)
        manifest = read_manifest(root)
        if verify:
            verify_files(root, manifest)
        avatar: Avatar
        match manifest:
            case FastManifest():
                avatar = FastAvatar.read(root, manifest, device=device)
            case FastAdManifest():
                avatar = FastAdAvatar.read(root, manifest, device=device)
            case PaperManifest():
                avatar = PaperAvatar.read(root, manifest, device=device)
            case _:
                assert_never(manifest)
        if not isinstance(avatar, cls):
            raise FormatError(f"{root} is an avatar of another method: {manifest.method}")
        return avatar

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the networks are."""

    @property
    @abstractmethod
    def borrows_torso(self) -> bool:
        """Whether what is below the head is a recorded picture, which belongs to one frame and one pose."""

    @abstractmethod
    def save(self) -> None:
        """Write the folder; ``avatar.toml`` comes last, so that an avatar is whole or not there."""

    @abstractmethod
    def speak(
        self,
        waveform: Waveform,
        features: Float[np.ndarray, "steps channels"],
        rate_hz: float,
        num_frames: int,
        *,
        camera_to_world: Float[np.ndarray, "frames 4 4"] | None = None,
    ) -> Float[np.ndarray, "frames units"]:
        """What speech makes of the face in every frame: the codes of ``Moment``.

        Args:
            waveform: the sound that the features were made of.
            features: of the avatar's speech encoder.
            rate_hz: feature steps per second.
            num_frames: frames wanted.
            camera_to_world: their head poses, which some avatars need to know.

        Raises:
            BadInputError: this avatar is not driven by speech.
        """

    @abstractmethod
    def eyes_of(self, dataset: Dataset) -> Float[np.ndarray, "frames states"]:
        """Eye states of a recording's frames."""

    @abstractmethod
    def frame(
        self, moment: Moment, *, background: Float[Tensor, "3 size size"] | None = None
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]; ``background``: in [0, 1], to stand before instead of the clip's."""

    def keep_layers(self) -> None:
        """Keep what speech does not touch of poses that come again in the folder, for the next time.

        Does nothing for avatars that cannot, or not on this device.
        """
        return

    def codes_of(self, dataset: Dataset) -> Float[np.ndarray, "frames units"]:
        """What a recording's own sound makes of the face in all its frames.

        Raises:
            FormatError: the recording has features of another encoder.
        """
        track = dataset.speech(self.manifest.speech.kind)
        if track.encoder != self.manifest.speech_id:
            wanted = self.manifest.speech_id
            raise FormatError(
                f"{self.root} was trained with {wanted}, {dataset.root} has {track.encoder}",
                hint="capture or train again",
            )
        sound = read_audio(dataset.layout.audio)
        poses = dataset.tracking().camera_to_world
        return self.speak(sound, track.features, track.rate_hz, dataset.num_frames, camera_to_world=poses)


def refuse_unsound_motion(path: Path, motion: Motion) -> None:
    """Stop at motion that cannot be.

    Raises:
        FormatError: names its file.
    """
    first, last = (int(edge) for edge in motion.train_frames)
    if not 0 <= first < last <= len(motion.camera_to_world):
        raise FormatError(f"{path}: train_frames leave the clip", hint=HINT)
    if not are_rigid(motion.camera_to_world):
        raise FormatError(f"{path}: camera_to_world is not made of rotations and positions", hint=HINT)

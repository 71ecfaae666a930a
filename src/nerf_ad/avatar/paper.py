"""The avatar of the paper's method: two conditional radiance fields before recorded torsos of the clip."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.avatar.avatar import Avatar, Moment, Motion, refuse_unsound_motion
from nerf_ad.avatar.folder import Plates, hash_files, read_arrays, read_weights, refuse_misfit_tensors
from nerf_ad.avatar.manifest import PaperManifest
from nerf_ad.avatar.torso_pictures import NAME, TorsoPictures, TorsoSource, write_torso_pictures
from nerf_ad.core.errors import BadInputError
from nerf_ad.core.files import write_npz
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.dataset import Dataset, shot_numbers
from nerf_ad.dataset.head_landmarks import HeadLandmarks
from nerf_ad.face.landmarks import IBUG_68
from nerf_ad.media.audio import Waveform
from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.conditions import build_conditions, conditions_from_speech, join, separate
from nerf_ad.models.paper.identity import ReferenceMaps
from nerf_ad.models.paper.landmark_code import LandmarkCode
from nerf_ad.models.paper.nerf import ConditionModule, PaperHead

MOTION_SHAPES = {"camera_to_world": "frames 4 4", "shots": "shots", "train_frames": "2"}


class PaperAvatar(Avatar):
    """A person as the paper renders one."""

    def __init__(
        self,
        manifest: PaperManifest,
        head: PaperHead,
        conditions: ConditionModule,
        plates: Plates,
        torso: TorsoSource,
        motion: Motion,
        root: Path,
    ) -> None:
        self.manifest: PaperManifest = manifest
        self.head = head
        self.conditions = conditions
        self.plates = plates
        self.torso = torso
        self.motion = motion
        self.root = root
        self.shots = shot_numbers(motion.shots.tolist(), len(motion.camera_to_world), manifest.num_shots)
        """Which shot each frame of the clip belongs to."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.head.intrinsics.device

    @property
    def borrows_torso(self) -> bool:
        """Yes: torso pictures are recorded, and each belongs to one pose."""
        return True

    @classmethod
    def read(cls, root: Path, manifest: PaperManifest, *, device: str | torch.device) -> "PaperAvatar":
        """Read everything but the manifest; ``Avatar.load`` does it all.

        Raises:
            FormatError: damaged, or with a missing tensor.
        """
        paths = {part: root / "weights" / f"{part}.safetensors" for part in ("head", "conditions")}
        tensors = {part: read_weights(path) for part, path in paths.items()}
        # Shapes are compared before memory is taken: a manifest cannot claim more than the files hold.
        with torch.device("meta"):
            planned = dict(zip(paths, _build(manifest), strict=True))
        for part, module in planned.items():
            refuse_misfit_tensors(module, tensors[part], paths[part])
        head, conditions = _build(manifest)
        head.load_state_dict(tensors["head"])
        conditions.load_state_dict(tensors["conditions"])
        plates = Plates.read(root, manifest, num_shots=manifest.num_shots)
        arrays = read_arrays(root / "assets" / "poses.npz", MOTION_SHAPES, {})
        motion = Motion(eyes=np.zeros((len(arrays["camera_to_world"]), 0), np.float32), **arrays)
        refuse_unsound_motion(root / "assets" / "poses.npz", motion)
        frames = range(int(motion.train_frames[0]), int(motion.train_frames[1]))
        torso = TorsoPictures(root / "assets" / NAME, frames=frames, size=manifest.size)
        head, conditions = head.eval().to(device), conditions.eval().to(device)
        return cls(manifest, head, conditions, plates, torso, motion, root)

    def save(self) -> None:
        """Write the folder; ``avatar.toml`` comes last, so that an avatar is whole or not there."""
        (self.root / "weights").mkdir(parents=True, exist_ok=True)
        write_tensors(self.root / "weights" / "head.safetensors", self.head.state_dict())
        write_tensors(self.root / "weights" / "conditions.safetensors", self.conditions.state_dict())
        self.plates.write(self.root)
        write_npz(
            self.root / "assets" / "poses.npz", {name: getattr(self.motion, name) for name in MOTION_SHAPES}
        )
        frames = range(int(self.motion.train_frames[0]), int(self.motion.train_frames[1]))
        write_torso_pictures(self.root / "assets" / NAME, frames, self.torso)
        values = {**self.manifest.model_dump(mode="json"), "files": hash_files(self.root)}
        self.manifest = PaperManifest.from_mapping(values, source=str(self.root / "avatar.toml"))
        self.manifest.save_toml(self.root / "avatar.toml")

    def speak(
        self,
        waveform: Waveform,  # noqa: ARG002 - the sound's features are all that is heard
        features: Float[np.ndarray, "steps channels"],
        rate_hz: float,
        num_frames: int,
        *,
        camera_to_world: Float[np.ndarray, "frames 4 4"] | None = None,
    ) -> Float[np.ndarray, "frames units"]:
        """Conditions of every frame side by side (``conditions.join``).

        Raises:
            BadInputError: landmarks drive this avatar.
        """
        if isinstance(self.conditions, LandmarkCode):
            raise BadInputError(
                f"{self.root} is driven by landmarks and cannot speak new audio",
                hint="evaluate it, or train another row of the preset",
            )
        if not isinstance(self.conditions, AudioFace | AudioCode):
            return np.zeros((num_frames, 0), np.float32)
        poses = None
        if camera_to_world is not None:
            poses = torch.from_numpy(np.asarray(camera_to_world, np.float32)).to(self.device)
        heard = torch.from_numpy(np.asarray(features, np.float32)).to(self.device)
        codes = conditions_from_speech(
            self.conditions,
            heard,
            rate_hz,
            num_frames,
            float(self.manifest.fps),
            is_smoothed=self.manifest.is_smoothed,
            camera_to_world=poses,
        )
        return np.asarray(codes.cpu().numpy(), np.float32)

    def codes_of(self, dataset: Dataset) -> Float[np.ndarray, "frames units"]:
        """What a recording says; of one that landmarks drive, what it shows.

        Raises:
            FormatError: the recording has features of another encoder.
        """
        if not isinstance(self.conditions, LandmarkCode):
            return super().codes_of(dataset)
        points = HeadLandmarks.of(dataset).read(IBUG_68)
        self.conditions.look(torch.from_numpy(points))
        frames = torch.arange(len(points), device=self.device)
        with torch.no_grad():
            seen = self.conditions(frames, is_smoothed=self.manifest.is_smoothed)
        return np.asarray(join(seen, frames=len(points)).cpu().numpy(), np.float32)

    def eyes_of(self, dataset: Dataset) -> Float[np.ndarray, "frames states"]:
        """None: speech alone moves the face (paper.md section 14, row 11)."""
        return np.zeros((dataset.num_frames, 0), np.float32)

    @torch.no_grad()
    def frame(
        self, moment: Moment, *, background: Float[Tensor, "3 size size"] | None = None
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]: the head before a recorded torso, that before the plate."""
        rgba = self.torso(moment.place) if moment.torso is None else moment.torso
        plate = self.plates.pictures[self.plates.of_shot[int(self.shots[moment.place])]]
        plate = (plate if background is None else background).to(self.device).permute(1, 2, 0)
        torso = torch.from_numpy(rgba).to(self.device).float() / 255
        behind = torso[..., :3] * torso[..., 3:] + (1 - torso[..., 3:]) * plate
        conditions = separate(moment.code, self.manifest.model.conditions)
        return self.head.frame(conditions, moment.camera_to_world[0], behind, maps=self._maps)

    @cached_property
    def _maps(self) -> ReferenceMaps | None:
        """Features of the references, once for all frames."""
        return self.head.fixed_maps()


def _build(manifest: PaperManifest) -> tuple[PaperHead, ConditionModule]:
    head = PaperHead(manifest.model.head, size=manifest.size)
    return head, build_conditions(manifest.model.conditions, channels=manifest.speech_channels)

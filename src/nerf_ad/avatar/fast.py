"""The avatar of the planes field: head, torso and plate from networks, steered by mouth codes and eyes."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_ad.avatar.avatar import Avatar, Moment, Motion, refuse_unsound_motion
from nerf_ad.avatar.folder import Plates, hash_files, read_arrays, read_weights, refuse_misfit_tensors
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.core.files import write_npz
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.dataset import Dataset, shot_numbers
from nerf_ad.dataset.expression import ExpressionBasis, encode_expression, head_landmarks, rest_code
from nerf_ad.media.audio import Waveform
from nerf_ad.models.speech_code import SpeechCode
from nerf_ad.models.talking_head import Condition, TalkingHead
from nerf_ad.speech.activity import speech_activity
from nerf_ad.speech.windows import window_steps

BASIS_SHAPES = {
    "mouth_mean": "coordinates",
    "mouth_modes": "units coordinates",
    "mouth_scale": "units",
    "eye_mean": "states",
    "eye_scale": "states",
}
MOTION_SHAPES = {
    "camera_to_world": "frames 4 4",
    "eyes": "frames states",
    "shots": "shots",
    "train_frames": "2",
}


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
        self.head = head
        self.speech_code = speech_code
        self.basis = basis
        self.motion = motion
        self.root = root
        self.shots = shot_numbers(motion.shots.tolist(), len(motion.eyes), manifest.head.num_shots)
        """Which shot each frame of the clip belongs to."""

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.head.intrinsics.device

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
        paths = {part: root / "weights" / f"{part}.safetensors" for part in ("torso", "head", "speech")}
        torso, rest, code = (read_weights(path) for path in paths.values())
        whole = {**rest, **{f"torso.{name}": tensor for name, tensor in torso.items()}}
        # Shapes are compared before memory is taken: a manifest cannot claim more than the files hold.
        with torch.device("meta"):
            planned_head, planned_code = _build(manifest)
        refuse_misfit_tensors(planned_head.torso, torso, paths["torso"])
        refuse_misfit_tensors(planned_head, whole, paths["head"])
        refuse_misfit_tensors(planned_code, code, paths["speech"])
        head, speech_code = _build(manifest)
        head.load_state_dict(whole)
        speech_code.load_state_dict(code)
        plates = Plates.read(root, manifest, num_shots=manifest.head.num_shots)
        head.set_backgrounds(plates.pictures, plates.of_shot)
        sizes = {"units": manifest.head.mouth_dim, "states": manifest.head.eye_dim}
        basis = ExpressionBasis(**read_arrays(root / "assets" / "expression.npz", BASIS_SHAPES, sizes))
        motion = Motion(**read_arrays(root / "assets" / "poses.npz", MOTION_SHAPES, sizes))
        refuse_unsound_motion(root / "assets" / "poses.npz", motion)
        return cls(manifest, head.eval().to(device), speech_code.eval().to(device), basis, motion, root)

    def save(self) -> None:
        """Write the folder; ``avatar.toml`` comes last, so that an avatar is whole or not there."""
        (self.root / "weights").mkdir(parents=True, exist_ok=True)
        state = self.head.state_dict()
        torso = {k.removeprefix("torso."): v for k, v in state.items() if k.startswith("torso.")}
        rest = {k: v for k, v in state.items() if not k.startswith("torso.")}
        write_tensors(self.root / "weights" / "torso.safetensors", torso)
        write_tensors(self.root / "weights" / "head.safetensors", rest)
        write_tensors(self.root / "weights" / "speech.safetensors", self.speech_code.state_dict())
        Plates(self.head.backgrounds, self.head.background_of.tolist()).write(self.root)
        write_npz(self.root / "assets" / "expression.npz", self.basis._asdict())
        write_npz(self.root / "assets" / "poses.npz", self.motion._asdict())
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
        points = head_landmarks(dataset.landmarks(), dataset.tracking())
        return encode_expression(points, self.basis).eyes

    def frame(
        self, moment: Moment, *, background: Float[Tensor, "3 size size"] | None = None
    ) -> Float[Tensor, "size size 3"]:
        """One whole frame in [0, 1]: head over torso over background."""
        shot = torch.tensor([int(self.shots[moment.place])], device=self.device)
        condition = Condition(moment.code, moment.eyes, shot)
        return self.head.frame(condition, moment.camera_to_world, background=background)


def _build(manifest: FastManifest) -> tuple[TalkingHead, SpeechCode]:
    out_dim, channels = manifest.head.mouth_dim, manifest.speech_channels
    head = TalkingHead(manifest.head, size=manifest.size)
    return head, SpeechCode(manifest.speech_code, channels=channels, out_dim=out_dim)

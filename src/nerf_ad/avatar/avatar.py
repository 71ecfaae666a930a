"""Avatar: load and save the trained person. Loading is strict; a missing key names its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nerf_ad.avatar.manifest import FORMAT, AvatarManifest
from nerf_ad.core.arrays import refuse_misfits
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import read_npz, read_toml, sha256_file, write_npz
from nerf_ad.core.tensors import write_tensors
from nerf_ad.dataset.expression import ExpressionBasis
from nerf_ad.geometry.rotations import are_rigid
from nerf_ad.media.images import read_image, write_image
from nerf_ad.models.speech_code import SpeechCode
from nerf_ad.models.talking_head import TalkingHead, plate_numbers

HINT = "copy the avatar again, or train it again"

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


class Motion(NamedTuple):
    """How the person moved in the clip: the default head motion."""

    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Poses of the clip."""
    eyes: Float[np.ndarray, "frames states"]
    """Eye states of the same frames."""
    shots: np.ndarray[tuple[int], np.dtype[np.int64]]
    """First frame of every shot."""
    train_frames: np.ndarray[tuple[int], np.dtype[np.int64]]
    """First training frame and the one after the last."""


class Avatar:
    """A trained person, ready to be driven."""

    def __init__(
        self,
        manifest: AvatarManifest,
        head: TalkingHead,
        speech_code: SpeechCode,
        basis: ExpressionBasis,
        motion: Motion,
        root: Path,
    ) -> None:
        self.manifest = manifest
        self.head = head
        self.speech_code = speech_code
        self.basis = basis
        self.motion = motion
        self.root = root

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.head.intrinsics.device

    @classmethod
    def load(cls, root: str | Path, *, device: str | torch.device = "cpu", verify: bool = True) -> "Avatar":
        """Read an avatar folder.

        Args:
            root: the folder.
            device: where to put the networks.
            verify: compare every file with its hash first.

        Raises:
            FormatError: not an avatar, of another version, damaged, or with a missing tensor.
        """
        root = Path(root)
        manifest = read_manifest(root)
        if verify:
            verify_files(root, manifest)
        paths = {part: root / "weights" / f"{part}.safetensors" for part in ("torso", "head", "speech")}
        torso, rest, code = (_read_weights(path) for path in paths.values())
        whole = {**rest, **{f"torso.{name}": tensor for name, tensor in torso.items()}}
        # Shapes are compared before memory is taken: a manifest cannot claim more than the files hold.
        with torch.device("meta"):
            planned_head, planned_code = _build(manifest)
        _refuse_misfits(planned_head.torso, torso, paths["torso"])
        _refuse_misfits(planned_head, whole, paths["head"])
        _refuse_misfits(planned_code, code, paths["speech"])
        head, speech_code = _build(manifest)
        head.load_state_dict(whole)
        speech_code.load_state_dict(code)
        plates, of_shot = _read_backgrounds(root, manifest)
        head.set_backgrounds(plates, of_shot)
        basis = ExpressionBasis(**_arrays(root / "assets" / "expression.npz", BASIS_SHAPES, manifest))
        motion = Motion(**_arrays(root / "assets" / "poses.npz", MOTION_SHAPES, manifest))
        _refuse_unsound_motion(root / "assets" / "poses.npz", motion)
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
        _write_backgrounds(self.root, self.head)
        write_npz(self.root / "assets" / "expression.npz", self.basis._asdict())
        write_npz(self.root / "assets" / "poses.npz", self.motion._asdict())
        files = {
            str(path.relative_to(self.root).as_posix()): sha256_file(path)
            for folder in ("weights", "assets")
            for path in sorted((self.root / folder).iterdir())
            if not path.name.startswith(".")
        }
        values = {**self.manifest.model_dump(mode="json"), "files": files}
        self.manifest = AvatarManifest.from_mapping(values, source=str(self.root / "avatar.toml"))
        self.manifest.save_toml(self.root / "avatar.toml")


def _read_backgrounds(root: Path, manifest: AvatarManifest) -> tuple[torch.Tensor, list[int]]:
    """The plates, the common one first, and which of them each shot stands before."""
    own = [shot for shot in range(manifest.head.num_shots) if _background_name(shot) in manifest.files]
    plates = []
    for name in ("assets/background.png", *(_background_name(shot) for shot in own)):
        plate = read_image(root / name)
        if plate.shape[:2] != (manifest.size, manifest.size):
            raise FormatError(f"{root / name} is not {manifest.size} pixels wide and high")
        plates.append(torch.from_numpy(plate).permute(2, 0, 1).float() / 255)
    return torch.stack(plates), plate_numbers(own, manifest.head.num_shots)


def _write_backgrounds(root: Path, head: TalkingHead) -> None:
    pictures = (head.backgrounds.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().cpu().numpy()
    for old in (root / "assets").glob("background-*.png"):
        old.unlink()
    write_image(root / "assets" / "background.png", pictures[0])
    for shot, plate in enumerate(head.background_of.tolist()):
        if plate > 0:
            write_image(root / _background_name(shot), pictures[plate])


def _background_name(shot: int) -> str:
    """The file of a shot's own plate, relative to the avatar."""
    return f"assets/background-{shot:03d}.png"


def read_manifest(root: Path) -> AvatarManifest:
    """Read ``avatar.toml``.

    Raises:
        FormatError: not an avatar, or of another format version.
    """
    path = root / "avatar.toml"
    if not path.is_file():
        hint = "train one with: nerf-ad train fast DATASET AVATAR"
        if (root / "runs").is_dir():
            hint = "its training has not finished: run nerf-ad train again; it continues where it stopped"
        raise FormatError(f"{root} is not an avatar: it has no {path.name}", hint=hint)
    found = read_toml(path).get("format")
    if found != FORMAT:
        raise FormatError(
            f"{root} has avatar format {found}, this nerf-ad reads format {FORMAT}", hint="train it again"
        )
    return AvatarManifest.from_toml(path)


def verify_files(root: Path, manifest: AvatarManifest) -> None:
    """Compare every file with the hash in the manifest.

    Raises:
        FormatError: names the first file that is missing or changed.
    """
    for name, digest in manifest.files.items():
        path = root / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise FormatError(f"{root / 'avatar.toml'} names a file outside the avatar: {name}")
        if not path.is_file():
            raise FormatError(f"{root} is damaged: {name} is missing", hint=HINT)
        if sha256_file(path) != digest:
            raise FormatError(f"{root} is damaged: {name} has changed", hint=HINT)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FormatError(f"{path} is missing", hint=HINT) from None
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error}", hint=HINT) from error


def _build(manifest: AvatarManifest) -> tuple[TalkingHead, SpeechCode]:
    out_dim, channels = manifest.head.mouth_dim, manifest.speech_channels
    head = TalkingHead(manifest.head, size=manifest.size)
    return head, SpeechCode(manifest.speech_code, channels=channels, out_dim=out_dim)


def _refuse_misfits(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    own = module.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise FormatError(f"{path} has no tensor {name}", hint=HINT)
        found = tensors[name]
        if found.shape != tensor.shape or found.dtype != tensor.dtype:
            raise FormatError(f"{path}: tensor {name} has the wrong shape or type", hint=HINT)
        if found.is_floating_point() and not bool(torch.isfinite(found).all()):
            raise FormatError(f"{path}: tensor {name} holds values that are not finite", hint=HINT)
    unknown = sorted(set(tensors) - set(own))
    if unknown:
        raise FormatError(f"{path} has an unknown tensor {unknown[0]}", hint=HINT)


def _arrays(path: Path, shapes: Mapping[str, str], manifest: AvatarManifest) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    for name in shapes:
        if name not in arrays:
            raise FormatError(f"{path} has no array {name}", hint=HINT)
    sizes = {"units": manifest.head.mouth_dim, "states": manifest.head.eye_dim}
    refuse_misfits(path, arrays, shapes, sizes, hint=HINT)
    return {name: arrays[name] for name in shapes}


def _refuse_unsound_motion(path: Path, motion: Motion) -> None:
    first, last = (int(edge) for edge in motion.train_frames)
    if not 0 <= first < last <= len(motion.camera_to_world):
        raise FormatError(f"{path}: train_frames leave the clip", hint=HINT)
    if not are_rigid(motion.camera_to_world):
        raise FormatError(f"{path}: camera_to_world is not made of rotations and positions", hint=HINT)

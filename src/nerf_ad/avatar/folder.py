"""Reading and writing the parts of an avatar's folder, strictly: a misfit is refused with its file's name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nerf_ad.avatar.manifest import FORMAT, AvatarManifest, FastAdManifest, FastManifest, PaperManifest
from nerf_ad.core.arrays import refuse_misfits
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import read_npz, read_toml, sha256_file
from nerf_ad.media.images import read_image, write_image
from nerf_ad.models.talking_head import plate_numbers

HINT = "copy the avatar again, or train it again"


def read_manifest(root: Path) -> FastManifest | FastAdManifest | PaperManifest:
    """Read ``avatar.toml``.

    Raises:
        FormatError: not an avatar, or of another format version or method.
    """
    path = root / "avatar.toml"
    if not path.is_file():
        hint = "train one with: nerf-ad train fast DATASET AVATAR"
        if (root / "runs").is_dir():
            hint = "its training has not finished: run nerf-ad train again; it continues where it stopped"
        raise FormatError(f"{root} is not an avatar: it has no {path.name}", hint=hint)
    raw = read_toml(path)
    found, method = raw.get("format"), raw.get("method", "fast")
    if found != FORMAT:
        raise FormatError(
            f"{root} has avatar format {found}, this nerf-ad reads format {FORMAT}", hint="train it again"
        )
    if method == "fast":
        return FastManifest.from_toml(path)
    if method == "fast-ad":
        return FastAdManifest.from_toml(path)
    if method == "paper":
        return PaperManifest.from_toml(path)
    raise FormatError(
        f"{root} was made by the method {method!r}, which this nerf-ad does not know", hint="train it again"
    )


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


def hash_files(root: Path) -> dict[str, str]:
    """SHA-256 of every file in ``weights`` and ``assets``, by relative path."""
    return {
        str(path.relative_to(root).as_posix()): sha256_file(path)
        for folder in ("weights", "assets")
        for path in sorted((root / folder).iterdir())
        if not path.name.startswith(".")
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a file.

    Raises:
        FormatError: missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FormatError(f"{path} is missing", hint=HINT) from None
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is damaged: {error}", hint=HINT) from error


def refuse_misfit_tensors(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Compare tensors with those that a module wants; it may be on the device ``meta``.

    Raises:
        FormatError: names the first tensor that is missing, unknown, of another shape or type, or not finite.
    """
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


def read_arrays(path: Path, shapes: Mapping[str, str], sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Arrays of a file, of the given shapes; see ``refuse_misfits``.

    Raises:
        FormatError: missing, damaged, or not of these shapes.
    """
    arrays = read_npz(path)
    for name in shapes:
        if name not in arrays:
            raise FormatError(f"{path} has no array {name}", hint=HINT)
    refuse_misfits(path, arrays, shapes, sizes, hint=HINT)
    return {name: arrays[name] for name in shapes}


class Plates:
    """Backgrounds of an avatar: the common one, and those of shots that have their own."""

    def __init__(self, pictures: Float[Tensor, "plates 3 size size"], of_shot: Sequence[int]) -> None:
        self.pictures = pictures
        """In [0, 1]; the common one first."""
        self.of_shot = list(of_shot)
        """Which of them each shot stands before."""

    @classmethod
    def read(cls, root: Path, manifest: AvatarManifest, *, num_shots: int) -> "Plates":
        """Read the pictures.

        Raises:
            FormatError: one is missing, damaged or of another size.
        """
        own = [shot for shot in range(num_shots) if _plate_name(shot) in manifest.files]
        plates = []
        for name in ("assets/background.png", *(_plate_name(shot) for shot in own)):
            plate = read_image(root / name)
            if plate.shape[:2] != (manifest.size, manifest.size):
                raise FormatError(f"{root / name} is not {manifest.size} pixels wide and high")
            plates.append(torch.from_numpy(plate).permute(2, 0, 1).float() / 255)
        return cls(torch.stack(plates), plate_numbers(own, num_shots))

    def write(self, root: Path) -> None:
        """Write the pictures, and remove those that an earlier training left."""
        pictures = (self.pictures.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().cpu().numpy()
        for old in (root / "assets").glob("background-*.png"):
            old.unlink()
        write_image(root / "assets" / "background.png", pictures[0])
        for shot, plate in enumerate(self.of_shot):
            if plate > 0:
                write_image(root / _plate_name(shot), pictures[plate])


def _plate_name(shot: int) -> str:
    """The file of a shot's own plate, relative to the avatar."""
    return f"assets/background-{shot:03d}.png"

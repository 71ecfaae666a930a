"""What a pose looks like apart from the mouth: made once, kept small, used for every frame in that pose."""

import shutil
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, Int, Integer, UInt8
from torch import Tensor

from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.files import read_npz, write_npz

MOST_BYTES = 512 << 20
"""Memory for kept layers; a pose at 256x256 takes about 0.45 MB, so that is 45 seconds of clip."""
MOST_BYTES_ON_DISK = 2 << 30
"""Space for kept layers beside an avatar."""


class PoseLayers(NamedTuple):
    """One pose, with one eye state, before one plate; for whatever the mouth does."""

    base: UInt8[Tensor, "pixels 3"]
    """The whole picture, final wherever no ray comes near the mouth."""
    near_mouth: UInt8[Tensor, "bytes"]
    """One bit per pixel: whether its ray has samples that feel the mouth; those follow in this order."""
    front: Float16[Tensor, "4 rays"]
    """Premultiplied colour of what lies before these samples, and how much light comes through it."""
    behind: Float16[Tensor, "3 rays"]
    """Colour of all that lies behind them: head, torso, plate."""
    num_steps: Integer[Tensor, "rays"]
    """Samples of each ray that feel the mouth, or lie between such."""
    num_seen: Integer[Tensor, "rays"]
    """How many of them were looked at before the ray was opaque, when the layers were made."""
    steps: Integer[Tensor, "samples"]
    """Where they are, ray by ray: numbers of march steps."""

    @property
    def num_bytes(self) -> int:
        """Memory that they take."""
        return sum(part.numel() * part.element_size() for part in self)

    @property
    def pixels(self) -> Int[Tensor, "rays"]:
        """Flat numbers of the pixels near the mouth."""
        bits = np.unpackbits(self.near_mouth.numpy(), count=len(self.base))
        return torch.from_numpy(bits).nonzero().squeeze(-1)

    def is_sound(self) -> bool:
        """Whether the parts fit each other and hold numbers: they may come from a file."""
        num_pixels, num_rays = len(self.base), len(self.num_steps)
        wanted = {
            "base": (num_pixels, 3),
            "near_mouth": (-(-num_pixels // 8),),
            "front": (4, num_rays),
            "behind": (3, num_rays),
            "num_seen": (num_rays,),
            "steps": (int(self.num_steps.sum()),),
        }
        if any(tuple(part.shape) != wanted.get(name, part.shape) for name, part in self._asdict().items()):
            return False
        if len(self.pixels) != num_rays or bool((self.num_seen > self.num_steps).any()):
            return False
        if num_rays and int(self.num_steps.min()) < 1:
            return False
        return bool(self.front.isfinite().all() and self.behind.isfinite().all())


DTYPES = {
    "base": (torch.uint8,),
    "near_mouth": (torch.uint8,),
    "front": (torch.float16,),
    "behind": (torch.float16,),
    "num_steps": (torch.uint8, torch.int16),
    "num_seen": (torch.uint8, torch.int16),
    "steps": (torch.uint8, torch.int16),
}


class LayerStore:
    """Layers by key: the last used in memory, lasting ones in a folder if there is one. Safe for threads."""

    def __init__(
        self,
        *,
        most_bytes: int = MOST_BYTES,
        folder: Path | None = None,
        most_bytes_on_disk: int = MOST_BYTES_ON_DISK,
    ) -> None:
        """Begin empty, or with what the folder holds.

        Args:
            most_bytes: bound on memory.
            folder: where to keep layers for the next time; made when the first is kept.
            most_bytes_on_disk: once the folder holds so much, nothing is added to it.
        """
        self.folder = folder
        self.num_bytes = 0
        self._most_bytes, self._most_on_disk = most_bytes, most_bytes_on_disk
        self._kept: OrderedDict[str, PoseLayers] = OrderedDict()
        self._lock = threading.Lock()
        self._on_disk: dict[str, int] = {}
        if folder is not None and folder.is_dir():
            self._on_disk = {path.stem: path.stat().st_size for path in folder.glob("*.npz")}

    @property
    def num_kept(self) -> int:
        """Poses in memory."""
        return len(self._kept)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept, in memory or in the folder."""
        return not self._kept and not self._on_disk

    def clear_others(self) -> None:
        """Delete the folders beside this one: layers of what the avatar was before."""
        if self.folder is None or not self.folder.parent.is_dir():
            return
        for other in self.folder.parent.iterdir():
            if other != self.folder and other.is_dir():
                shutil.rmtree(other, ignore_errors=True)

    def find(self, key: str) -> PoseLayers | None:
        """The layers of that key, if they are kept; damaged files count as missing."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            is_on_disk = key in self._on_disk
        if not is_on_disk or self.folder is None:
            return None
        layers = _read(self.folder / f"{key}.npz")
        if layers is None:
            with self._lock:
                self._on_disk.pop(key, None)
            return None
        self._remember(key, layers)
        return layers

    def keep(self, key: str, layers: PoseLayers, *, lasting: bool = True) -> None:
        """Keep layers; those not used for longest make room in memory. ``lasting``: in the folder as well."""
        self._remember(key, layers)
        if self.folder is None or not lasting:
            return
        with self._lock:
            has_room = sum(self._on_disk.values()) + layers.num_bytes <= self._most_on_disk
            if key in self._on_disk or not has_room:
                return
            self._on_disk[key] = layers.num_bytes
        try:
            write_npz(
                self.folder / f"{key}.npz", {name: part.numpy() for name, part in layers._asdict().items()}
            )
        except (OSError, NerfAdError):  # no room, or not ours to write to: memory will do
            self.folder = None

    def _remember(self, key: str, layers: PoseLayers) -> None:
        with self._lock:
            old = self._kept.pop(key, None)
            self.num_bytes += layers.num_bytes - (0 if old is None else old.num_bytes)
            self._kept[key] = layers
            while self.num_bytes > self._most_bytes and self._kept:
                _, gone = self._kept.popitem(last=False)
                self.num_bytes -= gone.num_bytes


def _read(path: Path) -> PoseLayers | None:
    """Layers of a file; none where it cannot be read or does not hold such."""
    try:
        arrays = read_npz(path)
        parts = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in DTYPES}
    except (OSError, NerfAdError, KeyError, TypeError):
        return None
    if any(part.dtype not in DTYPES[name] for name, part in parts.items()):
        return None
    layers = PoseLayers(**parts)
    return layers if layers.base.dim() == 2 and layers.num_steps.dim() == 1 and layers.is_sound() else None

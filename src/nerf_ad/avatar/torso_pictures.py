"""Recorded torsos of a clip's training frames: PNG files in one uncompressed zip, read when asked for.

The paper's method has no torso of its own: what is below the head is the torso picture of the very frame
whose pose the head takes (paper.md sections 3 and 11).
"""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerf_ad.avatar.folder import HINT
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import atomic_path
from nerf_ad.media.images import decode_image, encode_png

TorsoSource = Callable[[int], UInt8[np.ndarray, "size size 4"]]
"""Torso pictures by frame of the clip: RGB and the alpha of neck and torso."""

NAME = "torso.zip"


class TorsoPictures:
    """The zip of a saved avatar; a ``TorsoSource`` for its training frames."""

    def __init__(self, path: Path, *, frames: range, size: int) -> None:
        """Open it, and see that every frame is there.

        Raises:
            FormatError: missing, damaged, or without a frame.
        """
        self.path = path
        self.size = size
        try:
            self._zip = zipfile.ZipFile(path)
            sizes = {info.filename: info.file_size for info in self._zip.infolist()}
        except FileNotFoundError:
            raise FormatError(f"{path} is missing", hint=HINT) from None
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise FormatError(f"{path} is damaged: {error}", hint=HINT) from error
        for frame in frames:
            held = sizes.get(_name(frame))
            if held is None:
                raise FormatError(f"{path} has no picture {_name(frame)}", hint=HINT)
            if held > 5 * size**2 + 65536:  # more than its pixels take uncompressed
                raise FormatError(f"{path}: {_name(frame)} is larger than a picture can be", hint=HINT)

    def __call__(self, frame: int) -> UInt8[np.ndarray, "size size 4"]:
        """The torso of a training frame.

        Raises:
            FormatError: damaged, or of another size.
        """
        where = f"{self.path}: {_name(frame)}"
        try:
            data = self._zip.read(_name(frame))
        except (KeyError, OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise FormatError(f"{where} cannot be read: {error}", hint=HINT) from error
        picture = decode_image(data, where, "RGBA")
        if picture.shape[:2] != (self.size, self.size):
            raise FormatError(f"{where} is not {self.size} pixels wide and high", hint=HINT)
        return picture


def write_torso_pictures(path: Path, frames: range, torso: TorsoSource) -> None:
    """Write the zip atomically; its bytes depend on nothing but the pictures."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for frame in frames:
            entry = zipfile.ZipInfo(_name(frame), date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, encode_png(torso(frame)))


def _name(frame: int) -> str:
    return f"{frame:06d}.png"

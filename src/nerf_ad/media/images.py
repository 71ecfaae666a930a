"""Pictures on disk to arrays and back, and resizing without aliasing."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import atomic_path

Mode = Literal["RGB", "RGBA", "P", "L"]
"""RGB and RGBA have 3 and 4 channels; ``P`` (palette indices) and ``L`` (grey) have no channel axis."""


def read_image(path: Path, mode: Mode = "RGB") -> UInt8[np.ndarray, "height width *channels"]:
    """Read a picture.

    Args:
        path: a picture file.
        mode: what to turn it into; ``P`` wants a palette (or grey) file and gives its indices untouched.

    Raises:
        FormatError: missing, damaged, or without a palette where one is needed; names the file.
    """
    try:
        with Image.open(path) as image:
            if mode == "P":
                if image.mode not in {"P", "L"}:
                    raise FormatError(f"{path} is not a palette picture")
                return np.array(image, dtype=np.uint8)
            return np.array(image.convert(mode), dtype=np.uint8)
    except FileNotFoundError:
        raise FormatError(f"{path} is missing", hint="run nerf-ad capture again") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(
            f"{path} is not a readable picture: {error}", hint="run nerf-ad capture again"
        ) from error


def decode_image(data: bytes, name: str, mode: Mode = "RGB") -> UInt8[np.ndarray, "height width *channels"]:
    """A picture from a file's bytes; ``name`` says in the error where they came from.

    Raises:
        FormatError: damaged.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert(mode), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise FormatError(f"{name} is not a readable picture: {error}") from error


def encode_png(array: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """A PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_image(
    path: Path,
    array: UInt8[np.ndarray, "height width *channels"] | UInt16[np.ndarray, "height width"],
    *,
    palette: Sequence[tuple[int, int, int]] | None = None,
) -> None:
    """Write a PNG atomically, lightly compressed (level 1: three times faster, a tenth larger).

    Args:
        path: where; ``.png``.
        array: grey or palette indices without a channel axis, else 3 (RGB) or 4 (RGBA) channels;
            grey of 16 bits stays so.
        palette: colours of the indices, at most 256; makes a palette file.

    Raises:
        BadInputError: the folder cannot be written.
    """
    image = Image.fromarray(np.ascontiguousarray(array))
    if palette is not None:
        image = image.convert("L")
        image.putpalette([channel for colour in palette for channel in colour])
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", compress_level=1)


def resize_image(
    array: UInt8[np.ndarray, "height width *channels"], size: tuple[int, int]
) -> UInt8[np.ndarray, "new_height new_width *channels"]:
    """Resize with a Lanczos filter that widens when shrinking, so that nothing aliases.

    Args:
        array: a picture.
        size: new width and height in pixels.
    """
    height, width = array.shape[:2]
    if (width, height) == size:
        return array
    image = Image.fromarray(np.ascontiguousarray(array))
    resized: np.ndarray[Any, np.dtype[np.uint8]] = np.array(image.resize(size, Image.Resampling.LANCZOS))
    return resized

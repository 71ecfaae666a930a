"""Tensors on disk: safetensors, written whole or not at all."""

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nerf_ad.core.files import atomic_path


def write_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str] | None = None) -> None:
    """Write named tensors of any device atomically.

    Args:
        path: where; ``.safetensors``.
        tensors: what, by dotted name.
        facts: text kept in the file's head.

    Raises:
        BadInputError: the folder cannot be written.
        NerfAdError: the disk is full.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(whole, temporary, metadata=None if facts is None else dict(facts))
        except SafetensorError as error:  # what the system refused is only in its text
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number.group(1)) if number else 0, str(error)) from error

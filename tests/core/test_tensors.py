"""Tensors on a disk that is full."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.tensors import write_tensors


def test_a_write_that_fails_is_a_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")  # a limit on file sizes stands for the end of the disk
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(3)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(NerfAdError, match="could not be written"):
            write_tensors(path, {"a": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_file(path)["a"].tolist() == [1.0, 1.0, 1.0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]

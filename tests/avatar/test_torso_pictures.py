"""Torso pictures in an avatar: what was written comes back, and what cannot be is refused."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8

from nerf_ad.avatar.torso_pictures import TorsoPictures, write_torso_pictures
from nerf_ad.core.errors import FormatError

FRAMES, SIZE = range(3, 7), 16


def torso(frame: int) -> UInt8[np.ndarray, "size size 4"]:
    return np.random.default_rng(frame).integers(0, 256, (SIZE, SIZE, 4), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_torso_pictures(tmp_path / "torso.zip", FRAMES, torso)
    return tmp_path / "torso.zip"


def test_pictures_come_back_byte_for_byte(path: Path) -> None:
    pictures = TorsoPictures(path, frames=FRAMES, size=SIZE)
    for frame in FRAMES:
        assert np.array_equal(pictures(frame), torso(frame))


def test_the_same_pictures_are_the_same_file(path: Path, tmp_path: Path) -> None:
    write_torso_pictures(tmp_path / "again.zip", FRAMES, torso)
    assert path.read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_a_frame_that_is_not_there(path: Path) -> None:
    with pytest.raises(FormatError, match=r"no picture 000007\.png"):
        TorsoPictures(path, frames=range(3, 8), size=SIZE)


def test_a_picture_of_another_size(path: Path) -> None:
    with pytest.raises(FormatError, match="not 12 pixels"):
        TorsoPictures(path, frames=FRAMES, size=12)(3)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nonsense"])
def test_what_is_no_zip(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "torso.zip").write_bytes(content)
    with pytest.raises(FormatError, match="is damaged"):
        TorsoPictures(tmp_path / "torso.zip", frames=FRAMES, size=SIZE)


def test_what_is_no_picture(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "torso.zip", "w") as archive:
        archive.writestr("000003.png", b"no picture")
    with pytest.raises(FormatError, match="not a readable picture"):
        TorsoPictures(tmp_path / "torso.zip", frames=range(3, 4), size=SIZE)(3)


def test_a_file_that_swells_when_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "torso.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000003.png", bytes(10_000_000))
    with pytest.raises(FormatError, match="larger than a picture"):
        TorsoPictures(tmp_path / "torso.zip", frames=range(3, 4), size=SIZE)

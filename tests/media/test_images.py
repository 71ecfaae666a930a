"""Pictures survive a round trip; damage is named."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.media.images import Mode, read_image, resize_image, write_image


@pytest.mark.parametrize(("shape", "mode"), [((5, 7, 3), "RGB"), ((5, 7, 4), "RGBA"), ((5, 7), "L")])
def test_round_trip_is_exact(
    shape: tuple[int, ...], mode: Mode, tmp_path: Path, rng: np.random.Generator
) -> None:
    picture = rng.integers(0, 256, shape, dtype=np.uint8)
    write_image(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", mode=mode), picture)


def test_palette_keeps_indices_and_shows_colours(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    write_image(tmp_path / "a.png", labels, palette=[(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", mode="P"), labels)
    assert read_image(tmp_path / "a.png")[0, 1].tolist() == [255, 0, 0]


def test_damage_names_the_file(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "a.png"
    write_image(path, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = path.read_bytes()
    for length in (0, 4, 20, 60, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError, match=r"a\.png"):
            read_image(path)
    with pytest.raises(FormatError, match="missing"):
        read_image(tmp_path / "b.png")


def test_a_file_in_the_way_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInputError):
        write_image(tmp_path / "file" / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, (16, 16))
    assert small.shape == (16, 16, 3)
    assert abs(small[4:-4, 4:-4].astype(float) - 127.5).max() < 4

"""The torso image of a flat-coloured person whose neck is known under the chin."""

import numpy as np
import pytest

from nerf_ad.capture.torso import TorsoConfig, remove_head
from nerf_ad.face.parsing import Part

SIZE = 128
SKIN, SHIRT, HAIR, WALL = (210, 160, 130), (30, 40, 90), (60, 30, 10), (90, 200, 90)


@pytest.fixture
def person() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    labels = np.full((SIZE, SIZE), Part.BACKGROUND, np.uint8)
    labels[(y > 95) & (np.abs(x - 64) < 50)] = Part.TORSO
    labels[(y > 60) & (y < 105) & (np.abs(x - 64) < 16)] = Part.NECK
    labels[((x - 64) / 28) ** 2 + ((y - 45) / 36) ** 2 < 1] = Part.HEAD
    picture = np.zeros((SIZE, SIZE, 3), np.uint8)
    for part, colour in (
        (Part.BACKGROUND, WALL), (Part.HEAD, HAIR), (Part.NECK, SKIN), (Part.TORSO, SHIRT)
    ):  # fmt: skip
        picture[labels == part] = colour
    return picture, labels


def test_no_pixel_of_the_head_is_left(person: tuple[np.ndarray, np.ndarray]) -> None:
    rgba = remove_head(*person, TorsoConfig())
    shown = rgba[..., 3] > 0
    distance_to_hair = np.abs(rgba[shown][:, :3].astype(int) - HAIR).sum(axis=-1)
    assert distance_to_hair.min() > 60


def test_background_is_transparent(person: tuple[np.ndarray, np.ndarray]) -> None:
    picture, labels = person
    rgba = remove_head(picture, labels, TorsoConfig())
    assert rgba[labels == Part.BACKGROUND][:, 3].max() == 0


def test_body_away_from_the_head_is_untouched(person: tuple[np.ndarray, np.ndarray]) -> None:
    picture, labels = person
    rgba = remove_head(picture, labels, TorsoConfig())
    inside = np.zeros(labels.shape, bool)
    inside[100:, 20:108] = True
    assert np.array_equal(rgba[inside][:, :3], picture[inside])
    assert (rgba[110:120, 30:98, 3] == 255).all()


def test_neck_goes_on_under_the_chin(person: tuple[np.ndarray, np.ndarray]) -> None:
    picture, labels = person
    config = TorsoConfig()
    rgba = remove_head(picture, labels, config)
    column = 64
    chin = int(np.flatnonzero(labels[:, column] == Part.HEAD).max())
    reach = round(config.neck_extension * SIZE / 512)
    opaque = rgba[chin - reach + 2 : chin + 8, column, 3]
    assert (opaque == 255).all()
    colours = rgba[chin - reach + 2 : chin + 8, column, :3].astype(int)
    assert np.abs(colours - SKIN).max() < 12
    assert rgba[: chin - reach - 4, column, 3].max() == 0


def test_without_a_head_the_body_stays(person: tuple[np.ndarray, np.ndarray]) -> None:
    picture, labels = person
    labels = np.where(labels == Part.HEAD, Part.BACKGROUND, labels).astype(np.uint8)
    rgba = remove_head(picture, labels, TorsoConfig())
    body = (labels == Part.NECK) | (labels == Part.TORSO)
    assert ((rgba[..., 3] > 0) <= body).all()
    assert (rgba[..., 3] > 127).sum() > 0.9 * body.sum()


def test_nobody_gives_nothing() -> None:
    picture = np.full((32, 32, 3), 99, np.uint8)
    assert remove_head(picture, np.zeros((32, 32), np.uint8), TorsoConfig())[..., 3].max() == 0

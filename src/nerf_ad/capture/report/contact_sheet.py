"""Pictures for the report: landmarks over frames, masks, torso on the plate."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

Picture = UInt8[np.ndarray, "height width 3"]
Colour = tuple[int, int, int]

GROUND: Colour = (250, 250, 248)
INK: Colour = (60, 62, 66)


def draw_points(
    picture: UInt8[np.ndarray, "height width 3"],
    points: Float[np.ndarray, "points 2"],
    *,
    colour: Colour,
    radius: float,
) -> UInt8[np.ndarray, "height width 3"]:
    """Dots on a picture; points in pixels (x right, y down)."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for x, y in points:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return _array(image)


def tint_parts(
    picture: UInt8[np.ndarray, "height width 3"],
    labels: UInt8[np.ndarray, "height width"],
    palette: Sequence[Colour],
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture in grey, tinted by part, with white borders between parts."""
    grey = picture.mean(axis=-1, keepdims=True)
    colours = np.array(palette, np.float32)[np.minimum(labels, len(palette) - 1)]
    mixed = 0.45 * grey + 0.55 * colours
    border = np.zeros(labels.shape, bool)
    border[1:] |= labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    mixed[border] = 255
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def lay_over(
    torso: UInt8[np.ndarray, "height width 4"], plate: UInt8[np.ndarray, "height width 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """An RGBA picture on an opaque one."""
    alpha = torso[..., 3:].astype(np.float32) / 255
    return np.asarray(np.round(torso[..., :3] * alpha + plate * (1 - alpha)), np.uint8)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[UInt8[np.ndarray, "height width 3"]]]],
    captions: Sequence[str],
    *,
    tile: int = 200,
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """A table of pictures.

    Args:
        rows: title and pictures of every row.
        captions: one per column.
        tile: width and height of a picture in pixels.
    """
    gap, head, side = 4, 28, 112
    font = ImageFont.load_default(size=15)
    width = side + len(captions) * (tile + gap)
    height = head + len(rows) * (tile + gap)
    sheet = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        draw.text((side + column * (tile + gap) + 4, 5), caption, fill=INK, font=font)
    for row, (title, pictures) in enumerate(rows):
        top = head + row * (tile + gap)
        draw.text((6, top + 6), title, fill=INK, font=font)
        for column, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(small, (side + column * (tile + gap), top))
    return _array(sheet)


def _array(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    array: np.ndarray[Any, np.dtype[np.uint8]] = np.array(image, dtype=np.uint8)
    return array

"""Part labels of every frame: the parser looks at every fifth, those between are interpolated.

Parts are blurred a little and mixed by time, the head after it was moved along with the landmarks, so that
its outline follows it and does not fade from one place to another. Against parsing every frame this differs
in 0.24 % of the pixels (head IoU at least 0.98 over 60 frames of dfrf_french at 256x256; every third frame:
0.14 % and 0.99), at a fifth of the time; single-frame flicker is 0.011 % instead of 0.013 %.
"""

from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.workers import in_order
from nerf_ad.face.parsing import PALETTE, BisenetParserConfig, FaceParser, FaceParserConfig, Part
from nerf_ad.media.images import write_image

RIGID = (
    33,
    133,
    362,
    263,
    168,
    6,
    197,
    195,
    5,
    4,
    10,
    338,
    297,
    67,
    109,
    103,
    332,
    21,
    251,
    127,
    356,
    234,
    454,
)
"""Landmarks that move with the skull: eye corners, ridge of the nose, forehead, temples."""


class ParsingConfig(Config):
    """How frames are labelled."""

    parser: FaceParserConfig = BisenetParserConfig()
    """Which parser."""
    every: int = Field(default=5, ge=1, le=12)
    """The parser looks at every n-th frame of a shot and at its last (ours; 1: at all of them)."""
    softness: float = Field(default=3.0, gt=0)
    """Blur of the parts before they are mixed, pixels of a 512x512 frame (ours)."""


class Key(NamedTuple):
    """A frame that the parser looked at."""

    frame: int
    """Its number."""
    labels: UInt8[np.ndarray, "height width"]
    """What the parser said."""
    parts: Float32[np.ndarray, "4 height width"]
    """Each part as a soft mask."""


def parse_frames(
    shots: tuple[int, ...],
    points: Float[np.ndarray, "frames 478 3"],
    read: Callable[[int], UInt8[np.ndarray, "height width 3"]],
    parser: FaceParser,
    path: Callable[[int], Path],
    config: ParsingConfig,
    *,
    num_workers: int,
) -> Generator[Event, None, None]:
    """Label all frames whose labels are not there yet.

    Args:
        shots: first frame of every shot; nothing is interpolated across a cut.
        points: landmarks of every frame, pixels.
        read: frame number -> picture.
        parser: labels a picture.
        path: frame number -> where its labels go.
        config: choices.
        num_workers: threads.
    """
    num_frames = len(points)
    spans = [
        span
        for first, end in pairwise((*shots, num_frames))
        for span in key_spans(first, end, config.every)
        if not all(path(index).is_file() for index in range(span[0], max(span[1], span[0] + 1)))
    ]
    done = num_frames - sum(max(end - start, 1) for start, end in spans)

    def look(frame: int) -> Key:
        labels = parser.parse(read(frame), index=frame)
        return Key(frame, labels, soft_parts(labels, config.softness * labels.shape[0] / 512))

    def fill(pair: tuple[Key, Key]) -> int:
        before, after = pair
        write_image(path(before.frame), before.labels, palette=PALETTE)
        for frame in range(before.frame + 1, after.frame):
            write_image(path(frame), between(before, after, frame, points), palette=PALETTE)
        return max(after.frame - before.frame, 1)

    keys = in_order(look, _key_frames(spans), num_workers=num_workers)
    for count in in_order(fill, _pairs(spans, keys), num_workers=num_workers):
        done += count
        yield Progress(stage="parsing", done=done, total=num_frames)


def key_spans(first: int, end: int, every: int) -> list[tuple[int, int]]:
    """Neighbouring key frames of a shot; the last frame is a key and stands alone at the end.

    Args:
        first: first frame of the shot.
        end: frame after its last.
        every: distance of key frames.
    """
    keys = [*range(first, end - 1, every), end - 1]
    return [*pairwise(keys), (end - 1, end - 1)]


def soft_parts(
    labels: UInt8[np.ndarray, "height width"], sigma: float
) -> Float32[np.ndarray, "4 height width"]:
    """Every part's mask, blurred by ``sigma`` pixels."""
    from scipy.ndimage import gaussian_filter

    masks = [gaussian_filter((labels == part).astype(np.float32), sigma, truncate=2.5) for part in Part]
    return np.stack(masks)


def between(
    before: Key, after: Key, frame: int, points: Float[np.ndarray, "frames 478 3"]
) -> UInt8[np.ndarray, "height width"]:
    """Labels of a frame from those of the key frames around it."""
    share = (frame - before.frame) / (after.frame - before.frame)
    mixed = (1 - share) * before.parts + share * after.parts
    heads = [
        move(key.parts[Part.HEAD], points[key.frame][list(RIGID), :2], points[frame][list(RIGID), :2])
        for key in (before, after)
    ]
    mixed[Part.HEAD] = (1 - share) * heads[0] + share * heads[1]
    labels: UInt8[np.ndarray, "height width"] = mixed.argmax(axis=0).astype(np.uint8)
    return labels


def move(
    mask: Float32[np.ndarray, "height width"],
    source: Float[np.ndarray, "points 2"],
    target: Float[np.ndarray, "points 2"],
) -> Float32[np.ndarray, "height width"]:
    """Move a mask by the shift, turn and scale that take ``source`` points (pixels) nearest to ``target``."""
    from scipy.ndimage import affine_transform

    place, goal = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    first, second = (source - place) @ (1, 1j), (target - goal) @ (1, 1j)
    spread = float((abs(first) ** 2).sum())
    factor = complex((first.conj() * second).sum()) / spread if spread > 0 else 1 + 0j
    inverse = 1 / factor
    # scipy asks, in (row, column), where each pixel of the result comes from; pixel centres are at + 0.5.
    matrix = np.array([[inverse.real, inverse.imag], [-inverse.imag, inverse.real]])
    offset = place[::-1] - matrix @ (goal[::-1] - 0.5) - 0.5
    moved: Float32[np.ndarray, "height width"] = affine_transform(
        mask, matrix, offset, order=1, mode="nearest"
    )
    return moved


def _key_frames(spans: list[tuple[int, int]]) -> Iterator[int]:
    """The keys of all spans in order, each once."""
    last = -1
    for span in spans:
        for frame in span:
            if frame > last:
                yield frame
                last = frame


def _pairs(spans: list[tuple[int, int]], keys: Iterator[Key]) -> Iterator[tuple[Key, Key]]:
    """The two keys of each span."""
    held: dict[int, Key] = {}
    for start, end in spans:
        for frame in (start, end):
            if frame not in held:
                key = next(keys)
                held = {number: kept for number, kept in held.items() if number >= start}
                held[key.frame] = key
        yield held[start], held[end]

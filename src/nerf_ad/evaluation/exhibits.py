"""Pictures, curves and a film for the page of a result, gathered while frames are measured."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from nerf_ad.capture.report.contact_sheet import contact_sheet
from nerf_ad.core.files import write_text
from nerf_ad.evaluation.evaluation_page import evaluation_page
from nerf_ad.evaluation.rows import Row
from nerf_ad.media.audio import Waveform
from nerf_ad.media.encoder import VideoWriter
from nerf_ad.media.images import resize_image, write_image

NUM_WORST = 10
"""Worst frames that are shown."""
APART_SECONDS = 0.5
"""Of each stretch of this length only the worst frame may be among them: neighbours are alike (ours)."""
NUM_MOUTHS = 12
"""Mouths in the strip."""
TALLEST = 512
"""Height in pixels of the film at most."""
TILE = 168
"""Width and height of a picture of the worst frames."""
GAIN = 4.0
"""Factor by which error maps are brightened."""

Picture = UInt8[np.ndarray, "height width 3"]


class Bad(NamedTuple):
    """A frame among the worst."""

    score: float
    """Larger is worse."""
    frame: int
    real: Picture
    made: Picture


class Exhibits:
    """Used as a context manager around the frames; the film is whole when it is left."""

    def __init__(
        self,
        folder: Path,
        size: tuple[int, int],
        frames: Sequence[int],
        *,
        fps: float | int,
        sound: Waveform | None,
    ) -> None:
        """Prepare.

        Args:
            folder: where everything goes.
            size: width and height of the frames.
            frames: those that will be added.
            fps: frames added per second of the sound.
            sound: from the first frame on.
        """
        self.folder, self.fps = folder, fps
        width, height = size
        scale = min(1.0, TALLEST / height)
        self.side = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
        self._mouth_frames = {frames[int(at)] for at in np.linspace(0, len(frames) - 1, NUM_MOUTHS)}
        self._mouths: list[tuple[int, Picture, Picture]] = []
        self._worst: list[Bad] = []
        self._candidate: Bad | None = None
        self._film = VideoWriter(
            folder / "side_by_side.mp4",
            size=(2 * self.side[0], self.side[1]),
            fps=fps,
            audio=sound,
            preset="veryfast",
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Exhibits":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(self._film)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, index: int, real: Picture, made: Picture, row: Row) -> None:
        """Take a frame that ``row`` has just measured."""
        self._film.write(
            np.concatenate([resize_image(picture, self.side) for picture in (real, made)], axis=1)
        )
        book = row.pictures.series
        score = book.last("lpips", index)
        if score is None:
            score = None if (psnr := book.last("psnr", index)) is None else -psnr
        if score is not None:
            self._judge(Bad(score, index, real, made))
        mouth = row.recording.regions.boxes(index).get("mouth")
        if index in self._mouth_frames and mouth is not None:
            left, top, right, bottom = mouth
            self._mouths.append((index, real[top:bottom, left:right], made[top:bottom, left:right]))

    def write_page(self, title: str, result: Mapping[str, Any], row: Row) -> Path:
        """Pictures and ``index.html`` into the folder; gives the page's path."""
        last = [] if self._candidate is None else [self._candidate]
        worst = sorted([*self._worst, *last], key=lambda one: -one.score)[:NUM_WORST]
        pictures = {}
        if worst:
            pictures["worst.png"] = contact_sheet(
                [
                    ("recorded", [tile_of(bad.real) for bad in worst]),
                    ("made", [tile_of(bad.made) for bad in worst]),
                    (f"error x{GAIN:.0f}", [tile_of(error_map(bad.made, bad.real)) for bad in worst]),
                ],
                [f"frame {bad.frame}: {abs(bad.score):.3f}" for bad in worst],
                tile=TILE,
            )
        if self._mouths:
            pictures["mouths.png"] = contact_sheet(
                [
                    ("recorded", [tile_of(real) for _, real, _ in self._mouths]),
                    ("made", [tile_of(made) for _, _, made in self._mouths]),
                ],
                [f"frame {index}" for index, _, _ in self._mouths],
                tile=TILE,
            )
        for name, picture in pictures.items():
            write_image(self.folder / name, picture)
        by = "LPIPS" if "lpips" in result else "PSNR"
        page = evaluation_page(title, result, row, self.folder, by=by, pictures=list(pictures))
        write_text(self.folder / "index.html", page)
        return self.folder / "index.html"

    def _judge(self, bad: Bad) -> None:
        """Keep the worst of its stretch, and the worst ten stretches so far."""
        stretch = max(1, round(APART_SECONDS * self.fps))
        kept = self._candidate
        if kept is not None and kept.frame // stretch == bad.frame // stretch:
            if bad.score > kept.score:
                self._candidate = bad
            return
        if kept is not None:
            self._worst = sorted([*self._worst, kept], key=lambda one: -one.score)[:NUM_WORST]
        self._candidate = bad


def error_map(made: Picture, real: Picture) -> Picture:
    """Mean absolute difference of the channels, brightened: black none, through red and yellow to white."""
    error = np.abs(made.astype(np.float32) - real.astype(np.float32)).mean(axis=-1) * (GAIN * 3 / 255)
    channels = [np.clip(error - start, 0, 1) for start in (0, 1, 2)]
    return np.asarray(np.round(255 * np.stack(channels, axis=-1)), np.uint8)


def tile_of(picture: Picture) -> UInt8[np.ndarray, "side side 3"]:
    """Filled up with grey to a square, so that nothing is stretched, and brought to the size of a tile."""
    height, width = picture.shape[:2]
    side = max(height, width)
    result = np.full((side, side, 3), 250, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    result[top : top + height, left : left + width] = picture
    return resize_image(result, (TILE, TILE))

"""The face crops that SyncNet wants, cut while pictures pass by.

After its authors' ``run_pipeline.py``: a square whose half side is ``s``, half the longer side of the face's
box, reaches from ``s`` above the middle of the box to ``1.8 s`` below it and ``1.4 s`` to either side; middle
and side are medians over 13 frames; beyond the picture everything is grey 110; 224x224 pixels. Their box is a
face detector's (S3FD), ours that of all landmarks, which reach from chin to hairline as well.
"""

from collections import deque
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.media.images import resize_image
from nerf_ad.sync.syncnet import SIDE

SMOOTH: Final = 13
"""Frames of the median."""
MARGIN: Final = 0.4
"""Share of the box's side that is added to the left and right, and twice that below."""
GREY: Final = 110
"""Level beyond the picture."""

Picture = UInt8[np.ndarray, "height width 3"]
Crop = UInt8[np.ndarray, "224 224 3"]
Place = tuple[float, float, float]
"""Middle of a box, x and y, and half its longer side, in pixels."""


class FaceCrops:
    """Takes pictures one by one, gives each one's crop six frames later."""

    def __init__(self) -> None:
        self._pictures: deque[Picture] = deque()
        self._places: deque[Place | None] = deque()
        self._behind = 0
        """Places kept before that of the next picture to be cut."""
        self._last: Place | None = None

    def add(self, picture: Picture, points: Float[np.ndarray, "points 2"] | None) -> list[Crop]:
        """Take a picture.

        Args:
            picture: RGB.
            points: landmarks of its face, x and y in pixels; None where there is no face: then the
                neighbours' box is taken.

        Returns:
            The crops that are ready, at most one.
        """
        self._pictures.append(picture)
        self._places.append(None if points is None else place_of(points))
        return [self._next()] if len(self._pictures) > SMOOTH // 2 else []

    def finish(self) -> list[Crop]:
        """The crops that are left."""
        return [self._next() for _ in range(len(self._pictures))]

    def _next(self) -> Crop:
        picture = self._pictures.popleft()
        seen = list(self._places)[: self._behind + 1 + SMOOTH // 2]
        found = [place for place in seen if place is not None]
        if found:
            x, y, half = np.median(found, axis=0).tolist()
            self._last = x, y, half
        if self._behind < SMOOTH // 2:
            self._behind += 1
        else:
            self._places.popleft()
        height, width = picture.shape[:2]
        return cut(picture, self._last or (width / 2, height / 2, min(width, height) / 4))


def place_of(points: Float[np.ndarray, "points 2"]) -> Place:
    """Of the box around landmarks."""
    low, high = points.min(axis=0), points.max(axis=0)
    x, y = ((low + high) / 2).tolist()
    return x, y, float((high - low).max()) / 2


def cut(picture: Picture, place: Place) -> Crop:
    """The square around a face, as SyncNet sees it."""
    x, y, half = place
    left, top = round(x - half * (1 + MARGIN)), round(y - half)
    side = max(round(2 * half * (1 + MARGIN)), 1)
    result = np.full((side, side, 3), GREY, np.uint8)
    height, width = picture.shape[:2]
    rows = slice(max(top, 0), max(min(top + side, height), 0))
    columns = slice(max(left, 0), max(min(left + side, width), 0))
    seen = picture[rows, columns]
    if seen.size:
        at = rows.start - top, columns.start - left
        result[at[0] : at[0] + seen.shape[0], at[1] : at[1] + seen.shape[1]] = seen
    return resize_image(result, (SIDE, SIDE))

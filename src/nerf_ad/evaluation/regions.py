"""Where in a picture figures are measured.

| region | what it is |
|---|---|
| whole | the frame |
| head | what the recording's parsing calls head; of two videos a box around the face, widened for hair |
| mouth, eyes, face | boxes around the recorded landmarks of lips and chin, eyes and brows, whole face |
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import EYES, MOUTH
from nerf_ad.dataset.pixels import boxes_around, fit_labels
from nerf_ad.face.landmarks import FACE_OVAL, FaceLandmarks
from nerf_ad.face.parsing import Part

MARGIN = 0.05
"""By which boxes are widened, of their longer side (ours)."""
HEAD_MARGIN = 0.25
"""The same of the head's box, for hair and ears beyond the face's oval (ours)."""

Box = Int[np.ndarray, "4"]
"""Left, top, right, bottom in pixels."""
Mask = Bool[np.ndarray, "height width"]


@runtime_checkable
class Regions(Protocol):
    """Regions of every frame."""

    def boxes(self, index: int) -> dict[str, Box]:
        """Rectangles by name; none where no face was found. LPIPS is measured on each."""
        ...

    def masks(self, index: int) -> dict[str, Mask]:
        """Pixels of head, mouth and eyes; those that are not there are left out."""
        ...


class DatasetRegions:
    """From the parsing and the landmarks of a data set."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        """Prepare.

        Args:
            dataset: the recording.
            size: width and height of the pictures that are compared.
        """
        self.dataset, self.size = dataset, size
        points = dataset.landmarks().points[:, :, :2] * (size / dataset.size)
        self._boxes = {
            name: boxes_around(points[:, list(rows)], margin=MARGIN, size=size)
            for name, rows in (("mouth", MOUTH), ("eyes", EYES), ("face", FACE_OVAL))
        }

    def boxes(self, index: int) -> dict[str, Box]:
        """Of mouth, eyes and face."""
        return {name: boxes[index] for name, boxes in self._boxes.items()}

    def masks(self, index: int) -> dict[str, Mask]:
        """Of head, mouth and eyes."""
        boxes = self.boxes(index)
        return {
            "head": fit_labels(self.dataset.labels(index), self.size) == Part.HEAD,
            **{name: inside(boxes[name], self.size, self.size) for name in ("mouth", "eyes")},
        }


class LandmarkRegions:
    """From the faces that were found in a recording's frames; all regions are boxes."""

    def __init__(self, faces: Mapping[int, FaceLandmarks], *, width: int, height: int) -> None:
        """Prepare.

        Args:
            faces: by frame; landmarks in pixels of pictures of that width and height.
            width: pixels.
            height: pixels.
        """
        self.faces, self.width, self.height = faces, width, height

    def boxes(self, index: int) -> dict[str, Box]:
        """Of head, mouth, eyes and face."""
        if index not in self.faces:
            return {}
        points = self.faces[index].points[None, :, :2].astype(np.float64)
        return {
            name: self._box(points[:, list(rows)], margin)
            for name, rows, margin in (
                ("head", FACE_OVAL, HEAD_MARGIN),
                ("mouth", MOUTH, MARGIN),
                ("eyes", EYES, MARGIN),
                ("face", FACE_OVAL, MARGIN),
            )
        }

    def masks(self, index: int) -> dict[str, Mask]:
        """Of head, mouth and eyes."""
        boxes = self.boxes(index)
        return {name: inside(box, self.width, self.height) for name, box in boxes.items() if name != "face"}

    def _box(self, points: Float[np.ndarray, "1 points 2"], margin: float) -> Box:
        box = boxes_around(points, margin=margin, size=max(self.width, self.height))[0]
        return np.minimum(box, [self.width, self.height] * 2)


def inside(box: Box, width: int, height: int) -> Mask:
    """The pixels of a rectangle."""
    left, top, right, bottom = box
    where = np.zeros((height, width), bool)
    where[top:bottom, left:right] = True
    return where

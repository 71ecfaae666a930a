"""Whether made faces are the recorded person's: CSIM, frame by frame and against the whole recording."""

from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from nerf_ad.evaluation.series import SeriesBook
from nerf_ad.face.landmarks import (
    LEFT_IRIS,
    LEFT_MOUTH_CORNER,
    NOSE_TIP,
    RIGHT_IRIS,
    RIGHT_MOUTH_CORNER,
    FaceLandmarks,
)
from nerf_ad.metrics.identity import Identity, align_face, similarity

FIVE: Final = (RIGHT_IRIS[0], LEFT_IRIS[0], NOSE_TIP, RIGHT_MOUTH_CORNER, LEFT_MOUTH_CORNER)
"""Landmarks that are laid on ArcFace's five points."""

Picture = UInt8[np.ndarray, "height width 3"]
Embedding = Float32[np.ndarray, "channels"]


class LikenessMeter:
    """Embeddings of made and recorded faces."""

    def __init__(self, network: Identity) -> None:
        self.network = network
        self._found: list[tuple[int, Embedding, Embedding]] = []

    def add(
        self, index: int, real: Picture, made: Picture, faces: tuple[FaceLandmarks, FaceLandmarks]
    ) -> None:
        """Take a frame and its faces, the recorded one first."""
        real_face, made_face = (
            self.network.embed(align_face(picture, face.points[list(FIVE), :2]))
            for picture, face in zip((real, made), faces, strict=True)
        )
        self._found.append((index, real_face, made_face))

    def book(self) -> SeriesBook:
        """Cosines by frame.

        ``csim`` is against the same recorded frame, 1 for the recording itself; ``csim_clip`` against the
        mean of the recorded embeddings, where the recording itself is below 1.
        """
        result = SeriesBook()
        if not self._found:
            return result
        frames, real, made = zip(*self._found, strict=True)
        usual = np.mean(real, axis=0)
        result.add_all(frames, "csim", (similarity(m, r) for m, r in zip(made, real, strict=True)))
        result.add_all(frames, "csim_clip", (similarity(m, usual) for m in made))
        return result

"""The rows of a result: an avatar, and what its figures are worth, against the same recorded frames."""

import contextlib
import functools
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from nerf_ad.core.errors import WeightsError
from nerf_ad.core.events import Event, Warned
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import fit_picture
from nerf_ad.evaluation.face_figures import FaceMeter
from nerf_ad.evaluation.picture_figures import PictureMeter
from nerf_ad.evaluation.unit_reader import UnitReader
from nerf_ad.face.landmarks import FaceLandmarks, LandmarkDetector, build_landmark_detector
from nerf_ad.metrics.perceptual import Lpips, build_lpips

Picture = UInt8[np.ndarray, "size size 3"]


class Instruments(NamedTuple):
    """What measures; an instrument whose weights are missing is None, and its figures are left out."""

    detector: LandmarkDetector | None
    units: UnitReader | None
    lpips: Lpips | None


def open_instruments(
    dataset: Dataset, stack: contextlib.ExitStack, *, device: torch.device | str = "cpu"
) -> Generator[Event, None, Instruments]:
    """Open what can be opened; the stack closes it.

    Events say what is left out.
    """
    detector, lpips = None, None
    try:
        detector = stack.enter_context(build_landmark_detector())
    except WeightsError as error:
        yield Warned(message=f"lips, landmarks and action units are not measured: {error.message}")
    try:
        lpips = build_lpips(device=device)
    except WeightsError as error:
        yield Warned(message=f"LPIPS is not measured: {error.message}")
    return Instruments(detector, UnitReader(dataset) if detector is not None else None, lpips)


class Recording:
    """Recorded frames at the size of the made ones, and the faces that the detector finds there."""

    def __init__(self, dataset: Dataset, size: int, instruments: Instruments) -> None:
        self.dataset, self.size, self.instruments = dataset, size, instruments
        # Rows ask for the same frames, some of them a little later.
        self.picture = functools.lru_cache(maxsize=64)(self._picture)
        self.face = functools.lru_cache(maxsize=64)(self._face)

    def look(self, picture: Picture) -> FaceLandmarks | None:
        """The largest face of any picture, by the same detector."""
        detector = self.instruments.detector
        found = detector.detect(np.ascontiguousarray(picture)) if detector is not None else []
        return found[0] if found else None

    def _picture(self, index: int) -> Picture:
        return fit_picture(self.dataset.frame(index), self.size)

    def _face(self, index: int) -> FaceLandmarks | None:
        return self.look(self.picture(index))


class Row:
    """All figures of one way to make the frames."""

    def __init__(self, recording: Recording, *, step: int, picture_every: int = 1) -> None:
        """Prepare.

        Args:
            recording: what is compared with.
            step: how many frames of the clip the added ones are apart.
            picture_every: measure pictures only in each so-manieth added frame; faces always.
        """
        tools = recording.instruments
        self.recording, self.picture_every = recording, picture_every
        self.pictures = PictureMeter(recording.dataset, recording.size, lpips=tools.lpips)
        self.faces = (
            None
            if tools.detector is None
            else FaceMeter(detector_id=tools.detector.id, step=step, units=tools.units)
        )
        self._added = 0

    def add(self, index: int, made: Picture, face: FaceLandmarks | None) -> None:
        """Compare with frame ``index`` of the clip, ascending; ``face`` is that of ``made``."""
        if self._added % self.picture_every == 0:
            self.pictures.add(index, self.recording.picture(index), made)
        if self.faces is not None:
            self.faces.add(index, self.recording.face(index), face)
        self._added += 1

    def figures(self) -> dict[str, object]:
        """By name; those that could not be measured are left out."""
        return {**self.pictures.figures(), **(self.faces.figures() if self.faces is not None else {})}

"""The rows of a result: what was made, and what its figures are worth, against the same recorded frames."""

import contextlib
import functools
from collections.abc import Generator, Sequence
from importlib import metadata
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8

from nerf_ad import __version__
from nerf_ad.core import weights
from nerf_ad.core.errors import NerfAdError, WeightsError
from nerf_ad.core.events import Event, Warned
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import fit_picture
from nerf_ad.evaluation.face_figures import FaceMeter
from nerf_ad.evaluation.likeness import LikenessMeter
from nerf_ad.evaluation.picture_figures import PictureMeter
from nerf_ad.evaluation.regions import DatasetRegions, Regions
from nerf_ad.evaluation.series import Series, intervals
from nerf_ad.evaluation.sound import Sound
from nerf_ad.evaluation.sync_figures import SyncMeter
from nerf_ad.evaluation.unit_reader import UnitReader
from nerf_ad.face.landmarks import FaceLandmarks, LandmarkDetector, build_landmark_detector
from nerf_ad.metrics.identity import Identity
from nerf_ad.metrics.perceptual import Lpips, build_lpips
from nerf_ad.sync.scorer import SyncScorer
from nerf_ad.sync.syncnet import PictureReader, SyncNet

Picture = UInt8[np.ndarray, "height width 3"]


class Instruments(NamedTuple):
    """What measures; an instrument whose weights are missing is None, and its figures are left out."""

    detector: LandmarkDetector | None
    units: UnitReader | None
    lpips: Lpips | None
    identity: Identity | None = None
    sync: SyncScorer | None = None
    syncnet: PictureReader | None = None

    def versions(self) -> dict[str, str]:
        """What measured, by the name of the file and the beginning of its digest."""
        told = {"nerf-ad": __version__}
        if self.detector is not None:
            told["landmarks"] = self.detector.id
            with contextlib.suppress(metadata.PackageNotFoundError):
                told["mediapipe"] = metadata.version("mediapipe")
        if self.units is not None:
            told["action units"] = self.units.id
        if self.lpips is not None:
            told["lpips"] = weights.extractor_id(f"lpips-{self.lpips.backbone}")
        if self.identity is not None:
            told["identity"] = self.identity.id
        if self.sync is not None:
            told["sync"] = self.sync.id
        if self.syncnet is not None:
            told["syncnet"] = self.syncnet.network.id
        return told


def open_instruments(
    dataset: Dataset | None,
    stack: contextlib.ExitStack,
    *,
    device: torch.device | str = "cpu",
    syncnet: SyncNet | None = None,
) -> Generator[Event, None, Instruments]:
    """Open what can be opened; the stack closes it.

    Events say what is left out. Without a data set nothing reads action units yet: that needs the person's
    neutral. Lips are judged, by our own scorer and by ``syncnet``, where faces are found.
    """
    detector, lpips, identity = None, None, None
    try:
        detector = stack.enter_context(build_landmark_detector())
    except NerfAdError as error:
        what = "lips, landmarks, action units, likeness, blinks, jitter and sync are not measured"
        yield Warned(message=f"{what}: {error.with_hint}")
    try:
        lpips = build_lpips(device=device)
    except WeightsError as error:
        yield Warned(message=f"LPIPS is not measured: {error.with_hint}")
    if detector is not None:
        try:
            identity = Identity()
        except WeightsError as error:
            yield Warned(message=f"likeness is not measured: {error.with_hint}")
    if detector is None:
        return Instruments(None, None, lpips)
    units = None if dataset is None else UnitReader(dataset.landmarks())
    reader = None if syncnet is None else PictureReader(syncnet)
    return Instruments(detector, units, lpips, identity, SyncScorer.load(), reader)


@runtime_checkable
class Recorded(Protocol):
    """What rows are compared with."""

    @property
    def instruments(self) -> Instruments:
        """What measures."""
        ...

    @property
    def regions(self) -> Regions:
        """Where in the pictures."""
        ...

    @property
    def fps(self) -> float:
        """Frames of the clip per second."""
        ...

    def picture(self, index: int) -> Picture:
        """A recorded frame, at the size of the made ones."""
        ...

    def face(self, index: int) -> FaceLandmarks | None:
        """Its largest face."""
        ...


class Recording:
    """Recorded frames at the size of the made ones, and the faces that the detector finds there."""

    def __init__(self, dataset: Dataset, size: int, instruments: Instruments) -> None:
        self.dataset, self.size, self.instruments = dataset, size, instruments
        self.regions = DatasetRegions(dataset, size)
        self.fps: float = dataset.manifest.fps
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

    def __init__(
        self, recording: Recorded, *, step: int, picture_every: int = 1, sound: Sound | None = None
    ) -> None:
        """Prepare.

        Args:
            recording: what is compared with.
            step: how many frames of the clip the added ones are apart.
            picture_every: measure pictures only in each so-manieth added frame; faces and flicker always.
            sound: what lips are compared with, where ``step`` is 1; without it nothing is said about sync.
        """
        tools = recording.instruments
        self.recording, self.step, self.picture_every = recording, step, picture_every
        self.pictures = PictureMeter(recording.regions, lpips=tools.lpips)
        self.faces = (
            None
            if tools.detector is None
            else FaceMeter(detector_id=tools.detector.id, step=step, fps=recording.fps, units=tools.units)
        )
        self.likeness = None if tools.identity is None else LikenessMeter(tools.identity)
        self.sync = (
            None
            if sound is None or step != 1 or tools.detector is None
            else SyncMeter(sound, fps=recording.fps, scorer=tools.sync, syncnet=tools.syncnet)
        )
        self.frames: list[int] = []

    def add(self, index: int, made: Picture, face: FaceLandmarks | None) -> None:
        """Compare with frame ``index`` of the clip, ascending; ``face`` is that of ``made``."""
        real = self.recording.picture(index)
        if self.faces is not None:
            self.faces.add(index, self.recording.face(index), face)
        if self.sync is not None:
            self.sync.add(index, made, face)
        if self.step == 1:
            self.pictures.add_flicker(index, real, made)
        if len(self.frames) % self.picture_every == 0:
            self.pictures.add(index, real, made)
            recorded = self.recording.face(index) if self.likeness is not None else None
            if self.likeness is not None and recorded is not None and face is not None:
                self.likeness.add(index, real, made, (recorded, face))
        self.frames.append(index)

    def series(self) -> dict[str, Series]:
        """The figures that single frames have, by name."""
        return {
            **self.pictures.series.all(),
            **(self.likeness.book().all() if self.likeness is not None else {}),
            **(self.faces.series() if self.faces is not None else {}),
            **(self.sync.book().all() if self.sync is not None else {}),
        }

    def figures(self) -> dict[str, object]:
        """By name; those that could not be measured are left out."""
        return {
            **self.pictures.figures(),
            **(self.likeness.book().means() if self.likeness is not None else {}),
            **(self.faces.figures() if self.faces is not None else {}),
            **(self.sync.figures() if self.sync is not None else {}),
            "intervals": intervals(self.series(), self.recording.fps),
        }


def spans(frames: Sequence[int]) -> str:
    """Numbers of frames in short, both ends included: ``0-8 by 4, 12, 13-20``."""
    parts: list[str] = []
    start = 0
    while start < len(frames):
        step = frames[start + 1] - frames[start] if start + 1 < len(frames) else 1
        end = start
        while end + 1 < len(frames) and frames[end + 1] - frames[end] == step:
            end += 1
        if end == start:
            parts.append(str(frames[start]))
        else:
            parts.append(f"{frames[start]}-{frames[end]}" + (f" by {step}" if step > 1 else ""))
        start = end + 1
    return ", ".join(parts)

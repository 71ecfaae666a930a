"""Whether lips follow the sound: our own scorer's figures, and LSE where SyncNet's weights are given.

Both want 25 frames a second. At other rates landmarks are interpolated, and SyncNet sees the picture on show.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, UInt8

from nerf_ad.evaluation.series import SeriesBook
from nerf_ad.evaluation.sound import SAMPLE_RATE, STEP_RATE, Sound
from nerf_ad.face.landmarks import NUM_POINTS, FaceLandmarks
from nerf_ad.sync.face_crops import FaceCrops
from nerf_ad.sync.scorer import FPS, STEPS_PER_FRAME, WINDOW, SyncScore, SyncScorer
from nerf_ad.sync.syncnet import PictureReader, PictureTrack, embed_sound, score_lip_sync

FACES: Final = 0.5
"""Share of frames below which faces are too few to say anything (ours)."""
SYNC_RULES: Final = {
    "frames": "all, at 25 a second; between frames of other rates landmarks are interpolated",
    "offset": "of the whole stretch, in frames of 40 ms; positive: the mouth is late",
    "confidence": "mean of windows of 3 s, one each second",
}
"""How sync is measured, in words, beside the figures."""
_SAME_RATE: Final = 1e-3
"""Share by which a rate may differ from 25 a second and count as it."""

Picture = UInt8[np.ndarray, "height width 3"]


class SyncMeter:
    """Figures of every frame's landmarks, and of face crops, against a sound."""

    def __init__(
        self,
        sound: Sound,
        *,
        fps: float | int,
        scorer: SyncScorer | None = None,
        syncnet: PictureReader | None = None,
    ) -> None:
        """Prepare.

        Args:
            sound: what should be heard with the frames.
            fps: frames of the clip per second; each one is added.
            scorer: our own; it needs the sound's features.
            syncnet: with the user's weights.
        """
        self.sound, self.fps = sound, fps
        self._scorer = None if sound.features is None else scorer
        self._syncnet = syncnet
        self._crops = FaceCrops()
        self._seen = None if syncnet is None else PictureTrack(syncnet)
        self._points: list[Float[np.ndarray, "478 3"]] = []
        self._num_crops = 0
        self._first: int | None = None
        self._measured: tuple[SeriesBook, dict[str, object]] | None = None

    def add(self, index: int, made: Picture, face: FaceLandmarks | None) -> None:
        """Take frame ``index`` of the clip: one after the other, none left out."""
        if self._first is None:
            self._first = index
        assert index == self._first + len(self._points)
        assert self._measured is None
        self._points.append(np.full((NUM_POINTS, 3), np.nan, np.float32) if face is None else face.points)
        if self._seen is None:
            return
        # At 25 frames a second once; at other rates as often as the picture is on show.
        while self._num_crops * self._pace < len(self._points) - 1e-6:
            self._num_crops += 1
            for crop in self._crops.add(made, None if face is None else face.points[:, :2].astype(float)):
                self._seen.add(crop)

    def figures(self) -> dict[str, object]:
        """Those of the whole and means; none where faces or frames are too few. Measured once, at the end."""
        book, whole = self._measure()
        return {**whole, **book.means()}

    def book(self) -> SeriesBook:
        """``sync_confidence`` of windows of 3 s, one each second, at their middle frames."""
        return self._measure()[0]

    @property
    def _pace(self) -> float:
        """Frames of the clip per frame at 25 a second."""
        pace = self.fps / FPS
        return 1.0 if abs(pace - 1) < _SAME_RATE else pace

    def _measure(self) -> tuple[SeriesBook, dict[str, object]]:
        if self._measured is None:
            book, whole = SeriesBook(), dict[str, object]()
            known = sum(bool(np.isfinite(points[0, 0])) for points in self._points)
            if self._first is not None and known >= FACES * len(self._points):
                late = (self._first - self.sound.first) / self.fps
                self._measure_own(book, whole, late)
                self._measure_lse(whole, late)
            self._measured = book, whole
        return self._measured

    def _measure_own(self, book: SeriesBook, whole: dict[str, object], late: float) -> None:
        """Our own scorer; the sound from ``late`` seconds on."""
        if self._scorer is None or self.sound.features is None:
            return
        points = resampled(np.stack(self._points), self._pace)
        features = self.sound.features[max(round(late * STEP_RATE), 0) :]
        if min(len(points), len(features) // STEPS_PER_FRAME) < WINDOW:
            return
        found = self._scorer.score(points, features)
        whole["sync_offset_frames"] = found.offset
        book.add_all(self._middles(found), "sync_confidence", [window.confidence for window in found.windows])

    def _middles(self, found: SyncScore) -> list[int]:
        """Frames of the clip in the middle of each window."""
        assert self._first is not None
        middles = [FPS * number + WINDOW // 2 for number in range(len(found.windows))]
        return [self._first + min(round(at * self._pace), len(self._points) - 1) for at in middles]

    def _measure_lse(self, whole: dict[str, object], late: float) -> None:
        """LSE by SyncNet; the sound from ``late`` seconds on."""
        if self._syncnet is None or self._seen is None:
            return
        for crop in self._crops.finish():
            self._seen.add(crop)
        samples = self.sound.samples[max(round(late * SAMPLE_RATE), 0) :]
        if min(self._num_crops, len(samples) * FPS // SAMPLE_RATE) < WINDOW:
            return
        heard = embed_sound(self._syncnet.network, samples)
        found = score_lip_sync(self._seen.embeddings(), heard, num_samples=len(samples))
        whole["lse_d"] = round(found.distance, 4)
        whole["lse_c"] = round(found.confidence, 4)
        whole["lse_offset_frames"] = found.offset


def resampled(points: Float[np.ndarray, "frames 478 3"], pace: float) -> Float[np.ndarray, "steps 478 3"]:
    """Landmarks every ``pace`` frames, between two frames in a line; NaN beside a frame without a face."""
    if pace == 1:
        return points
    at = np.arange(int((len(points) - 1) / pace + 1e-6) + 1) * pace
    before = np.minimum(at.astype(np.int64), len(points) - 1)
    share = (at - before)[:, None, None]
    after = np.minimum(before + 1, len(points) - 1)
    mixed = (1 - share) * points[before] + share * points[after]
    return np.where(share < 1e-6, points[before], mixed)

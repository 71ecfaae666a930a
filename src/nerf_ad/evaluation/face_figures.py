"""Figures of faces that one detector finds in made and recorded pictures.

Landmarks and how they tremble, lips, blinks, action units.
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.expression import MOUTH
from nerf_ad.evaluation.series import Series, SeriesBook
from nerf_ad.evaluation.unit_reader import LOWER, UPPER, UnitReader
from nerf_ad.face.action_units import NETWORK_UNITS, SPEECH_UNITS, eye_openness, mouth_opening
from nerf_ad.face.landmarks import IBUG_68, LEFT_EYE_OUTER, RIGHT_EYE_OUTER, FaceLandmarks
from nerf_ad.metrics.action_units import majority_accuracy, unit_accuracy, unit_error
from nerf_ad.metrics.blinks import blinks_per_minute
from nerf_ad.metrics.jitter import landmark_acceleration, mean_length
from nerf_ad.metrics.landmarks import lagged_correlation, landmark_distances

REACH = 10
"""Frames of the clip that lips may be late or early (ours)."""
FEWEST = 3
"""Frames with both faces below which there are no figures."""
_IBUG_MOUTH = slice(48, 68)

Points = Float[np.ndarray, "frames 478 2"]


class FaceMeter:
    """Figures of the frames in which both faces were found."""

    def __init__(
        self, *, detector_id: str, step: int = 1, fps: float | int = 25, units: UnitReader | None = None
    ) -> None:
        """Prepare.

        Args:
            detector_id: what finds the faces.
            step: how many frames of the clip the measured ones are apart. Blinks and trembling are measured
                where it is 1.
            fps: frames of the clip per second.
            units: reads action units; left out where absent.
        """
        self.detector_id, self.step, self.fps, self.units = detector_id, step, fps, units
        self.frames: list[int] = []
        self.made: list[FaceLandmarks] = []
        self.real: list[FaceLandmarks] = []
        self.frames_without_face = 0
        self._measured: tuple[SeriesBook, dict[str, object]] | None = None

    def add(self, index: int, real: FaceLandmarks | None, made: FaceLandmarks | None) -> None:
        """Take frame ``index``, ascending; None where no face was found."""
        if real is None or made is None:
            self.frames_without_face += 1
            return
        self._measured = None
        self.frames.append(index)
        self.real.append(real)
        self.made.append(made)

    def figures(self) -> dict[str, object]:
        """All of them; none but ``frames_without_face`` where too few frames show faces."""
        book, whole = self._measure()
        return {**book.means(), **whole, "frames_without_face": self.frames_without_face}

    def series(self) -> dict[str, Series]:
        """The figures that each frame has."""
        return self._measure()[0].all()

    def curves(self) -> dict[str, tuple[Series, Series]]:
        """Lip gap and eye openness, made and recorded, of the frames with both faces."""
        frames = np.array(self.frames)
        return {
            name: (Series(frames, measure(_flat(self.made))), Series(frames, measure(_flat(self.real))))
            for name, measure in (("lip gap", mouth_opening), ("eye openness", eye_openness))
        }

    def _measure(self) -> tuple[SeriesBook, dict[str, object]]:
        """Figures by frame, and those of the whole; measured once after the last frame was added."""
        if self._measured is not None:
            return self._measured
        book, whole = SeriesBook(), dict[str, object]()
        if len(self.frames) >= FEWEST:
            made, real = (_flat(faces) for faces in (self.made, self.real))
            self._measure_distances(book, made, real)
            whole |= self._lip_figures(made, real)
            if self.step == 1:
                self._measure_trembling(book, made, real)
                whole |= self._blink_figures(made, real)
            if self.units is not None:
                whole |= self._unit_figures(self.units, book)
            whole["detector"] = self.detector_id
        self._measured = book, whole
        return self._measured

    def _measure_distances(self, book: SeriesBook, made: Points, real: Points) -> None:
        """In pixels, also over the mean distance of the recorded eyes' outer corners."""
        eyes = _eye_distance(real)
        ours, theirs = (points[:, list(IBUG_68)] for points in (made, real))
        lips = list(MOUTH)
        for name, pair, centred in (
            ("mouth_lmd_mp", (made[:, lips], real[:, lips]), True),
            ("mouth_lmd_68", (ours[:, _IBUG_MOUTH], theirs[:, _IBUG_MOUTH]), True),
            ("mouth_lmd_68_uncentred", (ours[:, _IBUG_MOUTH], theirs[:, _IBUG_MOUTH]), False),
            ("lmd_68", (ours, theirs), True),
            ("lmd_68_uncentred", (ours, theirs), False),
        ):
            distances = landmark_distances(*pair, centred=centred)
            book.add_all(self.frames, f"{name}_px", distances)
            book.add_all(self.frames, f"{name}_normalised", distances / eyes)

    def _measure_trembling(self, book: SeriesBook, made: Points, real: Points) -> None:
        """Accelerations of the 68 points, in thousandths of the eyes' distance."""
        scale = 1000 / _eye_distance(real)
        at = np.array(self.frames)
        ours, theirs = (
            scale * landmark_acceleration(points[:, list(IBUG_68)], at) for points in (made, real)
        )
        lengths = mean_length(ours), mean_length(theirs)
        book.add_all(self.frames, "jitter", lengths[0] - lengths[1])
        book.add_all(self.frames, "jitter_made", lengths[0])
        book.add_all(self.frames, "jitter_real", lengths[1])
        book.add_all(self.frames, "jitter_error", mean_length(ours - theirs))

    def _blink_figures(self, made: Points, real: Points) -> dict[str, object]:
        """Blinks per minute."""
        at = np.array(self.frames) - self.frames[0]
        rates = []
        for points in (made, real):
            curve = np.full(at[-1] + 1, np.nan)
            curve[at] = eye_openness(points)
            rates.append(blinks_per_minute(curve, self.fps))
        return {
            "blinks_per_minute_made": round(rates[0], 2),
            "blinks_per_minute_real": round(rates[1], 2),
            "blinks_per_minute_difference": round(rates[0] - rates[1], 2),
        }

    def _lip_figures(self, made: Points, real: Points) -> dict[str, object]:
        """How the inner lips' gap follows the recording's; lags in frames of the clip."""
        gaps = [mouth_opening(points) for points in (made, real)]
        at = (np.array(self.frames) - self.frames[0]) // self.step
        curves = [np.full(at[-1] + 1, np.nan) for _ in gaps]
        for curve, gap in zip(curves, gaps, strict=True):
            curve[at] = gap
        scores = lagged_correlation(*curves, reach=REACH // self.step)
        best = max(scores, key=lambda lag: (scores[lag], -abs(lag)))
        return {
            "lip_gap_correlation": round(scores[0], 4),
            "lip_gap_best_lag_frames": best * self.step,
            "lip_gap_best_correlation": round(scores[best], 4),
            "lip_gap_amplitude_ratio": round(float(gaps[0].std() / max(gaps[1].std(), 1e-9)), 4),
        }

    def _unit_figures(self, units: UnitReader, book: SeriesBook) -> dict[str, object]:
        """Agreement and error of action units, both sides against the recorded person's neutral."""
        made, real = (
            units.read(
                np.array(self.frames),
                np.stack([face.points for face in faces]),
                np.stack([face.blendshapes for face in faces]),
                step=self.step,
            )
            for faces in (self.made, self.real)
        )
        error = dict(zip(real.names, unit_error(made.intensity, real.intensity).tolist(), strict=True))
        accuracy, majority = unit_accuracy(made.presence, real.presence), majority_accuracy(real.presence)
        told: dict[str, dict[str, Any]] = {name: {"error": round(value, 4)} for name, value in error.items()}
        speech = [NETWORK_UNITS.index(name) for name in SPEECH_UNITS]
        for name, column in zip(SPEECH_UNITS, speech, strict=True):
            told[name] |= {
                "accuracy": round(float(accuracy[column]), 4),
                "majority": round(float(majority[column]), 4),
                "present": round(float(real.presence[:, column].mean()), 4),
            }
        agreed = (made.presence[:, speech] == real.presence[:, speech]).mean(axis=1)
        book.add_all(self.frames, "au_accuracy", agreed)
        differences = np.abs(made.intensity.astype(np.float64) - real.intensity.astype(np.float64))
        for name, wanted in (
            ("au_error", SPEECH_UNITS),
            ("au_error_upper", UPPER),
            ("au_error_lower", LOWER),
        ):
            columns = [real.names.index(unit) for unit in wanted if unit in real.names]
            book.add_all(self.frames, name, differences[:, columns].mean(axis=1))
        return {
            "au_accuracy_majority": round(float(majority[speech].mean()), 4),
            "au_units": told,
            "au_source": f"{units.id}; recorded person's neutral; "
            + ("smoothed over time" if self.step == 1 else "frame by frame"),
        }


def _flat(faces: list[FaceLandmarks]) -> Points:
    """Landmarks in the picture."""
    return np.stack([face.points[:, :2] for face in faces]).astype(np.float64)


def _eye_distance(points: Points) -> float:
    """Mean distance of the outer corners of the eyes, pixels."""
    return float(np.linalg.norm(points[:, RIGHT_EYE_OUTER] - points[:, LEFT_EYE_OUTER], axis=-1).mean())

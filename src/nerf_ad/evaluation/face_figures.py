"""Figures of faces that one detector finds in made and recorded pictures: landmarks, lips, action units."""

from typing import Any

import numpy as np
from jaxtyping import Float

from nerf_ad.dataset.expression import MOUTH
from nerf_ad.evaluation.unit_reader import LOWER, UPPER, UnitReader
from nerf_ad.face.action_units import NETWORK_UNITS, SPEECH_UNITS, mouth_opening
from nerf_ad.face.landmarks import IBUG_68, LEFT_EYE_OUTER, RIGHT_EYE_OUTER, FaceLandmarks
from nerf_ad.metrics.action_units import majority_accuracy, unit_accuracy, unit_error
from nerf_ad.metrics.landmarks import lagged_correlation, landmark_distance

REACH = 10
"""Frames of the clip that lips may be late or early (ours)."""
FEWEST = 3
"""Frames with both faces below which there are no figures."""
_IBUG_MOUTH = slice(48, 68)


class FaceMeter:
    """Figures of the frames in which both faces were found."""

    def __init__(self, *, detector_id: str, step: int = 1, units: UnitReader | None = None) -> None:
        """Prepare.

        Args:
            detector_id: what finds the faces.
            step: how many frames of the clip the measured ones are apart.
            units: reads action units; left out where absent.
        """
        self.detector_id, self.step, self.units = detector_id, step, units
        self.frames: list[int] = []
        self.made: list[FaceLandmarks] = []
        self.real: list[FaceLandmarks] = []
        self.frames_without_face = 0

    def add(self, index: int, real: FaceLandmarks | None, made: FaceLandmarks | None) -> None:
        """Take frame ``index``, ascending; None where no face was found."""
        if real is None or made is None:
            self.frames_without_face += 1
            return
        self.frames.append(index)
        self.real.append(real)
        self.made.append(made)

    def figures(self) -> dict[str, object]:
        """All of them; none but ``frames_without_face`` where too few frames show faces."""
        if len(self.frames) < FEWEST:
            return {"frames_without_face": self.frames_without_face}
        return {
            **self._landmark_figures(),
            **self._lip_figures(),
            **(self._unit_figures(self.units) if self.units is not None else {}),
            "frames_without_face": self.frames_without_face,
            "detector": self.detector_id,
        }

    def _landmark_figures(self) -> dict[str, object]:
        """Distances in pixels, also over the mean distance of the recorded eyes' outer corners."""
        made, real = (_flat(faces) for faces in (self.made, self.real))
        eyes = float(np.linalg.norm(real[:, RIGHT_EYE_OUTER] - real[:, LEFT_EYE_OUTER], axis=-1).mean())
        lips = list(MOUTH)
        mouth = landmark_distance(made[:, lips], real[:, lips])
        ours, theirs = (points[:, list(IBUG_68)] for points in (made, real))
        whole = landmark_distance(ours, theirs)
        return {
            "mouth_lmd_mp_px": round(mouth, 4),
            "mouth_lmd_mp_normalised": round(mouth / eyes, 5),
            "mouth_lmd_68_px": round(landmark_distance(ours[:, _IBUG_MOUTH], theirs[:, _IBUG_MOUTH]), 4),
            "lmd_68_px": round(whole, 4),
            "lmd_68_normalised": round(whole / eyes, 5),
            "lmd_68_uncentred_px": round(landmark_distance(ours, theirs, centred=False), 4),
        }

    def _lip_figures(self) -> dict[str, object]:
        """How the inner lips' gap follows the recording's; lags in frames of the clip."""
        gaps = [mouth_opening(_flat(faces)) for faces in (self.made, self.real)]
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

    def _unit_figures(self, units: UnitReader) -> dict[str, object]:
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
        return {
            "au_accuracy": round(float(accuracy[speech].mean()), 4),
            "au_accuracy_majority": round(float(majority[speech].mean()), 4),
            "au_error": _mean(error, SPEECH_UNITS),
            "au_error_upper": _mean(error, UPPER),
            "au_error_lower": _mean(error, LOWER),
            "au_units": told,
            "au_source": f"{units.id}; recorded person's neutral; "
            + ("smoothed over time" if self.step == 1 else "frame by frame"),
        }


def _flat(faces: list[FaceLandmarks]) -> Float[np.ndarray, "frames 478 2"]:
    """Landmarks in the picture."""
    return np.stack([face.points[:, :2] for face in faces]).astype(np.float64)


def _mean(values: dict[str, float], names: tuple[str, ...]) -> float:
    """Over those of the names that are there."""
    return round(float(np.mean([values[name] for name in names if name in values])), 4)

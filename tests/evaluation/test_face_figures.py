"""Figures of faces, on faces whose lips and units are known."""

import numpy as np
import pytest

from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import MOUTH
from nerf_ad.evaluation.face_figures import FaceMeter
from nerf_ad.evaluation.unit_reader import LOWER, UPPER, UnitReader
from nerf_ad.face.action_units import NETWORK_UNITS, SPEECH_UNITS
from nerf_ad.face.landmarks import BLENDSHAPE_NAMES, IBUG_68, FaceLandmarks


class Told:
    """A detector that is told what to find: the picture's first pixel is the lip gap; 0 means no face."""

    id = "told"

    def detect(self, frame: np.ndarray, *, index: int = 0) -> list[FaceLandmarks]:
        gap, shift = float(frame[0, 0, 0]), float(frame[0, 0, 1])
        if gap == 0:
            return []
        points = np.zeros((478, 3), np.float32)
        points[33, 0], points[263, 0] = -50, 50
        points[13, 1], points[14, 1] = -gap / 2, gap / 2
        points[list(MOUTH), 0] += shift
        return [FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))]

    def close(self) -> None:
        pass

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, *reason: object) -> None:
        pass


def picture(gap: float, shift: float = 0.0) -> np.ndarray:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[0, 0] = (gap, shift, 0)
    return frame


def face(gap: float, shift: float = 0.0) -> FaceLandmarks | None:
    found = Told().detect(picture(gap, shift))
    return found[0] if found else None


def test_lips_that_are_late_are_found_late() -> None:
    meter = FaceMeter(detector_id="told")
    gaps = np.random.default_rng(0).integers(1, 90, 60)
    for index in range(2, 60):
        meter.add(index, face(gaps[index]), face(gaps[index - 2], shift=3))
    meter.add(60, None, face(5))
    figures = meter.figures()
    assert figures["lip_gap_best_lag_frames"] == 2
    assert figures["lip_gap_best_correlation"] == pytest.approx(1.0)
    assert figures["frames_without_face"] == 1
    # The shift of the whole mouth does not count, and each inner lip is off by half the difference.
    off = np.abs(gaps[2:] - gaps[:-2]) / 2
    assert figures["mouth_lmd_mp_px"] == pytest.approx(float((2 * off / len(MOUTH)).mean()), rel=1e-3)
    assert figures["mouth_lmd_68_px"] == pytest.approx(float((2 * off / 20).mean()), rel=1e-3)


def test_lags_are_of_the_clip_where_frames_are_left_out() -> None:
    gaps = np.random.default_rng(1).integers(1, 90, 200)
    meter = FaceMeter(detector_id="told", step=3)
    for index in range(20, 200, 3):
        # Six frames late; some frames show no face.
        meter.add(index, face(gaps[index]), None if index % 21 == 2 else face(gaps[index - 6]))
    figures = meter.figures()
    assert figures["frames_without_face"] == 9
    assert figures["lip_gap_best_lag_frames"] == 6
    assert figures["lip_gap_best_correlation"] == pytest.approx(1.0)


def test_no_lags_between_frames_that_are_far_apart() -> None:
    meter = FaceMeter(detector_id="told", step=25)
    for index, gap in zip(range(0, 250, 25), (3, 8, 5, 30, 1, 7, 9, 20, 11, 2), strict=True):
        meter.add(index, face(gap), face(gap))
    assert meter.figures()["lip_gap_best_lag_frames"] == 0
    assert meter.figures()["lip_gap_correlation"] == pytest.approx(1)


def test_the_whole_face_moves_the_uncentred_distance_alone(rng: np.random.Generator) -> None:
    meter = FaceMeter(detector_id="told")
    for index in range(4):
        points = rng.random((478, 3), np.float32) * 50
        moved = points + np.array([3, 4, 100], np.float32)
        moved[IBUG_68[0], 0] += 68
        rest = np.zeros(52, np.float32), np.eye(4, dtype=np.float32)
        meter.add(index, FaceLandmarks(points, *rest), FaceLandmarks(moved, *rest))
    figures = meter.figures()
    # One of 68 points is 68 px off: the mean moves by 1 px, so 67 points are off by 1 and one by 67.
    assert figures["lmd_68_px"] == pytest.approx((67 + 67) / 68, abs=1e-3)
    assert figures["lmd_68_uncentred_px"] == pytest.approx((67 * 5 + np.hypot(71, 4)) / 68, abs=1e-3)
    assert figures["mouth_lmd_68_px"] == pytest.approx(0, abs=1e-3)


def test_trembling_and_blinks_against_the_recordings(rng: np.random.Generator) -> None:
    """Landmarks that tremble by 1 px: the mean second difference is sqrt(6) sqrt(pi / 2)."""
    meter = FaceMeter(detector_id="told", fps=25)
    rest = np.zeros(52, np.float32), np.eye(4, dtype=np.float32)
    still = rng.random((478, 3), np.float32) * 50
    still[[33, 263], :2] = (-50, 0), (50, 0)
    for index in range(300):
        trembling = still.copy()
        trembling[:, :2] += rng.normal(size=(478, 2))
        meter.add(index, FaceLandmarks(still, *rest), FaceLandmarks(trembling.astype(np.float32), *rest))
    figures = meter.figures()
    wanted = 1000 / 100 * np.sqrt(6) * np.sqrt(np.pi / 2)
    assert figures["jitter_real"] == 0
    assert figures["jitter"] == figures["jitter_error"] == figures["jitter_made"]
    assert figures["jitter"] == pytest.approx(wanted, rel=0.03)
    assert figures["blinks_per_minute_real"] == 0
    assert len(meter.series()["jitter"].frames) == 298
    assert figures["lmd_68_px"] == pytest.approx(meter.series()["lmd_68_px"].values.mean(), abs=1e-3)


def test_trembling_is_not_measured_between_frames_that_are_apart() -> None:
    meter = FaceMeter(detector_id="told", step=2)
    for index in range(0, 40, 2):
        meter.add(index, face(5), face(6 + index % 4))
    assert not {"jitter", "blinks_per_minute_made"} & set(meter.figures())


def test_too_few_faces_have_no_figures() -> None:
    meter = FaceMeter(detector_id="told")
    for index in range(4):
        meter.add(index, face(5), face(5) if index < 2 else None)
    assert meter.figures() == {"frames_without_face": 2}


def recorded(person: Dataset, index: int) -> FaceLandmarks:
    track = person.landmarks()
    return FaceLandmarks(
        track.points[index].astype(np.float32),
        track.blendshapes[index].astype(np.float32),
        np.eye(4, dtype=np.float32),
    )


def test_units_of_the_clip_are_those_that_capture_reads(person: Dataset) -> None:
    """The same neutral and the same smoothing: over the whole clip the data set's very units."""
    from nerf_ad.face.action_units import estimate_action_units

    track = person.landmarks()
    read = UnitReader(person.landmarks()).read(
        np.arange(person.num_frames), track.points, track.blendshapes, step=1
    )  # fmt: skip
    truth = estimate_action_units(track.points, track.blendshapes, person.tracking().camera_to_world)
    for column, name in enumerate(NETWORK_UNITS):
        assert np.allclose(read.intensity[:, column], truth.intensity[:, truth.names.index(name)], atol=1e-5)
        assert (read.presence[:, column] == truth.presence[:, truth.names.index(name)]).all()


def test_the_neutral_is_the_recorded_persons(person: Dataset) -> None:
    """A made face that is always at the widest cannot hide it in a neutral of its own; nor can a part."""
    track, reader = person.landmarks(), UnitReader(person.landmarks())
    frames = np.arange(person.num_frames)
    whole = reader.read(frames, track.points, track.blendshapes, step=2)
    widest = int(np.argmax(whole.intensity[:, NETWORK_UNITS.index("AU25")]))
    stuck = [np.repeat(part[widest : widest + 1], 10, axis=0) for part in (track.points, track.blendshapes)]
    read = reader.read(np.arange(10), stuck[0], stuck[1], step=1)
    assert np.allclose(read.intensity, whole.intensity[widest], atol=1e-5)
    assert read.intensity[0, NETWORK_UNITS.index("AU25")] > 0.2


def test_gaps_are_filled_for_the_smoothing(person: Dataset) -> None:
    track, reader = person.landmarks(), UnitReader(person.landmarks())
    frames = np.setdiff1d(np.arange(30), [7, 8, 20])
    read = reader.read(frames, track.points[frames], track.blendshapes[frames], step=1)
    whole = reader.read(np.arange(30), track.points[:30], track.blendshapes[:30], step=1)
    assert read.intensity.shape == (27, len(reader.names))
    away = np.abs(frames[:, None] - [7, 8, 20]).min(axis=1) > 7
    assert np.allclose(read.intensity[away], whole.intensity[frames][away], atol=1e-5)


def test_figures_of_units(person: Dataset) -> None:
    meter = FaceMeter(detector_id="told", units=UnitReader(person.landmarks()))
    same = FaceMeter(detector_id="told", units=UnitReader(person.landmarks()))
    for index in range(40):
        meter.add(index, recorded(person, index), recorded(person, index + 20))
        same.add(index, recorded(person, index), recorded(person, index))
    figures, perfect = meter.figures(), same.figures()
    assert perfect["au_accuracy"] == 1
    assert perfect["au_error"] == perfect["au_error_upper"] == perfect["au_error_lower"] == 0
    units = figures["au_units"]
    assert isinstance(units, dict)
    for key, part in (
        ("au_accuracy", "accuracy"),
        ("au_accuracy_majority", "majority"),
        ("au_error", "error"),
    ):
        assert figures[key] == pytest.approx(np.mean([units[name][part] for name in SPEECH_UNITS]), abs=1e-4)
    upper = [units[name]["error"] for name in UPPER if name in units]
    assert figures["au_error_upper"] == pytest.approx(np.mean(upper), abs=1e-4)
    assert figures["au_error_lower"] == pytest.approx(
        np.mean([units[name]["error"] for name in LOWER]), abs=1e-4
    )
    assert all(units[name]["majority"] >= 0.5 for name in SPEECH_UNITS)
    assert figures["au_source"] == (
        "network: nerf-ad action units 1; recorded person's neutral; smoothed over time"
    )


def test_blinks_are_read_where_there_are_blendshapes(person: Dataset) -> None:
    reader = UnitReader(person.landmarks())
    track = person.landmarks()
    if not track.blendshapes.any():
        assert "AU45" not in reader.names
        return
    scores = np.zeros((3, 52), np.float32)
    scores[1, [BLENDSHAPE_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 0.9
    read = reader.read(np.arange(3), track.points[:3], scores, step=1)
    assert read.intensity[1, -1] > read.intensity[0, -1]

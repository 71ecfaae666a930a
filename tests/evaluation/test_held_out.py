"""The evaluator's bookkeeping around what it measures."""

import contextlib

import numpy as np
import pytest
from tests.evaluation.test_face_figures import Told, picture

from nerf_ad.core.errors import WeightsError
from nerf_ad.core.events import Warned
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.evaluation import rows
from nerf_ad.evaluation.held_out import Sheet
from nerf_ad.evaluation.rows import Instruments, Recording, Row, open_instruments


def test_the_sheet_shows_frames_spread_over_the_tail() -> None:
    sheet = Sheet(range(10, 50), columns=4)
    for index in range(10, 50):
        sheet.add(index, np.full((2, 2, 3), index, np.uint8), np.zeros((2, 2, 3), np.uint8))
    assert sheet.picture().shape == (4, 8, 3)
    assert sheet.picture()[2, ::2, 0].tolist() == [10, 23, 36, 49]


def test_the_sheet_shows_measured_frames_alone() -> None:
    sheet = Sheet(range(10, 50, 7), columns=3)
    for index in range(10, 50, 7):
        sheet.add(index, np.full((2, 2, 3), index, np.uint8), np.zeros((2, 2, 3), np.uint8))
    assert sheet.picture()[2, ::2, 0].tolist() == [10, 24, 45]


def test_without_weights_the_rest_is_measured(person: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise WeightsError("they are not here")

    monkeypatch.setattr(rows, "build_landmark_detector", missing)
    monkeypatch.setattr(rows, "build_lpips", missing)
    monkeypatch.setattr(rows, "Identity", missing)
    opening = open_instruments(person, contextlib.ExitStack())
    said = []
    while True:
        try:
            said.append(next(opening))
        except StopIteration as stop:
            instruments = stop.value
            break
    assert [type(event) for event in said] == [Warned, Warned]
    assert instruments == Instruments(None, None, None)
    recording = Recording(person, person.size, instruments)
    row = Row(recording, step=1)
    row.add(3, person.frame(4), recording.look(person.frame(4)))
    figures = row.figures()
    assert {"psnr", "psnr_head", "psnr_mouth", "psnr_eyes", "ssim", "ssim_head"} <= set(figures)
    assert not {"lpips", "detector", "au_accuracy"} & set(figures)


def test_a_row_measures_fewer_pictures_than_faces(person: Dataset) -> None:
    instruments = Instruments(Told(), None, None)
    recording = Recording(person, person.size, instruments)
    row = Row(recording, step=1, picture_every=3)
    for index in range(7):
        row.add(index, person.frame(index), recording.look(picture(9)))
    assert len(row.series()["psnr"].frames) == 3
    assert row.figures()["psnr"] == 100  # frames against themselves
    assert row.faces is not None
    # A recorded frame of black corners has no face for the detector that reads its first pixel.
    assert len(row.faces.frames) + row.faces.frames_without_face == 7


def test_recorded_frames_are_looked_at_once(person: Dataset) -> None:
    class Counting(Told):
        looks = 0

        def detect(self, frame: np.ndarray, *, index: int = 0) -> list:
            self.looks += 1
            return super().detect(frame)

    detector = Counting()
    recording = Recording(person, person.size, Instruments(detector, None, None))
    for index in (1, 2, 1, 2, 1):
        recording.face(index)
    assert detector.looks == 2

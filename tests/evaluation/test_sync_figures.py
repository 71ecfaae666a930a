"""Sync of faces whose lips are known, by a scorer whose networks are known; and by the real one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.evaluation.test_face_figures import Told
from tests.evaluation.test_face_figures import face as told_face
from tests.sync.test_scorer import NEEDED, clip
from torch import Tensor

from nerf_ad.core import weights
from nerf_ad.core.errors import WeightsError
from nerf_ad.core.events import Warned
from nerf_ad.core.files import write_npz
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.synthetic import make_person
from nerf_ad.evaluation import sound as sound_module
from nerf_ad.evaluation.rows import Instruments, Recording, Row
from nerf_ad.evaluation.series import intervals
from nerf_ad.evaluation.sound import Sound, sound_of_dataset
from nerf_ad.evaluation.sync_figures import SyncMeter, resampled
from nerf_ad.face.landmarks import FaceLandmarks
from nerf_ad.sync.scorer import SyncNetwork, SyncNetworkConfig, SyncScorer

NUM = 250
GAPS = 6 + np.convolve(np.random.default_rng(4).normal(0, 8, NUM + 40), np.hanning(7) / 3, "same").clip(
    -5, 40
)
PICTURE = np.zeros((8, 8, 3), np.uint8)


class Known(SyncScorer):
    """The lips' gap against the first feature of every other step: what agrees is known."""

    def __init__(self) -> None:
        super().__init__(SyncNetwork(SyncNetworkConfig(width=2, embedding_dim=1)), version="told")

    def embed(self, landmarks: np.ndarray, features: np.ndarray) -> tuple[Tensor, Tensor]:
        count = min(len(landmarks), len(features) // 2)
        gap = landmarks[:count, 14, 1] - landmarks[:count, 13, 1]
        gap = np.where(np.isnan(gap), np.nanmean(gap), gap)
        heard = features[: 2 * count : 2, 0]
        mouths, sounds = (torch.from_numpy((x - x.mean()).astype(np.float32))[:, None] for x in (gap, heard))
        return mouths, sounds


def heard(late: int = 0, *, first: int = 0) -> Sound:
    """A sound that belongs to ``GAPS`` ``late`` frames before it is heard."""
    features = np.repeat(np.roll(GAPS, late), 2)[:, None]
    return Sound(first, np.zeros(640 * len(GAPS), np.float32), features, "told")


def measure(
    gap: Callable[[int], float], sound: Sound, *, frames: range = range(NUM), fps: float = 25.0
) -> dict:
    meter = SyncMeter(sound, fps=fps, scorer=Known())
    for index in frames:
        value = gap(index)
        meter.add(index, PICTURE, None if np.isnan(value) else told_face(value))
    return meter.figures()


@pytest.mark.parametrize("planted", [-10, -3, 0, 1, 10])
def test_a_planted_offset_is_recovered(planted: int) -> None:
    found = measure(lambda index: GAPS[index], heard(-planted))
    assert found["sync_offset_frames"] == planted
    assert found["sync_confidence"] > 0.8


def test_lips_are_compared_with_the_sound_of_their_own_frames() -> None:
    """Frames from 60 on, of a sound that begins with frame 20: as late as they are."""
    found = measure(lambda index: GAPS[index - 20], heard(-4, first=20), frames=range(60, 200))
    assert found["sync_offset_frames"] == 4


def test_lips_that_rest_or_say_something_else_have_less_confidence() -> None:
    true = measure(lambda index: GAPS[index], heard())["sync_confidence"]
    still = measure(lambda index: 5.0, heard())["sync_confidence"]
    other = measure(lambda index: GAPS[::-1][index], heard())["sync_confidence"]
    assert still == pytest.approx(0, abs=0.01)
    assert other < 0.5 * true


def test_confidence_is_of_windows_of_three_seconds() -> None:
    """The right lips in the first half alone: windows there are sure, and the mean lies between."""
    meter = SyncMeter(heard(), fps=25, scorer=Known())
    for index in range(NUM):
        meter.add(index, PICTURE, told_face(float(GAPS[index] if index < NUM // 2 else 5 + index % 2)))
    series = meter.book().all()["sync_confidence"]
    assert series.frames.tolist() == [37 + 25 * window for window in range(8)]
    assert series.values[:2].min() > 2 * series.values[-2:].max()
    assert meter.figures()["sync_confidence"] == pytest.approx(series.values.mean(), abs=1e-4)
    assert intervals({"sync_confidence": series}, 25) == {}  # 8 windows are less than four blocks of three


@pytest.mark.parametrize("fps", [50.0, 30.0, 20.0])
def test_other_rates_are_brought_to_25(fps: float) -> None:
    """The offset is in frames of 40 ms whatever the rate of the pictures."""
    seconds = np.arange(int(9.6 * fps)) / fps
    gaps = np.interp(seconds * 25, np.arange(len(GAPS)), GAPS)
    found = measure(lambda index: gaps[index], heard(-5), frames=range(len(gaps)), fps=fps)
    assert found["sync_offset_frames"] == 5


def test_landmarks_between_frames_lie_on_a_line() -> None:
    points = np.arange(31.0)[:, None, None] * np.ones((1, 478, 3))
    points[10] = np.nan
    found = resampled(points, 1.2)[:, 0, 0]
    known = np.isfinite(found)
    assert found[known] == pytest.approx((1.2 * np.arange(26))[known])
    assert (~known).tolist() == [9 < 1.2 * at < 11 for at in range(26)]


def test_too_few_faces_or_frames_say_nothing() -> None:
    assert measure(lambda index: GAPS[index] if index % 3 == 0 else np.nan, heard()) == {}
    assert measure(lambda index: GAPS[index], heard(), frames=range(74)) == {}
    some = measure(lambda index: np.nan if 30 <= index < 50 else GAPS[index], heard(-2))
    assert some["sync_offset_frames"] == 2
    without = SyncMeter(Sound(0, np.zeros(0, np.float32), None, ""), fps=25, scorer=Known())
    without.add(0, PICTURE, told_face(3))
    assert without.figures() == {}


def test_a_row_measures_sync_where_it_has_every_frame(person: Dataset) -> None:
    recording = Recording(person, person.size, Instruments(Told(), None, None, None, Known()))
    rows = {step: Row(recording, step=step, picture_every=50, sound=heard(-3)) for step in (1, 2)}
    for step, row in rows.items():
        for index in range(0, 90, step):
            row.add(index, person.frame(index), told_face(GAPS[index]))
    assert rows[1].figures()["sync_offset_frames"] == 3
    assert "sync_confidence" in rows[1].series()
    assert "sync_offset_frames" not in rows[2].figures()


def finish(work) -> tuple[list, object]:
    said = []
    while True:
        try:
            said.append(next(work))
        except StopIteration as stop:
            return said, stop.value


class Encoder:
    """Tells the loudness of each step."""

    id, name, rate_hz, channels = "loudness", "whisper", 50.0, 1

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        steps = np.pad(waveform, (0, -len(waveform) % 320)).reshape(-1, 320)
        return np.abs(steps).mean(axis=1, keepdims=True).astype(np.float32)


def test_features_that_a_data_set_holds_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_module, "build_speech_encoder", lambda *_: Encoder())
    person = make_person(tmp_path / "person.dataset")
    frames = range(10, 95)
    said, encoded = finish(sound_of_dataset(person, frames))
    assert not said
    assert isinstance(encoded, Sound)
    assert (encoded.first, encoded.encoder, len(encoded.samples)) == (10, "loudness", 85 * 640)
    mine = np.arange(200.0, dtype=np.float32)[:, None]
    arrays = {"features": mine, "rate_hz": np.array(50.0), "encoder": np.array("another:000000000000")}
    write_npz(person.layout.speech_features("whisper"), arrays)
    _, other = finish(sound_of_dataset(person, frames))
    assert isinstance(other, Sound)
    assert other.encoder == "loudness"
    arrays["encoder"] = np.array("speech-encoder:1a5afae06a4d")  # its pinned digest
    write_npz(person.layout.speech_features("whisper"), arrays)
    monkeypatch.setenv("NERF_AD_WEIGHTS_SPEECH_ENCODER", str(tmp_path / "nothing"))
    _, unknown = finish(sound_of_dataset(person, frames))
    assert isinstance(unknown, Sound)
    assert unknown.encoder == "loudness"
    monkeypatch.delenv("NERF_AD_WEIGHTS_SPEECH_ENCODER")
    _, held = finish(sound_of_dataset(person, frames))
    assert isinstance(held, Sound)
    assert held.features is not None
    assert held.features[:, 0].tolist() == list(range(20, 190))


def test_what_cannot_be_heard_is_said_once(person: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise WeightsError("it is not here")

    said, nothing = finish(sound_of_dataset(person, range(90, 100)))
    assert nothing is None
    assert [event.message for event in said if isinstance(event, Warned)] == [
        "lip sync is not measured: it needs 3 s, and 0.4 s are compared"
    ]
    monkeypatch.setattr(sound_module, "build_speech_encoder", missing)
    said, half = finish(sound_of_dataset(person, range(100)))
    assert isinstance(half, Sound)
    assert half.features is None
    (event,) = said
    assert isinstance(event, Warned)
    assert event.message.endswith("it is not here; nerf-ad weights fetch speech-encoder")


@pytest.mark.weights
def test_a_synthetic_person_that_the_scorer_never_saw() -> None:
    """Through the shipped networks: planted offsets, a frozen mouth, another sound, double rate."""
    for name in NEEDED:
        if weights.find(name) is None:
            pytest.skip(f"the weight {name} is not here")
    points, features = clip(0)
    scorer = SyncScorer.load()

    def score(made: np.ndarray, spoken: np.ndarray, fps: float = 25.0) -> dict:
        meter = SyncMeter(Sound(0, np.zeros(0, np.float32), spoken, "whisper"), fps=fps, scorer=scorer)
        for index, face in enumerate(made):
            found = FaceLandmarks(
                face.astype(np.float32), np.zeros(52, np.float32), np.eye(4, dtype=np.float32)
            )
            meter.add(index, PICTURE, found)
        return meter.figures()

    true = score(points, features)
    for planted in (-8, 6):
        late = score(points, np.roll(features, -2 * planted, axis=0))
        assert abs(late["sync_offset_frames"] - true["sync_offset_frames"] - planted) <= 1
    frozen = score(
        np.repeat(points[:1], len(points), axis=0) + np.random.default_rng(3).normal(0, 0.3, points.shape),
        features,
    )
    other = score(points, clip(1)[1])
    assert max(frozen["sync_confidence"], other["sync_confidence"]) < 0.7 * true["sync_confidence"]
    between = np.repeat(points, 2, axis=0)
    between[1:-1:2] = (points[1:] + points[:-1]) / 2
    assert abs(score(between, features, fps=50.0)["sync_offset_frames"] - true["sync_offset_frames"]) <= 1

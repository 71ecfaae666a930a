"""``metrics.json`` of the tiny avatar against the same figures from their definitions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.talker import FPS, SIZE, Film, decibels, make_once, read_pictures, sound_lag

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.events import Warned
from nerf_ad.core.files import read_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.evaluation import sound
from nerf_ad.evaluation.held_out import drive_with_recording, evaluate_events
from nerf_ad.media.audio import read_audio
from nerf_ad.media.video import decode
from nerf_ad.rendering.render import draw

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evaluated(film: Film, avatar: Avatar, talker: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``evaluate`` wrote."""
    return make_once(
        tmp_path_factory,
        f"{film.kind}.evaluation",
        lambda folder: list(evaluate_events(avatar, talker, out=folder, html=True)),
    )


def test_figures_are_those_of_the_pictures(evaluated: Path, avatar: Avatar, talker: Dataset) -> None:
    told = read_json(evaluated / "metrics.json")
    first, last = told["frames"]
    assert (first, last) == (talker.num_frames * 10 // 11, talker.num_frames)
    real = read_pictures(talker.layout.frames)[first:last]
    head = read_pictures(talker.layout.parsing)[first:last] == 1
    made = list(draw(avatar, drive_with_recording(avatar, talker)[0]))
    whole = [decibels(ours, theirs) for ours, theirs in zip(made, real, strict=True)]
    heads = [decibels(ours[at], theirs[at]) for ours, theirs, at in zip(made, real, head, strict=True)]
    assert told["psnr"] == pytest.approx(np.mean(whole), abs=2e-3)
    assert told["psnr_head"] == pytest.approx(np.mean(heads), abs=2e-3)
    assert told["psnr_mouth"] < told["psnr"] + 3  # the mouth is the hardest part, and not left out


def test_the_preview_shows_the_frames_that_were_measured(
    evaluated: Path, film: Film, talker: Dataset
) -> None:
    told = read_json(evaluated / "metrics.json")
    first, last = told["frames"]
    shown = np.stack(list(decode(evaluated / "preview.mp4", FPS)))
    filmed = np.stack(list(decode(film.video, FPS)))
    assert len(shown) == last - first
    scores = [decibels(shown[index], filmed[first + index]) for index in range(len(shown))]
    assert np.mean(scores) == pytest.approx(told["psnr"], abs=1.5)  # compressed once more
    heard, whole = read_audio(evaluated / "preview.mp4"), film.truth.sound
    tail = whole._replace(samples=whole.samples[first * whole.rate // FPS :])
    assert abs(sound_lag(heard, tail)) < 0.005


def test_the_sheet_holds_the_recording_below_the_drawing(evaluated: Path, film: Film) -> None:
    first, last = read_json(evaluated / "metrics.json")["frames"]
    sheet = np.asarray(Image.open(evaluated / "held_out.png"))
    assert sheet.shape == (2 * SIZE, 8 * SIZE, 3)
    filmed = np.stack(list(decode(film.video, FPS)))
    assert np.array_equal(sheet[SIZE:, :SIZE], filmed[first])
    assert np.array_equal(sheet[SIZE:, -SIZE:], filmed[last - 1])


def test_other_rows_say_what_the_figures_are_worth(evaluated: Path, avatar: Avatar, talker: Dataset) -> None:
    told = read_json(evaluated / "metrics.json")
    others = told["rows"]
    assert set(others) == {"ground_truth", "static", "shifted", "head_over_recorded_torso"}
    assert others["ground_truth"]["psnr"] == 100
    # The mean of the other protocol's frames, with recorded pixels outside the head.
    first, last = told["frames"]
    real = read_pictures(talker.layout.frames)[first:last]
    head = read_pictures(talker.layout.parsing)[first:last] == 1
    made = np.stack(list(draw(avatar, drive_with_recording(avatar, talker)[0])))
    over = np.where(head[..., None], made, real)
    scores = [decibels(ours, theirs) for ours, theirs in zip(over, real, strict=True)]
    assert others["head_over_recorded_torso"]["psnr"] == pytest.approx(np.mean(scores), abs=2e-3)
    assert others["head_over_recorded_torso"]["psnr"] > told["psnr"]
    assert told["frames_used"]["pictures"] == f"{first}-{last - 1}"
    assert (evaluated / "evaluation" / "side_by_side.mp4").is_file()
    assert "head over recorded torso" in (evaluated / "evaluation" / "index.html").read_text(encoding="utf-8")


def test_lips_are_measured_where_a_detector_is(evaluated: Path, film: Film) -> None:
    told = read_json(evaluated / "metrics.json")
    if film.kind == "figure":
        assert told["frames_without_face"] <= 2
        assert -1 <= told["lip_gap_correlation"] <= 1
        assert told["mouth_lmd_mp_px"] < 0.04 * SIZE


def test_lip_sync_is_measured_where_enough_is_held_out(
    film: Film, avatar: Avatar, talker: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nearly the whole clip counts as held out, which makes 3.8 s; features are those of the data set."""
    if film.kind != "figure":
        pytest.skip("no detector finds the analytic head")
    monkeypatch.setattr(sound, "build_speech_encoder", None)
    root = tmp_path / "all.dataset"
    shutil.copytree(talker.root, root)
    first = talker.num_frames - 95
    ranges = {"train": [0, first], "test": [first, talker.num_frames]}
    (root / "split.json").write_text(json.dumps(ranges), encoding="utf-8")
    said = list(evaluate_events(avatar, Dataset.open(root), out=tmp_path / "out"))
    assert not [event for event in said if isinstance(event, Warned) and "sync" in event.message]
    told = read_json(tmp_path / "out" / "metrics.json")
    others = told["rows"]
    assert told["sync"]["hears"].startswith("Whisper's last layer")
    for row in (told, *others.values()):
        assert {"sync_offset_frames", "sync_confidence"} <= set(row)
    assert abs(others["ground_truth"]["sync_offset_frames"]) <= 2  # the figure's lips are drawn in time
    assert others["ground_truth"]["sync_confidence"] > 2 * others["static"]["sync_confidence"]


def test_what_is_too_short_or_has_gaps_says_so_once(avatar: Avatar, talker: Dataset, tmp_path: Path) -> None:
    for every, sentence in ((1, "it needs 3 s"), (4, "it needs every frame")):
        events = evaluate_events(avatar, talker, out=tmp_path, every=every)
        said = [
            event.message for event in events if isinstance(event, Warned) and "lip sync" in event.message
        ]
        with_faces = "landmarks" in read_json(tmp_path / "metrics.json")["instruments"] or every > 1
        assert [sentence in message for message in said] == [True] * with_faces
        assert "sync_offset_frames" not in read_json(tmp_path / "metrics.json")

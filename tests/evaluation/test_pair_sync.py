"""Lip sync of two videos: films whose lips and loudness are one curve, with a told detector and encoder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.evaluation.test_pair import SIDE, Grey
from tests.evaluation.test_sync_figures import Encoder, Known
from tests.sync.test_face_crops import by_their_recipe

import nerf_ad
from nerf_ad.cli.main import main
from nerf_ad.core.errors import WeightsError
from nerf_ad.core.files import read_json
from nerf_ad.evaluation import pair, rows, sound
from nerf_ad.media.audio import Waveform, read_track
from nerf_ad.media.video import VideoWriter, decode
from nerf_ad.sync.scorer import SyncScorer
from nerf_ad.sync.syncnet import SyncNet, load_syncnet, measure_lip_sync

FPS = 25
NUM, SHORT = 6 * FPS, 76
GAPS = 8 + np.convolve(np.random.default_rng(2).normal(0, 9, NUM), np.hanning(9) / 4, "same").clip(-7, 12)
_BLOCK = slice(40, 56)


def film(
    path: Path,
    *,
    lips_late: int = 0,
    sound_late: int = 0,
    still: bool = False,
    loud: float = 1,
    num_frames: int = NUM,
) -> Path:
    """A block whose level is the lip gap, and noise as loud as the lips are open."""
    noise = np.random.default_rng(0).uniform(-1, 1, NUM * 640)
    level = np.repeat(np.roll(GAPS, sound_late), 640) / 40
    samples = (loud * level * noise)[: num_frames * 640]
    waveform = Waveform(samples.astype(np.float32), 16_000)
    gaps = np.full(NUM, 8.0) if still else np.roll(GAPS, lips_late)
    with VideoWriter(path, (SIDE, SIDE), fps=FPS, audio=waveform, crf=4) as writer:
        for gap in gaps[:num_frames]:
            picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
            picture[_BLOCK, _BLOCK] = round(10 * gap)
            writer.write(picture)
    return path


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise WeightsError("they are not here")

    monkeypatch.setattr(pair, "ROW_PICTURES", 2)
    monkeypatch.setattr(rows, "build_landmark_detector", Grey)
    monkeypatch.setattr(rows, "build_lpips", missing)
    monkeypatch.setattr(rows, "Identity", missing)
    monkeypatch.setattr(SyncScorer, "load", Known)
    monkeypatch.setattr(sound, "build_speech_encoder", lambda *_: Encoder())


def test_a_video_against_itself_is_as_late_as_itself(tmp_path: Path) -> None:
    real = film(tmp_path / "real.mp4", lips_late=2)
    told = nerf_ad.evaluate_pair(real, real, tmp_path / "out", every=50, html=True)
    others = told["rows"]
    assert isinstance(others, dict)
    assert told["sync_offset_frames"] == others["ground_truth"]["sync_offset_frames"] == 2
    assert told["sync_confidence"] == others["ground_truth"]["sync_confidence"]
    assert others["shifted"]["sync_offset_frames"] == 12
    assert others["static"]["sync_confidence"] < 0.1
    assert told["sync"]["generated"] == told["sync"]["reference"] == "its own sound"  # type: ignore[index]
    assert told["instruments"]["sync"] == "network: nerf-ad sync told"  # type: ignore[index]
    assert "lse_d" not in told
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "sync confidence" in page
    assert "sync offset" in page


def test_sound_that_is_moved_moves_the_offset(tmp_path: Path) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4", sound_late=4)
    told = nerf_ad.evaluate_pair(made, real, tmp_path / "out", every=50)
    others = told["rows"]
    assert isinstance(others, dict)
    assert others["ground_truth"]["sync_offset_frames"] == 0
    assert told["sync_offset_frames"] == -4
    assert others["shifted"]["sync_offset_frames"] == 6


def test_a_frozen_mouth_has_less_confidence(tmp_path: Path) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4", still=True)
    told = nerf_ad.evaluate_pair(made, real, tmp_path / "out", every=50)
    others = told["rows"]
    assert isinstance(others, dict)
    assert told["sync_confidence"] < 0.5 * others["ground_truth"]["sync_confidence"]


def test_a_silent_video_is_compared_with_the_recordings_sound(tmp_path: Path) -> None:
    real, made = film(tmp_path / "real.mp4"), film(tmp_path / "made.mp4", lips_late=3, loud=0)
    told = nerf_ad.evaluate_pair(made, real, tmp_path / "out", every=50)
    assert told["sync_offset_frames"] == 3
    assert told["sync"]["generated"] == "the recording's sound"  # type: ignore[index]
    events: list = []
    told = nerf_ad.evaluate_pair(made, made, tmp_path / "out", every=50, on_event=events.append)
    assert "sync_offset_frames" not in told
    assert "psnr" in told
    assert sum("lip sync is not measured" in getattr(event, "message", "") for event in events) == 1


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(SyncNet(16).state_dict(), path)
    return path


@pytest.mark.slow
def test_lse_is_that_of_crops_cut_by_their_recipe(
    tmp_path: Path, weights_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise WeightsError("they are not here")

    monkeypatch.setattr(sound, "build_speech_encoder", missing)  # LSE needs no features
    real = film(tmp_path / "real.mp4", num_frames=SHORT)
    out = tmp_path / "out"
    words = ["--video", str(real), "--reference", str(real), "--out", str(out), "--every", "50"]
    assert main(["evaluate", *words, "--syncnet", str(weights_file)]) == 0
    assert "LSE-C" in capsys.readouterr().out
    told = read_json(out / "metrics.json")
    assert "sync_confidence" not in told
    assert told["instruments"]["syncnet"].startswith("small.safetensors:")
    crops, detector = [], Grey()
    for picture in decode(real, FPS):
        points = detector.detect(picture)[0].points
        low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
        x, y = (low + high) / 2
        crop = by_their_recipe(picture, x, y, (high - low).max() / 2)
        crops.append(resized(crop))
    sounds = read_track(real).waveform.samples[: SHORT * 640]
    expected = measure_lip_sync(load_syncnet(weights_file), np.stack(crops), sounds)
    assert told["lse_d"] == pytest.approx(expected.distance, rel=0.005)
    assert told["rows"]["ground_truth"]["lse_d"] == told["lse_d"]


def resized(crop: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(crop).resize((224, 224), Image.Resampling.LANCZOS))


def test_weights_that_cannot_serve_end_it_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, out = film(tmp_path / "real.mp4"), tmp_path / "out"
    pickle, other = tmp_path / "syncnet_v2.model", tmp_path / "other.safetensors"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    save_file({"other": torch.zeros(3)}, other)
    for wrong, sentence in (
        (tmp_path / "missing.safetensors", "is not a file"),
        (tmp_path, "is not a file"),
        (pickle, "is no safetensors file"),
        (other, "holds another network than SyncNet"),
    ):
        words = ["--video", str(real), "--reference", str(real), "--out", str(out), "--syncnet", str(wrong)]
        assert main(["evaluate", *words]) == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert "progress" not in said
        assert not out.exists()

"""The demonstration from nothing to a page, small; and folders that it refuses."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.core.errors import BadInputError
from nerf_ad.core.events import Event, Progress
from nerf_ad.core.files import read_json
from nerf_ad.demo.config import DemoConfig
from nerf_ad.demo.studio import demo_events, demo_weights
from nerf_ad.media.audio import read_audio
from nerf_ad.media.video import probe

SMALL = DemoConfig(seconds=8.0, size=64, minutes=0.15, least_steps=0, num_sentences=1, shift_step=10)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    """A finished demonstration and what it said."""
    pytest.importorskip("mediapipe", exc_type=ImportError)
    pytest.importorskip("onnxruntime")
    for name in demo_weights():
        if weights.find(name) is None:
            pytest.skip(f"{name} is not in the cache")
    root = tmp_path_factory.mktemp("demo") / "small"
    return root, list(demo_events(root, SMALL))


@pytest.mark.slow
@pytest.mark.weights
def test_the_page_shows_only_what_is_there(made: tuple[Path, list[Event]]) -> None:
    root, _ = made
    text = (root / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert {"side_by_side.mp4", "talking.mp4", "sheet.png", "lips.png", "shifts.png", "learning.png"} <= set(
        shown
    )
    assert [name for name in shown if not (root / name).is_file()] == []
    assert "Synthetic" in text


@pytest.mark.slow
@pytest.mark.weights
def test_both_say_the_same_for_the_same_time(made: tuple[Path, list[Event]]) -> None:
    root, _ = made
    sound = read_audio(root / "truth" / "audio.wav")
    for name in ("talking.mp4", "truth.mp4", "side_by_side.mp4"):
        info = probe(root / name)
        assert info.seconds == pytest.approx(sound.seconds, abs=0.05), name
        heard = read_audio(root / name)
        length = min(len(heard.samples), len(sound.samples))
        assert np.corrcoef(heard.samples[:length], sound.samples[:length])[0, 1] > 0.95, name


@pytest.mark.slow
@pytest.mark.weights
def test_lips_follow_the_sound_wherever_it_is_moved(made: tuple[Path, list[Event]]) -> None:
    """Even eight seconds of film teach when the mouth moves, if not how."""
    root, _ = made
    figures = read_json(root / "figures.json")
    for row in figures["shifts"]:
        assert abs(row["lag"] + row["shift"]) <= 2, row


@pytest.mark.slow
@pytest.mark.weights
def test_a_second_run_only_looks(made: tuple[Path, list[Event]]) -> None:
    root, _ = made
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.mp4")}
    events = list(demo_events(root, SMALL))
    assert [event.stage for event in events if isinstance(event, Progress)] == ["demo"]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.mp4")} == before


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInputError, match="is not empty and not a demonstration"):
        next(demo_events(tmp_path, SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_demonstration_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text('{"size": 8}')
    with pytest.raises(BadInputError, match="other choices"):
        next(demo_events(tmp_path, SMALL))


@pytest.mark.parametrize("words", [["--identity", "9"], ["--minutes", "0"], ["--minutes", "nan"]])
def test_wrong_options_are_one_sentence(tmp_path: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "nerf_ad", "demo", str(tmp_path / "x"), "--yes", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert ("above 0 and at most 1440" in result.stderr) == (words[0] == "--minutes")
    assert not (tmp_path / "x").exists()

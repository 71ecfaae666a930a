"""Bad input to ``nerf-ad capture``: one sentence, a hint, exit code 2, nothing half written."""

import os
from pathlib import Path

import pytest

from nerf_ad.cli.main import main
from nerf_ad.core.files import write_text

OFFLINE = ("--speech", "mel", "--parser", "landmarks", "--landmarks")


def refused(capsys: pytest.CaptureFixture[str], video: Path, dataset: Path, landmarks: Path) -> str:
    code = main(["capture", str(video), str(dataset), *OFFLINE, str(landmarks)])
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if not line.startswith("{")]
    assert code == 2
    assert len(lines) in {1, 2}
    assert lines[0].startswith("error: ")
    assert "Traceback" not in said.err
    return lines[0]


@pytest.fixture
def landmarks(tmp_path: Path) -> Path:
    return tmp_path / "landmarks.npz"


def test_missing_video(capsys: pytest.CaptureFixture[str], tmp_path: Path, landmarks: Path) -> None:
    assert "absent.mp4" in refused(capsys, tmp_path / "absent.mp4", tmp_path / "a.dataset", landmarks)
    assert not (tmp_path / "a.dataset").exists()


def test_text_as_video(capsys: pytest.CaptureFixture[str], tmp_path: Path, landmarks: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a film")
    refused(capsys, tmp_path / "a.mp4", tmp_path / "a.dataset", landmarks)
    assert not (tmp_path / "a.dataset").exists()


def test_other_format_version(capsys: pytest.CaptureFixture[str], tmp_path: Path, landmarks: Path) -> None:
    manifest = tmp_path / "a.dataset" / "dataset.toml"
    write_text(manifest, "format = 99\n")
    said = refused(capsys, tmp_path / "a.mp4", tmp_path / "a.dataset", landmarks)
    assert "format 99" in said
    assert manifest.read_text() == "format = 99\n"


def test_file_in_the_way(capsys: pytest.CaptureFixture[str], tmp_path: Path, landmarks: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    said = refused(capsys, tmp_path / "a.mp4", tmp_path / "letter.txt" / "a.dataset", landmarks)
    assert "letter.txt is a file, not a folder" in said


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, landmarks: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(capsys, tmp_path / "a.mp4", locked / "a.dataset", landmarks)

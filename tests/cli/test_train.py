"""What ``nerf-ad train`` refuses before anything is written: one sentence that says what would do."""

from pathlib import Path

import pytest

from nerf_ad.cli.main import main
from nerf_ad.dataset.dataset import Dataset

Said = pytest.CaptureFixture[str]


def refused(said: Said, person: Dataset, avatar: Path, *words: str, preset: str = "tiny") -> tuple[str, str]:
    """Run the verb, which must refuse: its sentence and its hint."""
    assert main(["train", preset, str(person.root), str(avatar), *words]) == 2
    error, hint = [line for line in said.readouterr().err.splitlines() if not line.startswith("{")]
    assert not avatar.exists()
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


@pytest.mark.parametrize("preset", ["tiny", "fast-ad", "paper-small"])
@pytest.mark.parametrize("kind", ["whisper", "phonemes", "deepspeech"])
def test_features_that_were_named_are_not_replaced(
    kind: str, preset: str, person: Dataset, capsys: Said, tmp_path: Path
) -> None:
    error, hint = refused(capsys, person, tmp_path / "a.avatar", "--speech", kind, preset=preset)
    assert error == f"{person.root} has no {kind} speech features (it has: mel)"
    assert f"nerf-ad capture again with --speech {kind}" in hint
    assert ("--speech-model" in hint) == (kind == "deepspeech")


@pytest.mark.parametrize("minutes", ["nan", "inf", "0"])
def test_a_hint_says_which_minutes_would_do(
    minutes: str, person: Dataset, capsys: Said, tmp_path: Path
) -> None:
    error, hint = refused(capsys, person, tmp_path / "a.avatar", "--minutes", minutes)
    assert "above 0" in error
    assert "--minutes 30" in hint


def test_parts_below_a_file(person: Dataset, capsys: Said, tmp_path: Path) -> None:
    file = tmp_path / "afile"
    file.write_text("dear")
    for parts, said in ((file, f"--parts {file} is a file"), (file / "x" / "y", f"lies below {file}, which")):
        words = ("--parts", str(parts))
        error, _ = refused(capsys, person, tmp_path / "a.avatar", *words, preset="paper-small")
        assert said in error
    error, _ = refused(
        capsys, person, tmp_path / "a.avatar", "--parts", str(tmp_path / ("x" * 300)), preset="paper-small"
    )
    assert "too long" in error

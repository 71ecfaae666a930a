"""``nerf-ad weights``: nothing is downloaded without a yes, data on stdout, talk on stderr."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tyro

from nerf_ad.cli.weights import fetch_weights, list_weights
from nerf_ad.core import weights
from nerf_ad.core.catalogue import WEIGHTS
from nerf_ad.core.errors import UsageError, WeightsError


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """An empty cache, and what was asked to be fetched into it."""
    monkeypatch.setenv("NERF_AD_CACHE", str(tmp_path))
    asked: list[Sequence[str]] = []

    def fetch(names: Sequence[str], **_: Any) -> list[Path]:
        asked.append(names)
        return []

    monkeypatch.setattr(weights, "fetch", fetch)
    monkeypatch.setattr(weights, "locate", lambda name: tmp_path / name)
    return asked


def test_list_shows_everything(fetched: list[Sequence[str]], capsys: pytest.CaptureFixture[str]) -> None:
    list_weights()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(WEIGHTS)
    assert all("missing" in line for line in lines[1:])


def test_list_as_json(fetched: list[Sequence[str]], capsys: pytest.CaptureFixture[str]) -> None:
    list_weights(json=True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(WEIGHTS)
    assert rows["face-parser"]["sha256"] == WEIGHTS["face-parser"].sha256
    assert rows["face-parser"]["state"] == "missing"
    assert "non-commercial" in rows["face-parser"]["terms"]


def test_terms_are_shown_and_a_yes_is_needed(
    fetched: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        fetch_weights()
    assert caught.value.exit_code == 2
    assert caught.value.hint == "add --yes"
    said = capsys.readouterr()
    assert said.out == ""
    assert "53.3 MB" in said.err
    assert "non-" in said.err
    assert fetched == []


def test_yes(fetched: list[Sequence[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tyro.cli(fetch_weights, args=["--yes"])
    assert fetched == [list(weights.CAPTURE_WEIGHTS)]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in weights.CAPTURE_WEIGHTS]
    tyro.cli(fetch_weights, args=["identity", "--yes"])
    tyro.cli(fetch_weights, args=["--all", "--yes"])
    assert fetched[1:] == [["identity"], list(WEIGHTS)]


def test_from_needs_one_name(fetched: list[Sequence[str]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one file"):
        fetch_weights((), source=tmp_path)
    with pytest.raises(UsageError, match="a file of your own"):
        fetch_weights(("identity",), unverified=True)
    with pytest.raises(WeightsError, match="is not there"):
        tyro.cli(fetch_weights, args=["identity", "--from", str(tmp_path / "none")])
    with pytest.raises(UsageError, match="no weight called"):
        fetch_weights(("nose",), yes=True)

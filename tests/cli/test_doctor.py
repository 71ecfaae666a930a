"""The doctor's table and its JSON agree, and it never falls over."""

import json

import pytest

from nerf_ad.cli import doctor
from nerf_ad.cli.main import main
from nerf_ad.core.catalogue import WEIGHTS


def test_json_names_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    findings = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"nerf-ad", "Python", "torch", "PyAV", "libx264", "mediapipe", "disk", *WEIGHTS} <= set(findings)
    assert findings["libx264"]["state"] == "ok"
    assert code == int(any(row["state"] == "missing" for row in findings.values()))


def test_a_missing_library_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SYSTEM_LIBRARIES", ("libnothing.so.9",))
    monkeypatch.setattr("sys.platform", "linux")
    findings = {finding.name: finding for finding in doctor.examine()}
    assert findings["system libraries"].state == "missing"
    assert "libnothing.so.9" in findings["system libraries"].found
    assert "apt-get install" in findings["system libraries"].remedy


def test_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    assert "torch" in capsys.readouterr().out

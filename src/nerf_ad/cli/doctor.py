"""What this machine has and lacks, and what to do about it."""

import ctypes
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nerf_ad import __version__
from nerf_ad.core.config import Config

State = Literal["ok", "missing", "warning"]
MIN_FREE_GB = 5.0
"""Free disk below which a capture of a long clip at 512x512 may not fit (ecosystem.md, section 2: 5.9 GB)."""
_SYSTEM_LIBRARIES = ("libGL.so.1", "libEGL.so.1", "libGLESv2.so.2")
"""What mediapipe loads on Linux and does not bring (Debian: libgl1, libegl1, libgles2)."""


class Finding(Config):
    """One line of the table."""

    name: str
    """What was looked at."""
    state: State
    """``missing``: something will not work; ``warning``: it works, but less well."""
    found: str
    """What is there."""
    remedy: str = ""
    """What to do about it."""


def doctor(*, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> int:
    """Say what this machine has and lacks: Python, torch, GPU, codecs, weights, system libraries, disk.

    Exit code 0 if the main job can run, 1 if something that it needs is missing.

    Args:
        as_json: print the findings as JSON.
    """
    findings = examine()
    if as_json:
        import json

        print(json.dumps([finding.model_dump() for finding in findings], indent=2))  # noqa: T201 - data
    else:
        _print_table(findings)
    return int(any(finding.state == "missing" for finding in findings))


def examine() -> list[Finding]:
    """Look at everything; never raises for what is missing."""
    return [
        Finding(name="nerf-ad", state="ok", found=__version__),
        _python(),
        *_torch(),
        *_codecs(),
        _mediapipe(),
        *_system_libraries(),
        *_weights(),
        _disk(),
    ]


def _python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding(name="Python", state="ok", found=version)
    return Finding(name="Python", state="missing", found=version, remedy="use Python 3.11 to 3.14")


def _torch() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = "pip install torch; without a GPU take the CPU build"
        return [Finding(name="torch", state="missing", found=_brief(error), remedy=remedy)]
    build = f"{torch.__version__}, {torch.get_num_threads()} threads"
    findings = [Finding(name="torch", state="ok", found=build)]
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        return [*findings, Finding(name="GPU", state="ok", found=found)]
    if shutil.which("nvidia-smi"):
        remedy = "install a CUDA build of torch" if torch.version.cuda is None else "look at nvidia-smi"
        found = "there is one, but torch cannot use it"
        return [*findings, Finding(name="GPU", state="warning", found=found, remedy=remedy)]
    return [*findings, Finding(name="GPU", state="ok", found="none; everything runs on the CPU, slower")]


def _codecs() -> list[Finding]:
    try:
        import av
    except (ImportError, OSError) as error:
        return [Finding(name="PyAV", state="missing", found=_brief(error), remedy="pip install av")]
    findings = [Finding(name="PyAV", state="ok", found=av.__version__)]
    for codec, purpose in (("libx264", "video"), ("aac", "sound")):
        try:
            av.Codec(codec, "w")
        except ValueError:
            remedy = "pip install --force-reinstall av"
            findings.append(
                Finding(name=codec, state="missing", found=f"cannot write {purpose}", remedy=remedy)
            )
        else:
            findings.append(Finding(name=codec, state="ok", found=f"writes {purpose}"))
    return findings


def _mediapipe() -> Finding:
    try:
        return Finding(name="mediapipe", state="ok", found=metadata.version("mediapipe"))
    except metadata.PackageNotFoundError:
        remedy = 'pip install "nerf-ad[face]"'
        return Finding(
            name="mediapipe", state="missing", found="no face landmarks, no capture", remedy=remedy
        )


def _system_libraries() -> list[Finding]:
    if sys.platform != "linux":
        return []
    lacking = []
    for library in _SYSTEM_LIBRARIES:
        try:
            ctypes.CDLL(library)
        except OSError:
            lacking.append(library)
    if lacking:
        remedy = "on Debian and Ubuntu: apt-get install libgl1 libegl1 libgles2"
        found = f"{', '.join(lacking)} (for mediapipe)"
        return [Finding(name="system libraries", state="missing", found=found, remedy=remedy)]
    return [Finding(name="system libraries", state="ok", found=", ".join(_SYSTEM_LIBRARIES))]


def _weights() -> list[Finding]:
    from nerf_ad.core.catalogue import CAPTURE_WEIGHTS, WEIGHTS
    from nerf_ad.core.weights import inspect

    findings = []
    for name, weight in WEIGHTS.items():
        status = inspect(name)
        terms = f"{weight.licence}; {weight.terms}"
        if status.path is not None:
            findings.append(Finding(name=name, state="ok", found=f"{status.state}; {terms}"))
            continue
        state: State = "warning" if name in CAPTURE_WEIGHTS or status.state == "wrong" else "ok"
        what = status.fault or f"not here ({weight.size / 1e6:.1f} MB; {terms})"
        remedy = f"nerf-ad weights fetch {name}; without it: {weight.fallback}"
        findings.append(Finding(name=name, state=state, found=what, remedy=remedy))
    return findings


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{free:.1f} GB free here"
    if free >= MIN_FREE_GB:
        return Finding(name="disk", state="ok", found=found)
    return Finding(name="disk", state="warning", found=found, remedy="a long clip at 512x512 takes 6 GB")


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    colours = {"ok": "green", "missing": "red", "warning": "yellow"}
    for title in ("", "state", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        state = Text(finding.state, style=colours[finding.state])
        table.add_row(Text(finding.name), state, Text(finding.found), Text(finding.remedy))
    Console().print(table)

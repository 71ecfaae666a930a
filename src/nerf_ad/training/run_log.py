"""The folder of a run: its events as JSON lines, its environment, its resume files."""

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from nerf_ad import __version__
from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError, UsageError
from nerf_ad.core.events import Event
from nerf_ad.core.files import explained, locked, read_json, write_json, write_text
from nerf_ad.training.checkpoint import load_facts


class RunLog:
    """``runs/train`` inside an avatar: found again after a kill."""

    def __init__(self, root: Path, fingerprint: str, config: Config) -> None:
        """Begin or go on; ``open_run`` does it alone.

        Raises:
            FormatError: the folder belongs to another training, or to something else.
        """
        self.folder = root / "runs" / "train"
        self.fingerprint = fingerprint
        marker = self.folder / "environment.json"
        found = read_json(marker) if marker.is_file() else {"fingerprint": fingerprint}
        is_begun = any(self.folder.glob("*.safetensors")) or (root / "avatar.toml").exists()
        if is_begun and (not isinstance(found, dict) or found.get("fingerprint") != fingerprint):
            raise FormatError(
                f"{root} was trained on another data set or with other settings",
                hint="choose a new avatar folder, or delete this one",
            )
        write_json(
            marker,
            {
                "fingerprint": fingerprint,
                "nerf_ad": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "machine": platform.machine(),
                "cores": os.cpu_count(),
                "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            },
        )
        write_text(self.folder / "config.toml", config.to_toml())
        self.events = self.folder / "events.jsonl"
        _mend(self.events)
        self._shared: dict[str, dict[str, float]] = {}

    def write(self, event: Event) -> None:
        """Append one event."""
        with explained(self.events), self.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json(exclude_none=True) + "\n")

    def note_shared(self, stage: str, *, step: int, seconds: float) -> None:
        """Keep what a stage took whose resume file may lie elsewhere, for ``stages.json``."""
        self._shared[stage] = {"step": step, "seconds": seconds}

    def write_stages(self) -> None:
        """Write ``stages.json``: optimiser steps and seconds of every stage, interruptions not counted."""
        own = {path.stem: load_facts(path) for path in sorted(self.folder.glob("*.safetensors"))}
        took = {
            name: {"step": facts["step"], "seconds": facts["seconds"]}
            for name, facts in own.items()
            if {"step", "seconds"} <= set(facts)
        }
        write_json(self.folder / "stages.json", {**self._shared, **took})


@contextlib.contextmanager
def open_run(root: Path, fingerprint: str, config: Config) -> Iterator[RunLog]:
    """The log of a training that nobody else works on meanwhile.

    Raises:
        UsageError: another process trains this avatar.
        FormatError: the folder belongs to another training, or to something else.
    """
    if not _may_be_taken(root):
        what = "is a finished avatar" if (root / "avatar.toml").exists() else "is not empty and not an avatar"
        raise FormatError(f"{root} {what}", hint="choose a new folder")
    with locked(root / "runs" / "train.lock", wait=False) as is_ours:
        if not is_ours:
            raise UsageError(
                f"{root} is being trained by another process", hint="wait for it, or choose a new folder"
            )
        log = RunLog(root, fingerprint, config)
        yield log
        log.write_stages()


def _may_be_taken(root: Path) -> bool:
    """New, empty, or what a training left, even one that could not write its first file.

    An avatar without its ``runs/`` is finished: nothing says what it was trained on, so it is left alone.
    """
    if not root.exists() or (root / "runs" / "train" / "environment.json").is_file():
        return True
    return root.is_dir() and all(entry.name == "runs" for entry in root.iterdir())


def _mend(path: Path) -> None:
    """Drop a last line that a kill cut short."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    lines = [line for line in whole.splitlines() if _is_json(line)]
    write_text(path, "".join(f"{line}\n" for line in lines))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True

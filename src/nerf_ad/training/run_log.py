"""The folder of a run: its events as JSON lines, its environment, its resume files."""

import json
import os
import platform
from pathlib import Path

import torch

from nerf_ad import __version__
from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import Event
from nerf_ad.core.files import read_json, write_json, write_text


class RunLog:
    """``runs/train`` inside an avatar: found again after a kill."""

    def __init__(self, root: Path, fingerprint: str, config: Config) -> None:
        self.folder = root / "runs" / "train"
        self.fingerprint = fingerprint
        marker = self.folder / "environment.json"
        if marker.is_file():
            if read_json(marker).get("fingerprint") != fingerprint:
                raise FormatError(
                    f"{root} was trained on another data set or with other settings",
                    hint="choose a new avatar folder, or delete this one",
                )
        elif root.exists() and any(root.iterdir()) and not (root / "avatar.toml").exists():
            raise FormatError(f"{root} is not empty and not an avatar", hint="choose a new folder")
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

    def write(self, event: Event) -> None:
        """Append one event."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json(exclude_none=True) + "\n")


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

"""``nerf-ad inspect PATH``."""

import json as json_format
import sys
from pathlib import Path
from typing import Any

from nerf_ad.avatar.folder import read_manifest as read_avatar
from nerf_ad.avatar.folder import verify_files
from nerf_ad.core.errors import BadInputError
from nerf_ad.core.files import read_json
from nerf_ad.dataset.dataset import read_manifest as read_dataset
from nerf_ad.dataset.layout import Layout


def inspect(path: Path, *, json: bool = False, html: bool = False) -> int:
    """Say what is in a data set, an avatar or a video.

    Args:
        path: a folder or a file.
        json: print everything as JSON.
        html: write a page to look at, and print where it is: of an avatar of the paper's method what its mask
            parts and what speech paints, of a data set the report of its capture.
    """
    if html:
        sys.stdout.write(f"{write_html(path)}\n")
        return 0
    facts = describe(path)
    if json:
        sys.stdout.write(json_format.dumps(facts, indent=2) + "\n")
    else:
        for line in _lines(facts):
            sys.stdout.write(line + "\n")
    return 0


def write_html(path: Path) -> Path:
    """The page about an avatar, which is written anew, or about a data set.

    Raises:
        BadInputError: there is none.
    """
    what = describe(path)["what"]
    if what == "avatar":
        from nerf_ad.evaluation.anatomy_page import write_anatomy_page

        return write_anatomy_page(path)
    report = Layout(path).report / "index.html"
    if what == "dataset" and report.is_file():
        return report
    raise BadInputError(
        f"there is no page about {path}", hint="capture the video, or train with the preset paper-small"
    )


def describe(path: Path) -> dict[str, Any]:
    """Facts about a data set, an avatar (whose files are verified) or a video.

    Raises:
        BadInputError: it is none of these.
    """
    if (path / "avatar.toml").is_file():
        manifest = read_avatar(path)
        verify_files(path, manifest)
        facts: dict[str, Any] = {"what": "avatar", **manifest.model_dump(mode="json", exclude_none=True)}
        if (path / "metrics.json").is_file():
            facts["metrics"] = read_json(path / "metrics.json")
        return facts
    if (path / "dataset.toml").is_file():
        return {"what": "dataset", **read_dataset(Layout(path)).model_dump(mode="json", exclude_none=True)}
    if path.is_file():
        from nerf_ad.media.isolated import probe_isolated

        return {"what": "video", **dict(probe_isolated(path))}
    if not path.exists():
        raise BadInputError(f"there is no {path}", hint="name a data set, an avatar or a video")
    raise BadInputError(
        f"{path} is a folder, but neither a data set nor an avatar",
        hint="name a data set, an avatar or a video",
    )


def _lines(facts: dict[str, Any], indent: int = 0) -> list[str]:
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [" " * indent + f"{key}:", *_lines(value, indent + 2)]
        else:
            lines.append(" " * indent + f"{key}: {value}")
    return lines

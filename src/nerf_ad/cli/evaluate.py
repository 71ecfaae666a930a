"""``nerf-ad evaluate AVATAR DATASET`` and ``nerf-ad evaluate --video GENERATED --reference REAL``."""

import json as json_format
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from nerf_ad.cli.progress import ProgressPrinter
from nerf_ad.core.errors import UsageError
from nerf_ad.core.events import Event
from nerf_ad.core.files import read_json

HOW = "nerf-ad evaluate AVATAR DATASET, or nerf-ad evaluate --video GENERATED --reference REAL"


def evaluate(
    folders: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="[AVATAR DATASET]")],
    *,
    video: Path | None = None,
    reference: Path | None = None,
    out: Path | None = None,
    html: bool = False,
    json: bool = False,
    device: str = "auto",
    every: int = 1,
    syncnet: Path | None = None,
) -> int:
    """Compare an avatar with the held-out last eleventh of its clip, or any video with its recording.

    Prints a table. Writes metrics.json, preview.mp4 and held_out.png into the avatar; of two videos
    metrics.json into a folder.

    Args:
        folders: the avatar that nerf-ad train made, and the data set that it was trained on.
        video: instead of both: what any system generated, of the same words and length as the recording.
        reference: the recording that the generated video is compared with.
        out: folder to write to; the avatar, or of two videos NAME.evaluation in the current folder.
        html: also write a page to look at: table, curves, worst frames, mouths, a film side by side.
        json: print the figures as JSON instead of the table.
        device: auto, cpu or cuda.
        every: measure only each so-manieth frame; of two videos this concerns pictures, not faces.
        syncnet: your weights of SyncNet as safetensors: adds LSE-C and LSE-D.
    """
    if (video is None) != (reference is None) or len(folders) != (0 if video is not None else 2):
        raise UsageError("evaluate needs an avatar and its data set, or two videos", hint=HOW)
    from nerf_ad.evaluation.figure_list import figure_table

    if video is not None and reference is not None:
        folder = out or Path(f"{video.stem}.evaluation")
        events = _compare(video, reference, folder, html=html, device=device, every=every, syncnet=syncnet)
    else:
        folder = out or folders[0]
        events = _hold_out(
            folders[0], folders[1], out, html=html, device=device, every=every, syncnet=syncnet
        )
    with ProgressPrinter() as on_event:
        for event in events:
            on_event(event)
    result = read_json(folder / "metrics.json")
    text = json_format.dumps(result, indent=2) + "\n" if json else figure_table(result).text()
    sys.stdout.write(text)
    return 0


def _compare(
    video: Path, reference: Path, out: Path, *, html: bool, device: str, every: int, syncnet: Path | None
) -> Iterator[Event]:
    from nerf_ad.core.device import choose_device
    from nerf_ad.evaluation.pair import evaluate_pair_events

    yield from evaluate_pair_events(
        video, reference, out, every=every, html=html, device=choose_device(device), syncnet=syncnet
    )


def _hold_out(
    avatar: Path,
    dataset: Path,
    out: Path | None,
    *,
    html: bool,
    device: str,
    every: int,
    syncnet: Path | None,
) -> Iterator[Event]:
    from nerf_ad.avatar.avatar import Avatar
    from nerf_ad.core.device import choose_device
    from nerf_ad.dataset.dataset import Dataset
    from nerf_ad.evaluation.held_out import evaluate_events

    person, clip = Avatar.load(avatar, device=choose_device(device)), Dataset.open(dataset)
    yield from evaluate_events(person, clip, out=out, every=every, html=html, syncnet=syncnet)

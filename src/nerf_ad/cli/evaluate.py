"""``nerf-ad evaluate AVATAR DATASET``."""

import json
import sys
from pathlib import Path

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.cli.progress import ProgressPrinter
from nerf_ad.core.device import choose_device
from nerf_ad.core.files import read_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.evaluation.held_out import evaluate_events


def evaluate(avatar: Path, dataset: Path, *, device: str = "auto", every: int = 1) -> int:
    """Compare an avatar with the held-out last eleventh of its clip.

    Prints the figures as JSON and writes metrics.json, preview.mp4 and held_out.png into the avatar.

    Args:
        avatar: folder that nerf-ad train made.
        dataset: the data set that it was trained on.
        device: auto, cpu or cuda.
        every: measure only each so-manieth held-out frame, for avatars that render slowly.
    """
    person, clip = Avatar.load(avatar, device=choose_device(device)), Dataset.open(dataset)
    with ProgressPrinter() as on_event:
        for event in evaluate_events(person, clip, every=every):
            on_event(event)
    sys.stdout.write(json.dumps(read_json(avatar / "metrics.json"), indent=2) + "\n")
    return 0

"""``nerf-ad demo FOLDER``."""

import sys
from pathlib import Path

from nerf_ad.cli.progress import ProgressPrinter


def demo(
    folder: Path,
    *,
    quick: bool = False,
    identity: int | None = None,
    minutes: float | None = None,
    device: str = "auto",
    yes: bool = False,
) -> int:
    """Make an avatar of a synthetic person and let it say sentences that it never heard.

    Films the person, captures, trains, renders, and compares with the truth. Needs no footage. Under twenty
    minutes on two cores; the same command goes on where it stopped. Look at FOLDER/index.html.

    Args:
        folder: the folder to fill.
        quick: small and coarse, in five minutes: to see that everything works.
        identity: which of the synthetic people, 0 to 5.
        minutes: time for training.
        device: auto, cpu or cuda.
        yes: Fetch missing third-party weights without asking.
    """
    from nerf_ad.cli.capture import fetch_missing
    from nerf_ad.core.device import choose_device
    from nerf_ad.core.errors import UsageError
    from nerf_ad.demo.config import FULL, LONGEST, QUICK, DemoConfig
    from nerf_ad.demo.studio import demo_events, demo_weights, refuse_other

    if minutes is not None and not 0 < minutes <= LONGEST:
        raise UsageError(
            f"--minutes must be a number above 0 and at most {LONGEST}, not {minutes}",
            hint=f"such as --minutes {FULL.minutes:g}",
        )
    chosen = {"identity": identity, "minutes": minutes}
    config = DemoConfig.from_mapping(
        (QUICK if quick else FULL).model_dump(mode="json")
        | {name: value for name, value in chosen.items() if value is not None},
        source="the command line",
    )
    where = choose_device(device)
    refuse_other(folder, config)
    fetch_missing(demo_weights(), yes=yes)
    with ProgressPrinter() as on_event:
        for event in demo_events(folder, config, device=where):
            on_event(event)
    sys.stdout.write(f"{folder / 'index.html'}\n")
    return 0

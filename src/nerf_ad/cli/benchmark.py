"""``nerf-ad benchmark capture FOLDER``."""

import sys
from pathlib import Path

from nerf_ad.cli.progress import ProgressPrinter


def benchmark_capture(
    folder: Path,
    *,
    identities: tuple[int, ...] = (0, 1, 2, 3, 4, 5),
    seconds: float = 20.0,
    size: int = 256,
    seed: int = 10,
    yes: bool = False,
) -> int:
    """Measure capture against truth: film synthetic people, capture them, compare.

    Continues where it stopped. Prints a table; every figure is in FOLDER/capture.json, with plots in
    FOLDER/index.html.

    Args:
        folder: where films, datasets and figures go.
        identities: which of the synthetic people, from 0.
        seconds: length of each film.
        size: width and height of the datasets' frames in pixels.
        seed: of identity 0's film; each next identity has the next seed.
        yes: Fetch missing third-party weights without asking.
    """
    from nerf_ad.capture.recipe import CaptureConfig, required_weights
    from nerf_ad.cli.capture import fetch_missing
    from nerf_ad.core.files import read_json
    from nerf_ad.dataset.synthetic.film import film_weights
    from nerf_ad.evaluation.capture_benchmark import (
        CaptureBenchmarkConfig,
        benchmark_capture_events,
        place_of,
    )
    from nerf_ad.evaluation.capture_page import table_text
    from nerf_ad.evaluation.capture_summary import summarise

    config = CaptureBenchmarkConfig.from_mapping(
        {"identities": identities, "seconds": seconds, "size": size, "seed": seed}, source="the command line"
    )
    filmed = film_weights(config.film(config.identities[0]))
    fetch_missing((*filmed, *required_weights(CaptureConfig())), yes=yes)
    with ProgressPrinter() as on_event:
        for event in benchmark_capture_events(folder, config):
            on_event(event)
    people = {identity: read_json(place_of(folder, identity).errors) for identity in config.identities}
    sys.stdout.write(table_text(list(people), summarise(people)))
    sys.stderr.write(f"look at {folder / 'index.html'}\n")
    return 0

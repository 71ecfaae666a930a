"""``nerf-ad synthesize VIDEO``."""

from pathlib import Path
from typing import Literal

from nerf_ad.cli.progress import ProgressPrinter


def synthesize(
    video: Path,
    *,
    seconds: float = 60.0,
    seed: int = 0,
    identity: int = 0,
    size: int = 512,
    text: Path | None = None,
    truth: Path | None = None,
    voice: Literal["hibari", "tone"] = "hibari",
    yes: bool = False,
) -> int:
    """Film a synthetic person who speaks: video with sound at 25 fps, and on request the truth about it.

    Args:
        video: the .mp4 to write; it must not be there yet.
        seconds: stop after the sentence that reaches this length.
        seed: of order, pauses, and everything the person does besides speaking; same seed, same film.
        identity: which of the people, 0 to 5.
        size: width and height of the pictures in pixels, even, 64 to 1024.
        text: UTF-8 text with English sentences to speak instead of our own.
        truth: folder for the truth of every frame: pose, face units, action units, landmarks, parts, depth,
            phonemes.
        voice: a text-to-speech model, or formant tones, which need no weights.
        yes: Fetch missing third-party weights without asking.
    """
    from nerf_ad.cli.capture import fetch_missing
    from nerf_ad.dataset.synthetic.film import FilmConfig, film_events, film_weights

    spoken = {"kind": voice}
    config = FilmConfig.from_mapping(
        {"seconds": seconds, "seed": seed, "identity": identity, "size": size, "voice": spoken},
        source="the command line",
    )
    fetch_missing(film_weights(config), yes=yes)
    with ProgressPrinter() as on_event:
        for event in film_events(video, config, text=text, truth=truth):
            on_event(event)
    return 0

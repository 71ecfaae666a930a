"""The demonstration from nothing to a page.

    film ─▶ capture ─▶ train ──────▶ speak ─▶ compare ─▶ page
    sentence (held out, with truth) ──┴─────────┘

Everything lies in one folder; what is there is not made again.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.capture.capture import capture_events
from nerf_ad.capture.recipe import CaptureConfig, required_weights
from nerf_ad.core.device import choose_device
from nerf_ad.core.errors import BadInputError, UsageError
from nerf_ad.core.events import Event
from nerf_ad.core.files import explained, locked, read_json, write_json, write_text
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.synthetic.film import FilmConfig, film_events, film_weights
from nerf_ad.dataset.synthetic.script import DEMO_SENTENCES
from nerf_ad.dataset.synthetic.truth import truth_files
from nerf_ad.demo.agenda import Chapter, run_chapters
from nerf_ad.demo.config import DemoConfig
from nerf_ad.demo.exhibition import exhibit
from nerf_ad.demo.places import Places
from nerf_ad.evaluation.held_out import evaluate_events
from nerf_ad.presets import FAST
from nerf_ad.rendering.render import render_events
from nerf_ad.training.train import train_events

TITLE = "demo"
"""Stage of the bar over everything."""


def demo_weights() -> tuple[str, ...]:
    """Names of all third-party weights that the demonstration loads."""
    return (*required_weights(CaptureConfig()), *film_weights(FilmConfig()))


def demo_events(root: Path, config: DemoConfig, *, device: torch.device | None = None) -> Iterator[Event]:
    """Film, capture, train, speak, compare; go on where an earlier run stopped.

    Args:
        root: the folder to fill; ``index.html`` comes last.
        config: how large.
        device: where to train and render.

    Raises:
        BadInputError: the folder holds something else, or a demonstration of another size.
        UsageError: another process is filling it.
        WeightsError: third-party weights are missing.
    """
    places = Places(root)
    refuse_other(root, config)
    with locked(places.lock, wait=False) as is_ours:
        if not is_ours:
            raise UsageError(f"another demonstration is being made in {root}", hint="wait for it")
        write_json(places.choices, config.model_dump(mode="json"))
        yield from run_chapters(_chapters(places, config, device or choose_device()), title=TITLE)


def demo(
    root: str | Path,
    config: DemoConfig | None = None,
    *,
    device: torch.device | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Path:
    """The same in one call.

    Returns:
        the page.
    """
    for event in demo_events(Path(root), config or DemoConfig(), device=device):
        if on_event is not None:
            on_event(event)
    return Places(Path(root)).page


class _Costs(NamedTuple):
    """Seconds on two cores (measured on a Zen 3 at 256x256; docs/decisions/0013)."""

    film: float
    sentence: float
    capture: float
    render: float
    evaluate: float
    compare: float


def _costs(config: DemoConfig) -> _Costs:
    frames, spoken = 25 * config.seconds, 25 * 4.0 * config.num_sentences
    area = (config.size / 256) ** 2
    shifts = 1 + 20 / config.shift_step
    return _Costs(
        film=10 + frames * (0.03 + 0.11 * area),
        sentence=10 + spoken * (0.04 + 0.12 * area),
        capture=15 + 0.11 * frames,
        render=5 + spoken * 0.36 * area,
        evaluate=5 + frames / 11 * (0.36 * area + 0.05),
        compare=5 + spoken * 0.05 + 1.5 * shifts,
    )


def _chapters(places: Places, config: DemoConfig, device: torch.device) -> list[Chapter]:
    costs = _costs(config)
    film = FilmConfig(
        seconds=config.seconds, seed=config.seed, identity=config.identity, size=2 * config.size
    )
    drawing = {"speaking": 0.05, "drawing": 0.95}
    return [
        Chapter("film", lambda: film_events(places.film, film), (places.film,), costs.film, drawing),
        Chapter(
            "capture",
            lambda: capture_events(places.film, places.dataset, size=config.size, config=CaptureConfig()),
            (places.dataset / "report" / "index.html",),
            costs.capture,
            {"first look": 0.06, "frames": 0.06, "landmarks": 0.1, "tracking": 0.15, "parsing": 0.46,
             "torso": 0.1, "report": 0.07},
            after=("film",),
        ),
        Chapter(
            "train",
            lambda: _train(places, config, device),
            (places.avatar / "avatar.toml",),
            60 * config.minutes + 15,
            {"pixels": 0.01, "torso": 0.1, "speech": 0.06, "head": 0.81, "tightening": 0.02},
            after=("capture",),
            is_timed=True,
        ),
        Chapter(
            "sentence",
            lambda: _film_sentence(places, config),
            (*truth_files(places.truth), places.truth_film),
            costs.sentence,
            drawing,
        ),
        Chapter(
            "speak",
            lambda: render_events(
                Avatar.load(places.avatar, device=device), places.truth / "audio.wav", places.talking
            ),
            (places.talking,),
            costs.render,
            {"listening": 0.02, "rendering": 0.98},
            after=("train", "sentence"),
        ),
        Chapter(
            "evaluate",
            lambda: evaluate_events(Avatar.load(places.avatar, device=device), Dataset.open(places.dataset)),
            (places.avatar / "metrics.json",),
            costs.evaluate,
            {"held-out frames": 1.0},
            after=("train",),
        ),
        Chapter(
            "compare",
            lambda: exhibit(places, config, FastAvatar.load(places.avatar)),
            (*places.shown, places.page),
            costs.compare,
            {"lips": 0.4, "shifts": 0.6},
            after=("train", "sentence", "speak", "evaluate"),
        ),
    ]  # fmt: skip


def _train(places: Places, config: DemoConfig, device: torch.device) -> Iterable[Event]:
    dataset = Dataset.open(places.dataset)
    head = FAST.head.model_copy(update={"least_steps": config.least_steps})
    training = FAST.model_copy(update={"head": head})
    return train_events(dataset, places.avatar, training, minutes=config.minutes, device=device)


def _film_sentence(places: Places, config: DemoConfig) -> Iterator[Event]:
    """The person itself says what the avatar will be asked to say; nobody learns from it."""
    if places.truth.is_dir():
        with explained(places.truth):
            shutil.rmtree(places.truth)  # half written: a whole one has its film beside it
    with explained(places.truth_film):
        places.truth_film.unlink(missing_ok=True)
    sentences = DEMO_SENTENCES[: config.num_sentences]
    write_text(places.sentences, "\n".join(sentences) + "\n")
    film = FilmConfig(seed=config.seed + 1, identity=config.identity, size=2 * config.size)
    yield from film_events(places.truth_film, film, text=places.sentences, truth=places.truth)


def refuse_other(root: Path, config: DemoConfig) -> None:
    """Stop at a folder that holds something else.

    Raises:
        BadInputError: says what it holds.
        FormatError: its record of the choices cannot be read.
    """
    places = Places(root)
    with explained(places.root):
        if places.choices.is_file():
            wanted, found = config.model_dump(mode="json"), read_json(places.choices)
            if found != wanted:
                known = found if isinstance(found, dict) else {}
                other = [name for name in wanted if known.get(name) != wanted[name]]
                raise BadInputError(
                    f"{places.root} holds a demonstration with other choices: {', '.join(other)}",
                    hint="give the same choices (--quick?) to go on, another folder, or delete this one",
                )
            return
        if places.root.is_dir() and any(path != places.lock for path in places.root.iterdir()):
            raise BadInputError(
                f"{places.root} is not empty and not a demonstration",
                hint="choose a folder that is new or empty",
            )

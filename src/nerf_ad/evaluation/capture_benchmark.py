"""Capture measured against truth over synthetic people: filmed, captured, compared, summed up.

    FOLDER/
      capture.json        every figure, the medians over the people, and whether they are good enough
      index.html          the same to look at
      masks.png           intersection over union by person
      identity-0/
        film.mp4  film.truth/  dataset/
        errors.json       this person's figures
        pose.png  landmarks.png  masks.png  units.png  scatter.png  offset.png  parts.png

What is finished is not done again: a film with its truth stays, capture goes on where it stopped, and a
person is compared anew only when the dataset changed.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from nerf_ad.capture.capture import MAX_SIZE, MIN_SIZE, capture_events
from nerf_ad.capture.recipe import CaptureConfig
from nerf_ad.capture.step import remove
from nerf_ad.core.config import Config
from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.core.files import explained, read_json, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.synthetic.film import FilmConfig, film_events
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.dataset.synthetic.truth import read_truth, truth_files
from nerf_ad.evaluation.capture_page import write_page
from nerf_ad.evaluation.capture_plots import draw_person
from nerf_ad.evaluation.capture_summary import summarise
from nerf_ad.evaluation.capture_truth import compare_capture_events

FORMAT: Final = 1
"""Version of ``errors.json`` and ``capture.json``; another one is compared anew."""
FILM_SIZE: Final = 512
"""Width of the films, unless the dataset is larger."""


class CaptureBenchmarkConfig(Config):
    """What is filmed and captured."""

    identities: tuple[Annotated[int, Field(ge=0, lt=len(IDENTITIES))], ...] = Field(
        default=tuple(range(len(IDENTITIES))), min_length=1, strict=False
    )
    """Which of the synthetic people."""
    seconds: float = Field(default=20.0, ge=8.0, le=600.0)
    """Length of each film; a sentence is never cut."""
    size: int = Field(default=256, ge=MIN_SIZE, le=MAX_SIZE, multiple_of=8)
    """Width and height of the datasets' frames."""
    seed: int = Field(default=10, ge=0)
    """Of the film of identity 0; each next identity has the next seed."""

    def film(self, identity: int) -> FilmConfig:
        """The film of one person."""
        return FilmConfig(
            seconds=self.seconds,
            seed=self.seed + identity,
            identity=identity,
            size=max(FILM_SIZE, self.size),
        )


class Place(NamedTuple):
    """Where everything about one person lies."""

    root: Path

    @property
    def film(self) -> Path:
        """The video."""
        return self.root / "film.mp4"

    @property
    def truth(self) -> Path:
        """The truth about it."""
        return self.root / "film.truth"

    @property
    def dataset(self) -> Path:
        """What capture made of it."""
        return self.root / "dataset"

    @property
    def errors(self) -> Path:
        """This person's figures."""
        return self.root / "errors.json"


def benchmark_capture_events(folder: Path, config: CaptureBenchmarkConfig) -> Generator[Event, None, None]:
    """Film, capture and compare every person; write ``capture.json`` and ``index.html``.

    Raises:
        BadInputError: the folder holds other films, or cannot be written.
        WeightsError: third-party weights are missing.
    """
    people = {identity: place_of(folder, identity) for identity in dict.fromkeys(config.identities)}
    with explained(folder):
        if folder.exists() and not folder.is_dir():
            raise BadInputError(f"{folder} is a file, not a folder", hint="choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
    for identity, place in people.items():
        is_filmed(place, config.film(identity))  # refuses before hours of work
    for done, (identity, place) in enumerate(people.items()):
        yield Progress(stage="people", done=done, total=len(people), note=IDENTITIES[identity].name)
        yield from _named(f"person {identity}", _measure(place, config.film(identity), config.size))
    yield Progress(stage="people", done=len(people), total=len(people))
    yield from write_summary(folder, config)


def place_of(folder: Path, identity: int) -> Place:
    """Where a person's files lie."""
    return Place(folder / f"identity-{identity}")


def is_filmed(place: Place, film: FilmConfig) -> bool:
    """Whether film and truth are there.

    Raises:
        FormatError: they are of another film.
    """
    if not (place.truth / "truth.json").is_file():
        return False
    facts = read_json(place.truth / "truth.json")
    for name, wanted in film.model_dump(mode="json").items():
        found = facts.get(name) if isinstance(facts, dict) else None
        if found != wanted:
            raise FormatError(
                f"{place.root} holds another film: its {name} is {found}, not {wanted}",
                hint="choose another folder",
            )
    return all(path.is_file() for path in (*truth_files(place.truth), place.film))


def _measure(place: Place, film: FilmConfig, size: int) -> Generator[Event, None, None]:
    if not is_filmed(place, film):
        remove(place.truth)  # half written
        remove(place.film)
        yield from film_events(place.film, film, truth=place.truth)
    yield from capture_events(place.film, place.dataset, size=size, config=CaptureConfig())
    dataset = Dataset.open(place.dataset)
    made_from = digest_of(dataset)
    if _is_compared(place, made_from):
        return
    truth = read_truth(place.truth)
    errors = yield from compare_capture_events(dataset, truth, place.truth / "parts")
    yield from draw_person(place.root, dataset, truth, place.truth / "parts", errors)
    write_json(place.errors, {"format": FORMAT, "made_from": made_from, **errors.figures()})
    yield Saved(path=str(place.errors))


def _is_compared(place: Place, made_from: str) -> bool:
    """Whether the figures of this very dataset are there; those that cannot be read are made again."""
    try:
        found = read_json(place.errors)
    except FormatError:
        return False
    is_ours = isinstance(found, dict) and (found.get("format"), found.get("made_from")) == (FORMAT, made_from)
    return is_ours and "action_units" in found


def digest_of(dataset: Dataset) -> str:
    """What a dataset was made from and when: another one is compared anew."""
    steps = {name: [step.inputs, step.finished_at] for name, step in dataset.manifest.steps.items()}
    return hashlib.sha256(json.dumps(steps, sort_keys=True).encode()).hexdigest()[:16]


def _named(name: str, events: Iterable[Event]) -> Generator[Event, None, None]:
    for event in events:
        if isinstance(event, Progress):
            yield event.model_copy(update={"stage": f"{name}: {event.stage}"})
        else:
            yield event


def write_summary(folder: Path, config: CaptureBenchmarkConfig) -> Generator[Event, None, None]:
    """Write ``capture.json`` and ``index.html`` from the people's figures."""
    people = {identity: read_json(place_of(folder, identity).errors) for identity in config.identities}
    rows = summarise(people)
    write_json(
        folder / "capture.json",
        {
            "format": FORMAT,
            **config.model_dump(mode="json"),
            "medians": [
                {
                    "name": row.name,
                    "by_identity": list(row.values),
                    "median": row.median,
                    **({} if row.bar is None else {row.bar.kind: row.bar.limit, "met": row.is_met}),
                }
                for row in rows
            ],
            "people": {str(identity): figures for identity, figures in people.items()},
        },
    )
    yield Saved(path=str(folder / "capture.json"))
    write_page(folder, people, rows)
    yield Saved(path=str(folder / "index.html"))


def benchmark_capture(
    folder: str | Path,
    config: CaptureBenchmarkConfig | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> Path:
    """Measure capture against truth; see ``benchmark_capture_events``.

    Returns:
        the path of ``capture.json``.
    """
    for event in benchmark_capture_events(Path(folder), config or CaptureBenchmarkConfig()):
        if on_event is not None:
            on_event(event)
    return Path(folder) / "capture.json"

"""Steps like make: one runs if its inputs, settings or version changed, or if what it made is gone.

A step's key is a hash of its name, version, settings, extractor and of the keys of the steps that it reads;
the first key is that of the video. Keys are compared, never file times. A step is recorded in the manifest
after its files are whole, so a capture that was killed continues with the step it was in, and inside that
step with the frames that are still missing.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from nerf_ad.core.config import Config
from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.core.events import Event, Saved
from nerf_ad.dataset.dataset import DatasetManifest, StepRecord
from nerf_ad.dataset.layout import Layout

Facts = Mapping[str, Any]
"""Fields of the manifest that a step found out, such as ``shots``."""

Work = Generator[Event, None, Facts]
"""A running step: it speaks in events and returns facts."""


class Step(NamedTuple):
    """One piece of capture."""

    name: str
    """A word, also the key of its record."""
    run: Callable[[], Work]
    """Does the work; files of the same key that are there already need not be made again."""
    outputs: tuple[Path, ...]
    """Files and folders that it writes and nobody else."""
    needs: tuple[str, ...] = ()
    """Steps whose results it reads."""
    version: int = 1
    """Raised with every change that makes other files."""
    settings: Config | None = None
    """Choices that its result depends on."""
    extractor: str = ""
    """Id of the estimator that it uses, if any."""
    is_per_frame: bool = False
    """Whether its folder holds a picture of every frame."""


def step_key(step: Step, keys: Mapping[str, str], source: str) -> str:
    """Hash of all that a step's result depends on (16 hex digits).

    Args:
        step: the step.
        keys: keys of the steps before it.
        source: hash of the video and of what holds for the whole dataset.
    """
    value = {
        "name": step.name,
        "version": step.version,
        "settings": None if step.settings is None else step.settings.model_dump(mode="json"),
        "extractor": step.extractor,
        "needs": [keys[name] for name in step.needs],
        "source": source,
    }
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


class Ledger:
    """The manifest of a dataset in the making; every change reaches the disk whole."""

    def __init__(self, layout: Layout, manifest: DatasetManifest) -> None:
        self.layout = layout
        self.manifest = manifest

    def update(self, **fields: Any) -> None:  # noqa: ANN401 - fields of the manifest, validated below
        """Set fields of the manifest and save it."""
        merged = {**self.manifest.model_dump(mode="json", exclude_none=True), **fields}
        self.manifest = DatasetManifest.from_mapping(merged, source=str(self.layout.manifest))
        self.manifest.save_toml(self.layout.manifest)

    def begin(self, step: Step, key: str) -> None:
        """Forget the step's old record; keep what a run of the same key left behind, remove the rest."""
        steps = {name: record for name, record in self._steps().items() if name != step.name}
        for path in step.outputs:
            if self.manifest.started.get(step.name) != key:
                remove(path)
            remove_leftovers(path)
        self.update(steps=steps, started={**self.manifest.started, step.name: key})

    def finish(self, step: Step, key: str, *, seconds: float, facts: Facts) -> None:
        """Record that the step is done."""
        record = StepRecord(
            version=step.version,
            inputs=key,
            extractor=step.extractor,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 2),
        )
        started = {name: value for name, value in self.manifest.started.items() if name != step.name}
        steps = {**self._steps(), step.name: record.model_dump(mode="json")}
        self.update(**facts, steps=steps, started=started)

    def is_done(self, step: Step, key: str) -> bool:
        """Whether the step was finished with this very key and its files are there."""
        record = self.manifest.steps.get(step.name)
        if record is None or record.inputs != key or not all(path.exists() for path in step.outputs):
            return False
        folders = [path for path in step.outputs if step.is_per_frame and path.is_dir()]
        return all(len(list(folder.glob("[0-9]*.png"))) == self.manifest.num_frames for folder in folders)

    def _steps(self) -> dict[str, Any]:
        return {name: record.model_dump(mode="json") for name, record in self.manifest.steps.items()}


def run_steps(steps: Iterable[Step], ledger: Ledger, *, source: str) -> Generator[Event, None, None]:
    """Run what must be run, in the order given.

    Args:
        steps: each after the steps that it needs.
        ledger: the dataset's manifest.
        source: hash of the video and of what holds for the whole dataset.
    """
    keys: dict[str, str] = {}
    for step in steps:
        key = keys[step.name] = step_key(step, keys, source)
        if ledger.is_done(step, key):
            continue
        ledger.begin(step, key)
        started = time.perf_counter()
        facts = yield from step.run()
        missing = [path for path in step.outputs if not path.exists()]
        if missing:
            message = f"step {step.name} did not write {missing[0]}"
            raise AssertionError(message)
        ledger.finish(step, key, seconds=time.perf_counter() - started, facts=facts)
        yield Saved(path=str(step.outputs[0]))


def remove(path: Path) -> None:
    """Remove a file or a folder, present or not.

    Raises:
        BadInputError: it cannot be removed.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInputError(f"{path} cannot be replaced: {error.strerror}") from error


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process left of atomic writes to a file, or into a folder."""
    folder, pattern = (path, ".*") if path.is_dir() else (path.parent, f".{path.stem}.*{path.suffix}")
    for file in folder.glob(pattern):
        if file.is_file():
            remove(file)


def refuse_other_source(layout: Layout, found: DatasetManifest, wanted: DatasetManifest) -> None:
    """Stop before a dataset of another video, size or rate is overwritten.

    Raises:
        FormatError: names the difference.
    """
    hint = "choose another folder, or delete this one"
    if found.source.sha256 != wanted.source.sha256:
        raise FormatError(f"{layout.root} was captured from another video ({found.source.name})", hint=hint)
    if found.size != wanted.size:
        raise FormatError(
            f"{layout.root} was captured at {found.size}x{found.size}, not {wanted.size}x{wanted.size}",
            hint=hint,
        )

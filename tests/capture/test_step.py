"""The step graph against a hand-made one: what runs, what is kept, what a kill leaves."""

from pathlib import Path

import pytest

from nerf_ad.capture.step import Ledger, Step, Work, refuse_other_source, run_steps
from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import Progress, Saved
from nerf_ad.dataset.dataset import DatasetManifest, Source, read_manifest
from nerf_ad.dataset.layout import Layout

SOURCE = Source(name="a.mp4", sha256="0" * 64, width=64, height=64, fps=25.0, seconds=1.0)


class Choice(Config):
    """Something that a step depends on."""

    number: int = 1
    """Any."""


class Kitchen:
    """Three steps: bread, then butter on it, and salt that needs nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[str] = []
        self.choice = Choice()
        self.version = 1
        self.stop_after: int | None = None

    def steps(self) -> list[Step]:
        return [
            Step("bread", self._bread, (self.root / "bread",), settings=self.choice),
            Step("salt", lambda: self._file("salt"), (self.root / "salt",)),
            Step(
                "butter",
                lambda: self._file("butter"),
                (self.root / "butter",),
                needs=("bread",),
                version=self.version,
            ),
        ]

    def _bread(self) -> Work:
        folder = self.root / "bread"
        folder.mkdir(exist_ok=True)
        for index in range(4):
            slice_ = folder / f"{index}.txt"
            if not slice_.exists():
                slice_.write_text(str(self.choice.number))
                self.log.append(f"bread{index}")
            yield Progress(stage="bread", done=index + 1, total=4)
        return {"num_frames": 4}

    def _file(self, name: str) -> Work:
        (self.root / name).write_text(name)
        self.log.append(name)
        yield Progress(stage=name, done=1, total=1)
        return {}


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


def cook(kitchen: Kitchen, *, events: int | None = None) -> list[str]:
    """Run as a fresh process would, stopping dead after a number of events; says what was done."""
    layout = Layout(kitchen.root)
    found = layout.manifest.is_file()
    manifest = read_manifest(layout) if found else DatasetManifest(source=SOURCE, size=64, num_frames=0)
    kitchen.log = []
    work = run_steps(kitchen.steps(), Ledger(layout, manifest), source="s")
    for count, _ in enumerate(work, start=1):
        if count == events:
            break
    return kitchen.log


def test_runs_once(kitchen: Kitchen) -> None:
    assert cook(kitchen) == ["bread0", "bread1", "bread2", "bread3", "salt", "butter"]
    assert cook(kitchen) == []
    assert read_manifest(Layout(kitchen.root)).num_frames == 4


def test_lost_file_is_made_again(kitchen: Kitchen) -> None:
    cook(kitchen)
    (kitchen.root / "salt").unlink()
    assert cook(kitchen) == ["salt"]


def test_other_settings_run_the_step_and_what_needs_it(kitchen: Kitchen) -> None:
    cook(kitchen)
    kitchen.choice = Choice(number=2)
    assert cook(kitchen) == ["bread0", "bread1", "bread2", "bread3", "butter"]
    assert (kitchen.root / "bread" / "0.txt").read_text() == "2"


def test_other_version_runs_the_step_alone(kitchen: Kitchen) -> None:
    cook(kitchen)
    kitchen.version = 2
    assert cook(kitchen) == ["butter"]


def test_continues_inside_a_step(kitchen: Kitchen) -> None:
    assert cook(kitchen, events=2) == ["bread0", "bread1"]
    assert "bread" not in read_manifest(Layout(kitchen.root)).steps
    assert cook(kitchen) == ["bread2", "bread3", "salt", "butter"]


def test_half_a_step_of_other_settings_is_not_kept(kitchen: Kitchen) -> None:
    cook(kitchen, events=2)
    kitchen.choice = Choice(number=3)
    assert cook(kitchen)[:4] == ["bread0", "bread1", "bread2", "bread3"]


def test_old_record_is_forgotten_before_the_step_runs(kitchen: Kitchen) -> None:
    cook(kitchen)
    kitchen.choice = Choice(number=4)
    cook(kitchen, events=1)
    assert set(read_manifest(Layout(kitchen.root)).steps) == {"salt", "butter"}
    kitchen.choice = Choice()  # back to what was there before: the half-made step must not pass for it
    assert cook(kitchen) == ["bread0", "bread1", "bread2", "bread3"]


def test_every_finished_step_says_so(kitchen: Kitchen) -> None:
    manifest = DatasetManifest(source=SOURCE, size=64, num_frames=0)
    events = list(run_steps(kitchen.steps(), Ledger(Layout(kitchen.root), manifest), source="s"))
    saved = [Path(event.path).name for event in events if isinstance(event, Saved)]
    assert saved == ["bread", "salt", "butter"]


def test_other_video_or_size_is_refused(tmp_path: Path) -> None:
    found = DatasetManifest(source=SOURCE, size=64, num_frames=0)
    other = SOURCE.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(FormatError, match=r"another video \(a\.mp4\)"):
        refuse_other_source(Layout(tmp_path), found, DatasetManifest(source=other, size=64, num_frames=0))
    with pytest.raises(FormatError, match="64x64, not 32x32"):
        refuse_other_source(Layout(tmp_path), found, DatasetManifest(source=SOURCE, size=32, num_frames=0))


def test_a_picture_that_is_gone_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    made: list[int] = []

    def work() -> Work:
        folder.mkdir(exist_ok=True)
        for index in range(3):
            (folder / f"{index:06d}.png").write_text("picture")
        made.append(1)
        yield Progress(stage="frames", done=3, total=3)
        return {"num_frames": 3}

    ledger = Ledger(Layout(tmp_path), DatasetManifest(source=SOURCE, size=64, num_frames=0))
    step = Step("frames", work, (folder,), is_per_frame=True)
    for expected in (1, 1):
        list(run_steps([step], ledger, source="s"))
        assert len(made) == expected
    (folder / "000001.png").unlink()
    list(run_steps([step], ledger, source="s"))
    assert len(made) == 2
    assert len(list(folder.iterdir())) == 3

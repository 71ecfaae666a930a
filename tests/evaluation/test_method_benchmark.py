"""The benchmark of methods in small: tables, pages, resuming, failing; and its processes."""

import shutil
from collections.abc import Generator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.paper.brief import BRIEF

from nerf_ad.cli.main import main
from nerf_ad.core.errors import BadInputError, NerfAdError
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.core.files import locked, read_json, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import fit_picture
from nerf_ad.evaluation.method_benchmark import benchmark_methods_events
from nerf_ad.evaluation.method_plan import MethodBenchmarkConfig
from nerf_ad.evaluation.method_process import Cost
from nerf_ad.media.images import read_image
from nerf_ad.presets import ROWS, as_row
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.train import train_events

CPU = torch.device("cpu")
PSNR = {"nerf": 20.25, "ad-nerf-head": 21.5, "geneface": 1.0}
"""Of each row, and an iteration gives 1 dB."""
CONFIG = MethodBenchmarkConfig(preset="brief", rows=("nerf", "ad-nerf-head"), iterations=(3, 5), size=32)


class InProcess:
    """Does the verbs of the benchmark here, with the small preset, and remembers them.

    Only the row ``nerf`` is trained, the others are copies of it; all are copies where a model is given.
    """

    def __init__(self, model: Path | None = None) -> None:
        self.model = model
        self.done: list[str] = []
        self.fails: set[str] = set()

    def __call__(self, words: Sequence[str]) -> Generator[Event, None, Cost]:
        options = dict(pairwise(words))
        if words[0] == "evaluate":
            avatar, row = Path(words[1]), Path(words[1]).parent.name
            step = read_json(avatar / "runs" / "train" / "stages.json")["nerf"]["step"]
            write_json(avatar / "metrics.json", {"protocol": "made up", "size": 32, "psnr": PSNR[row] + step})
            self.done.append(f"evaluate {row}")
            yield Progress(stage="held-out frames", done=1, total=1)
            return Cost(1.0, 1.0, 1)
        row = next(name for name in ROWS if name == options["--row"])
        if row in self.fails:
            raise NerfAdError(f"{row} is broken", hint="mend it")
        count = int(options["--nerf.num-steps"])
        model = self.model or Path(words[3]).parents[1] / "nerf" / "row.avatar"
        if self.model is None and row == "nerf":
            small = as_row(BRIEF, row).model_dump()
            small["nerf"]["num_steps"] = count
            config, parts = PaperTrainConfig.model_validate(small), Path(options["--parts"])
            yield from train_events(Dataset.open(words[2]), Path(words[3]), config, device=CPU, parts=parts)
        else:
            left_out = shutil.ignore_patterns("stages.json")
            shutil.copytree(model, words[3], ignore=left_out, dirs_exist_ok=True)
            path = Path(words[3]) / "runs" / "train" / "stages.json"
            reached = read_json(path)["nerf"]["step"] if path.is_file() else 0
            write_json(path, {"nerf": {"step": max(reached, count), "seconds": 1.0}})
        self.done.append(f"train {row} {options['--nerf.num-steps']}")
        return Cost(2.0, 3.0, 4_000_000_000)


def run(
    person: Dataset, out: Path, perform: InProcess, config: MethodBenchmarkConfig = CONFIG
) -> list[Event]:
    return list(benchmark_methods_events([person.root], out, config, perform=perform))


@pytest.fixture(scope="module")
def finished(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InProcess]:
    """A whole benchmark, killed after its first row and gone on with."""
    out, perform = tmp_path_factory.mktemp("methods") / "out", InProcess()
    for event in benchmark_methods_events([person.root], out, CONFIG, perform=perform):
        if isinstance(event, Saved) and event.path.endswith("nerf/5/cell.json"):
            break
    run(person, out, perform)
    return out, perform


def changed(**values: object) -> MethodBenchmarkConfig:
    """The choices, but for some."""
    return MethodBenchmarkConfig.model_validate(CONFIG.model_dump() | values)


def model_of(finished: tuple[Path, InProcess]) -> Path:
    """An avatar to copy."""
    return finished[0] / "person" / "nerf" / "row.avatar"


def test_what_was_finished_before_a_kill_is_not_done_again(finished: tuple[Path, InProcess]) -> None:
    _, perform = finished
    wanted = [
        step
        for row in CONFIG.rows
        for count in (3, 5)
        for step in (f"train {row} {count}", f"evaluate {row}")
    ]
    assert perform.done == wanted


def test_cells_say_what_they_are(finished: tuple[Path, InProcess], person: Dataset) -> None:
    out, _ = finished
    cells = read_json(out / "methods.json")["cells"]
    assert [(cell["iterations"], cell["row"]) for cell in cells] == [
        (3, "nerf"), (3, "ad-nerf-head"), (5, "nerf"), (5, "ad-nerf-head")
    ]  # fmt: skip
    held = person.split().test
    for cell in cells:
        assert cell["stages"]["nerf"]["step"] == cell["iterations"]
        assert cell["held_out_frames"] == [held.start, held.stop]
        assert cell["metrics"]["psnr"] == PSNR[cell["row"]] + cell["iterations"]
        assert cell["costs"]["train"]["peak_memory_bytes"] == 4_000_000_000
    by_count = {(cell["row"], cell["iterations"]): cell for cell in cells}
    assert by_count["nerf", 5]["costs"]["train"]["cpu_seconds"] == 6.0  # of both pieces
    own = read_json(out / "person" / "nerf" / "3" / "metrics.json")
    assert own["psnr"] == by_count["nerf", 3]["metrics"]["psnr"]


def test_table_and_page_show_every_row_at_every_count(finished: tuple[Path, InProcess]) -> None:
    out, _ = finished
    table, page = (out / "table.md").read_text(), (out / "index.html").read_text()
    for count in (3, 5):
        assert f"### person, {count} iterations" in table
        assert f'src="person/{count}.png"' in page
    assert "| nerf | 25.25 |" in table
    assert "| ad-nerf-head | **26.50** |" in table
    assert "<b>26.50</b>" in page
    assert "<script" not in page
    assert "http" not in page
    for name in ("person/3.png", "person/5.png", "person/curves.png"):
        assert (out / name).is_file()


def test_the_strip_is_of_the_held_out_frames(finished: tuple[Path, InProcess], person: Dataset) -> None:
    out, _ = finished
    strip = read_image(out / "person" / "nerf" / "5" / "frames.png")
    assert strip.shape == (32, 6 * 32, 3)
    recorded = fit_picture(person.frame(person.split().test.start), 32)
    edge = strip[-1, :32].astype(int) - recorded[-1].astype(int)
    assert np.abs(edge).mean() < 4  # the recorded torso, where no ray meets the head


def test_more_iterations_and_rows_go_on(
    finished: tuple[Path, InProcess], person: Dataset, tmp_path: Path
) -> None:
    out, perform = tmp_path / "out", InProcess(model_of(finished))
    shutil.copytree(finished[0], out)
    run(person, out, perform, changed(rows=("nerf", "geneface"), iterations=(5, 6)))
    assert perform.done[:3] == ["train nerf 6", "evaluate nerf", "train geneface 5"]
    with pytest.raises(NerfAdError, match="1 of 1 rows failed"):
        run(person, out, perform, changed(rows=("nerf",), iterations=(4,)))
    why = read_json(out / "methods.json")["failed"]["person nerf"]["message"]
    assert "trained to 6 iterations already" in why


def test_other_settings_are_refused(finished: tuple[Path, InProcess], person: Dataset) -> None:
    with pytest.raises(BadInputError, match="seed is 0, not 7"):
        run(person, finished[0], InProcess(), changed(seed=7))


def test_a_folder_with_other_things_is_refused(person: Dataset, tmp_path: Path) -> None:
    (tmp_path / "dear.txt").write_text("dear")
    with pytest.raises(BadInputError, match="other things"):
        run(person, tmp_path, InProcess())


def test_a_row_that_fails_loses_no_other(
    finished: tuple[Path, InProcess], person: Dataset, tmp_path: Path
) -> None:
    perform, one = InProcess(model_of(finished)), changed(iterations=(2,))
    perform.fails = {"nerf"}
    said: list[Event] = []
    with pytest.raises(NerfAdError, match=r"1 of 2 rows failed: person nerf"):
        said.extend(benchmark_methods_events([person.root], tmp_path / "out", one, perform=perform))
    assert perform.done == ["train ad-nerf-head 2", "evaluate ad-nerf-head"]
    assert "nerf is broken" in (tmp_path / "out" / "index.html").read_text()
    perform.fails = set()
    run(person, tmp_path / "out", perform, one)
    assert perform.done[2:] == ["train nerf 2", "evaluate nerf"]
    assert read_json(tmp_path / "out" / "methods.json")["failed"] == {}


def test_a_row_that_another_process_holds_comes_last(
    finished: tuple[Path, InProcess], person: Dataset, tmp_path: Path
) -> None:
    perform, one = InProcess(model_of(finished)), changed(iterations=(2,))
    out = tmp_path / "out"
    events = benchmark_methods_events([person.root], out, one, perform=perform)
    held = out / "person" / "nerf" / "row.lock"
    next(events)  # the folder is settled
    with locked(held, wait=False) as is_ours:
        assert is_ours
        for event in events:
            if (
                isinstance(event, Progress)
                and event.stage == "person ad-nerf-head"
                and event.done == event.total
            ):
                break
    list(events)
    assert perform.done == ["train ad-nerf-head 2", "evaluate ad-nerf-head", "train nerf 2", "evaluate nerf"]


def test_rows_of_other_methods_get_the_time_of_the_full_row(
    finished: tuple[Path, InProcess], person: Dataset, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def note(words: Sequence[str]) -> Generator[Event, None, Cost]:
        asked.append(list(words))
        raise NerfAdError("enough")
        yield

    config = changed(rows=("full",), timed_rows=("fast",), iterations=(2,))
    out = tmp_path / "out"
    with pytest.raises(NerfAdError, match="2 of 2"):
        list(benchmark_methods_events([person.root], out, config, perform=note))
    assert [words[1] for words in asked] == ["brief"]
    assert "--minutes" in read_json(out / "methods.json")["failed"]["person fast"]["hint"]
    shutil.copytree(finished[0] / "person" / "nerf" / "3", out / "person" / "full" / "2")
    cell = out / "person" / "full" / "2" / "cell.json"
    write_json(cell, read_json(cell) | {"row": "full", "iterations": 2, "seconds": 90.0})
    with pytest.raises(NerfAdError, match=r"1 of 2 rows failed: person fast"):
        list(benchmark_methods_events([person.root], out, config, perform=note))
    words = asked[-1]
    assert words[:2] == ["train", "fast"]
    assert words[words.index("--minutes") + 1] == "1.5"
    assert words[words.index("--size") + 1] == "32"


def test_rows_of_other_methods_alone_are_compared_by_time(
    finished: tuple[Path, InProcess], person: Dataset, tmp_path: Path
) -> None:
    def copy(words: Sequence[str]) -> Generator[Event, None, Cost]:
        if words[0] == "train":
            assert words[words.index("--minutes") + 1] == "0.5"
            shutil.copytree(model_of(finished), words[3], dirs_exist_ok=True)
        else:
            write_json(Path(words[1]) / "metrics.json", {"protocol": "made up", "size": 32, "psnr": 20.0})
        yield Progress(stage="all", done=1, total=1)
        return Cost(1.0, 1.0, 1)

    config = changed(rows=(), timed_rows=("fast", "fast-ad"), minutes=0.5)
    out = tmp_path / "out"
    list(benchmark_methods_events([person.root], out, config, perform=copy))
    told = read_json(out / "methods.json")
    assert [(cell["row"], cell["iterations"], cell["minutes"]) for cell in told["cells"]] == [
        ("fast", None, 0.5), ("fast-ad", None, 0.5)
    ]  # fmt: skip
    assert (out / "person" / "timed.png").is_file()
    page, table = (out / "index.html").read_text(), (out / "table.md").read_text()
    assert 'src="person/timed.png"' in page
    assert "2 of 2" in page
    assert "### person, by time" in table
    assert "| fast (0.5 min) |" in table
    assert "iterations" not in table
    with pytest.raises(ValueError, match="minutes for the others"):
        changed(rows=(), timed_rows=("fast",))


@pytest.mark.parametrize(
    ("words", "said", "helps"),
    [
        (("--rows", "fast"), "nothing says how long", "give --minutes"),
        (("--rows", ","), "--rows is empty", "rows: full"),
        (("--minutes", "nan"), "a number above 0, not nan", "such as --minutes 30"),
        (("--every", "0"), "a whole number from 1, not 0", "--every 1"),
    ],
)
def test_wrong_options_are_refused_with_what_would_do(
    words: tuple[str, str],
    said: str,
    helps: str,
    person: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["benchmark", "methods", str(person.root), str(tmp_path / "out"), *words]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert said in error
    assert helps in hint
    assert not (tmp_path / "out").exists()

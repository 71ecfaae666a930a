"""A stage that was trained further: what follows from it begins anew, and says so, shared or not."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.paper.brief import BRIEF

from nerf_ad.core.events import Warned
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.training.checkpoint import load_facts, tensors_digest
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.train import train_events

CPU = torch.device("cpu")
LONG = PaperTrainConfig.model_validate(
    {**BRIEF.model_dump(), "attention": {**BRIEF.attention.model_dump(), "num_epochs": 8}}
)
"""Its attention is cut short by a budget of an instant."""
INSTANT = 0.002
"""Minutes. Stages after attention have 10 seconds at least, and end by their steps."""
LATER = ("classifiers", "fusion", "nerf")


def run(person: Dataset, root: Path, *, minutes: float | None = None, parts: Path | None = None) -> list[str]:
    """Train to the end; what was warned of new beginnings."""
    events = train_events(person, root, LONG, minutes=minutes, device=CPU, parts=parts)
    warnings = [event.message for event in events if isinstance(event, Warned)]
    return [message for message in warnings if "begins anew" in message]


def weights(root: Path) -> dict[str, str]:
    """Digests of everything that an avatar's training left."""
    files = [*(root / "weights").glob("*.safetensors"), *(root / "runs" / "train").glob("*.safetensors")]
    return {path.name: tensors_digest(load_file(path)) for path in files}


@pytest.fixture(scope="module")
def cut_short(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cut") / "a.avatar"
    assert run(person, root, minutes=INSTANT) == []
    assert load_facts(root / "runs" / "train" / "attention.safetensors")["step"] < 20
    return root


@pytest.fixture
def copy(cut_short: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cut_short, tmp_path / "a.avatar"))


def test_with_the_same_budget_nothing_is_done_again(person: Dataset, copy: Path) -> None:
    before = weights(copy)
    assert run(person, copy, minutes=INSTANT) == []
    assert weights(copy) == before


def test_after_a_longer_attention_all_later_stages_begin_anew(
    person: Dataset, copy: Path, tmp_path: Path
) -> None:
    warned = run(person, copy)
    assert [message.split()[2] for message in warned] == list(LATER)
    assert "trained further" in warned[0]
    assert load_facts(copy / "runs" / "train" / "attention.safetensors")["step"] == 40
    # ... and end as if they had never been made from the younger mask.
    other = tmp_path / "b.avatar"
    (other / "runs" / "train").mkdir(parents=True)
    shutil.copy2(copy / "runs" / "train" / "attention.safetensors", other / "runs" / "train")
    assert run(person, other) == []
    assert weights(other) == weights(copy)
    assert run(person, copy) == []


def test_a_new_beginning_that_was_interrupted_goes_on(person: Dataset, copy: Path) -> None:
    """What was begun anew is resumed as anything else, and later stages still begin anew."""
    for event in train_events(person, copy, LONG, device=CPU):
        if isinstance(event, Warned) and "fusion begins anew" in event.message:
            break
    assert [message.split()[2] for message in run(person, copy)] == ["fusion", "nerf"]


def test_a_stage_that_is_made_again_as_it_was_changes_nothing(person: Dataset, copy: Path) -> None:
    """The way out of a damaged resume file: delete it."""
    run(person, copy)
    before = weights(copy)
    (copy / "runs" / "train" / "classifiers.safetensors").unlink()
    assert run(person, copy) == []
    assert weights(copy) == before


def test_parts_of_a_younger_mask_are_not_taken(person: Dataset, tmp_path: Path) -> None:
    parts = tmp_path / "parts"

    def made(name: str) -> set[Path]:
        return set(parts.glob(f"{name}-*.safetensors"))

    run(person, tmp_path / "a.avatar", minutes=INSTANT, parts=parts)
    young = {name: made(name) for name in ("attention", "classifiers", "fusion")}
    assert run(person, tmp_path / "b.avatar", parts=parts) == []
    for name, files in young.items():
        assert len(files) == 1
        assert len(made(name)) == (1 if name == "attention" else 2)
        assert files <= made(name)
    # The first training takes the new ones as well; what it had of its own begins anew.
    all_made = made("classifiers") | made("fusion")
    assert [message.split()[2] for message in run(person, tmp_path / "a.avatar", parts=parts)] == ["nerf"]
    assert made("classifiers") | made("fusion") == all_made
    ours, theirs = (weights(tmp_path / f"{name}.avatar") for name in "ab")
    assert ours == theirs

"""A finished training of the paper's method goes on when it is given more steps."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.paper.brief import BRIEF

from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import read_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.presets import as_row
from nerf_ad.training.checkpoint import load_facts
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.train import train, train_events

CPU = torch.device("cpu")


def with_nerf(row: PaperTrainConfig, **values: object) -> PaperTrainConfig:
    return PaperTrainConfig.model_validate({**row.model_dump(), "nerf": {**row.nerf.model_dump(), **values}})


def test_stopping_at_a_count_and_going_on_equals_never_stopping(person: Dataset, tmp_path: Path) -> None:
    row = as_row(
        BRIEF, "no-audio-face"
    )  # with references and the temporal attention, which starts at step 12
    parts, whole = tmp_path / "parts", tmp_path / "whole.avatar"
    list(train_events(person, whole, with_nerf(row, num_steps=16), device=CPU, parts=parts))
    counted = tmp_path / "counted.avatar"
    for count in (5, 13, 16):
        list(train_events(person, counted, with_nerf(row, num_steps=count), device=CPU, parts=parts))
        assert read_json(counted / "runs" / "train" / "stages.json")["nerf"]["step"] == count
    for name in ("runs/train/nerf", "weights/head", "weights/conditions"):
        ours, theirs = (load_file(root / f"{name}.safetensors") for root in (counted, whole))
        assert ours.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert torch.equal(ours[key], tensor), (name, key)
    stages = [read_json(root / "runs" / "train" / "stages.json") for root in (whole, counted)]
    assert [sorted(found) for found in stages] == [["attention", "nerf"]] * 2
    steps = {found["attention"]["step"] for found in stages}  # trained once, told by both
    assert steps == {int(load_facts(next(parts.glob("attention-*.safetensors")))["step"])}


def test_fewer_steps_take_nothing_back(person: Dataset, tmp_path: Path) -> None:
    row, root = as_row(BRIEF, "nerf"), tmp_path / "a.avatar"
    train(person, root, with_nerf(row, num_steps=4), device=CPU)
    before = load_file(root / "weights" / "head.safetensors")
    train(person, root, with_nerf(row, num_steps=2), device=CPU)
    after = load_file(root / "weights" / "head.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_any_other_number_is_another_training(person: Dataset, tmp_path: Path) -> None:
    row, root = as_row(BRIEF, "nerf"), tmp_path / "a.avatar"
    train(person, root, with_nerf(row, num_steps=2), device=CPU)
    with pytest.raises(FormatError, match="other settings"):
        list(train_events(person, root, with_nerf(row, num_rays=32), device=CPU))

"""The row without stage 2 has nothing of stage 2, and what it leaves untaught learns from the picture."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.training.paper.brief import BRIEF

from nerf_ad.core.config import merged
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.presets import PAPER, PAPER_SMALL, as_row
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.train import train

CPU = torch.device("cpu")
CHANGES = {"model": {"conditions": {"fusion": {"paints_change": True, "num_shapes": 3}}}}


def test_no_statistics_of_the_targets_are_a_head_start(person: Dataset, tmp_path: Path) -> None:
    row = as_row(
        PaperTrainConfig.model_validate(merged(BRIEF.model_dump(), CHANGES)), "no-fusion-pretraining"
    )
    made = []
    for count in (1, 12):
        config = PaperTrainConfig.model_validate(merged(row.model_dump(), {"nerf": {"num_steps": count}}))
        root = train(person, tmp_path / "a.avatar", config, device=CPU).root
        made.append(load_file(root / "weights" / "conditions.safetensors"))
    assert not {"fusion.usual", "fusion.range", "fusion.shapes", "fusion.mix.weight"} & set(made[0])
    taught = [name for name in made[0] if name.startswith("fusion.") and name.endswith((".weight", "ih_l0"))]
    assert {name.split(".")[1] for name in taught} == {"encoder", "gru", "decoder"}
    for name in taught:
        assert not torch.equal(made[0][name], made[1][name]), name


def test_the_paper_s_own_row_is_as_it_was() -> None:
    conditions = as_row(PAPER, "no-fusion-pretraining").model.conditions
    assert conditions == PAPER.model.conditions
    small = as_row(PAPER_SMALL, "no-fusion-pretraining").model.conditions.fusion
    changed = {"paints_change", "num_shapes"}
    assert (small.paints_change, small.num_shapes) == (False, 0)
    assert small.model_dump(exclude=changed) == PAPER_SMALL.model.conditions.fusion.model_dump(
        exclude=changed
    )

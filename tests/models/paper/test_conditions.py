"""Conditions as a choice: widths, taking apart what was joined, landmarks, and heads that do not fit."""

import pytest
import torch
from pydantic import ValidationError

from nerf_ad.models.paper.audio import AudioConfig
from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.conditions import (
    ConditionConfig,
    ConditionKind,
    PaperModelConfig,
    build_conditions,
    join,
    separate,
)
from nerf_ad.models.paper.fusion import FusionConfig
from nerf_ad.models.paper.landmark_code import LandmarkCode, LandmarkCodeConfig
from nerf_ad.models.paper.nerf import NerfConditions, PaperHeadConfig

SMALL = {
    "audio": AudioConfig(code_dim=8, attended_dim=4),
    "fusion": FusionConfig(
        crop_size=32,
        encoder_widths=(2, 2, 2, 2),
        encoder_hidden=4,
        face_code_dim=5,
        gru_dim=4,
        seed_width=2,
        decoder_widths=(2, 2, 2, 2),
        output_width=2,
    ),
    "landmarks": LandmarkCodeConfig(num_points=3, widths=(4,), code_dim=6),
}
WIDTHS: dict[ConditionKind, tuple[int, int, int]] = {
    "audio-face": (8, 5, 0),
    "audio": (8, 0, 0),
    "landmarks": (0, 0, 6),
    "nothing": (0, 0, 0),
}


@pytest.mark.parametrize("kind", WIDTHS)
def test_what_is_joined_can_be_taken_apart(kind: ConditionKind) -> None:
    config = ConditionConfig.model_validate({"kind": kind, **SMALL})
    assert tuple(config.widths) == WIDTHS[kind]
    parts = NerfConditions(*(torch.rand(4, width) if width else None for width in WIDTHS[kind]))
    codes = join(parts, frames=4)
    assert codes.shape == (4, sum(WIDTHS[kind]))
    for part, found in zip(parts, separate(codes, config), strict=True):
        assert (part is None) == (found is None)
        if part is not None and found is not None:
            assert torch.equal(part, found)


@pytest.mark.parametrize("kind", WIDTHS)
def test_networks_give_the_widths_that_are_promised(kind: ConditionKind) -> None:
    config = ConditionConfig.model_validate({"kind": kind, **SMALL})
    module = build_conditions(config, channels=7)
    if isinstance(module, LandmarkCode):
        module.look(torch.rand(9, 3, 3))
    elif isinstance(module, AudioFace | AudioCode):
        module.hear(torch.rand(9, 16, 7))
    for is_smoothed in (False, True):
        made = module(torch.arange(4), is_smoothed=is_smoothed)
        assert join(made, frames=4).shape == (4, sum(WIDTHS[kind]))


def test_the_landmark_code_forgets_the_persons_scale_and_place() -> None:
    """Landmarks normalised per person: shifted and stretched coordinates give the same code."""
    points = torch.rand(20, 3, 3, generator=torch.Generator().manual_seed(0))
    codes = []
    for moved in (points, 5 * points + 2):
        torch.manual_seed(0)
        module = LandmarkCode(LandmarkCodeConfig(num_points=3, widths=(4,), code_dim=6))
        module.set_normalisation(moved)
        module.look(moved)
        codes.append(module(torch.arange(20), is_smoothed=True).landmarks)
    torch.testing.assert_close(codes[0], codes[1], rtol=1e-4, atol=1e-5)


def test_a_landmark_code_is_smoothed_over_two_frames_on_either_side() -> None:
    torch.manual_seed(0)
    module = LandmarkCode(LandmarkCodeConfig(num_points=3, widths=(4,), code_dim=6))
    base = torch.rand(20, 3, 3)
    moved = base.clone()
    moved[10] += 1
    found = []
    for points in (base, moved):
        module.look(points)
        found.append(module(torch.arange(20), is_smoothed=True).landmarks)
    changed = (found[0] - found[1]).abs().sum(dim=1) > 1e-7
    assert changed.nonzero().flatten().tolist() == [8, 9, 10, 11, 12]


@pytest.mark.parametrize(
    ("kind", "head", "wrong"),
    [
        ("audio-face", {"face_dim": 5, "offset_code_dim": 64}, "offset_code_dim"),
        ("audio-face", {"face_dim": 256, "offset_code_dim": 8}, "face_dim"),
        ("audio", {"face_dim": 0, "audio_dim": 0, "offset_code_dim": 8}, "audio_dim"),
        ("nothing", {"face_dim": 0, "landmark_dim": 6, "uses_references": False}, "landmark_dim"),
    ],
)
def test_a_head_that_reads_what_is_not_given_is_refused(
    kind: str, head: dict[str, object], wrong: str
) -> None:
    with pytest.raises(ValidationError, match=wrong):
        PaperModelConfig.model_validate({"conditions": {"kind": kind, **SMALL}, "head": head})


def test_a_head_may_read_audio_beside_the_face() -> None:
    """The input of 639 numbers of the older released model."""
    head = PaperHeadConfig(face_dim=5, audio_dim=8, offset_code_dim=8)
    PaperModelConfig(conditions=ConditionConfig.model_validate({"kind": "audio-face", **SMALL}), head=head)

"""Pre-training the action unit classifiers on mouths whose opening is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import Metric
from nerf_ad.dataset.dataset import ActionUnits
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.models.paper.au_classifier import AuClassifierConfig, AuClassifiers
from nerf_ad.training.paper.classifiers import (
    ClassifierTrainingConfig,
    fit_classifiers,
    label_weights,
    learnable_units,
    predicted_presence,
    unit_presence,
    varied,
)
from nerf_ad.training.stage import StageState

SIZE = 32
JUDGE = AuClassifierConfig(crop_size=SIZE, block_widths=((4, 8),), hidden=(16,), dropout=0.2)


def make_faces() -> tuple[torch.Tensor, torch.Tensor]:
    """A grey face with a dark mouth; unit 0 is an open mouth, unit 1, which is rare, a wide one."""
    generator = torch.Generator().manual_seed(0)
    opening, width = torch.rand(2, 120, generator=generator)
    rows, columns = torch.arange(SIZE)[:, None], torch.arange(SIZE)[None, :]
    faces = torch.full((120, 3, SIZE, SIZE), 180, dtype=torch.uint8)
    for frame in range(120):
        tall, wide = 1 + 8 * opening[frame], 5 + (6 if width[frame] > 0.85 else 0)
        faces[frame][:, ((rows - 18).abs() <= tall) & ((columns - 16).abs() <= wide)] = 30
    return faces, torch.stack([opening > 0.5, width > 0.85], dim=-1)


def make_units(rates: tuple[float, ...], num_frames: int = 100) -> ActionUnits:
    presence = np.zeros((num_frames, 6), bool)
    for column, rate in enumerate(rates):
        presence[: round(num_frames * rate), column + 1] = True
    names = ("AU1", *SPEECH_UNITS)
    return ActionUnits(presence.astype(np.float32), presence, names, names)


def make_state(path: Path, config: ClassifierTrainingConfig) -> StageState:
    torch.manual_seed(0)
    model = AuClassifiers(JUDGE, ("AU25", "AU20"))
    optimiser = torch.optim.Adam(model.parameters(), config.rate)
    state = StageState(path, model, optimiser, average_decay=0.0, seed=0, fingerprint="x")
    state.resume()
    return state


def fit(state: StageState, config: ClassifierTrainingConfig):
    faces, presence = make_faces()
    assert isinstance(state.module, AuClassifiers)
    return fit_classifiers(
        config, state.module, state, faces, presence, train=range(100), validation=range(100, 120)
    )


def test_units_that_never_or_always_occur_are_left_out_and_said_so() -> None:
    units = make_units((0.0, 1.0, 0.07, 0.5, 0.93))
    kept, warnings = learnable_units(units, range(100), ClassifierTrainingConfig(least_frames=7))
    assert kept == ("AU20", "AU25", "AU26")
    assert [warning.message.split(" of ")[0] for warning in warnings] == [
        "AU10 occurs in 0",
        "AU14 is absent in 0",
    ]
    kept, _ = learnable_units(units, range(100), ClassifierTrainingConfig(least_frames=8))
    assert kept == ("AU25",)


def test_only_training_frames_decide_what_can_be_learned() -> None:
    units = make_units((0.5, 0.5, 0.5, 0.5, 0.5))
    assert learnable_units(units, range(50), ClassifierTrainingConfig())[0] == ()


def test_labels_are_found_by_name() -> None:
    units = make_units((0.1, 0.2, 0.3, 0.4, 0.5))
    assert unit_presence(units, ("AU26", "AU10")).float().mean(dim=0).tolist() == pytest.approx([0.5, 0.1])
    with pytest.raises(FormatError, match="no AU12"):
        unit_presence(units, ("AU12",))


def test_label_weights_have_mean_one_and_favour_the_rare() -> None:
    presence = torch.zeros(100, 2, dtype=torch.bool)
    presence[:20, 0] = True
    presence[:50, 1] = True
    shown, hidden = label_weights(presence, 1.0)
    torch.testing.assert_close(shown, torch.tensor([2.5, 1.0]))  # half of the weight for each label
    torch.testing.assert_close(hidden, torch.tensor([0.625, 1.0]))
    shown, hidden = label_weights(presence, 0.0)
    torch.testing.assert_close(torch.stack([shown, hidden]), torch.ones(2, 2))


def test_faces_are_varied_without_being_changed_much() -> None:
    faces = torch.rand(64, 3, 8, 8)
    generator = torch.Generator().manual_seed(0)
    plain = ClassifierTrainingConfig(blurred_share=0.0, brightness=0.0)
    made = varied(faces, plain, generator)
    is_same = (made == faces).flatten(1).all(dim=1)
    is_mirrored = (made == faces.flip(-1)).flatten(1).all(dim=1)
    assert bool((is_same | is_mirrored).all())
    assert 16 < int(is_mirrored.sum()) < 48
    flat = varied(torch.ones(64, 3, 8, 8), ClassifierTrainingConfig(), generator)
    assert float(flat.min()) >= 0.9
    assert float(flat.max()) <= 1.1
    torch.testing.assert_close(flat, flat[:, :1, :1, :1].expand(-1, 3, 8, 8))


def test_learns_common_and_rare_units(tmp_path: Path) -> None:
    config = ClassifierTrainingConfig(num_steps=150, batch_size=16, rate=4e-3)
    state = make_state(tmp_path / "classifiers.safetensors", config)
    events = list(fit(state, config))
    told = {event.name: event.value for event in events if isinstance(event, Metric)}
    assert told["AU25 classifier accuracy"] >= 0.85
    model = state.module
    assert isinstance(model, AuClassifiers)
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())
    faces, presence = make_faces()
    said = predicted_presence(model, faces[100:])
    assert told["AU20 classifier accuracy"] == pytest.approx(
        float((said[:, 1] == presence[100:, 1]).float().mean())
    )
    rare = predicted_presence(model, faces[:100])[presence[:100, 1]]
    assert float(rare[:, 1].float().mean()) > 0.7, "not just the majority"


def test_resuming_equals_never_stopping(tmp_path: Path) -> None:
    """Dropout and random changes included."""
    config = ClassifierTrainingConfig(num_steps=20, batch_size=4)
    whole = make_state(tmp_path / "whole.safetensors", config)
    list(fit(whole, config))
    first = make_state(tmp_path / "parts.safetensors", config)
    events = fit(first, config)
    next(events)
    events.close()
    second = make_state(tmp_path / "parts.safetensors", config)
    assert second.step == 10
    list(fit(second, config))
    for name, value in whole.module.state_dict().items():
        assert torch.equal(second.module.state_dict()[name], value), name


def test_bytes_and_floats_are_judged_alike() -> None:
    torch.manual_seed(0)
    model = AuClassifiers(JUDGE, ("AU25", "AU20"))
    model.freeze()
    faces, _ = make_faces()
    said = predicted_presence(model, faces, batch_size=50)
    assert torch.equal(said, predicted_presence(model, faces.float() / 255))
    assert predicted_presence(model, faces[:0]).shape == (0, 2)

"""Which speech features a training hears, and what it is known by: other kinds of features change nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.paper.brief import BRIEF as PAPER_BRIEF
from tests.training.test_train import BRIEF

from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import EVENT, Event, Progress, Warned
from nerf_ad.core.files import write_npz
from nerf_ad.dataset.dataset import Dataset, DatasetManifest
from nerf_ad.dataset.face_crops import crops_folder
from nerf_ad.dataset.pixels import pixels_folder
from nerf_ad.presets import as_row
from nerf_ad.speech.deepspeech import ARRAYS_ID
from nerf_ad.speech.encoder import SpeechKind
from nerf_ad.training.config import AnyTrainConfig, hears, with_features_of, with_speech
from nerf_ad.training.paper.config import PaperTrainConfig
from nerf_ad.training.train import train_events

CPU = torch.device("cpu")


@pytest.fixture
def own(person: Dataset, tmp_path: Path) -> Dataset:
    root = shutil.copytree(person.root, tmp_path / "own.dataset", ignore=shutil.ignore_patterns("cache"))
    return Dataset.open(root)


def captured(dataset: Dataset, kind: SpeechKind, *, encoder: str, seed: int = 0) -> Dataset:
    """The data set after features of a kind were captured: the step's record is of these alone."""
    steps = 2 * dataset.num_frames
    features = np.random.default_rng(seed).normal(size=(steps, 29)).astype(np.float32)
    write_npz(
        dataset.layout.speech_features(kind),
        {"features": features, "rate_hz": np.array(50.0), "encoder": np.array(encoder)},
    )
    values = dataset.manifest.model_dump(mode="json", exclude_none=True)
    values["steps"]["speech"]["inputs"] = f"{kind} {encoder} {seed}"
    DatasetManifest.from_mapping(values, source="the test").save_toml(dataset.layout.manifest)
    return Dataset.open(dataset.root)


def begin(
    dataset: Dataset, root: Path, config: AnyTrainConfig, stage: str, *, parts: Path | None = None
) -> list[Event]:
    """Train until a stage has spoken."""
    seen: list[Event] = []
    for event in train_events(dataset, root, config, device=CPU, parts=parts):
        seen.append(event)
        if isinstance(event, Progress) and event.stage == stage:
            break
    return seen


def warned(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def test_caches_know_nothing_of_speech(own: Dataset) -> None:
    before = pixels_folder(own, 32), crops_folder(own, 32)
    more = captured(own, "phonemes", encoder="phoneme-encoder:1")
    assert (pixels_folder(more, 32), crops_folder(more, 32)) == before
    assert "audio" in more.inputs_for_training()  # the sound itself is a step of its own
    values = more.manifest.model_dump(mode="json", exclude_none=True)
    values["steps"]["audio"]["inputs"] = "another sound"
    other = Dataset(more.root, DatasetManifest.from_mapping(values, source="the test"))
    assert pixels_folder(other, 32) != before[0]


def test_a_training_goes_on_after_other_features_were_captured(own: Dataset, tmp_path: Path) -> None:
    begin(own, tmp_path / "a.avatar", BRIEF, "speech")
    more = captured(own, "phonemes", encoder="phoneme-encoder:1")
    seen = begin(more, tmp_path / "a.avatar", BRIEF, "head")
    assert not {"pixels", "torso", "speech"} & {event.stage for event in seen if isinstance(event, Progress)}


def test_features_of_another_encoder_are_another_training(own: Dataset, tmp_path: Path) -> None:
    first = captured(own, "phonemes", encoder="phoneme-encoder:1")
    config = with_speech(BRIEF, "phonemes")
    begin(first, tmp_path / "a.avatar", config, "torso")
    other = captured(first, "phonemes", encoder="phoneme-encoder:2")
    with pytest.raises(FormatError, match="other settings"):
        begin(other, tmp_path / "a.avatar", config, "torso")


def test_arrays_that_nobody_knows_are_known_by_their_numbers(own: Dataset) -> None:
    origins = [
        captured(own, "deepspeech", encoder=encoder, seed=seed).speech("deepspeech").origin
        for encoder, seed in ((ARRAYS_ID, 0), (ARRAYS_ID, 0), (ARRAYS_ID, 1), ("deepspeech:a", 0))
    ]
    assert origins[0] == origins[1] != origins[2]
    assert origins[0].startswith(f"{ARRAYS_ID}:")
    assert origins[3] == "deepspeech:a"


def test_a_row_that_does_not_hear_is_not_asked(own: Dataset, tmp_path: Path) -> None:
    """It was trained beside log-mel; Whisper's features come later, and it goes on."""
    row = as_row(PAPER_BRIEF, "nerf")
    assert not hears(row)
    assert warned(begin(own, tmp_path / "a.avatar", row, "nerf")) == []
    begin(captured(own, "whisper", encoder="w:1"), tmp_path / "a.avatar", row, "nerf")
    heard = as_row(PAPER_BRIEF, "ad-nerf-head")
    assert hears(heard)


def test_parts_depend_on_what_is_heard_only_where_it_is(own: Dataset, tmp_path: Path) -> None:
    parts = tmp_path / "parts"

    def made() -> dict[str, set[Path]]:
        names = ("attention", "classifiers", "fusion")
        return {name: set(parts.glob(f"{name}-*.safetensors")) for name in names}

    begin(own, tmp_path / "a.avatar", PAPER_BRIEF, "identity faces", parts=parts)
    first, more = made(), captured(own, "phonemes", encoder="phoneme-encoder:1")
    begin(more, tmp_path / "b.avatar", PAPER_BRIEF, "identity faces", parts=parts)
    assert made() == first
    begin(more, tmp_path / "c.avatar", with_speech(PAPER_BRIEF, "phonemes"), "identity faces", parts=parts)
    then = made()
    assert {name: len(files) for name, files in then.items()} == {
        "attention": 1,
        "classifiers": 1,
        "fusion": 2,
    }
    assert then["attention"] == first["attention"]


def test_log_mel_stands_in_for_whisper_and_is_scaled_as_log_mel(person: Dataset, tmp_path: Path) -> None:
    values = PAPER_BRIEF.model_dump()
    values["model"]["conditions"]["audio"]["normalised"] = False
    raw = PaperTrainConfig.model_validate(values)
    heard = with_features_of(person, raw)
    assert heard.speech.kind == "mel"
    assert heard.model.conditions.audio.normalised
    seen = begin(person, tmp_path / "a.avatar", raw, "attention")
    (said,) = warned(seen)
    assert "no whisper speech features" in said
    assert "mel is heard" in said
    lines = (tmp_path / "a.avatar" / "runs" / "train" / "events.jsonl").read_text().splitlines()
    assert EVENT.validate_json(lines[0]) == Warned(message=said)
    told = PaperTrainConfig.from_toml(tmp_path / "a.avatar" / "runs" / "train" / "config.toml")
    assert told == heard


@pytest.mark.parametrize("kind", ["phonemes", "deepspeech"])
def test_what_was_asked_for_is_never_replaced(kind: SpeechKind, person: Dataset, tmp_path: Path) -> None:
    """The person has log-mel, which would fit."""
    with pytest.raises(FormatError, match=f"no {kind} speech features") as caught:
        begin(person, tmp_path / "a.avatar", with_speech(PAPER_BRIEF, kind), "pixels")
    assert caught.value.hint is not None
    assert f"--speech {kind}" in caught.value.hint
    assert not (tmp_path / "a.avatar").exists()

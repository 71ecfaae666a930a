"""Training on the synthetic person: learns, repeats itself, survives interruption, refuses what it must."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.capture.speech import encode_speech
from nerf_ad.core.errors import BadInputError, FormatError, NerfAdError, UsageError
from nerf_ad.core.events import EVENT, Metric
from nerf_ad.core.files import write_npz
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.sampler import RaySamplingConfig
from nerf_ad.dataset.synthetic import make_person
from nerf_ad.evaluation.held_out import drive_with_recording
from nerf_ad.evaluation.picture_figures import PictureMeter
from nerf_ad.evaluation.regions import DatasetRegions
from nerf_ad.face.action_units import mouth_opening
from nerf_ad.media.audio import read_audio
from nerf_ad.metrics.landmarks import lagged_correlation
from nerf_ad.models.fields.hashed_planes import HashedPlaneFieldConfig
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.presets import TINY
from nerf_ad.rendering.drive import drive_with_audio, open_encoder
from nerf_ad.rendering.render import draw
from nerf_ad.speech.encoder import DeepSpeechConfig, SpeechFiles, build_speech_encoder
from nerf_ad.training.checkpoint import load_checkpoint, save_checkpoint
from nerf_ad.training.config import with_field, with_speech
from nerf_ad.training.head import HeadTrainingConfig
from nerf_ad.training.speech import SpeechTrainingConfig
from nerf_ad.training.torso import TorsoTrainingConfig
from nerf_ad.training.train import TrainConfig, train, train_events

BRIEF = TrainConfig(
    preset="brief",
    model=TalkingHeadConfig(
        field=TINY.model.field, grid_resolution=24, num_steps=32, num_samples=8, mouth_dim=4
    ),
    speech_code=TINY.speech_code,
    torso=TorsoTrainingConfig(num_steps=6, num_frames=2),
    speech_training=SpeechTrainingConfig(num_steps=6, batch_size=16),
    head=HeadTrainingConfig(num_steps=12, rays=RaySamplingConfig(num_rays=256, num_frames=4)),
)
LONG = TrainConfig.model_validate(
    {
        **BRIEF.model_dump(),
        "torso": {"num_steps": 100_000, "num_frames": 2},
        "head": {**BRIEF.head.model_dump(), "num_steps": 100_000},
    }
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    return train(person, tmp_path_factory.mktemp("tiny") / "person.avatar", TINY, device=CPU)


def test_features_of_the_user_s_own_are_learnt_recorded_and_spoken(
    person: Dataset, tmp_path: Path, rng: np.random.Generator
) -> None:
    own = Dataset.open(shutil.copytree(person.root, tmp_path / "own.dataset"))
    sound = read_audio(own.layout.audio)
    np.save(tmp_path / "a.npy", rng.normal(size=(2 * own.num_frames, 29)).astype(np.float32))
    files = SpeechFiles(features=tmp_path / "a.npy")
    encoder = build_speech_encoder(DeepSpeechConfig(), files)
    write_npz(own.layout.speech_features("deepspeech"), encode_speech(sound, encoder))
    avatar = train(own, tmp_path / "own.avatar", with_speech(BRIEF, "deepspeech"), device=CPU)
    told = avatar.manifest
    assert (told.speech.kind, told.speech_id, told.speech_channels) == ("deepspeech", "deepspeech:arrays", 29)
    drive = drive_with_audio(avatar, sound, encoder=open_encoder(avatar, files))
    np.testing.assert_allclose(drive.code, avatar.codes_of(own), atol=1e-6)
    with pytest.raises(UsageError, match="need a file of yours"):
        drive_with_audio(avatar, sound)


def test_the_field_to_compare_with_learns_is_saved_and_drawn(person: Dataset, tmp_path: Path) -> None:
    config = with_field(BRIEF, "hashed-planes")
    assert config.model.field == HashedPlaneFieldConfig()
    assert with_field(config, None) is config
    field = {"kind": "hashed-planes", "num_levels": 6, "base_resolution": 16, "finest_resolution": 64}
    model = {**config.model.model_dump(), "field": {**field, "log2_table_size": 10, "hidden_dim": 32}}
    head = {**config.head.model_dump(), "num_steps": 100}
    small = TrainConfig.model_validate({**config.model_dump(), "model": model, "head": head})
    root = tmp_path / "a.avatar"
    events = train_events(person, root, small, device=CPU)
    losses = [event.value for event in events if isinstance(event, Metric) and event.name == "loss"]
    assert losses[-1] < 0.6 * losses[0]
    avatar = FastAvatar.load(root, device=CPU)
    assert avatar.manifest.head.field == small.model.field
    assert TrainConfig.from_toml(root / "config.toml").model == small.model
    drive, frames = drive_with_recording(avatar, person)
    drawn = list(draw(avatar, drive))
    assert len(drawn) == len(frames)
    assert any((frame != drawn[0]).any() for frame in drawn)


def test_wanted_features_that_are_not_there_are_named(person: Dataset, tmp_path: Path) -> None:
    bare = Dataset.open(shutil.copytree(person.root, tmp_path / "bare.dataset"))
    bare.layout.speech_features("mel").unlink()
    with pytest.raises(FormatError, match="no phonemes speech features") as caught:
        train(bare, tmp_path / "bare.avatar", with_speech(BRIEF, "phonemes"), device=CPU)
    assert caught.value.hint is not None
    assert "--speech phonemes" in caught.value.hint


@pytest.mark.slow
def test_the_avatar_looks_like_the_person(trained: Avatar, person: Dataset) -> None:
    drive, frames = drive_with_recording(trained, person)
    plate = person.background()
    meter, nothing = (PictureMeter(DatasetRegions(person, person.size)) for _ in range(2))
    for index, made in zip(frames, draw(trained, drive), strict=True):
        meter.add(index, person.frame(index), made)
        nothing.add(index, person.frame(index), plate)
    figures, nobody = meter.figures(), nothing.figures()
    assert figures["psnr"] > 22
    assert figures["psnr_head"] > nobody["psnr_head"] + 6


@pytest.mark.slow
def test_lips_follow_their_own_sound_better_than_another(trained: Avatar, person: Dataset) -> None:
    drive, frames = drive_with_recording(trained, person)
    truth = mouth_opening(person.landmarks().points[frames.start : frames.stop, :, :2].astype(float))
    scores = lagged_correlation(drive.code[:, 0].astype(float), truth, reach=3)
    late = np.roll(drive.code[:, 0], 4).astype(float)
    assert abs(scores[0]) > 0.5
    assert abs(scores[0]) > abs(lagged_correlation(late, truth, reach=0)[0])


@pytest.mark.slow
def test_a_damaged_avatar_is_refused_in_one_sentence(trained: Avatar, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy.avatar"
    shutil.copytree(trained.root, copy)
    path = copy / "weights" / "head.safetensors"
    tensors = load_file(path)
    tensors.pop("field.colour_out.bias")
    save_file(tensors, path)
    with pytest.raises(FormatError, match="has changed"):
        Avatar.load(copy)
    with pytest.raises(FormatError, match=r"has no tensor field\.colour_out\.bias"):
        Avatar.load(copy, verify=False)
    text = (copy / "avatar.toml").read_text().replace("format = 1", "format = 99", 1)
    (copy / "avatar.toml").write_text(text)
    with pytest.raises(FormatError, match="avatar format 99"):
        Avatar.load(copy)


def run_until(person: Dataset, root: Path, *, stop_after: int | None = None) -> None:
    for count, _ in enumerate(train_events(person, root, BRIEF, device=CPU)):
        if stop_after is not None and count == stop_after:
            return  # the generator is closed, and its ``finally`` saves


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_stopped_and_resumed_equals_never_stopped(person: Dataset, tmp_path: Path) -> None:
    run_until(person, tmp_path / "whole.avatar")
    for stop_after in (5, 6, 7, 8):
        run_until(person, tmp_path / "parts.avatar", stop_after=stop_after)
    run_until(person, tmp_path / "parts.avatar")
    whole, parts = (FastAvatar.load(tmp_path / f"{name}.avatar") for name in ("whole", "parts"))
    for name, tensor in whole.head.state_dict().items():
        torch.testing.assert_close(parts.head.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    for name, tensor in whole.speech_code.state_dict().items():
        torch.testing.assert_close(parts.speech_code.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_events_are_logged_and_can_be_read_back(person: Dataset, tmp_path: Path) -> None:
    run_until(person, tmp_path / "a.avatar")
    lines = (tmp_path / "a.avatar" / "runs" / "train" / "events.jsonl").read_text().splitlines()
    events = [EVENT.validate_json(line) for line in lines]
    assert {event.name for event in events if isinstance(event, Metric)} >= {"loss", "psnr", "torso psnr"}


def test_another_training_in_the_same_folder_is_refused(person: Dataset, tmp_path: Path) -> None:
    run_until(person, tmp_path / "a.avatar", stop_after=5)
    other = TrainConfig.model_validate({**BRIEF.model_dump(), "seed": 7})
    with pytest.raises(BadInputError, match="other settings"):
        list(train_events(person, tmp_path / "a.avatar", other, device=CPU))


def test_a_folder_with_other_things_is_refused(person: Dataset, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    with pytest.raises(BadInputError, match="not an avatar"):
        list(train_events(person, tmp_path / "letters", BRIEF, device=CPU))
    assert (tmp_path / "letters" / "dear.txt").read_text() == "dear"


def test_more_time_goes_on_and_the_same_time_does_not(person: Dataset, tmp_path: Path) -> None:
    def steps(minutes: float) -> tuple[int, int]:
        list(train_events(person, tmp_path / "a.avatar", LONG, minutes=minutes, device=CPU))
        counts = []
        for stage in ("torso", "head"):
            found = load_checkpoint(tmp_path / "a.avatar" / "runs" / "train" / f"{stage}.safetensors")
            assert found is not None
            counts.append(int(found.facts["step"]))
        return counts[0], counts[1]

    first = steps(0.02)
    assert steps(0.02) == first
    more = steps(0.25)
    assert more[0] > first[0]
    assert more[1] > first[1]


def test_a_finished_avatar_without_its_runs_is_left_alone(person: Dataset, tmp_path: Path) -> None:
    (tmp_path / "a.avatar").mkdir()
    (tmp_path / "a.avatar" / "avatar.toml").write_text("format = 1")
    with pytest.raises(FormatError, match="finished avatar"):
        list(train_events(person, tmp_path / "a.avatar", BRIEF, device=CPU))
    assert [path.name for path in (tmp_path / "a.avatar").iterdir()] == ["avatar.toml"]


@pytest.mark.slow
def test_a_clip_captured_anew_is_not_what_the_avatar_was_trained_on(
    trained: Avatar, person: Dataset, tmp_path: Path
) -> None:
    other = make_person(tmp_path / "other.dataset", seed=1)
    with pytest.raises(FormatError, match="captured anew"):
        drive_with_recording(trained, other)


def test_what_is_not_finite_never_reaches_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "resume.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {"step": 1})
    with pytest.raises(NerfAdError, match="not finite"):
        save_checkpoint(path, {"a": torch.tensor([1.0, float("nan")])}, {"step": 2})
    found = load_checkpoint(path)
    assert found is not None
    assert found.facts == {"step": 1}


def test_a_damaged_resume_file_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "resume.safetensors"
    save_checkpoint(path, {"a": torch.ones(200)}, {"step": 1})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(FormatError, match="damaged"):
        load_checkpoint(path)


def test_a_saved_config_is_a_config(tmp_path: Path) -> None:
    BRIEF.save_toml(tmp_path / "config.toml")
    assert TrainConfig.from_toml(tmp_path / "config.toml") == BRIEF
    raw = json.loads(BRIEF.model_dump_json())
    raw["head"]["plane_ratte"] = 1.0
    with pytest.raises(FormatError, match=r"head\.plane_ratte"):
        TrainConfig.from_mapping(raw, source="given")

"""NeRF-AD's stages in front of the planes field: trained, resumed, shared, rendered, measured, inspected."""

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.training.paper.brief import BRIEF as PAPER_BRIEF
from tests.training.test_train import BRIEF as FAST_BRIEF

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.avatar.fast_ad import FastAdAvatar
from nerf_ad.cli.inspect import write_html
from nerf_ad.core.errors import FormatError
from nerf_ad.core.events import Progress, Warned
from nerf_ad.core.files import read_json, read_npz
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.sampler import RayBatch, RaySampler
from nerf_ad.evaluation.held_out import drive_with_recording, evaluate_events
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.presets import FAST, FAST_AD, PAPER_SMALL
from nerf_ad.rendering.drive import drive_with_audio
from nerf_ad.rendering.render import draw
from nerf_ad.speech.mel import MelEncoder
from nerf_ad.training.checkpoint import load_checkpoint
from nerf_ad.training.fast_ad import FastAdTrainConfig, closed_lips
from nerf_ad.training.paper.config import SharedStage
from nerf_ad.training.train import train, train_events

CPU = torch.device("cpu")
SHARED = {
    name: getattr(PAPER_BRIEF, name)
    for name in ("mask", "critic", "attention", "classifier", "classifier_training", "fusion")
}
BRIEF = FastAdTrainConfig(
    preset="brief",
    conditions=PAPER_BRIEF.model.conditions,
    model=FAST_BRIEF.model,
    torso=FAST_BRIEF.torso,
    head=FAST_BRIEF.head,
    hearing=FAST_AD.hearing,
    **SHARED,
)
STAGES = {"torso", "attention", "classifiers", "fusion", "head"}


@pytest.fixture(scope="module")
def trained(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> FastAdAvatar:
    root = tmp_path_factory.mktemp("fast-ad") / "person.avatar"
    found = train(person, root, BRIEF, device=CPU)
    assert isinstance(found, FastAdAvatar)
    return found


def same(made: torch.nn.Module, whole: torch.nn.Module) -> None:
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def test_stopped_and_resumed_equals_never_stopped(
    trained: FastAdAvatar, person: Dataset, tmp_path: Path
) -> None:
    root = tmp_path / "parts.avatar"
    for stage in ("torso", "attention", "fusion", "head", "tightening"):
        for event in train_events(person, root, BRIEF, device=CPU):
            if isinstance(event, Progress) and event.stage == stage:
                break  # the closed generator's ``finally`` saves
    parts = train(person, root, BRIEF, device=CPU)
    assert isinstance(parts, FastAdAvatar)
    same(parts.head, trained.head)
    same(parts.mouth, trained.mouth)
    assert parts.manifest.files == trained.manifest.files


def test_a_head_stopped_between_steps_goes_on_as_if_never_stopped(
    trained: FastAdAvatar, person: Dataset, tmp_path: Path
) -> None:
    """Events come every twenty steps; this stop is between two of them."""
    root = tmp_path / "parts.avatar"
    draw_rays, drawn = RaySampler.draw, list[int]()

    def interrupted(sampler: RaySampler, *, with_patch: bool = False) -> RayBatch:
        if len(drawn) == 5:
            raise KeyboardInterrupt
        drawn.append(1)
        return draw_rays(sampler, with_patch=with_patch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RaySampler, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(person, root, BRIEF, device=CPU)
    kept = load_checkpoint(root / "runs" / "train" / "head.safetensors")
    assert kept is not None
    assert kept.facts["step"] == 5
    parts = train(person, root, BRIEF, device=CPU)
    assert isinstance(parts, FastAdAvatar)
    same(parts.head, trained.head)
    same(parts.mouth, trained.mouth)


def test_the_head_teaches_what_hears_and_leaves_the_painter_alone(trained: FastAdAvatar) -> None:
    runs = trained.root / "runs" / "train"
    assert {path.stem for path in runs.glob("*.safetensors")} == STAGES
    best = load_file(runs / "fusion.safetensors")
    kept = trained.mouth.conditions.state_dict()
    for name, value in kept.items():
        if name.startswith("fusion."):
            key = "module.best." + ("face" + name.removeprefix("fusion")).replace(".", "/")
            torch.testing.assert_close(best[key], value, rtol=0, atol=0, msg=name)
    learnt = best["module.best.audio/net/answer/2/weight"]
    assert not torch.equal(learnt, kept["audio.net.answer.2.weight"])


def test_stages_that_the_papers_method_made_are_found(
    trained: FastAdAvatar, person: Dataset, tmp_path: Path
) -> None:
    parts, seen = tmp_path / "parts", []
    for event in train_events(person, tmp_path / "paper.avatar", PAPER_BRIEF, device=CPU, parts=parts):
        if isinstance(event, Progress) and event.stage == "identity faces":
            break
    made = sorted(parts.glob("*.safetensors"))
    assert {path.stem.split("-")[0] for path in made} == STAGES - {"torso", "head"}
    for event in train_events(person, tmp_path / "a.avatar", BRIEF, device=CPU, parts=parts):
        seen += [event.stage] if isinstance(event, Progress) else []
    assert sorted(parts.glob("*.safetensors")) == made
    assert not {"attention", "action units", "fusion"} & set(seen)
    found = FastAdAvatar.load(tmp_path / "a.avatar")
    same(found.mouth, trained.mouth)


def test_a_head_begins_anew_where_what_it_hears_with_was_taught_further(
    person: Dataset, tmp_path: Path
) -> None:
    values = BRIEF.model_dump()
    values["attention"]["num_epochs"] = 8
    config, root = FastAdTrainConfig.model_validate(values), tmp_path / "a.avatar"

    def warned(minutes: float | None) -> list[str]:
        events = train_events(person, root, config, minutes=minutes, device=CPU)
        said = [event.message for event in events if isinstance(event, Warned)]
        return [message.split()[2] for message in said if "begins anew" in message]

    assert warned(0.002) == []  # attention has an instant, the others end by their steps
    assert warned(None) == ["classifiers", "fusion", "head"]
    assert warned(None) == []


def speech(person: Dataset, seconds: float) -> Waveform:
    sound = read_audio(person.layout.audio)
    return sound._replace(samples=sound.samples[: round(seconds * sound.rate)])


def test_new_audio_is_spoken_and_pauses_are_rest(trained: FastAdAvatar, person: Dataset) -> None:
    drive = drive_with_audio(trained, speech(person, 0.4), encoder=MelEncoder())
    frames = list(draw(trained, drive))
    assert len(frames) == 10
    assert frames[0].shape == (96, 96, 3)
    silence = Waveform(np.zeros(16000, np.float32), 16000)
    quiet = drive_with_audio(trained, silence, encoder=MelEncoder()).code
    assert np.abs(quiet - trained.mouth.rest.numpy()).max() < 1e-6


def test_a_frames_code_is_what_training_saw(trained: FastAdAvatar, person: Dataset) -> None:
    """Held-out sound and the clip's own take the same way."""
    track = person.speech("mel")
    mouth = trained.mouth
    windows = mouth.conditions.audio.windows(torch.from_numpy(track.features).float(), 50.0, 100, 25.0)
    mouth.conditions.hear(windows)
    with torch.no_grad():
        training = mouth(torch.arange(100)).numpy()
    loud = Waveform(np.random.default_rng(0).normal(0, 0.3, 64000).astype(np.float32), 16000)
    spoken = trained.speak(loud, track.features, 50.0, 100)
    np.testing.assert_allclose(spoken[20:80], training[20:80], atol=1e-4)


def test_it_is_measured_and_inspected_as_the_others(
    trained: FastAdAvatar, person: Dataset, tmp_path: Path
) -> None:
    list(evaluate_events(trained, person, out=tmp_path))
    told = read_json(tmp_path / "metrics.json")
    assert "own torso" in told["protocol"]
    assert 5 < told["psnr"] < 60
    kept = read_npz(trained.root / "anatomy.npz")
    assert {"masks", "targets", "decoded", "probability"} <= set(kept)
    assert write_html(trained.root).is_file()


def test_it_is_no_other_avatar_and_a_damaged_one_is_refused(trained: FastAdAvatar, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="another method: fast-ad"):
        FastAvatar.load(trained.root)
    copy = tmp_path / "copy.avatar"
    shutil.copytree(trained.root, copy)
    path = copy / "weights" / "conditions.safetensors"
    tensors = load_file(path)
    tensors.pop("projection.bias")
    save_file(tensors, path)
    with pytest.raises(FormatError, match="has changed"):
        Avatar.load(copy)
    with pytest.raises(FormatError, match=r"has no tensor projection\.bias"):
        Avatar.load(copy, verify=False)


def test_faces_can_be_left_out(person: Dataset, tmp_path: Path) -> None:
    """The kind ``audio``: f_a itself is projected, and no face is parted or painted."""
    values = BRIEF.model_dump()
    values["conditions"]["kind"] = "audio"
    avatar = train(person, tmp_path / "a.avatar", FastAdTrainConfig.model_validate(values), device=CPU)
    files = {path.stem for path in (avatar.root / "runs" / "train").glob("*.safetensors")}
    assert files == {"torso", "head"}
    assert not (avatar.root / "anatomy.npz").exists()
    assert len(list(draw(avatar, drive_with_recording(avatar, person)[0].only(np.arange(2))))) == 2
    values["conditions"]["kind"] = "landmarks"
    with pytest.raises(ValueError, match="do not hear"):
        FastAdTrainConfig.model_validate(values)


def test_closed_lips_are_the_tenth_with_the_least_gap() -> None:
    lips = np.zeros((30, 2, 3), np.float32)
    lips[:, 0, 1] = np.random.default_rng(0).permutation(30) + 1.0
    closed = closed_lips(lips)
    assert sorted(lips[closed.numpy(), 0, 1].tolist()) == [1.0, 2.0, 3.0]


def test_the_preset_parts_and_paints_as_paper_small_does_and_has_the_field_of_fast() -> None:
    for stage in get_args(SharedStage):
        assert FAST_AD.stage_facts(stage) == PAPER_SMALL.stage_facts(stage)
    assert FAST_AD.model == FAST.model
    assert FAST_AD.torso == FAST.torso

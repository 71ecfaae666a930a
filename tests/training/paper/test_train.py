"""The paper's method from data set to measured avatar, in small: whole, resumed, damaged, and every row."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.training.paper.brief import BRIEF

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.avatar.paper import PaperAvatar
from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.core.events import Metric, Progress
from nerf_ad.core.files import read_json, read_npz
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import fit_picture
from nerf_ad.evaluation.held_out import drive_with_recording, evaluate_events
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.models.paper.audio_face import AudioFace
from nerf_ad.presets import PAPER, PAPER_SMALL, ROWS, as_row
from nerf_ad.rendering.drive import drive_with_audio
from nerf_ad.rendering.render import draw
from nerf_ad.speech.mel import MelEncoder
from nerf_ad.training.paper.config import PaperTrainConfig, Row
from nerf_ad.training.paper.nerf_config import NerfTrainingConfig
from nerf_ad.training.train import train, train_events

CPU = torch.device("cpu")
STAGES = ("attention", "classifiers", "fusion", "nerf")


@pytest.fixture(scope="module")
def trained(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> PaperAvatar:
    root = tmp_path_factory.mktemp("paper") / "person.avatar"
    found = train(person, root, BRIEF, device=CPU)
    assert isinstance(found, PaperAvatar)
    return found


def speech(person: Dataset, seconds: float) -> Waveform:
    sound = read_audio(person.layout.audio)
    return sound._replace(samples=sound.samples[: round(seconds * sound.rate)])


def run_until(person: Dataset, root: Path, config: PaperTrainConfig, stage: str | None) -> None:
    """Train until a stage has spoken; the closed generator's ``finally`` saves."""
    for event in train_events(person, root, config, device=CPU):
        if isinstance(event, Progress) and event.stage == stage:
            return


def test_stopped_and_resumed_equals_never_stopped(
    trained: PaperAvatar, person: Dataset, tmp_path: Path
) -> None:
    root = tmp_path / "parts.avatar"
    for stage in ("faces", "attention", "audio faces", "action units", "fusion", "identity faces", "nerf"):
        run_until(person, root, BRIEF, stage)
    parts = train(person, root, BRIEF, device=CPU)
    assert isinstance(parts, PaperAvatar)
    for made, whole in ((parts.head, trained.head), (parts.conditions, trained.conditions)):
        for name, tensor in whole.state_dict().items():
            torch.testing.assert_close(made.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert parts.manifest.files == trained.manifest.files


def test_stages_learn_what_they_shall_and_keep_what_is_frozen(trained: PaperAvatar) -> None:
    """Stage 3 moves AudioNet on and leaves E_a, GRU and D as stage 2 ended."""
    runs = trained.root / "runs" / "train"
    found = {stage: load_file(runs / f"{stage}.safetensors") for stage in STAGES}
    kept = trained.conditions.state_dict()
    best = {name: value for name, value in found["fusion"].items() if name.startswith("module.best.")}
    for name, value in kept.items():
        if name.startswith("fusion."):
            key = "module.best." + ("face" + name.removeprefix("fusion")).replace(".", "/")
            torch.testing.assert_close(best[key], value, rtol=0, atol=0, msg=name)
    learnt = best["module.best.audio/net/answer/2/weight"]
    assert not torch.equal(learnt, kept["audio.net.answer.2.weight"])


def test_new_audio_walks_over_the_clips_own_torsos(trained: PaperAvatar, person: Dataset) -> None:
    drive = drive_with_audio(trained, speech(person, 0.2), encoder=MelEncoder())
    frames = list(draw(trained, drive))
    assert len(frames) == 5
    assert drive.place.tolist() == [0, 1, 2, 3, 4]
    size = trained.manifest.size
    assert np.array_equal(trained.torso(7), fit_picture(person.torso(7), size))
    # Where no ray meets the head, a frame is the torso of its own place before the plate.
    rgba = trained.torso(3).astype(np.float64) / 255
    plate = fit_picture(person.background(), size).astype(np.float64) / 255
    behind = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:]) * plate
    assert np.abs(frames[3][-1] / 255 - behind[-1]).max() < 0.01


def test_another_background_stands_behind(trained: PaperAvatar, person: Dataset) -> None:
    drive = drive_with_audio(trained, speech(person, 0.04), encoder=MelEncoder())
    white = np.full((32, 32, 3), 255, np.uint8)
    frame = next(iter(draw(trained, drive, background=white)))
    assert frame[0, 0].tolist() == [255, 255, 255]


def test_poses_of_ones_own_are_refused(trained: PaperAvatar, person: Dataset) -> None:
    poses = trained.motion.camera_to_world[:3]
    with pytest.raises(BadInputError, match="torso pictures"):
        drive_with_audio(trained, speech(person, 0.1), encoder=MelEncoder(), poses=poses)


def test_a_long_sound_gives_the_codes_of_the_whole(trained: PaperAvatar, person: Dataset) -> None:
    """Piece by piece or all at once, a frame hears the same."""
    from nerf_ad.models.paper.conditions import conditions_from_speech, join

    face = trained.conditions
    assert isinstance(face, AudioFace)
    features = torch.from_numpy(person.speech("mel").features).float()
    pieces = conditions_from_speech(face, features, 50.0, 90, 25.0, is_smoothed=True, chunk=16)
    face.hear(face.audio.windows(features, 50.0, 90, 25.0))
    with torch.no_grad():
        whole = join(face(torch.arange(90), is_smoothed=True), frames=90)
    torch.testing.assert_close(pieces, whole)


def test_held_out_frames_stand_on_their_own_torso(
    trained: PaperAvatar, person: Dataset, tmp_path: Path
) -> None:
    drive, frames = drive_with_recording(trained, person)
    assert drive.torso is not None
    assert np.array_equal(drive.torso(frames[0]), fit_picture(person.torso(frames[0]), 32))
    list(evaluate_events(trained, person, out=tmp_path))
    told = read_json(tmp_path / "metrics.json")
    assert "recorded torso of the same frame" in told["protocol"]
    assert told["frames"] == [frames.start, frames.stop]
    assert 5 < told["psnr"] < 60


def test_what_the_stages_made_is_kept_to_be_looked_at(trained: PaperAvatar, person: Dataset) -> None:
    held = person.split().test
    kept = read_npz(trained.root / "anatomy.npz")
    assert kept["frames"].tolist() == list(held)
    assert kept["masks"].shape == (len(held), 32, 32)
    crops, masks = kept["crops"].astype(float), kept["masks"][..., None] / 255
    assert np.abs(kept["targets"] - (1 - masks) * crops).max() <= 2
    assert kept["probability"].shape == (len(held), len(kept["classified"]))


def test_every_iteration_costs_are_told_and_first_losses_are(person: Dataset, tmp_path: Path) -> None:
    config = as_row(BRIEF, "nerf")
    events = list(train_events(person, tmp_path / "a.avatar", config, device=CPU))
    metrics = [event for event in events if isinstance(event, Metric)]
    losses = [event for event in metrics if event.name == "nerf loss"]
    assert [event.step for event in losses][:20] == list(range(1, 21))
    assert {"nerf seconds per step", "peak memory GB"} <= {event.name for event in metrics}


@pytest.mark.parametrize("damage", ["weights/head", "weights/conditions", "torso", "method"])
def test_a_damaged_avatar_is_refused_in_one_sentence(
    damage: str, trained: PaperAvatar, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.avatar"
    shutil.copytree(trained.root, copy)
    match damage:
        case "torso":
            (copy / "assets" / "torso.zip").write_bytes(b"PK nonsense")
            wanted = r"torso\.zip is damaged"
        case "method":
            text = (copy / "avatar.toml").read_text().replace('method = "paper"', 'method = "magic"', 1)
            (copy / "avatar.toml").write_text(text)
            wanted = "method 'magic'"
        case _:
            path = copy / f"{damage}.safetensors"
            tensors = load_file(path)
            name = sorted(tensors)[0]
            tensors.pop(name)
            save_file(tensors, path)
            with pytest.raises(FormatError, match="has changed"):
                Avatar.load(copy)
            wanted = f"has no tensor {name}"
    with pytest.raises(FormatError, match=wanted):
        Avatar.load(copy, verify=False)


def test_a_paper_avatar_is_no_fast_one(trained: PaperAvatar) -> None:
    with pytest.raises(FormatError, match="another method"):
        FastAvatar.load(trained.root)


NEEDS: dict[Row, tuple[str, ...]] = {
    "full": STAGES,
    "no-au-loss": ("attention", "fusion", "nerf"),
    "no-fusion-pretraining": ("attention", "nerf"),
    "no-audio-face": ("attention", "nerf"),
    "no-disentanglement": ("classifiers", "fusion", "nerf"),
    "dfrf": ("nerf",),
    "ad-nerf-head": ("nerf",),
    "geneface": ("nerf",),
    "nerf": ("nerf",),
}


@pytest.mark.parametrize("row", [row for row in ROWS if row != "full"])
def test_a_row_trains_the_stages_it_needs_and_no_others(row: Row, person: Dataset, tmp_path: Path) -> None:
    avatar = train(person, tmp_path / "a.avatar", as_row(BRIEF, row), device=CPU)
    files = {path.stem for path in (avatar.root / "runs" / "train").glob("*.safetensors")}
    assert files == set(NEEDS[row])
    frame = next(iter(draw(avatar, drive_with_recording(avatar, person)[0])))
    assert frame.shape == (32, 32, 3)
    if row == "geneface":
        with pytest.raises(BadInputError, match="landmarks"):
            drive_with_audio(avatar, speech(person, 0.1), encoder=MelEncoder())
    else:
        assert len(drive_with_audio(avatar, speech(person, 0.1), encoder=MelEncoder()).code) == 2


@pytest.mark.parametrize("row", ROWS)
def test_rows_change_what_they_say_and_nothing_else(row: Row) -> None:
    for preset in (PAPER, PAPER_SMALL):
        made = as_row(preset, row)
        assert made.row == row
        assert made.nerf == preset.nerf  # same rays and seeds
        assert made.model.head.field == preset.model.head.field
        assert as_row(made, row) == made
    inputs = as_row(PAPER, row).model.head
    speech = inputs.face_dim + inputs.audio_dim + inputs.landmark_dim
    wanted = {"geneface": 64, "nerf": 0, "dfrf": 64, "ad-nerf-head": 64, "no-audio-face": 64}
    assert speech == wanted.get(row, 256)
    assert inputs.uses_references == (row not in ("geneface", "nerf", "ad-nerf-head"))


def test_the_paper_preset_has_the_papers_numbers() -> None:
    in_parts = NerfTrainingConfig(rays_at_once=PAPER.nerf.rays_at_once)  # the same gradients, less memory
    assert PaperTrainConfig(preset="paper", model=PAPER.model, nerf=in_parts) == PAPER
    model = PaperTrainConfig(preset="paper").model
    assert PAPER.model.head == model.head
    assert PAPER.model.conditions.fusion == model.conditions.fusion


def test_faces_at_rest_that_see_the_pose(person: Dataset, tmp_path: Path) -> None:
    """Our two extensions: the code of a frame depends on the pose that it is spoken in."""
    values = BRIEF.model_dump()
    values["rests_faces"] = True
    values["model"]["conditions"]["fusion"]["sees_pose"] = True
    avatar = train(person, tmp_path / "a.avatar", PaperTrainConfig.model_validate(values), device=CPU)
    track = person.speech("mel")
    poses = person.tracking().camera_to_world
    here, there = (
        avatar.speak(speech(person, 4.0), track.features, 50.0, 20, camera_to_world=given)
        for given in (poses[:20], poses[40:60])
    )
    width = BRIEF.model.conditions.audio.code_dim
    assert np.array_equal(here[:, :width], there[:, :width])
    assert not np.allclose(here[:, width:], there[:, width:])
    assert len(drive_with_audio(avatar, speech(person, 0.1), encoder=MelEncoder()).code) == 2


def test_one_mask_and_painted_changes(person: Dataset, tmp_path: Path) -> None:
    """Our other extensions reach the avatar: its usual face is the median of faces cut out with one mask."""
    values = BRIEF.model_dump()
    values["fusion"]["steadies_mask"] = True
    values["model"]["conditions"]["fusion"] |= {"paints_change": True, "num_shapes": 3}
    avatar = train(person, tmp_path / "a.avatar", PaperTrainConfig.model_validate(values), device=CPU)
    assert isinstance(avatar, PaperAvatar)
    assert isinstance(avatar.conditions, AudioFace)
    kept = load_file(avatar.root / "weights" / "conditions.safetensors")
    usual = avatar.conditions.fusion.usual
    assert usual is not None
    assert usual.max() > 0
    torch.testing.assert_close(kept["fusion.usual"], usual)
    assert kept["fusion.shapes"].shape == (3, 3, 32, 32)

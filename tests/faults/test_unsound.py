"""Avatars, data sets and choices that contradict themselves: one sentence, exit code 2, nothing written."""

import hashlib
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tomli_w
import torch
from safetensors.torch import load_file, save_file

from nerf_ad.avatar.avatar import Avatar, Motion
from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.cli.main import main
from nerf_ad.core.files import write_text
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.expression import encode_expression, fit_expression_basis
from nerf_ad.dataset.head_landmarks import HeadLandmarks
from nerf_ad.models.speech_code import SpeechCode
from nerf_ad.models.talking_head import TalkingHead
from nerf_ad.presets import TINY
from nerf_ad.speech.encoder import MelConfig

SIZE = 32

Said = pytest.CaptureFixture[str]


def refused(said: Said, *words: object) -> str:
    """Run the command line, which must refuse; gives its sentence."""
    code = main([str(word) for word in words])
    lines = [line for line in said.readouterr().err.splitlines() if not line.startswith("{")]
    assert code == 2, lines
    assert [line.split(":")[0] for line in lines] in (["error"], ["error", "hint"])
    return lines[0]


@pytest.fixture(scope="module")
def made(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar that was never trained, but is whole."""
    root = tmp_path_factory.mktemp("avatars") / "a.avatar"
    tracking = person.tracking()
    points = HeadLandmarks.of(person)
    basis = fit_expression_basis(points, person.split().train, mouth_dim=TINY.model.mouth_dim)
    manifest = FastManifest(
        name="a",
        made_by="a test",
        preset="tiny",
        fps=25,
        size=SIZE,
        head=TINY.model,
        speech_code=TINY.speech_code,
        speech=MelConfig(),
        speech_channels=80,
        speech_id="mel:1",
        source_sha256="0" * 64,
    )
    motion = Motion(
        tracking.camera_to_world.astype(np.float32),
        encode_expression(points, basis).eyes,
        np.zeros(1, np.int64),
        np.array([0, 90]),
    )
    head = TalkingHead(TINY.model, size=SIZE)
    code = SpeechCode(TINY.speech_code, channels=80, out_dim=TINY.model.mouth_dim)
    FastAvatar(manifest, head, code, basis, motion, root).save()
    Avatar.load(root)
    return root


@pytest.fixture
def avatar(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a.avatar"))


@pytest.fixture
def clip(person: Dataset, tmp_path: Path) -> Path:
    return Path(shutil.copytree(person.root, tmp_path / "a.dataset", ignore=shutil.ignore_patterns("cache")))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", np.full(4000, 0.1, np.float32), 16_000)
    return tmp_path / "a.wav"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit an avatar's or data set's manifest as its owner might."""
    values = tomllib.loads(path.read_text())
    edit(values)
    write_text(path, tomli_w.dumps(values))


def sign(avatar: Path, name: str) -> None:
    """Enter the changed file's hash, so that only its content can be refused."""
    digest = hashlib.sha256((avatar / name).read_bytes()).hexdigest()
    change(avatar / "avatar.toml", lambda values: values["files"].update({name: digest}))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("", "size", 2**40),
        ("", "fps", 0),
        ("", "speech_channels", 81),
        ("head", "grid_resolution", 500),
        ("head", "grid_resolution", 100_000),
        ("head", "num_steps", 10**30),
        ("speech_code", "num_members", 10**9),
        ("speech_code", "reach", 9),
    ],
)
def test_a_manifest_that_lies_about_sizes(
    part: str, key: str, value: int, avatar: Path, sound: Path, capsys: Said, tmp_path: Path
) -> None:
    change(avatar / "avatar.toml", lambda values: (values[part] if part else values).update({key: value}))
    refused(capsys, "render", avatar, sound, tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


@pytest.mark.parametrize("fault", ["missing", "shape", "nan", "complex"])
def test_tensors_that_do_not_fit(fault: str, avatar: Path, sound: Path, capsys: Said, tmp_path: Path) -> None:
    name = "weights/speech.safetensors"
    tensors = load_file(avatar / name)
    scale = tensors.pop("scale")
    if fault != "missing":
        wrong = {"shape": scale[:3], "nan": scale * torch.nan, "complex": scale.to(torch.complex64)}
        tensors["scale"] = wrong[fault].contiguous()
    save_file(tensors, avatar / name)
    sign(avatar, name)
    assert "scale" in refused(capsys, "render", avatar, sound, tmp_path / "o.mp4")


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("camera_to_world", np.zeros((100, 4, 4))),
        ("camera_to_world", np.tile(np.eye(4), (3, 1, 1))),
        ("eyes", np.full((100, 5), np.nan)),
        ("train_frames", np.array([0, 1000])),
        ("shots", np.array(["0"])),
    ],
)
def test_motion_that_cannot_be(
    array: str, value: np.ndarray, avatar: Path, sound: Path, capsys: Said, tmp_path: Path
) -> None:
    name = "assets/poses.npz"
    with np.load(avatar / name) as archive:
        arrays = {**archive, array: value}
    np.savez(avatar / name, **arrays)
    sign(avatar, name)
    assert "poses.npz" in refused(capsys, "render", avatar, sound, tmp_path / "o.mp4")


@pytest.mark.parametrize(
    "choice",
    [
        ("--start", "nan"),
        ("--start", "inf"),
        ("--seconds", "nan"),
        ("--seconds", "inf"),
        ("--device", "meta"),
    ],
)
def test_numbers_that_are_none(
    choice: tuple[str, str], made: Path, sound: Path, capsys: Said, tmp_path: Path
) -> None:
    refused(capsys, "render", made, sound, tmp_path / "o.mp4", *choice)


@pytest.mark.parametrize(
    "poses",
    [np.zeros((5, 4, 4)), np.full((5, 4, 4), "a"), np.tile(7 * np.eye(4), (5, 1, 1)), np.eye(4)[None] * 1j],
)
def test_poses_that_are_none(
    poses: np.ndarray, made: Path, sound: Path, capsys: Said, tmp_path: Path
) -> None:
    np.savez(tmp_path / "poses.npz", camera_to_world=poses)
    refused(capsys, "render", made, sound, tmp_path / "o.mp4", "--poses", tmp_path / "poses.npz")


def test_a_folder_or_an_endless_name_for_the_video(
    made: Path, sound: Path, capsys: Said, tmp_path: Path
) -> None:
    (tmp_path / "o.mp4").mkdir()
    assert "is a folder" in refused(capsys, "render", made, sound, tmp_path / "o.mp4")
    assert "too long" in refused(capsys, "render", made, sound, tmp_path / f"{'x' * 300}.mp4")
    assert "UTF-8" in refused(capsys, "render", made, sound, "\udcff.mp4")


def test_sound_that_overflows(made: Path, capsys: Said, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.full(4000, 1e38, np.float32), 16_000, subtype="FLOAT")
    refused(capsys, "render", made, tmp_path / "loud.wav", tmp_path / "o.mp4")


@pytest.mark.parametrize(
    ("key", "value"),
    [("size", 0), ("size", 104), ("num_frames", 0), ("num_frames", 99), ("fps", 0), ("shots", [0, 10**6])],
)
def test_a_dataset_that_lies(key: str, value: object, clip: Path, capsys: Said, tmp_path: Path) -> None:
    change(clip / "dataset.toml", lambda values: values.update({key: value}))
    refused(capsys, "train", "tiny", clip, tmp_path / "b.avatar")
    assert not (tmp_path / "b.avatar" / "avatar.toml").exists()


@pytest.mark.parametrize(
    "split",
    ["[]", "{}", '{"train": [0, 1], "test": [1, 100]}', '{"train": [0, 1000], "test": [0, 1]}', "[" * 10**5],
)
def test_a_split_that_leaves_the_clip(split: str, clip: Path, capsys: Said, tmp_path: Path) -> None:
    (clip / "split.json").write_text(split)
    assert "split.json" in refused(capsys, "train", "tiny", clip, tmp_path / "b.avatar")


@pytest.mark.parametrize(
    ("file", "array", "value"),
    [
        ("tracking", "camera_to_world", np.full((100, 4, 4), np.nan)),
        ("tracking", "focal length", np.zeros(4)),
        ("landmarks", "points", np.zeros((3, 478, 3))),
        ("speech/mel", "features", np.zeros((0, 80))),
        ("speech/mel", "rate_hz", np.array(0.0)),
    ],
)
def test_arrays_that_do_not_fit(
    file: str, array: str, value: np.ndarray, clip: Path, capsys: Said, tmp_path: Path
) -> None:
    with np.load(clip / f"{file}.npz") as archive:
        arrays = {**archive, {"focal length": "intrinsics"}.get(array, array): value}
    np.savez(clip / f"{file}.npz", **arrays)
    dataset = Dataset.open(clip)
    read = {"tracking": dataset.tracking, "landmarks": dataset.landmarks}.get(
        file, lambda: dataset.speech("mel")
    )
    with pytest.raises(Exception, match=array) as caught:
        read()
    assert caught.type.__name__ == "FormatError"


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1"])
def test_minutes_that_are_none(minutes: str, person: Dataset, capsys: Said, tmp_path: Path) -> None:
    refused(capsys, "train", "tiny", person.root, tmp_path / "b.avatar", "--minutes", minutes)
    assert not (tmp_path / "b.avatar").exists()


@pytest.mark.parametrize("every", ["0", "-3"])
def test_frames_that_are_none(every: str, avatar: Path, clip: Path, capsys: Said) -> None:
    said = refused(capsys, "evaluate", avatar, clip, "--every", every)
    assert said == f"error: --every must be a whole number from 1, not {every}"


def test_landmarks_that_are_none_leave_nothing_behind(person: Dataset, capsys: Said, tmp_path: Path) -> None:
    from tests.talker import WITHOUT_WEIGHTS

    from nerf_ad.capture.capture import capture
    from nerf_ad.core.errors import FormatError
    from nerf_ad.media.video import VideoWriter

    with VideoWriter(tmp_path / "a.mp4", (64, 64), preset="ultrafast") as writer:
        for _ in range(5):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    np.savez(tmp_path / "zero.npz", points=np.zeros((5, 478, 3), np.float32))
    with pytest.raises(FormatError, match="no faces"):
        capture(
            tmp_path / "a.mp4",
            tmp_path / "b.dataset",
            config=WITHOUT_WEIGHTS,
            landmarks=tmp_path / "zero.npz",
        )
    assert not (tmp_path / "b.dataset").exists()

"""The walk through the clip's poses, and the encoder that an avatar asks for."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.avatar.manifest import FastManifest
from nerf_ad.core.errors import FormatError, UsageError
from nerf_ad.models.speech_code import SpeechCodeConfig
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.rendering.drive import Drive, open_encoder, walk
from nerf_ad.speech.deepspeech import ARRAYS_ID
from nerf_ad.speech.encoder import DeepSpeechConfig, MelConfig, SpeechConfig, SpeechFiles


def test_the_walk_turns_round_without_a_jump() -> None:
    path = walk(1000, np.array([0, 30, 90]), (0, 120))
    assert path.min() == 30
    assert path.max() == 89
    assert np.abs(np.diff(path)).max() == 1


def test_the_walk_stays_on_training_frames() -> None:
    path = walk(500, np.array([0]), (10, 40))
    assert set(path) == set(range(10, 40))


def test_a_clip_of_one_frame_stands_still() -> None:
    assert set(walk(7, np.array([0]), (3, 4))) == {3}


def avatar_of(speech: SpeechConfig, speech_id: str) -> FastAvatar:
    """An avatar that only knows what it hears."""
    avatar = object.__new__(FastAvatar)
    avatar.root = Path("person.avatar")
    avatar.manifest = FastManifest(
        name="person",
        made_by="0",
        preset="tiny",
        fps=25,
        size=96,
        speech=speech,
        speech_channels=29,
        speech_id=speech_id,
        source_sha256="0" * 64,
        head=TalkingHeadConfig(),
        speech_code=SpeechCodeConfig(),
    )
    return avatar


@pytest.fixture
def features(tmp_path: Path) -> SpeechFiles:
    np.save(tmp_path / "a.npy", np.zeros((100, 29)))
    return SpeechFiles(features=tmp_path / "a.npy")


@pytest.mark.parametrize("speech_id", [ARRAYS_ID, "deepspeech:0123456789ab"])
def test_an_avatar_of_deepspeech_asks_for_a_file_and_takes_arrays(
    speech_id: str, features: SpeechFiles
) -> None:
    avatar = avatar_of(DeepSpeechConfig(), speech_id)
    with pytest.raises(UsageError, match="need a file of yours") as caught:
        open_encoder(avatar)
    assert caught.value.hint is not None
    assert "--speech-model" in caught.value.hint
    assert open_encoder(avatar, features).id == ARRAYS_ID


def test_another_network_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from tests.speech.test_deepspeech import network

    (tmp_path / "d.onnx").write_bytes(network())
    files = SpeechFiles(model=tmp_path / "d.onnx")
    own = open_encoder(avatar_of(DeepSpeechConfig(), ARRAYS_ID), files).id
    assert open_encoder(avatar_of(DeepSpeechConfig(), own), files).id == own
    with pytest.raises(FormatError, match=f"trained with deepspeech:0123456789ab features, here is {own}"):
        open_encoder(avatar_of(DeepSpeechConfig(), "deepspeech:0123456789ab"), files)


def test_files_are_for_avatars_of_deepspeech(features: SpeechFiles) -> None:
    assert open_encoder(avatar_of(MelConfig(), "mel:1")).id == "mel:1"
    with pytest.raises(UsageError, match="cannot serve mel features"):
        open_encoder(avatar_of(MelConfig(), "mel:1"), features)


def test_a_pose_comes_again_until_its_last_time() -> None:
    place = np.array([0, 1, 2, 1, 0])
    poses = np.broadcast_to(np.eye(4, dtype=np.float32), (5, 4, 4)).copy()
    poses[:, 0, 3] = place
    eyes = np.zeros((5, 2), np.float32)
    drive = Drive(np.random.default_rng(0).normal(size=(5, 3)), eyes, poses, place)
    assert drive.comes_again().tolist() == [True, True, False, False, False]
    eyes[3] = 1.0  # other eyes: another face
    assert drive.comes_again().tolist() == [True, False, False, False, False]
    assert drive.only(np.arange(3)).comes_again().tolist() == [False, False, False]
    assert drive.only(np.arange(0)).comes_again().tolist() == []

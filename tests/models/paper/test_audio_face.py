"""The conditions of stage 3: what they hear, what learns through them, and what is saved."""

import pytest
import torch

from nerf_ad.models.paper.audio import AudioBranch, AudioConfig
from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.fusion import FusionConfig

FACE = FusionConfig(
    crop_size=32,
    encoder_widths=(4, 6, 8, 10),
    encoder_hidden=12,
    face_code_dim=7,
    gru_dim=9,
    seed_width=5,
    decoder_widths=(6, 5, 4, 4),
    output_width=3,
)


def make_face() -> AudioFace:
    torch.manual_seed(0)
    face = AudioFace(AudioBranch(AudioConfig(), 3), FACE)
    face.still.copy_(torch.rand(1, 3, 32, 32))
    face.hear(face.audio.windows(torch.randn(60, 3), 50.0, 30, 25.0))
    return face


def test_codes_come_from_speech_through_the_painted_face() -> None:
    face, frames = make_face(), torch.tensor([3, 20])
    found = face(frames, is_smoothed=True)
    assert found.audio is not None
    assert found.face is not None
    assert found.audio.shape == (2, 64)
    painted = face.faces(frames, is_smoothed=True)
    torch.testing.assert_close(found.face, face.reader(painted).code)
    torch.testing.assert_close(painted, face.fusion(face.still, found.audio))


def test_stage_three_trains_audio_net_and_reader_through_what_is_frozen() -> None:
    face = make_face()
    face.freeze_fusion()
    found = face(torch.tensor([3, 20]), is_smoothed=True)
    assert found.face is not None
    found.face.sum().backward()
    learns = {name for name, value in face.named_parameters() if value.grad is not None}
    wanted = {name for name, _ in face.named_parameters() if not name.startswith("fusion.")}
    assert learns == wanted
    assert bool(next(face.audio.net.parameters()).grad.any())  # type: ignore[union-attr]


def test_the_temporal_attention_learns_at_its_own_rate() -> None:
    for conditions in (make_face(), AudioCode(AudioBranch(AudioConfig(), 3))):
        own = {id(value) for value in conditions.smoothing_parameters()}
        assert own == {id(value) for value in conditions.audio.attention.parameters()}


def test_the_sound_is_not_saved_with_the_person() -> None:
    face = make_face()
    assert "windows" not in face.state_dict()
    assert "still" in face.state_dict()
    other = AudioFace(AudioBranch(AudioConfig(), 3), FACE)
    other.load_state_dict(face.state_dict())
    other.hear(face.windows)
    frames = torch.arange(30)
    torch.testing.assert_close(other(frames, is_smoothed=False).face, face(frames, is_smoothed=False).face)


def test_the_code_alone_hears_the_same() -> None:
    face = make_face()
    code = AudioCode(face.audio)
    code.hear(face.windows)
    found, frames = code(torch.tensor([5]), is_smoothed=True), torch.tensor([5])
    torch.testing.assert_close(found.audio, face(frames, is_smoothed=True).audio)
    assert found.face is None


def test_a_face_that_sees_the_pose_wants_it() -> None:
    torch.manual_seed(0)
    config = FusionConfig.model_validate({**FACE.model_dump(), "sees_pose": True, "start": "scaled"})
    face = AudioFace(AudioBranch(AudioConfig(), 3), config)
    face.still.copy_(torch.rand(1, 3, 32, 32))
    windows = face.audio.windows(torch.randn(60, 3), 50.0, 30, 25.0)
    with pytest.raises(ValueError, match="pose"):
        face.hear(windows)
    poses = torch.eye(4).repeat(30, 1, 1)
    poses[:, :3, 3] = torch.tensor([0.0, 0.0, 0.7])
    face.hear(windows, poses)
    before = face.faces(torch.tensor([4, 5]), is_smoothed=True)
    poses = poses.clone()
    poses[4, 0, 3] = 0.3
    face.hear(windows, poses)
    after = face.faces(torch.tensor([4, 5]), is_smoothed=True)
    assert not torch.equal(after[0], before[0])
    torch.testing.assert_close(after[1], before[1])

"""The mouth code read off a painted face: its scale, what learns through it, and that it speaks any sound."""

import numpy as np
import pytest
import torch
from tests.models.paper.test_audio_face import FACE

from nerf_ad.models.paper.audio import AudioConfig
from nerf_ad.models.paper.audio_face import AudioFace
from nerf_ad.models.paper.conditions import ConditionConfig
from nerf_ad.models.paper.mouth_code import WEAKEST, HeardMouth
from nerf_ad.models.paper.nerf import NerfConditions

CHANNELS, MOUTH = 3, 4


def make_mouth(kind: str = "audio-face") -> HeardMouth:
    torch.manual_seed(0)
    config = ConditionConfig.model_validate(
        {"kind": kind, "audio": AudioConfig().model_dump(), "fusion": FACE.model_dump()}
    )
    mouth = HeardMouth(config, channels=CHANNELS, mouth_dim=MOUTH)
    if isinstance(mouth.conditions, AudioFace):
        mouth.conditions.still.copy_(torch.rand(1, 3, 32, 32))
    conditions = mouth.conditions
    assert hasattr(conditions, "hear")
    conditions.hear(conditions.audio.windows(torch.randn(60, CHANNELS), 50.0, 30, 25.0))
    return mouth


def test_the_code_starts_as_principal_components() -> None:
    """Against numpy's eigenvectors of the covariance: variances, up to the floor of weak components."""
    mouth = make_mouth()
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 7)) @ np.diag([5.0, 3.0, 2.0, 0.3, 0.2, 0.1, 0.1]) + 2.0
    mouth.start_from(torch.from_numpy(features).float())
    code = mouth.standardised(mouth.projection(torch.from_numpy(features).float())).detach().numpy()
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(features.T, bias=True)))[::-1][:MOUTH]
    wanted = np.minimum(1, np.sqrt(eigenvalues / eigenvalues[0]) / WEAKEST)
    assert wanted[3] < 0.5  # one of them is weak
    np.testing.assert_allclose(code.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(code.std(axis=0), wanted, rtol=2e-3)
    assert np.abs(np.corrcoef(code.T) - np.eye(MOUTH)).max() < 1e-3


def test_a_louder_projection_makes_no_larger_code() -> None:
    """Mean and variance follow what they are shown, so the noise added to a code cannot be drowned."""
    mouth = make_mouth()
    rng = torch.Generator().manual_seed(1)
    scale, shift = torch.tensor([40.0, 20.0, 15.0, 11.0]), torch.tensor([3.0, -5.0, 0.0, 100.0])
    for _ in range(1500):
        mouth.follow(scale * torch.randn(16, MOUTH, generator=rng) + shift)
    code = mouth.standardised(scale * torch.randn(4000, MOUTH, generator=rng) + shift)
    assert float((code.std(dim=0) - 1).abs().max()) < 0.15
    assert float(code.mean(dim=0).abs().max()) < 0.3


@pytest.mark.parametrize("kind", ["audio-face", "audio"])
def test_the_code_teaches_what_hears_and_reads_and_nothing_that_is_frozen(kind: str) -> None:
    mouth = make_mouth(kind)
    if isinstance(mouth.conditions, AudioFace):
        mouth.conditions.freeze_fusion()
    mouth(torch.tensor([3, 20])).square().sum().backward()
    learns = {name for name, value in mouth.named_parameters() if value.grad is not None}
    frozen = "conditions.fusion."
    assert learns == {name for name, _ in mouth.named_parameters() if not name.startswith(frozen)}
    assert bool(next(mouth.conditions.audio.net.parameters()).grad.any())  # type: ignore[union-attr]


def test_a_sound_of_any_length_gives_the_codes_of_its_frames() -> None:
    mouth = make_mouth().eval()
    features = torch.randn(700, CHANNELS)
    spoken = mouth.speak(features, 50.0, 350, 25.0, camera_to_world=None)
    conditions = mouth.conditions
    assert isinstance(conditions, AudioFace)
    conditions.hear(conditions.audio.windows(features, 50.0, 350, 25.0))
    with torch.no_grad():
        torch.testing.assert_close(spoken, mouth(torch.arange(350)))


def test_rest_is_the_mean_code_of_closed_mouths() -> None:
    mouth = make_mouth()
    codes = torch.arange(12.0).view(3, MOUTH)
    mouth.rest_at(codes, torch.tensor([True, False, True]))
    torch.testing.assert_close(mouth.rest, torch.tensor([4.0, 5.0, 6.0, 7.0]))


def test_conditions_that_do_not_hear_are_refused() -> None:
    with pytest.raises(TypeError, match="do not hear"):
        HeardMouth(ConditionConfig(kind="landmarks"), channels=CHANNELS, mouth_dim=MOUTH)


def test_the_painted_face_is_read_where_there_is_one() -> None:
    mouth = make_mouth()
    audio, face = torch.zeros(1, 64), torch.ones(1, 7)
    torch.testing.assert_close(mouth.feature(NerfConditions(audio=audio, face=face)), face)
    torch.testing.assert_close(mouth.feature(NerfConditions(audio=audio)), audio)

"""The measure of fused audio faces, on values counted by hand."""

import pytest
import torch

from nerf_ad.evaluation.fused_faces import mean_audio_face, measure_fused_faces

PRESENCE = torch.tensor([[True, False], [True, False], [True, False], [False, False]])


def test_figures_are_those_counted_by_hand() -> None:
    recorded = torch.zeros(4, 3, 2, 2)
    recorded[:, 0] = 0.4
    decoded = recorded + 0.03
    mean_face = torch.zeros(3, 2, 2)
    said = torch.tensor([[True, False], [True, True], [False, False], [False, False]])
    report = measure_fused_faces(
        decoded,
        recorded,
        mean_face,
        said=said,
        said_of_recorded=PRESENCE,
        presence=PRESENCE,
        names=("AU25", "AU26"),
    )
    assert report.l_rec == pytest.approx(0.03, rel=1e-5)
    assert report.l_rec_mean_face == pytest.approx(0.4 / 3, rel=1e-5)
    assert report.ratio == pytest.approx(0.225, rel=1e-5)
    first, second = report.units["AU25"], report.units["AU26"]
    assert (first.rate, first.majority, first.accuracy, first.ceiling) == (0.75, 0.75, 0.75, 1.0)
    assert first.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert (second.rate, second.majority, second.accuracy) == (0.0, 1.0, 0.75)
    assert second.balanced_accuracy is None
    assert report.accuracy == pytest.approx(0.75)


def test_the_mean_face_itself_scores_one() -> None:
    recorded = torch.rand(5, 3, 4, 4)
    mean_face = mean_audio_face(recorded, range(5))
    torch.testing.assert_close(mean_face, recorded.mean(dim=0))
    nothing = torch.zeros(5, 0, dtype=torch.bool)
    report = measure_fused_faces(
        mean_face.expand(5, -1, -1, -1).contiguous(),
        recorded,
        mean_face,
        said=nothing,
        said_of_recorded=nothing,
        presence=nothing,
        names=(),
    )
    assert report.ratio == pytest.approx(1.0)
    assert report.accuracy is None


def test_the_mean_is_over_training_frames_in_either_form() -> None:
    faces = (torch.rand(9, 3, 4, 4) * 255).to(torch.uint8)
    wanted = faces[2:6].float().mean(dim=0) / 255
    torch.testing.assert_close(mean_audio_face(faces, range(2, 6)), wanted)
    torch.testing.assert_close(mean_audio_face(faces.float() / 255, range(2, 6)), wanted)

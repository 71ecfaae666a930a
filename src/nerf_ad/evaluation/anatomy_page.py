"""A page about what the paper's stages made of a sentence: mask, faces, painted face, action units."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from nerf_ad.capture.report.contact_sheet import contact_sheet
from nerf_ad.capture.report.curves import draw_series
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.core.arrays import refuse_misfits
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import read_npz, write_bytes, write_text
from nerf_ad.evaluation.fused_faces import FusedFaceReport, measure_fused_faces
from nerf_ad.evaluation.mask_locality import MaskLocality, face_regions, mask_locality
from nerf_ad.face.action_units import SPEECH_UNITS
from nerf_ad.media.images import write_image

NAME = "anatomy.npz"
"""What training left in the avatar."""
COLUMNS = 8
"""Frames shown."""
RATIO = 3.0
"""How many times more open a mask should be at the mouth than where speech moves nothing."""
REMAINDER = 0.7
"""Of the mean face's error, at most so much should be left."""
HINT = "train the avatar again"
SHAPES = {
    "frames": "frames",
    "crops": "frames size size 3",
    "boxes": "frames 4",
    "points": "frames points 2",
    "units": "frames units",
    "presence": "frames units",
    "masks": "frames size size",
    "decoded": "frames size size 3",
    "targets": "frames size size 3",
    "mean_face": "size size 3",
    "classified": "classified",
    "probability": "frames classified",
    "probability_of_targets": "frames classified",
}
LEAD = (
    "Frames that were held out from training. A is about 1 where a face keeps its identity, and small where "
    "speech moves it. The painted face is made of the sound alone."
)


def write_anatomy_page(avatar: Path) -> Path:
    """Write ``anatomy/index.html`` into an avatar.

    Returns:
        the page.

    Raises:
        FormatError: the avatar holds nothing to look at, or it is damaged.
    """
    source = avatar / NAME
    if not source.is_file():
        raise FormatError(
            f"{avatar} has no {NAME}: its method parts no faces",
            hint="avatars of fast-ad, paper and paper-small have it, unless their row reads no faces",
        )
    arrays = read_npz(source)
    shapes = {name: shape for name, shape in SHAPES.items() if name in arrays}
    missing = [name for name in list(SHAPES)[:6] if name not in arrays]
    if missing:
        raise FormatError(f"{source} has no array {missing[0]}", hint=HINT)
    refuse_misfits(source, arrays, shapes, {"units": len(SPEECH_UNITS), "points": 478}, hint=HINT)
    folder = avatar / "anatomy"
    write_image(folder / "faces.png", faces_sheet(arrays))
    figures, sections = [], [Section("Faces", pictures=[("faces.png", "one column a frame")])]
    if "masks" in arrays:
        figures.append(_mask_figure(locality(arrays)))
    report = fused(arrays)
    if report is not None:
        figures.append(
            Figure(
                f"{report.ratio:.2f}",
                "of the mean face's error is left by the painted faces",
                is_good=report.ratio <= REMAINDER,
            )
        )
        sections += _unit_sections(folder, arrays, report)
    write_text(folder / "index.html", page(f"{avatar.name}: what speech moves", LEAD, figures, sections))
    return folder / "index.html"


def locality(arrays: dict[str, Any]) -> MaskLocality:
    """How open the masks are at the mouth, on the forehead and on the cheeks."""
    size = arrays["crops"].shape[1]
    regions = face_regions(arrays["points"].astype(np.float64), arrays["boxes"], size=size)
    return mask_locality(arrays["masks"].astype(np.float64) / 255, regions)


def fused(arrays: dict[str, Any]) -> FusedFaceReport | None:
    """How good the painted faces are; None where there are none."""
    if not {"decoded", "targets", "mean_face"} <= set(arrays):
        return None
    names = [int(unit) for unit in arrays.get("classified", np.zeros(0, np.int64))]
    nobody = np.zeros((len(arrays["frames"]), 0))
    said, of_targets = (
        torch.from_numpy(arrays.get(name, nobody) > 0.5) for name in ("probability", "probability_of_targets")
    )
    return measure_fused_faces(
        _unit_range(arrays["decoded"]),
        _unit_range(arrays["targets"]),
        _unit_range(arrays["mean_face"][None])[0],
        said=said,
        said_of_recorded=of_targets,
        presence=torch.from_numpy(arrays["presence"].astype(np.bool_)[:, names]),
        names=tuple(SPEECH_UNITS[unit] for unit in names),
    )


def faces_sheet(arrays: dict[str, Any]) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Recorded face, mask over it, identity face, audio face and painted face through the sentence."""
    count = len(arrays["frames"])
    chosen = np.unique(np.linspace(0, count - 1, min(COLUMNS, count)).round().astype(int))
    crops = arrays["crops"][chosen]
    rows: list[tuple[str, list[UInt8[np.ndarray, "height width 3"]]]] = [("recorded", list(crops))]
    if "masks" in arrays:
        masks = arrays["masks"][chosen].astype(np.float64)[..., None] / 255
        rows += [
            ("1 - A over it", [tint(*each) for each in zip(crops, 1 - masks, strict=True)]),
            ("identity", list((masks * crops).round().astype(np.uint8))),
        ]
    if "targets" in arrays:
        rows.append(("audio face", list(arrays["targets"][chosen])))
    if "decoded" in arrays:
        rows.append(("painted", list(arrays["decoded"][chosen])))
    captions = [f"frame {frame}" for frame in arrays["frames"][chosen]]
    return contact_sheet(rows, captions, tile=112)


def tint(
    crop: UInt8[np.ndarray, "size size 3"], openness: Float[np.ndarray, "size size 1"]
) -> UInt8[np.ndarray, "size size 3"]:
    """The face in grey, orange where the mask lets speech through."""
    grey = crop.mean(axis=-1, keepdims=True)
    mixed = (1 - 0.7 * openness) * grey + 0.7 * openness * np.array([255.0, 96.0, 32.0])
    return np.asarray(mixed.round(), np.uint8)


def _mask_figure(found: MaskLocality) -> Figure:
    told = f"times more open at the mouth ({found.mouth:.2f}) than forehead or cheeks"
    return Figure(f"{found.ratio:.1f}", told, is_good=found.ratio >= RATIO)


def _unit_sections(folder: Path, arrays: dict[str, Any], report: FusedFaceReport) -> list[Section]:
    if not report.units:
        return []
    panels = [
        (
            name,
            {
                "painted": arrays["probability"][:, column].astype(np.float64),
                "recorded": arrays["probability_of_targets"][:, column].astype(np.float64),
                "label": arrays["presence"][:, SPEECH_UNITS.index(name)].astype(np.float64),
            },
        )
        for column, name in enumerate(report.units)
    ]
    frames = arrays["frames"].astype(np.float64)
    write_bytes(folder / "units.png", draw_series(frames, panels, x_label="frame", height=1.2))
    head = ("action unit", "present", "always the commoner label", "painted", "recorded")
    rows = [
        (name, *(f"{value:.2f}" for value in (unit.rate, unit.majority, unit.accuracy, unit.ceiling)))
        for name, unit in report.units.items()
    ]
    table = Table(head, rows, numeric=head[1:])
    text = "Probability that a unit is present, as the classifier says of painted and recorded audio faces."
    pictures = [("units.png", "probability of every action unit, and its label")]
    return [Section("Action units", text, pictures, table)]


def _unit_range(faces: UInt8[np.ndarray, "frames size size 3"]) -> Float[torch.Tensor, "frames 3 size size"]:
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2).float() / 255

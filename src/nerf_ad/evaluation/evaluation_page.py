"""The page of a result: table, curves, worst frames, mouths, film. Pictures and film lie beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nerf_ad import __version__
from nerf_ad.capture.report.curves import Series as Curves
from nerf_ad.capture.report.curves import draw_series
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.core.files import write_bytes
from nerf_ad.evaluation.figure_list import FIGURES, ROWS, figure_table, shown
from nerf_ad.evaluation.rows import Row
from nerf_ad.evaluation.series import Series

BOXES = ("psnr", "psnr_mouth", "lpips", "lmd_68_px", "lip_gap_correlation", "sync_confidence", "csim")
"""Figures at the head of the page."""
PANELS = (
    ("PSNR, dB", ("psnr", "psnr_head", "psnr_mouth")),
    ("LPIPS", ("lpips", "lpips_face", "lpips_mouth")),
    ("LMD, px", ("lmd_68_px", "mouth_lmd_68_px")),
    ("AU error", ("au_error", "au_error_upper", "au_error_lower")),
    ("flicker", ("flicker",)),
    ("sync confidence", ("sync_confidence",)),
)
"""What is drawn over time."""
TABLE_TEXT = (
    "95 % intervals are a moving-block bootstrap over time in blocks of one second (sync: three): they say "
    "what another stretch of the same clip might have given, not what another clip would. The other columns "
    "say what a figure is worth: the recording against itself, one still frame, and the same frames ten late."
)


def evaluation_page(
    title: str, result: Mapping[str, Any], row: Row, folder: Path, *, by: str, pictures: Sequence[str]
) -> str:
    """The HTML; draws ``curves.png`` into the folder.

    Args:
        title: heading.
        result: the content of ``metrics.json``.
        row: whose frames are drawn over time.
        folder: where the page will be.
        by: figure that the worst frames are chosen by.
        pictures: which of ``worst.png`` and ``mouths.png`` are there.
    """
    curves = draw_curves(row)
    if curves is not None:
        write_bytes(folder / "curves.png", curves)
    known = {figure.key: figure for figure in FIGURES}
    boxes = [
        Figure(shown(result[key], known[key].digits), f"{known[key].title} ({known[key].better} is better)")
        for key in BOXES
        if key in result
    ]
    table = figure_table(result)
    captions = {
        "worst.png": f"the worst frames by {by}, at most one in each half second; error maps: mean absolute "
        "difference of the channels, brightened",
        "mouths.png": "mouths spread over the clip, cut out where the recording's mouth is",
    }
    sections = [
        Section(
            "Side by side",
            videos=[("side_by_side.mp4", "left recorded, right made")],
        ),
        Section("Figures", TABLE_TEXT, table=Table(table.head, table.rows, numeric=table.head[2:])),
        *(
            [Section("Over time", pictures=[("curves.png", "made against recorded, measured frames joined")])]
            if curves is not None
            else []
        ),
        *(
            Section(heading, pictures=[(name, captions[name])])
            for name, heading in (("worst.png", "Worst frames"), ("mouths.png", "Mouths"))
            if name in pictures
        ),
        Section("What was compared", table=Table(("what", "value"), _facts(result))),
    ]
    lead = f"{result['protocol']}. nerf-ad {__version__}."
    return page(title, lead, boxes, sections)


def draw_curves(row: Row) -> bytes | None:
    """Figures over the seconds of the clip, a PNG file; None where no figure has two frames."""
    series, at = row.series(), np.array(row.frames)
    panels: list[tuple[str, Curves]] = [
        (label, {name: _spread(series[name], at) for name in names if _is_curve(series.get(name))})
        for label, names in PANELS
    ]
    if row.faces is not None and row.faces.frames:
        panels += [
            (label, {"made": _spread(made, at), "recorded": _spread(real, at)})
            for label, (made, real) in row.faces.curves().items()
            if _is_curve(made) and _is_curve(real)
        ]
    drawn = [(label, curves) for label, curves in panels if curves]
    return draw_series(at / row.recording.fps, drawn) if drawn else None


def _is_curve(series: Series | None) -> bool:
    """Whether there is a line to draw."""
    return series is not None and len(series.frames) > 1


def _spread(series: Series, at: np.ndarray) -> np.ndarray:
    """A value for each frame: nothing where there is no face, lines between frames that were left out."""
    whole = np.full(len(at), np.nan)
    if len(series.frames):
        step = np.median(np.diff(series.frames)) if len(series.frames) > 1 else 1
        found = np.searchsorted(at, series.frames)
        whole[found] = series.values
        if step > 1:
            whole = np.interp(at, series.frames, series.values, left=np.nan, right=np.nan)
    return whole


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was compared, how, and what measured it."""
    skipped = {"intervals", "rows", "au_units", "protocol", "instruments"} | {known.key for known in FIGURES}
    told = [
        (name.replace("_", " "), _text(value))
        for name, value in result.items()
        if name not in skipped and not isinstance(value, float)
    ]
    rows = [
        (f"column: {ROWS[name]}", f"{row['means']}; pictures in one of {row['pictures_every']} frames")
        for name, row in result.get("rows", {}).items()
        if name in ROWS
    ]
    return [*told, *rows, *((f"instrument: {name}", id_) for name, id_ in result["instruments"].items())]


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_text(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

"""Every figure of a result: what it is called, which way is better, and the table of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

Better = Literal["higher", "lower", "nearest 0", "nearest 1", "nearest the recording's", "says nothing alone"]


class Known(NamedTuple):
    """A figure that a table shows."""

    key: str
    """In ``metrics.json``."""
    title: str
    better: Better
    digits: int = 3


FIGURES: Final = (
    Known("psnr", "PSNR, dB", "higher", 2),
    Known("psnr_head", "PSNR of the head, dB", "higher", 2),
    Known("psnr_mouth", "PSNR of the mouth, dB", "higher", 2),
    Known("psnr_eyes", "PSNR of the eyes, dB", "higher", 2),
    Known("ssim", "SSIM", "higher", 4),
    Known("ssim_head", "SSIM of the head", "higher", 4),
    Known("ssim_mouth", "SSIM of the mouth", "higher", 4),
    Known("ssim_eyes", "SSIM of the eyes", "higher", 4),
    Known("ms_ssim", "MS-SSIM", "higher", 4),
    Known("ms_ssim_head", "MS-SSIM of the head", "higher", 4),
    Known("lpips", "LPIPS (AlexNet v0.1)", "lower", 4),
    Known("lpips_head", "LPIPS of the head", "lower", 4),
    Known("lpips_face", "LPIPS of the face", "lower", 4),
    Known("lpips_mouth", "LPIPS of the mouth", "lower", 4),
    Known("lpips_eyes", "LPIPS of the eyes", "lower", 4),
    Known("lmd_68_px", "LMD of 68 points, centred, px", "lower"),
    Known("lmd_68_normalised", "the same / distance of the eyes", "lower", 5),
    Known("lmd_68_uncentred_px", "LMD of 68 points, not centred, px", "lower"),
    Known("lmd_68_uncentred_normalised", "the same / distance of the eyes", "lower", 5),
    Known("mouth_lmd_68_px", "LMD of the mouth's 20, centred, px", "lower"),
    Known("mouth_lmd_68_normalised", "the same / distance of the eyes", "lower", 5),
    Known("mouth_lmd_68_uncentred_px", "LMD of the mouth's 20, not centred, px", "lower"),
    Known("mouth_lmd_68_uncentred_normalised", "the same / distance of the eyes", "lower", 5),
    Known("mouth_lmd_mp_px", "LMD of 52 points of lips and chin, px", "lower"),
    Known("mouth_lmd_mp_normalised", "the same / distance of the eyes", "lower", 5),
    Known("lip_gap_correlation", "lip gap's correlation", "higher"),
    Known("lip_gap_best_lag_frames", "lips late by, frames", "nearest 0", 0),
    Known("lip_gap_best_correlation", "correlation at that lag", "higher"),
    Known("lip_gap_amplitude_ratio", "lip gap's deviation / recorded", "nearest 1"),
    Known("sync_offset_frames", "sync offset (lips late by), frames of 40 ms", "nearest the recording's", 0),
    Known("sync_confidence", "sync confidence, windows of 3 s", "higher"),
    Known("lse_d", "LSE-D (SyncNet)", "lower"),
    Known("lse_c", "LSE-C (SyncNet)", "higher"),
    Known(
        "lse_offset_frames", "SyncNet's offset (lips late by), frames of 40 ms", "nearest the recording's", 0
    ),
    Known("au_accuracy", "AU accuracy (10, 14, 20, 25, 26)", "higher"),
    Known("au_accuracy_majority", "what the majority's label would get", "says nothing alone"),
    Known("au_error", "AU error, speech units", "lower", 4),
    Known("au_error_upper", "AU error, upper face", "lower", 4),
    Known("au_error_lower", "AU error, lower face", "lower", 4),
    Known("blinks_per_minute_difference", "blinks a minute, made - recorded", "nearest 0", 1),
    Known("blinks_per_minute_made", "blinks a minute, made", "says nothing alone", 1),
    Known("csim", "CSIM against the same frame", "higher", 4),
    Known("csim_clip", "CSIM against the clip's mean", "higher", 4),
    Known("flicker", "flicker, made - recorded, levels of 255", "nearest 0"),
    Known("jitter", "landmark jitter, made - recorded", "nearest 0"),
    Known("jitter_error", "landmark acceleration error", "lower"),
    Known("frames_without_face", "frames without a face", "lower", 0),
)
"""In the order of tables. Jitter is in thousandths of the distance of the outer eye corners, per frame^2."""

ROWS: Final = {
    "ground_truth": "ground truth",
    "static": "still face",
    "shifted": "10 frames late",
    "head_over_recorded_torso": "head over recorded torso",
}
"""Titles of the rows that may stand beside a result."""


class FigureTable(NamedTuple):
    """Text cells."""

    head: list[str]
    rows: list[list[str]]

    def text(self) -> str:
        """For a terminal."""
        cells = [self.head, *self.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.head))]
        lines = (
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        )
        return "\n".join(lines) + "\n"


def figure_table(result: Mapping[str, Any], *, title: str = "made") -> FigureTable:
    """The figures of a result beside those of its other rows; what nobody measured is left out.

    Args:
        result: the content of ``metrics.json``.
        title: of the result's own column.
    """
    others = [(ROWS[name], row) for name, row in result.get("rows", {}).items() if name in ROWS]
    columns: Sequence[Mapping[str, Any]] = [result, *(row for _, row in others)]
    head = ["figure", "better", title, "95 % interval", *(name for name, _ in others)]
    lines = []
    for known in FIGURES:
        if known.key not in result:
            continue
        own, *rest = (shown(column.get(known.key), known.digits) for column in columns)
        interval = result.get("intervals", {}).get(known.key)
        span = "" if interval is None else " to ".join(shown(end, known.digits) for end in interval)
        lines.append([known.title, known.better, own, span, *rest])
    return FigureTable(head, lines)


def shown(value: float | int | None, digits: int) -> str:
    """A number for a table."""
    return "-" if value is None else f"{value:.{digits}f}"

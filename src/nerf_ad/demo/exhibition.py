"""What the demonstration shows: lips measured, videos side by side, and the page."""

import itertools
from collections.abc import Generator, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from nerf_ad.avatar.fast import FastAvatar
from nerf_ad.capture.report.contact_sheet import contact_sheet
from nerf_ad.capture.report.curves import draw_series
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.core.files import read_json, write_bytes, write_json, write_text
from nerf_ad.dataset.synthetic.film import FPS
from nerf_ad.dataset.synthetic.truth import read_truth
from nerf_ad.demo.comparison import REACH, Shift, follow_shifts, seen_openings, without_gaps
from nerf_ad.demo.config import DemoConfig
from nerf_ad.demo.page import demo_page, draw_learning, draw_shifts
from nerf_ad.demo.places import Places
from nerf_ad.face.landmarks import build_landmark_detector
from nerf_ad.media.audio import read_audio
from nerf_ad.media.encoder import VideoWriter
from nerf_ad.media.images import write_image
from nerf_ad.media.video import decode
from nerf_ad.metrics.landmarks import lagged_correlation

COLUMNS: Final = 8
"""Frames on the sheet."""
TOLD: Final = "synthetic: left drawn, right rendered by nerf-ad; nobody was ever filmed"
"""Written into the video's metadata."""
_BAND: Final = 22
"""Pixels of the band above each picture."""


class Lips(NamedTuple):
    """How far the lips are open in every frame."""

    truth: Float[np.ndarray, "frames"]
    """Of the mesh, millimetres."""
    avatar: Float[np.ndarray, "frames"]
    """Seen in the avatar's pictures, over the distance of the outer eye corners."""
    correlations: dict[int, float]
    """By frames that the avatar comes later."""
    unseen: int
    """Frames in which no face was found."""


def exhibit(places: Places, config: DemoConfig, avatar: FastAvatar) -> Iterator[Event]:
    """Measure, draw, and write the page last."""
    lips = yield from _compare(places, avatar.manifest.size)
    shifts = []
    steps = range(-REACH, REACH + 1, config.shift_step)
    sound = read_audio(places.truth / "audio.wav")
    for shift in follow_shifts(avatar, sound, lips.truth, steps):
        shifts.append(shift)
        yield Progress(stage="shifts", done=len(shifts), total=len(steps))
    seconds = np.arange(len(lips.truth)) / FPS
    write_bytes(
        places.lips,
        draw_series(
            seconds, [("truth, mm", {"": lips.truth}), ("avatar, of eye distance", {"": lips.avatar})]
        ),
    )
    write_bytes(places.shifts, draw_shifts(shifts))
    write_bytes(places.learning, draw_learning(places))
    figures = _figures(places, lips, shifts)
    write_json(places.figures, figures)
    write_text(places.page, demo_page(places, config, figures))
    yield Saved(path=str(places.page))


def _compare(places: Places, size: int) -> Generator[Event, None, Lips]:
    """Both films frame by frame: lips, the joint video, the sheet."""
    truth = read_truth(places.truth).lip_gap * 1000.0
    total = len(truth)
    chosen = {int(index) for index in np.linspace(0, total - 1, COLUMNS + 2)[1:-1]}
    rows: dict[str, list[UInt8[np.ndarray, "size size 3"]]] = {"truth": [], "avatar": []}
    captions: list[str] = []
    openings: list[float] = []
    sound = read_audio(places.truth / "audio.wav", rate=48_000)
    whole = (2 * size, size + _BAND)
    with (
        build_landmark_detector() as detector,
        VideoWriter(
            places.side_by_side, size=whole, fps=FPS, audio=sound, metadata={"comment": TOLD}
        ) as film,
    ):
        real = decode(places.truth_film, FPS, size=(size, size))
        made, looked = itertools.tee(decode(places.talking, FPS))
        seen = seen_openings(looked, detector)
        for index, (left, opening, right) in enumerate(zip(real, seen, made, strict=False)):
            openings.append(opening)
            film.write(_beside(left, right))
            if index in chosen:
                captions.append(f"{index / FPS:.2f} s")
                rows["truth"].append(left)
                rows["avatar"].append(right)
            yield Progress(stage="lips", done=index + 1, total=total)
    write_image(places.sheet, contact_sheet(list(rows.items()), captions))
    avatar = np.array(openings)
    length = min(len(avatar), total)
    filled = without_gaps(avatar)[:length]
    scores = lagged_correlation(filled, truth[:length].astype(np.float64), reach=REACH)
    return Lips(truth[:length].astype(np.float64), filled, scores, int(np.isnan(avatar).sum()))


def _beside(
    left: UInt8[np.ndarray, "size size 3"], right: UInt8[np.ndarray, "size size 3"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Two pictures under their titles."""
    size = len(left)
    sheet = Image.new("RGB", (2 * size, size + _BAND), (24, 24, 28))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13 if size >= 192 else 9)
    for column, (title, picture) in enumerate((("truth (never learnt)", left), ("avatar", right))):
        draw.text((column * size + 6, 4), title, fill=(235, 235, 230), font=font)
        sheet.paste(Image.fromarray(picture), (column * size, _BAND))
    array: np.ndarray[Any, np.dtype[np.uint8]] = np.array(sheet, dtype=np.uint8)
    return array


def _figures(places: Places, lips: Lips, shifts: list[Shift]) -> dict[str, object]:
    best = max(lips.correlations, key=lambda lag: lips.correlations[lag])
    return {
        "mouth_correlation": round(lips.correlations[0], 4),
        "best_lag_frames": best,
        "best_correlation": round(lips.correlations[best], 4),
        "frames": len(lips.truth),
        "frames_without_face": lips.unseen,
        "shifts": [
            {"shift": shift.shift, "lag": shift.lag, "correlation": round(shift.correlation, 4)}
            for shift in shifts
        ],
        "held_out": read_json(places.avatar / "metrics.json"),
    }

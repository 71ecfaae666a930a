"""The page of the demonstration and its plots."""

from typing import Any, Final

import numpy as np

from nerf_ad.capture.report.curves import draw_series
from nerf_ad.capture.report.page import Figure, Section, Table, page
from nerf_ad.core.events import EVENT, Metric
from nerf_ad.dataset.dataset import read_manifest
from nerf_ad.dataset.layout import Layout
from nerf_ad.dataset.synthetic.film import FPS
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.demo.comparison import Shift
from nerf_ad.demo.config import FULL, DemoConfig
from nerf_ad.demo.places import Places

GOOD_CORRELATION: Final = 0.8
"""Lips' correlation with the truth that the demonstration should reach (ours)."""


def draw_shifts(shifts: list[Shift]) -> bytes:
    """Where the lips went when the sound was moved; a PNG file."""
    moved = np.array([shift.shift for shift in shifts], np.float64)
    return draw_series(
        moved,
        [
            (
                "lips later, frames",
                {
                    "found": np.array([shift.lag for shift in shifts], np.float64),
                    "expected": -moved,
                },
            ),
            ("correlation", {"": np.array([shift.correlation for shift in shifts])}),
        ],
        x_label="frames that the sound begins earlier",
    )


def draw_learning(places: Places) -> bytes:
    """PSNR of the training rays over the time spent; a PNG file."""
    log = places.avatar / "runs" / "train" / "events.jsonl"
    curves: dict[str, list[tuple[float, float]]] = {"torso psnr": [], "psnr": []}
    for line in log.read_text(encoding="utf-8").splitlines():
        event = EVENT.validate_json(line)
        if isinstance(event, Metric) and event.name in curves and event.seconds is not None:
            curves[event.name].append((event.seconds, event.value))
    stages = {name: np.array(points) for name, points in curves.items() if len(points) > 1}
    if not stages:
        return draw_series(np.zeros(1), [("dB", {"": np.zeros(1)})])
    end = max(float(points[-1, 0]) for points in stages.values())
    x = np.linspace(0.0, end, 400)
    names = {"torso psnr": "torso", "psnr": "head"}
    panels = [
        (
            "dB, training rays",
            {
                names[name]: np.interp(x, points[:, 0], points[:, 1], left=np.nan, right=np.nan)
                for name, points in stages.items()
            },
        )
    ]
    return draw_series(x, panels, x_label="seconds of each stage", height=2.2)


def demo_page(places: Places, config: DemoConfig, figures: dict[str, Any]) -> str:
    """HTML that shows everything; ``figures`` are those of ``figures.json``."""
    held_out = figures["held_out"]
    followed = sum(row["lag"] == -row["shift"] for row in figures["shifts"])
    person = IDENTITIES[config.identity].name
    frames = read_manifest(Layout(places.dataset)).num_frames
    boxes = [
        Figure(
            f"{figures['mouth_correlation']:.2f}",
            f"lips' correlation with the truth, in the pictures (bar: {GOOD_CORRELATION})",
            is_good=figures["mouth_correlation"] >= GOOD_CORRELATION,
        ),
        Figure(
            f"{figures['best_lag_frames']:+d} frames",
            "lips after the truth, in the pictures",
            is_good=abs(figures["best_lag_frames"]) <= 1,
        ),
        Figure(
            f"{followed} of {len(figures['shifts'])}",
            "shifts of the sound that the mouth codes follow",
            is_good=followed == len(figures["shifts"]),
        ),
        *(
            Figure(f"{held_out[key]:.1f} dB", meaning)
            for key, meaning in (("psnr", "PSNR, held-out tail"), ("psnr_mouth", "PSNR, mouth"))
            if key in held_out
        ),
    ]
    spoken = places.sentences.read_text(encoding="utf-8").split("\n")
    rows = [(sentence,) for sentence in spoken if sentence]
    sections = [
        Section(
            "It speaks",
            "The avatar says what it never heard; the drawn person says the same, with other movements of "
            "head and face. Look at the lips.",
            videos=[
                (places.side_by_side.name, "left: truth, drawn; right: avatar, rendered"),
                (places.talking.name, "the avatar alone"),
            ],
            table=Table(("said",), rows),
        ),
        Section("Contact sheet", pictures=[(places.sheet.name, "truth above, avatar below")]),
        Section(
            "Lips",
            "Above the gap between the lips of the drawn person, below what the landmark detector sees in "
            "the avatar's pictures.",
            pictures=[(places.lips.name, "lip gap over time, truth and avatar")],
        ),
        Section(
            "Moved sound",
            "The sound begins some frames earlier or later; the mouth codes that it drives, from which every "
            "picture is rendered, should follow: the lag found is minus the shift.",
            pictures=[(places.shifts.name, "lag found for every shift of the sound")],
        ),
        Section(
            "How it was learnt",
            f"From {frames} frames of film ({places.film.name}), the last eleventh of them held out; "
            f"{config.minutes:g} minutes of training, more where these were too few for {config.least_steps} "
            "steps. The capture's own report lies in person.dataset/report/index.html.",
            pictures=[
                (places.learning.name, "PSNR over the time of training"),
                (
                    f"{places.avatar.name}/held_out.png",
                    "the film's own tail, which was held out: rendered above, film below; true pose and "
                    "eyes, own torso and background, as for the PSNR above",
                ),
                (f"{places.dataset.name}/report/sheet.png", "what capture made of the film"),
            ],
        ),
    ]
    lead = (
        f"Synthetic: {person} was drawn by nerf-ad and never existed. An avatar learnt from "
        f"{frames / FPS:.0f} seconds of film, at {config.size}x{config.size}."
    )
    if config.minutes < FULL.minutes:
        lead += " A short training: it shows that everything works, not how good it gets."
    return page(f"nerf-ad demo: {person} speaks", lead, boxes, sections)

"""Does the sync scorer find planted offsets on real speakers, and does it tell wrong mouths from right ones?

    python benchmarks/sync.py CLIP... [--roc PNG] [--scorer FILE] [--json]

Every clip is read at 25 fps, its landmarks are detected and its sound encoded.

Planted: the mouth is made -10 to 10 frames late; a window of 3 s (one each second) counts when its offset
is within a frame of the planted one plus the clip's own, which is that of the whole unshifted clip.
Frozen: every frame shows the landmarks of one, with the detector's trembling (0.2 pixels).
Swapped: the sound of another place of the clip (half of it away, more or less), and of the other clips.

The area under the curve is of windows as they are against frozen and swapped ones, by confidence. The
baseline correlates the gap between the lips with the energy of vowels.
The PNG belongs outside the repository: it is made from people.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from nerf_ad.capture.audio import load_aligned, vowel_energy
from nerf_ad.face.landmarks import build_landmark_detector
from nerf_ad.media.isolated import decode_isolated, find_cadence_isolated
from nerf_ad.media.video import probe
from nerf_ad.speech.encoder import build_speech_encoder
from nerf_ad.sync.mouth import measure_mouth
from nerf_ad.sync.scorer import (
    FPS,
    MAX_OFFSET,
    SPEECH,
    WINDOW,
    SyncScorer,
    agreement,
    judge,
)

PLANTED = range(-10, 11)
EDGE = MAX_OFFSET + max(PLANTED)
"""Frames at both ends without windows: every offset finds its sound."""
TREMBLING = 0.2
FAR = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Shares of the clip that the sound is moved by for a swap."""


class Clip(NamedTuple):
    """A real clip."""

    name: str
    points: Float[np.ndarray, "frames 478 3"]
    features: Float[np.ndarray, "steps channels"]
    energy: Float[np.ndarray, "frames"]


Embedded = tuple[Tensor, Tensor]


def main() -> int:
    """Read, plant, swap, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--roc", type=Path, default=Path(tempfile.gettempdir()) / "sync-roc.png")
    parser.add_argument("--scorer", type=Path, help="instead of the one that comes with the package")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    scorer = SyncScorer.load(chosen.scorer)
    clips = [read_clip(path) for path in chosen.clips]
    rows, curves = [], {}
    for clip in clips:
        row, true, false = measure(scorer, clip, [other for other in clips if other is not clip])
        rows.append(row)
        curves[clip.name] = (true, false)
    draw(curves, chosen.roc)
    if chosen.json:
        print(json.dumps(rows, indent=1))  # noqa: T201 - its output
    else:
        for row in rows:
            print("  ".join(f"{key} {value}" for key, value in row.items()))  # noqa: T201
    print(f"curve: {chosen.roc}", file=sys.stderr)  # noqa: T201
    return 0


def read_clip(path: Path) -> Clip:
    """Landmarks, features and energy."""
    info = probe(path)
    points = []
    with build_landmark_detector(max_faces=1) as detector:
        for frame in decode_isolated(path, FPS, cadence=find_cadence_isolated(path)):
            faces = detector.detect(frame)
            points.append(faces[0].points if faces else np.full((478, 3), np.nan, np.float32))
    waveform, _ = load_aligned(path, info, num_frames=len(points), fps=FPS)
    features = build_speech_encoder(SPEECH).encode(waveform.samples)
    energy = vowel_energy(waveform)  # 100 a second
    at = np.minimum(4 * np.arange(len(points)), len(energy) - 1)
    return Clip(path.stem, np.stack(points), features, energy[at])


def measure(
    scorer: SyncScorer, clip: Clip, others: list[Clip]
) -> tuple[dict[str, object], list[float], list[float]]:
    """Figures of a clip; confidences of right and of wrong windows."""
    mouths, sounds = scorer.embed(clip.points, clip.features)
    own = judge(agreement(mouths, sounds, 0, len(mouths)))
    gaps = without_trend(measure_mouth(clip.points)[:, 0])[:, None]
    energy = without_trend(clip.energy)[:, None]
    simple = judge(agreement(gaps, energy, 0, len(gaps)))
    true = confidences(mouths, sounds)
    frozen = []
    rng = np.random.default_rng(0)
    known = np.flatnonzero(np.isfinite(clip.points[:, 0, 0]))
    for frame in known[:: max(len(known) // 5, 1)][:5]:
        still = np.repeat(clip.points[frame : frame + 1], len(clip.points), axis=0)
        still = still + TREMBLING * rng.standard_normal(still.shape)
        frozen += confidences(*scorer.embed(still, clip.features))
    swapped = []
    for share in FAR:
        moved = np.roll(clip.features, round(share * len(clip.features)), axis=0)
        swapped += confidences(*scorer.embed(clip.points, moved))
    for other in others:
        swapped += confidences(*scorer.embed(clip.points, other.features))
    row = {
        "clip": clip.name,
        "windows": len(true),
        "own_offset": own.offset,
        "within_one": round(share_within_one(mouths, sounds, own.offset), 3),
        "within_one_gap_and_energy": round(share_within_one(gaps, energy, simple.offset), 3),
        "confidence": quartiles(true),
        "frozen": quartiles(frozen),
        "swapped": quartiles(swapped),
        "auc_frozen": round(area(true, frozen), 4),
        "auc_swapped": round(area(true, swapped), 4),
    }
    return row, true, frozen + swapped


def window_starts(num_frames: int) -> range:
    """First frames of all windows."""
    return range(EDGE, num_frames - WINDOW - EDGE + 1, FPS)


def share_within_one(mouths: Tensor, sounds: Tensor, own: int) -> float:
    """Share of windows, over all planted offsets, whose offset is right."""
    found = []
    for planted in PLANTED:
        late = torch.roll(mouths, planted, dims=0)
        for start in window_starts(len(mouths)):
            offset = judge(agreement(late, sounds, start, start + WINDOW)).offset
            found.append(abs(offset - planted - own) <= 1)
    return float(np.mean(found))


def confidences(mouths: Tensor, sounds: Tensor) -> list[float]:
    """Of every window."""
    starts = window_starts(len(mouths))
    return [judge(agreement(mouths, sounds, start, start + WINDOW)).confidence for start in starts]


def without_trend(values: Float[np.ndarray, "frames"]) -> Tensor:
    """Away from the mean of 2 s around."""
    kernel = np.hanning(2 * FPS + 3)[1:-1]
    smooth = np.convolve(np.pad(values, FPS, mode="edge"), kernel / kernel.sum(), "valid")
    return torch.from_numpy((values - smooth).astype(np.float32))


def quartiles(values: list[float]) -> str:
    """25, 50 and 75 %."""
    return "/".join(f"{value:.2f}" for value in np.percentile(values, [25, 50, 75]))


def area(true: list[float], false: list[float]) -> float:
    """Probability that a right window has more confidence than a wrong one."""
    right, wrong = np.array(true)[:, None], np.array(false)[None]
    return float((right > wrong).mean() + 0.5 * (right == wrong).mean())


def draw(curves: dict[str, tuple[list[float], list[float]]], path: Path) -> None:
    """The curve of every clip."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    for name, (true, false) in curves.items():
        limits = np.sort([*true, *false, np.inf, -np.inf])[::-1]
        rates = [[float((np.array(part) >= limit).mean()) for limit in limits] for part in (false, true)]
        axes.plot(*rates, label=f"{name}: {area(true, false):.3f}")
    axes.plot([0, 1], [0, 1], ":", color="grey")
    axes.set(xlabel="wrong windows taken for right", ylabel="right windows found", title="3 s windows")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())

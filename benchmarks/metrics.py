"""Does every figure of `nerf-ad evaluate` move the right way? A real clip against what is done to it.

    python benchmarks/metrics.py CLIP [--seconds 8] [--every 10] [--json FILE]

The clip is compared with itself, with itself 1 to 10 frames late, blurred, encoded at three qualities, and
with a frozen mouth. Prints a table in Markdown. A figure moves the right way if

* the clip against itself is the best that it can be,
* no change to the clip is better than that,
* the changes that are its business are worse, and ten frames worse than one, coarse coding than fine.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from nerf_ad.core.events import Event
from nerf_ad.evaluation.figure_list import FIGURES, Better, Known, shown
from nerf_ad.evaluation.pair import Faces, Pair, PairRecording, open_pair, still_frame, track_of
from nerf_ad.evaluation.rows import Instruments, Row, open_instruments
from nerf_ad.evaluation.sound import Sound, encode_sounds, sound_of_video
from nerf_ad.evaluation.unit_reader import UnitReader
from nerf_ad.face.head_shape import RIGID_POINTS
from nerf_ad.face.landmarks import FaceLandmarks
from nerf_ad.media.video import VideoWriter, decode
from nerf_ad.metrics.identity import fit_similarity

Made = TypeVar("Made")

SHIFTS: Final = tuple(range(1, 11))
QUALITIES: Final = (24, 34, 44)
"""x264's CRF."""
BLUR: Final = 2.0
"""Deviation in pixels."""
SHOWN: Final = (
    "itself", "1 late", "5 late", "10 late", "blurred", "crf 24", "crf 34", "crf 44", "mouth frozen",
)  # fmt: skip
LATE_ALONE: Final = {
    "blinks_per_minute_difference",
    "csim_clip",
    "flicker",
    "jitter",
    "lip_gap_amplitude_ratio",
    "sync_confidence",
}
"""Figures of each video for itself: the same frames, shown later, may have them as they were."""
LATE_EITHER_WAY: Final = {"sync_confidence"}
"""Of them those for which late frames count as neither better nor worse: the same lips with the same sound,
in windows that begin elsewhere. How late they are is the offset's business."""
STEADY: Final = 0.02
"""Share by which such a figure may be better than the clip's own (its ends come and go)."""
_MOUTHLESS: Final = ("eyes", "upper", "blinks", "csim")


def freeze_mouth(
    picture: np.ndarray, face: FaceLandmarks, still: np.ndarray, resting: FaceLandmarks
) -> np.ndarray:
    """The picture with the mouth of another frame, laid there by the points over bone, its edge soft."""
    rigid = list(RIGID_POINTS)
    matrix = fit_similarity(face.points[rigid, :2].astype(float), resting.points[rigid, :2].astype(float))
    size = (picture.shape[1], picture.shape[0])
    laid = Image.fromarray(still).transform(
        size, Image.Transform.AFFINE, tuple(matrix.ravel().tolist()), Image.Resampling.BICUBIC
    )
    lips = face.points[[61, 291, 0, 17, 152], :2]
    middle, reach = (lips.min(axis=0) + lips.max(axis=0)) / 2, 0.75 * np.ptp(lips, axis=0)
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    inside = np.hypot((x - middle[0]) / max(reach[0], 1), (y - middle[1]) / max(reach[1], 1))
    weight = np.clip((1.1 - inside) / 0.2, 0, 1)[..., None]
    return np.round(weight * np.asarray(laid) + (1 - weight) * picture).astype(np.uint8)


def encoded(pictures: list[np.ndarray], fps: float, crf: int) -> list[np.ndarray]:
    """What is left after x264."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        height, width = pictures[0].shape[:2]
        with VideoWriter(path, (width, height), fps=fps, crf=crf) as writer:
            for picture in pictures:
                writer.write(picture)
        return list(decode(path, fps, size=(width, height)))[: len(pictures)]


def variants(pictures: list[np.ndarray], faces: Faces, fps: float) -> Iterator[tuple[str, list[np.ndarray]]]:
    """What is done to the clip; frames that are late repeat the first."""
    yield "itself", pictures
    for shift in SHIFTS:
        yield f"{shift} late", pictures[:1] * shift + pictures[:-shift]
    yield "blurred", [gaussian_filter(picture, (BLUR, BLUR, 0)) for picture in pictures]
    for crf in QUALITIES:
        yield f"crf {crf}", encoded(pictures, fps, crf)
    rest = still_frame(faces)
    yield (
        "mouth frozen",
        [
            freeze_mouth(picture, faces[index], pictures[rest], faces[rest]) if index in faces else picture
            for index, picture in enumerate(pictures)
        ],
    )


def measure(
    name: str,
    made: list[np.ndarray],
    real: list[np.ndarray],
    recording: PairRecording,
    *,
    every: int,
    sound: Sound | None,
) -> dict[str, Any]:
    """Figures of a variant; a late one is measured from the frame on in which it has begun."""
    shift = int(name.split(maxsplit=1)[0]) if name.endswith("late") else 0
    row = Row(recording, step=1, picture_every=every, sound=sound)
    detector = recording.instruments.detector
    for index, pair in enumerate(zip(real, made, strict=True)):
        if index < shift:
            continue
        recording.show(index, pair[0])
        if shift or name == "itself":
            face = recording.face(index - shift)
        else:
            found = detector.detect(np.ascontiguousarray(pair[1])) if detector is not None else []
            face = found[0] if found else None
        row.add(index, pair[1], face)
    return row.figures()


def badness(value: float, better: Better, itself: float) -> float:
    """Larger is worse; ``itself`` is what the clip against itself has."""
    match better:
        case "higher":
            return -value
        case "lower":
            return value
        case "nearest 0":
            return abs(value)
        case "nearest 1":
            return abs(value - 1)
        case "nearest the recording's":
            return abs(value - itself)
        case _:
            return 0.0


def verdict(known: Known, figures: Mapping[str, Mapping[str, Any]]) -> str:
    """``yes``, or what is wrong."""
    if known.better == "says nothing alone":
        return "-"
    bad = {
        name: badness(values[known.key], known.better, figures["itself"][known.key])
        for name, values in figures.items()
        if known.key in values
    }
    best = bad["itself"]
    slack = STEADY * abs(best) if known.key in LATE_ALONE else 1e-9
    judged = [name for name in bad if not (name.endswith("late") and known.key in LATE_EITHER_WAY)]
    wrong = [f"{name} is better" for name in judged if bad[name] < best - slack]
    picture = known.key.startswith(("psnr", "ssim", "ms_ssim", "lpips"))
    is_of_mouth = not picture or "mouth" in known.key
    if known.key not in LATE_ALONE and known.key not in {"frames_without_face", "lip_gap_best_correlation"}:
        wrong += [f"{shift} late is no worse" for shift in SHIFTS if bad[f"{shift} late"] <= best]
        wrong += ["10 late is no worse than 1"] if bad["10 late"] <= bad["1 late"] else []
    if picture:
        order = ["itself", *(f"crf {crf}" for crf in QUALITIES)]
        wrong += [f"{b} is no worse than {a}" for a, b in itertools.pairwise(order) if bad[b] <= bad[a]]
        wrong += ["blurred is no worse"] if bad["blurred"] <= best else []
    if is_of_mouth and known.key.startswith(
        ("psnr", "ssim", "lpips", "mouth", "lip_gap", "sync_confidence", "au_acc", "au_error")
    ):
        lag = known.key in {"lip_gap_best_lag_frames"}  # of lips that do not move there is no lag
        mouth = not any(part in known.key for part in _MOUTHLESS)
        wrong += ["mouth frozen is no worse"] if mouth and not lag and bad["mouth frozen"] <= best else []
    return "yes" if not wrong else "; ".join(wrong)


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| figure | better | " + " | ".join(SHOWN) + " | moves the right way |",
        "|---|---|" + "--:|" * len(SHOWN) + "---|",
    ]
    for known in FIGURES:
        if known.key in figures["itself"] and not known.key.endswith("_normalised"):
            cells = [shown(figures[name].get(known.key), known.digits) for name in SHOWN]
            lines.append(
                f"| {known.title} | {known.better} | {' | '.join(cells)} | {verdict(known, figures)} |"
            )
    return "\n".join(lines) + "\n"


def finished(work: Generator[Event, None, Made]) -> Made:
    """What the work gives in the end; its events go to stderr."""
    while True:
        try:
            sys.stderr.write(f"{next(work)}\n")
        except StopIteration as stop:
            result: Made = stop.value
            return result


def sound_of(pair: Pair, seconds: float) -> Sound | None:
    """The clip's own sound with its features; None without sound."""
    heard = sound_of_video(pair.real.path, pair.real.info, seconds=seconds)
    return None if heard is None else finished(encode_sounds([heard], first=0))[0]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pair: Pair = open_pair(arguments.clip, arguments.clip)
    real = list(
        itertools.islice(pair.real.pictures(pair.fps, pair.size), round(arguments.seconds * pair.fps))
    )
    with contextlib.ExitStack() as stack:
        tools: Instruments = finished(open_instruments(None, stack))
        if tools.detector is None:
            sys.stderr.write("error: the face landmarker is not here\n")
            return 1
        seen = {
            index: tools.detector.detect(np.ascontiguousarray(picture)) for index, picture in enumerate(real)
        }
        faces = {index: found[0] for index, found in seen.items() if found}
        tools = tools._replace(units=UnitReader(track_of(faces)))
        recording = PairRecording(pair, faces, tools)
        sound = sound_of(pair, len(real) / pair.fps)
        figures = {}
        for name, made in variants(real, faces, pair.fps):
            figures[name] = measure(name, made, real, recording, every=arguments.every, sound=sound)
            sys.stderr.write(f"{name}\n")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    sys.stdout.write(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

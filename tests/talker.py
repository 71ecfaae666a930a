"""The tiny person that every stage's tests share: a film of 4.4 seconds at 96x96, whose truth is known.

Of two kinds. The figure (``nerf-ad synthesize``) speaks and is captured as any video is; it needs
third-party weights. The analytic head needs none: its landmarks are given to capture with a detector's
jitter, parts are outlines of landmarks, features are log-mel. Tests run on both, so that what is left of them
without weights is known to pass.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import pytest
from jaxtyping import Float, Int, UInt8
from PIL import Image

from nerf_ad.capture.parsing import ParsingConfig
from nerf_ad.capture.recipe import CaptureConfig, required_weights
from nerf_ad.core import weights
from nerf_ad.core.files import locked, write_npz
from nerf_ad.dataset.synthetic import make_person
from nerf_ad.dataset.synthetic.analytic import person_truth
from nerf_ad.dataset.synthetic.analytic_face import MAX_GAP
from nerf_ad.dataset.synthetic.film import FilmConfig, film_weights, synthesize
from nerf_ad.dataset.synthetic.truth import HAIR, read_truth
from nerf_ad.face.parsing import LandmarkParserConfig, Part
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.video import VideoWriter
from nerf_ad.speech.encoder import MelConfig

Kind = Literal["figure", "analytic"]

SIZE: Final = 96
"""Width and height of film and dataset."""
FPS: Final = 25
SEED: Final = 0
NUM_FRAMES: Final = 110
"""Of the analytic film; a figure stops after the sentence that reaches 4 s, the shortest clip that is fit."""
JITTER: Final = 0.3
"""Pixels by which each recorded landmark is off, as a detector's is."""
FIGURE: Final = FilmConfig(seconds=4.0, seed=SEED, size=SIZE)
WITHOUT_WEIGHTS: Final = CaptureConfig(
    parsing=ParsingConfig(parser=LandmarkParserConfig()), speech=MelConfig()
)


class FilmTruth(NamedTuple):
    """What is known about every frame of a film."""

    camera_to_world: Float[np.ndarray, "frames 4 4"]
    points: Float[np.ndarray, "frames 478 2"]
    """Pixels."""
    lip_gap: Float[np.ndarray, "frames"]
    """Metres between the inner lips."""
    labels: UInt8[np.ndarray, "frames size size"]
    """``Part`` of every pixel; hair is head."""
    background: UInt8[np.ndarray, "size size 3"]
    """The room without the person."""
    sound: Waveform


class Film(NamedTuple):
    """A video and how it is captured."""

    kind: Kind
    video: Path
    sound: Path
    """What is heard in it, exactly as long as the pictures: the video's own track ends on a block of AAC."""
    truth: FilmTruth
    landmarks: Path | None
    """Recorded ones, where no detector is at hand."""
    config: CaptureConfig


def make_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is filled once in a run of the tests, whichever of pytest-xdist's workers comes first."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the run's own folder, with one for every worker in it
    folder, whole = base / "talker" / name, base / "talker" / f"{name}.whole"
    with locked(folder.with_suffix(".lock"), wait=True):
        if not whole.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            make(folder)
            whole.touch()
    return folder


def skip_without_weights() -> None:
    """Skip where the figure cannot be filmed or captured."""
    pytest.importorskip("mediapipe", exc_type=ImportError)
    pytest.importorskip("onnxruntime", exc_type=ImportError)
    for name in (*film_weights(FIGURE), *required_weights(CaptureConfig())):
        if weights.find(name) is None:
            pytest.skip(f"{name} is not in the cache: nerf-ad weights fetch {name}")


def make_film(kind: Kind, folder: Path) -> None:
    """Write film and truth into an empty folder."""
    if kind == "figure":
        synthesize(folder / "film.mp4", FIGURE, truth=folder / "truth")
        return
    person = make_person(folder / "truth", size=SIZE, num_frames=NUM_FRAMES, seed=SEED)
    sound = read_audio(person.layout.audio)
    with VideoWriter(folder / "film.mp4", (SIZE, SIZE), audio=sound, crf=10, preset="fast") as writer:
        for index in range(NUM_FRAMES):
            writer.write(person.frame(index))
    points = person.landmarks().points
    jitter = np.random.default_rng(SEED).normal(scale=JITTER, size=points.shape)
    write_npz(folder / "landmarks.npz", {"points": (points + jitter).astype(np.float32)})


def open_film(kind: Kind, folder: Path) -> Film:
    """The film that ``make_film`` wrote."""
    root, video, wav = folder / "truth", folder / "film.mp4", folder / "truth" / "audio.wav"
    background, sound = np.asarray(Image.open(root / "background.png")), read_audio(wav)
    if kind == "figure":
        told = read_truth(root)
        labels = read_pictures(root / "parts")
        labels = np.where(labels == HAIR, np.uint8(Part.HEAD), labels)
        points = told.points[:, :, :2].astype(np.float64)
        truth = FilmTruth(told.camera_to_world, points, told.lip_gap, labels, background, sound)
        return Film(kind, video, wav, truth, None, CaptureConfig())
    person = person_truth(size=SIZE, num_frames=NUM_FRAMES, seed=SEED)
    points = np.load(root / "landmarks.npz")["points"][:, :, :2].astype(np.float64)
    labels = read_pictures(root / "parsing")
    gap = person.mouth_open * MAX_GAP
    truth = FilmTruth(person.camera_to_world, points, gap, labels, background, sound)
    return Film(kind, video, wav, truth, folder / "landmarks.npz", WITHOUT_WEIGHTS)


def read_pictures(folder: Path) -> UInt8[np.ndarray, "frames height width *channels"]:
    """All PNG files of a folder, in order."""
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def mouth_windows(truth: FilmTruth) -> Int[np.ndarray, "frames 4"]:
    """Left, top, right, bottom of a window in every frame that an open mouth darkens.

    It hangs from the middle between the corners of the mouth, and is as large in every frame.
    """
    corners = truth.points[:, [61, 291]]
    width = float(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=-1).mean())
    middle = corners.mean(axis=1)
    low, high = middle + np.array([-0.25, -0.15]) * width, middle + np.array([0.25, 0.35]) * width
    return np.concatenate([np.floor(low), np.ceil(high)], axis=1).astype(np.int64)


def darkness(
    pictures: UInt8[np.ndarray, "frames size size 3"], windows: Int[np.ndarray, "frames 4"]
) -> Float[np.ndarray, "frames"]:
    """How dark each window is: 0 is white, 1 black. Knows nothing of faces."""
    pairs = zip(pictures, windows, strict=True)
    return np.array(
        [1 - picture[top:bottom, left:right].mean() / 255 for picture, (left, top, right, bottom) in pairs]
    )


def best_lag(
    later: Float[np.ndarray, "frames"], earlier: Float[np.ndarray, "frames"], *, reach: int = 4
) -> tuple[int, float]:
    """By how many frames one curve is behind another, and their correlation when it is moved back."""
    inside = slice(reach, len(earlier) - reach)
    scores = {
        lag: float(np.corrcoef(np.roll(later, -lag)[inside], earlier[inside])[0, 1])
        for lag in range(-reach, reach + 1)
    }
    best = max(scores, key=lambda lag: scores[lag])
    return best, scores[best]


def sound_lag(later: Waveform, earlier: Waveform, *, reach: float = 0.1) -> float:
    """By how many seconds one sound is behind another: where their cross-correlation peaks."""
    assert later.rate == earlier.rate
    count = min(len(later.samples), len(earlier.samples))
    spectra = [np.fft.rfft(sound.samples[:count], 2 * count) for sound in (later, earlier)]
    correlation = np.fft.irfft(spectra[0] * spectra[1].conj())
    most = round(reach * later.rate)
    around = np.concatenate([correlation[-most:], correlation[: most + 1]])
    return float(np.argmax(around) - most) / later.rate


def decibels(
    made: UInt8[np.ndarray, "*pixels 3"] | Float[np.ndarray, "*pixels 3"],
    real: UInt8[np.ndarray, "*pixels 3"],
) -> float:
    """Peak signal-to-noise ratio, from its definition."""
    error = (made.astype(np.float64) - real.astype(np.float64)) ** 2
    return float(10 * np.log10(255.0**2 / error.mean()))

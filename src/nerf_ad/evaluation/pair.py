"""Two videos against each other: what any system made, and the recording that it should look like.

No avatar and no data set is needed. Frames are compared one by one from the first picture of each file;
nothing is moved, cropped or smoothed:

* rate: the lower of the two files' own rates (copies that pad a file to a higher rate are not counted), so
  that no frame is shown twice; see ``media.video.decode``.
* size: the recording's; made pictures of another size but the same shape are scaled to it, bicubic.
* neutral of action units: that of the recorded person, found in the recording's own frames.
* sync: each video's lips are compared with its own sound from its first picture on, a silent one's with the
  other's.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from nerf_ad.core.errors import MediaError, UsageError
from nerf_ad.core.events import Event, Progress, Saved, Warned
from nerf_ad.core.files import file_in_the_way, read_json, sha256_file, write_json
from nerf_ad.dataset.dataset import LandmarkTrack
from nerf_ad.evaluation.exhibits import Exhibits
from nerf_ad.evaluation.regions import LandmarkRegions
from nerf_ad.evaluation.rows import Instruments, Row, open_instruments, spans
from nerf_ad.evaluation.sound import PairSounds, sound_of_video, sounds_of_pair
from nerf_ad.evaluation.sync_figures import SYNC_RULES
from nerf_ad.evaluation.unit_reader import UnitReader
from nerf_ad.face.action_units import eye_openness, mouth_opening
from nerf_ad.face.landmarks import FaceLandmarks, LandmarkDetector
from nerf_ad.media.audio import Waveform
from nerf_ad.media.cadence import Cadence, find_cadence
from nerf_ad.media.video import VideoInfo, decode, probe
from nerf_ad.sync.syncnet import load_syncnet

LATE = 10
"""Frames that the row ``shifted`` is late: beyond any lips that still look in time (ours)."""
ROW_PICTURES = 64
"""Pictures that the other rows are measured on at most; they are slow to compare."""
LENGTHS = 0.05
"""Share of the longer video by which the lengths may differ (ours)."""
SHAPES = 0.02
"""By which width over height may differ (ours: rounding to even numbers)."""
FACES = 0.5
"""Share of frames in which a face must be found (ours)."""
PROTOCOL = "two videos, frame by frame from the first pictures; nothing aligned, cropped or smoothed"

Picture = UInt8[np.ndarray, "height width 3"]
Faces = dict[int, FaceLandmarks]


class Clip(NamedTuple):
    """A video file."""

    path: Path
    info: VideoInfo
    cadence: Cadence | None

    @property
    def rate(self) -> float:
        """Frames per second, copies not counted."""
        kept = 1.0 if self.cadence is None else 1 - 1 / self.cadence.period
        return (self.info.fps or 25.0) * kept

    def pictures(self, fps: float, size: tuple[int, int]) -> Iterator[Picture]:
        """At a common rate and size."""
        wanted = None if size == (self.info.width, self.info.height) else size
        return decode(self.path, fps, size=wanted, cadence=self.cadence)


class Pair(NamedTuple):
    """Two videos that can be compared."""

    made: Clip
    real: Clip

    @property
    def fps(self) -> float:
        """The lower rate; rates that differ by less than 0.5 % are one."""
        low, high = sorted((self.made.rate, self.real.rate))
        return self.real.rate if high < 1.005 * low else low

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels: the recording's."""
        return self.real.info.width, self.real.info.height

    def both(self) -> Iterator[tuple[Picture, Picture]]:
        """Recorded and made pictures, until one ends."""
        return zip(*(clip.pictures(self.fps, self.size) for clip in (self.real, self.made)), strict=False)


class PairRecording:
    """The recording's current frame, and the faces of all."""

    def __init__(self, pair: Pair, faces: Faces, instruments: Instruments) -> None:
        self.instruments, self.faces, self.fps = instruments, faces, pair.fps
        width, height = pair.size
        self.regions = LandmarkRegions(faces, width=width, height=height)
        self._current: tuple[int, Picture] | None = None

    def show(self, index: int, picture: Picture) -> None:
        """Go on to a frame."""
        self._current = index, picture

    def picture(self, index: int) -> Picture:
        """The current frame."""
        assert self._current is not None
        assert self._current[0] == index
        return self._current[1]

    def face(self, index: int) -> FaceLandmarks | None:
        """The largest face of any frame."""
        return self.faces.get(index)


class Count(NamedTuple):
    """Frames at the common rate."""

    made: int
    real: int


def evaluate_pair_events(
    generated: Path,
    reference: Path,
    out: Path,
    *,
    every: int = 1,
    html: bool = False,
    device: torch.device | str = "cpu",
    syncnet: Path | None = None,
) -> Iterator[Event]:
    """Measure, and write ``metrics.json`` into ``out``; with ``html`` also a page with pictures and a video.

    Args:
        generated: what a system made.
        reference: the recording of the same words.
        out: folder, made where it is missing.
        every: compare pictures only in each so-manieth frame; faces and flicker are measured in all.
        html: write ``index.html``.
        device: where LPIPS is computed.
        syncnet: SyncNet's weights, for LSE-C and LSE-D; see ``sync.syncnet.load_syncnet``.

    Raises:
        BadInputError: ``syncnet`` cannot be used.
        MediaError: a file cannot be read; lengths or shapes differ; a video shows no face.
        UsageError: ``every`` is below 1, or ``out`` cannot take the result.
    """
    if every < 1:
        raise UsageError(f"--every must be a whole number from 1, not {every}", hint="--every 1 compares all")
    refuse_folder(out)
    network = None if syncnet is None else load_syncnet(syncnet)
    pair = open_pair(generated, reference)
    with contextlib.ExitStack() as stack:
        tools = yield from open_instruments(None, stack, device=device, syncnet=network)
        if tools.detector is None:
            count, made_faces, faces, sounds = Count(0, 0), Faces(), Faces(), None
        else:
            count, made_faces, faces = yield from find_faces(pair, tools.detector)
            tools = tools._replace(units=UnitReader(track_of(faces)))
            videos = ((clip.path, clip.info) for clip in pair)
            sounds = yield from sounds_of_pair(*videos, seconds=min(count) / pair.fps)
        recording = PairRecording(pair, faces, tools)
        total = min(count) or pair.real.info.num_frames
        every = min(every, max(total, 1))
        thin = max(every, -(-total // ROW_PICTURES))
        still = still_frame(faces)
        rest = next(itertools.islice(pair.real.pictures(pair.fps, pair.size), still, None))
        own = Row(recording, step=1, picture_every=every, sound=sounds and sounds.made)
        shifted = Row(recording, step=1, picture_every=thin, sound=sounds and sounds.made)
        truth, static = (
            Row(recording, step=1, picture_every=thin, sound=sounds and sounds.real) for _ in range(2)
        )
        exhibits = None
        if html:
            exhibits = Exhibits(
                out, pair.size, range(total), fps=pair.fps, sound=sound_of(pair, total / pair.fps)
            )
            stack.enter_context(exhibits)
        late: deque[tuple[Picture, FaceLandmarks | None]] = deque(maxlen=LATE + 1)
        for index, (real, made) in enumerate(pair.both()):
            recording.show(index, real)
            face = made_faces.get(index)
            own.add(index, made, face)
            truth.add(index, real, faces.get(index))
            static.add(index, rest, faces.get(still))
            late.append((made, face))
            if index >= LATE:
                shifted.add(index, *late[0])
            if exhibits is not None:
                exhibits.add(index, real, made, own)
            yield Progress(stage="frames", done=min(index + 1, total), total=total)
        result: dict[str, object] = {
            **facts(pair, own, every=every, count=count, tools=tools),
            **sync_facts(sounds),
            **own.figures(),
            "rows": {
                name: {"means": means, "pictures_every": thin, **row.figures()}
                for name, means, row in (
                    (
                        "ground_truth",
                        "the recording against itself: the best that these instruments say",
                        truth,
                    ),
                    ("static", f"frame {still} of the recording, shown all the time", static),
                    ("shifted", f"made frames, {LATE} frames late", shifted),
                )
            },
        }
        write_json(out / "metrics.json", result)
        yield Saved(path=str(out / "metrics.json"))
    if exhibits is not None:
        title = f"{generated.name} against {reference.name}"
        yield Saved(path=str(exhibits.write_page(title, result, own)))


def evaluate_pair(
    generated: str | Path,
    reference: str | Path,
    out: str | Path,
    *,
    every: int = 1,
    html: bool = False,
    syncnet: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, object]:
    """Measure what any system made against the recording of the same words; no avatar, no data set.

    Pictures, landmarks, action units, blinks, likeness, flicker and lip sync, of the made video and of rows
    that say what the figures are worth. docs/reference/evaluation.md tells each one with its unit, its range
    and which way is better. Frames are compared one by one from the first of each file.

    Args:
        generated: the made video, a file.
        reference: the recording, a file; of the same shape (width over height), its length within 5 %.
        out: folder for ``metrics.json``, made where it is missing.
        every: compare pictures only in each so-manieth frame, from 1; faces, flicker and sync in all.
        html: also write ``index.html`` with curves, the worst frames and a film side by side.
        syncnet: SyncNet's weights, a safetensors file, for LSE-C and LSE-D.
        on_event: called with each event, such as what is left out for want of weights.

    Returns:
        the content of ``metrics.json``.

    Raises:
        BadInputError: a file cannot be used, the two cannot be compared, or ``every`` is below 1.
    """
    events = evaluate_pair_events(
        Path(generated),
        Path(reference),
        Path(out),
        every=every,
        html=html,
        syncnet=None if syncnet is None else Path(syncnet),
    )
    for event in events:
        if on_event is not None:
            on_event(event)
    result: dict[str, object] = read_json(Path(out) / "metrics.json")
    return result


def open_pair(generated: Path, reference: Path) -> Pair:
    """Look at both files.

    Raises:
        MediaError: one cannot be read, or their lengths or shapes differ.
    """
    pair = Pair(*(Clip(path, probe(path), find_cadence(path)) for path in (generated, reference)))
    made, real = pair.made.info, pair.real.info
    if abs(made.width * real.height / (made.height * real.width) - 1) > SHAPES:
        raise MediaError(
            f"{generated} is {made.width}x{made.height} and {reference} is {real.width}x{real.height}: they "
            "have different shapes",
            hint="crop the recording to what was generated; nothing is aligned here",
        )
    refuse_lengths(pair, made.seconds, real.seconds)
    return pair


def refuse_lengths(pair: Pair, made: float, real: float) -> None:
    """Of different words no figure means anything; seconds.

    Raises:
        MediaError: they differ by more than ``LENGTHS``. A file that does not tell its length (0) is not
            judged by it.
    """
    if min(made, real) > 0 and abs(made - real) > LENGTHS * max(made, real):
        raise MediaError(
            f"{pair.made.path} lasts {made:.2f} s and {pair.real.path} {real:.2f} s: they differ by more "
            f"than {LENGTHS:.0%}",
            hint="cut both to the same stretch; frames are compared one by one from the first",
        )


def refuse_folder(out: Path) -> None:
    """Refuse a place for results before anything is measured.

    Raises:
        UsageError: a file is in the way, or an avatar or a data set lies there, whose files have these names.
    """
    if file_in_the_way(out) is not None:
        raise UsageError(f"{out} is or lies below a file, not a folder", hint="choose another --out")
    if any((out / name).is_file() for name in ("avatar.toml", "dataset.toml")):
        raise UsageError(
            f"{out} is an avatar or a data set, whose own figures would be lost", hint="choose another --out"
        )


def find_faces(pair: Pair, detector: LandmarkDetector) -> Generator[Event, None, tuple[Count, Faces, Faces]]:
    """Faces of all frames that both videos have: the made ones, then the recorded ones.

    Raises:
        MediaError: a video shows a face in too few frames, or the lengths differ after all.
    """
    found: list[Faces] = []
    counts = []
    for clip in pair:
        faces, frames = Faces(), 0
        guess = round(clip.info.seconds * pair.fps)
        for picture in clip.pictures(pair.fps, pair.size):
            seen = detector.detect(np.ascontiguousarray(picture), index=frames)
            if seen:
                faces[frames] = seen[0]
            frames += 1
            yield Progress(stage=f"faces in {clip.path.name}", done=frames, total=max(frames, guess))
        if len(faces) < max(3, FACES * frames):
            raise MediaError(
                f"{clip.path} shows a face in {len(faces)} of {frames} frames",
                hint="use a video in which one face is large and seen from the front",
            )
        found.append(faces)
        counts.append(frames)
    count = Count(*counts)
    refuse_lengths(pair, *(frames / pair.fps for frames in count))
    if count.made != count.real:
        yield Warned(
            message=f"of {count.made} made and {count.real} recorded frames the first {min(count)} count"
        )
    made, real = ({index: face for index, face in faces.items() if index < min(count)} for faces in found)
    return count, made, real


def track_of(faces: Faces) -> LandmarkTrack:
    """The faces that were found, one after the other."""
    return LandmarkTrack(
        np.stack([face.points for face in faces.values()]),
        np.ones(len(faces), np.float32),
        np.stack([face.blendshapes for face in faces.values()]),
    )


def still_frame(faces: Faces) -> int:
    """A frame with a closed mouth and open eyes, the head where it usually is; 0 without faces.

    Of the fifth whose mouth is closed most those whose eyes are not closing, of these the one nearest to the
    median landmarks (as ``dataset.references.neutral_frame``, without poses and sharpness).
    """
    if not faces:
        return 0
    frames, points = np.array(list(faces)), np.stack([face.points for face in faces.values()])
    opening, openness = mouth_opening(points), eye_openness(points)
    closed = opening <= np.quantile(opening, 0.2)
    open_eyes = openness >= 0.9 * np.median(openness)
    fit = closed & open_eyes if (closed & open_eyes).any() else closed
    away = np.abs(points[:, :, :2] - np.median(points[:, :, :2], axis=0)).mean(axis=(1, 2))
    return int(frames[fit][np.argmin(away[fit])])


def sound_of(pair: Pair, seconds: float) -> Waveform | None:
    """The recording's sound from its first picture on, or the made video's; None where both are silent."""
    for clip in (pair.real, pair.made):
        sound = sound_of_video(clip.path, clip.info, seconds=seconds, rate=48_000)
        if sound is not None:
            return sound
    return None


def sync_facts(sounds: PairSounds | None) -> dict[str, object]:
    """What lips were compared with; nothing where they were not."""
    return {} if sounds is None else {"sync": {**sounds.told, "hears": sounds.made.hears, **SYNC_RULES}}


def facts(pair: Pair, own: Row, *, every: int, count: Count, tools: Instruments) -> dict[str, object]:
    """What was compared, and how it was made comparable."""
    made = pair.made.info
    width, height = pair.size
    scaled = "as it is" if (made.width, made.height) == pair.size else "scaled, bicubic"
    return {
        "protocol": PROTOCOL,
        "generated": {"name": pair.made.path.name, "sha256": sha256_file(pair.made.path)},
        "reference": {"name": pair.real.path.name, "sha256": sha256_file(pair.real.path)},
        "fps": round(pair.fps, 4),
        "fps_of": {"generated": round(pair.made.rate, 4), "reference": round(pair.real.rate, 4)},
        "rate_rule": "the lower of both rates without padding copies; the picture on show at each instant",
        "size": [width, height],
        "size_rule": f"the recording's; the generated video, {made.width}x{made.height}, {scaled}",
        "frames": [0, len(own.frames)],
        "frames_left_over": {
            "generated": max(count.made - len(own.frames), 0),
            "reference": max(count.real - len(own.frames), 0),
        },
        "every": every,
        "frames_used": {
            "pictures": spans(own.frames[::every]),
            "faces": spans(own.faces.frames if own.faces is not None else []),
        },
        "instruments": tools.versions(),
    }

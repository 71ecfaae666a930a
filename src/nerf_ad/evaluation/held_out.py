"""An avatar against the held-out tail of its clip, driven by the tail's own sound.

True pose and eye state, sound from the recording, our own torso and background, raw frames (not encoded):
the protocol of peers.md section 4, full frame. Nothing is smoothed. Avatars of the paper's method stand on
the recorded torso of the same frame, as the paper's code is measured (paper.md section 12), and say so.
Those with a torso of their own are measured a second time with the recording around the head: the two
protocols differ by decibels (peers.md section 1).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.device import prepare_cpu
from nerf_ad.core.errors import FormatError, UsageError
from nerf_ad.core.events import Event, Progress, Saved, Warned
from nerf_ad.core.files import read_json, write_json
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.dataset.pixels import fit_labels, fit_picture
from nerf_ad.dataset.references import neutral_frame
from nerf_ad.evaluation.exhibits import Exhibits
from nerf_ad.evaluation.rows import Recording, Row, open_instruments, spans
from nerf_ad.evaluation.sound import sound_of_dataset
from nerf_ad.evaluation.sync_figures import SYNC_RULES
from nerf_ad.face.parsing import Part
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.encoder import VideoWriter
from nerf_ad.media.images import write_image
from nerf_ad.rendering.drive import Drive
from nerf_ad.rendering.render import draw
from nerf_ad.sync.syncnet import load_syncnet

LATE = 10
"""Frames that the row ``shifted`` is late: beyond any lips that still look in time (ours)."""
ROW_PICTURES = 64
"""Pictures that the rows ``static`` and ``shifted`` are measured on at most; they are slow to compare."""

OVER_RECORDING = (
    "head over ground-truth torso: rendered pixels where the recording's parsing says head, recorded torso "
    "and background elsewhere; a head that leaves its place is cut off there"
)
"""The second protocol of avatars with a torso of their own."""


def evaluate_events(
    avatar: Avatar,
    dataset: Dataset,
    *,
    out: Path | None = None,
    every: int = 1,
    html: bool = False,
    syncnet: Path | None = None,
) -> Iterator[Event]:
    """Render the tail, measure it, write ``metrics.json`` and ``preview.mp4`` into the avatar.

    Args:
        avatar: who.
        dataset: the clip that it was trained on.
        out: folder to write to instead of the avatar's own.
        every: measure only each so-manieth frame, the first included; the preview holds each so long.
        html: write a page with pictures and a film into ``evaluation`` of that folder.
        syncnet: SyncNet's weights, for LSE-C and LSE-D; see ``sync.syncnet.load_syncnet``.

    Raises:
        BadInputError: ``syncnet`` cannot be used.
        FormatError: the dataset is not the avatar's.
        UsageError: ``every`` is below 1.
    """
    if every < 1:
        raise UsageError(
            f"--every must be a whole number from 1, not {every}", hint="--every 1 measures all frames"
        )
    network = None if syncnet is None else load_syncnet(syncnet)
    if dataset.manifest.source.sha256 != avatar.manifest.source_sha256:
        raise FormatError(
            f"{avatar.root} was not trained on {dataset.root}", hint="give the data set it was trained on"
        )
    prepare_cpu()
    folder = out or avatar.root
    drive, frames = drive_with_recording(avatar, dataset)
    every = min(every, len(frames))
    measured = frames[::every]
    start, stop = (edge / avatar.manifest.fps for edge in (frames.start, frames.stop))
    sound = read_audio(dataset.layout.audio)
    tail = Waveform(sound.samples[round(start * sound.rate) : round(stop * sound.rate)], sound.rate)
    size = avatar.manifest.size
    sheet = Sheet(measured)
    with contextlib.ExitStack() as stack:
        instruments = yield from open_instruments(dataset, stack, device=avatar.device, syncnet=network)
        heard = None
        if every > 1:
            yield Warned(message="lip sync is not measured: it needs every frame, --every 1")
        elif instruments.detector is not None:
            heard = yield from sound_of_dataset(dataset, frames)
        recording = Recording(dataset, size, instruments)
        thin = -(-len(measured) // ROW_PICTURES)
        own = Row(recording, step=every, sound=heard)
        truth, static, shifted, over_torso = (
            Row(recording, step=every, picture_every=thin, sound=heard) for _ in range(4)
        )
        framed = None if avatar.borrows_torso else over_torso
        still = neutral_frame(dataset)
        writer = stack.enter_context(
            VideoWriter(folder / "preview.mp4", size=(size, size), fps=avatar.manifest.fps, audio=tail)
        )
        exhibits = None
        if html:
            exhibits = Exhibits(
                folder / "evaluation", (size, size), measured, fps=avatar.manifest.fps / every, sound=tail
            )
            stack.enter_context(exhibits)
        pictures = draw(avatar, drive.only(np.arange(len(frames))[::every]))
        for done, (index, made) in enumerate(zip(measured, pictures, strict=True), start=1):
            face = recording.look(made)
            own.add(index, made, face)
            truth.add(index, recording.picture(index), recording.face(index))
            if framed is not None:
                over = over_recording(dataset, index, made, recording.picture(index))
                framed.add(index, over, recording.look(over))
            if exhibits is not None:
                exhibits.add(index, recording.picture(index), made, own)
            static.add(index, fit_picture(dataset.frame(still), size), recording.face(still))
            if index + LATE < frames.stop:
                shifted.add(index + LATE, made, face)
            sheet.add(index, recording.picture(index), made)
            for _ in range(min(every, frames.stop - index)):
                writer.write(made)
            yield Progress(stage="held-out frames", done=done, total=len(measured))
    write_image(folder / "held_out.png", sheet.picture())
    rows = {
        "ground_truth": ("the recording against itself: the best that these instruments say", truth),
        "static": (f"training frame {still}, shown all the time", static),
        "shifted": (f"rendered frames, {LATE} frames late", shifted),
    }
    if framed is not None:
        rows["head_over_recorded_torso"] = (OVER_RECORDING, framed)
    result: dict[str, object] = {
        "protocol": protocol(avatar),
        "frames": [frames.start, frames.stop],
        "every": every,
        "frames_used": {
            "pictures": spans(own.frames),
            "faces": spans(own.faces.frames if own.faces is not None else []),
        },
        "size": size,
        "driven_by": avatar.manifest.driven_by,
        "speech": avatar.manifest.speech_id,
        "instruments": instruments.versions(),
        **({} if heard is None else {"sync": {"hears": heard.hears, **SYNC_RULES}}),
        **own.figures(),
        "rows": {
            name: {"means": means, "pictures_every": thin * every, **row.figures()}
            for name, (means, row) in rows.items()
        },
    }
    write_json(folder / "metrics.json", result)
    yield Saved(path=str(folder / "metrics.json"))
    if exhibits is not None:
        title = f"{avatar.root.name} against the end of {dataset.root.name}"
        yield Saved(path=str(exhibits.write_page(title, result, own)))


def over_recording(
    dataset: Dataset,
    index: int,
    made: UInt8[np.ndarray, "size size 3"],
    real: UInt8[np.ndarray, "size size 3"],
) -> UInt8[np.ndarray, "size size 3"]:
    """Rendered pixels where the recording's parsing says head, recorded ones elsewhere."""
    head = fit_labels(dataset.labels(index), made.shape[0]) == Part.HEAD
    return np.where(head[..., None], made, real)


def protocol(avatar: Avatar) -> str:
    """How held-out frames are made, in words: whose torso is in the picture matters by decibels."""
    if not avatar.borrows_torso:
        return "held-out tail, true pose and eyes, own sound, own torso and background, raw frames"
    driven = {"speech": "own sound", "landmarks": "true landmarks", "nothing": "nothing heard"}
    by = driven[avatar.manifest.driven_by]
    return f"held-out tail, true pose, {by}, recorded torso of the same frame, raw frames"


def evaluate(
    avatar: Avatar | str | Path,
    dataset: Dataset | str | Path,
    *,
    every: int = 1,
    syncnet: str | Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, object]:
    """Measure an avatar on the held-out tail; see ``evaluate_events``.

    Args:
        avatar: who, or its folder.
        dataset: the clip that it was trained on, or its folder.
        every: measure only each so-manieth frame, from 1.
        syncnet: SyncNet's weights, a safetensors file, for LSE-C and LSE-D.
        on_event: called with each event.

    Returns:
        the content of ``metrics.json``.

    Raises:
        BadInputError: what was given cannot be used, or does not belong together.
    """
    person = avatar if isinstance(avatar, Avatar) else Avatar.load(avatar)
    clip = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    weights = None if syncnet is None else Path(syncnet)
    for event in evaluate_events(person, clip, every=every, syncnet=weights):
        if on_event is not None:
            on_event(event)
    result: dict[str, object] = read_json(person.root / "metrics.json")
    return result


def drive_with_recording(avatar: Avatar, dataset: Dataset) -> tuple[Drive, range]:
    """Sound, pose and eyes of the held-out frames; and their torsos, for an avatar that borrows them."""
    poses = dataset.tracking().camera_to_world
    frames = dataset.split().test
    inside = slice(frames.start, frames.stop)
    if not np.array_equal(avatar.motion.camera_to_world, poses.astype(np.float32)):
        raise FormatError(
            f"{dataset.root} was captured anew since {avatar.root} was trained on it", hint="train again"
        )
    size = avatar.manifest.size

    def torso(index: int) -> UInt8[np.ndarray, "size size 4"]:
        return fit_picture(dataset.torso(index), size)

    return Drive(
        avatar.codes_of(dataset)[inside],
        avatar.eyes_of(dataset)[inside],
        poses[inside],
        np.arange(frames.start, frames.stop),
        torso if avatar.borrows_torso else None,
    ), frames


class Sheet:
    """Rendered over recorded frames, spread over the tail."""

    def __init__(self, frames: Sequence[int], *, columns: int = 8) -> None:
        self.chosen = {frames[int(place)] for place in np.linspace(0, len(frames) - 1, columns)}
        self.pairs: list[UInt8[np.ndarray, "height width 3"]] = []

    def add(
        self, index: int, real: UInt8[np.ndarray, "size size 3"], made: UInt8[np.ndarray, "size size 3"]
    ) -> None:
        """Keep the frame if it is one of those shown."""
        if index in self.chosen:
            self.pairs.append(np.concatenate([made, real], axis=0))

    def picture(self) -> UInt8[np.ndarray, "height width 3"]:
        """The sheet."""
        return np.concatenate(self.pairs, axis=1)

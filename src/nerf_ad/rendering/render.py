"""render(): avatar and audio become a video as long as the audio."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from nerf_ad.avatar.avatar import Avatar, Moment
from nerf_ad.core.device import choose_device, prepare_cpu
from nerf_ad.core.errors import BadInputError, FormatError, UsageError
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.core.files import read_npz
from nerf_ad.core.workers import in_order, single_threads
from nerf_ad.media.audio import SPEECH_RATE, Waveform, read_audio
from nerf_ad.media.encoder import VideoWriter
from nerf_ad.media.images import read_image, resize_image
from nerf_ad.rendering.drive import Drive, drive_with_audio, open_encoder, refuse_bent
from nerf_ad.speech.encoder import NO_FILES, SpeechFiles

LONGEST = 86_400.0
"""Largest time that can be asked for, seconds."""
SYNTHETIC = "synthetic: rendered by nerf-ad, never filmed"
"""Written into every video's metadata."""


def draw(
    avatar: Avatar, drive: Drive, *, background: UInt8[np.ndarray, "size size 3"] | None = None
) -> Iterator[UInt8[np.ndarray, "size size 3"]]:
    """Frames one after the other: the only loop that renders. On a CPU, frames are made side by side."""
    plate = None
    if background is not None:
        plate = torch.from_numpy(background).to(avatar.device).permute(2, 0, 1).float() / 255

    def one(moment: Moment) -> UInt8[np.ndarray, "size size 3"]:
        frame = avatar.frame(moment, background=plate)
        return (frame.clamp(0, 1) * 255).round().byte().cpu().numpy()

    if avatar.device.type != "cpu":
        yield from map(one, drive.frames(avatar))
        return
    workers = torch.get_num_threads()
    with single_threads():
        yield from in_order(one, drive.frames(avatar), num_workers=workers)


def render_events(
    avatar: Avatar,
    audio: Path,
    video: Path,
    *,
    poses: Path | None = None,
    background: Path | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    speech: SpeechFiles = NO_FILES,
) -> Iterator[Event]:
    """Render as a stream of events; the video appears whole at the end.

    Args:
        avatar: the person.
        audio: any audio file (or a video with sound).
        video: ``.mp4`` to write: H.264 and AAC at 25 fps.
        poses: ``.npz`` with ``camera_to_world`` (frames 4 4) to walk on instead of the clip's poses.
        background: a picture to stand before.
        start: where in the audio to begin, seconds.
        seconds: how much of it, all where absent.
        speech: DeepSpeech's network, or its features of just that part of the audio; for avatars that speak
            from them.

    Raises:
        BadInputError: something given cannot be used.
    """
    prepare_cpu()
    _check(audio, video, start, seconds)
    heard = _cut(read_audio(audio, rate=SPEECH_RATE), start, seconds)
    plate = None if background is None else _plate(background, avatar.manifest.size)
    path = None if poses is None else _poses(poses)
    yield Progress(stage="listening", done=0, total=1)
    drive = drive_with_audio(avatar, heard, encoder=open_encoder(avatar, speech), poses=path)
    del heard
    sound = read_sound(audio, start, seconds)  # only now: an hour of it takes 700 MB
    yield Progress(stage="listening", done=1, total=1)
    total = len(drive.camera_to_world)
    size = (avatar.manifest.size, avatar.manifest.size)
    told = {"title": avatar.manifest.name, "comment": SYNTHETIC}
    with VideoWriter(video, size=size, fps=avatar.manifest.fps, audio=sound, metadata=told) as writer:
        for done, frame in enumerate(draw(avatar, drive, background=plate), start=1):
            writer.write(frame)
            yield Progress(stage="rendering", done=done, total=total)
    yield Saved(path=str(video))


def render(
    avatar: Avatar | str | Path,
    audio: str | Path,
    video: str | Path,
    *,
    device: torch.device | None = None,
    on_event: Callable[[Event], None] | None = None,
    poses: Path | None = None,
    background: Path | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    speech: SpeechFiles = NO_FILES,
) -> Path:
    """Let an avatar speak; see ``render_events``.

    Returns:
        the video's path.
    """
    person = avatar if isinstance(avatar, Avatar) else Avatar.load(avatar, device=device or choose_device())
    events = render_events(
        person,
        Path(audio),
        Path(video),
        poses=poses,
        background=background,
        start=start,
        seconds=seconds,
        speech=speech,
    )
    for event in events:
        if on_event is not None:
            on_event(event)
    return Path(video)


def read_sound(audio: Path, start: float, seconds: float | None) -> Waveform:
    """The sound for the video's track, mono at 48 kHz."""
    return _cut(read_audio(audio, rate=48_000), start, seconds)


def _cut(waveform: Waveform, start: float, seconds: float | None) -> Waveform:
    first = round(start * waveform.rate)
    last = None if seconds is None else first + round(seconds * waveform.rate)
    samples = waveform.samples[first:last]
    if len(samples) == 0 and (first == 0 or first < len(waveform.samples)):
        raise BadInputError("what is to be spoken is shorter than one sample")
    if len(samples) == 0:
        raise BadInputError(f"--start {start:g} lies behind the end of the audio ({waveform.seconds:.1f} s)")
    return waveform._replace(samples=samples)


def _check(audio: Path, video: Path, start: float, seconds: float | None) -> None:
    if not 0 <= start <= LONGEST:
        raise UsageError(f"--start must be from 0 to {LONGEST:.0f} seconds")
    if seconds is not None and not 0 < seconds <= LONGEST:
        raise UsageError(f"--seconds must be above 0 and at most {LONGEST:.0f}")
    if video.suffix.lower() != ".mp4":
        raise UsageError(f"{video} should end in .mp4", hint="the video is H.264 and AAC in an MP4 file")
    if audio.resolve() == video.resolve():
        raise UsageError("the video would overwrite the audio", hint="choose another name")


def _plate(path: Path, size: int) -> UInt8[np.ndarray, "size size 3"]:
    try:
        picture = read_image(path)
    except FormatError as error:
        raise BadInputError(error.message, hint="give a PNG or JPEG file as the background") from error
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = picture[top : top + side, left : left + side]
    return square if side == size else resize_image(np.ascontiguousarray(square), (size, size))


def _poses(path: Path) -> np.ndarray:
    arrays = read_npz(path)
    if "camera_to_world" not in arrays:
        raise BadInputError(f"{path} has no array camera_to_world", hint="see docs/concepts/avatar-format.md")
    refuse_bent(arrays["camera_to_world"])
    return arrays["camera_to_world"].astype(np.float32)

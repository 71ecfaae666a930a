"""Video on disk to frames at a constant rate, and back.

Time is the file's own clock in seconds, shared by pictures and sound. Output frame k is the picture on show
at ``video_start + (k + 0.5) / fps``: at an equal rate every frame is taken once, at another rate the nearest
is taken, and a variable rate or a gap never shifts the pictures against the sound.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream
from jaxtyping import UInt8
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.core.errors import MediaError
from nerf_ad.media.cadence import Cadence
from nerf_ad.media.container import PictureFrames, first_video_stream, open_container
from nerf_ad.media.encoder import VideoWriter

__all__ = ["Crop", "Damage", "Limits", "VideoInfo", "VideoWriter", "decode", "probe"]

_AV_TIME_BASE = 1_000_000


class Limits(Config):
    """What a video may be at most; checked after the probe and before the first frame."""

    max_side: int = Field(default=4096, ge=16)
    """Width or height in pixels."""
    max_pixels: int = Field(default=4096 * 2304, ge=256)
    """Width times height (DCI 4K and a bit)."""
    max_seconds: float = Field(default=3600.0, gt=0)
    """Length; counted again while decoding."""
    max_fps: float = Field(default=240.0, gt=0)
    """Frames per second of the file."""
    max_streams: int = Field(default=16, ge=1)
    """Streams of any kind."""


class VideoInfo(Config):
    """What a video file says of itself."""

    width: int
    """Pixels as displayed: after rotation, with square pixels."""
    height: int
    """Pixels as displayed."""
    fps: float
    """Average frame rate; 0 if the file does not say."""
    num_frames: int
    """Frames in the file (estimated where it does not say)."""
    seconds: float
    """Length of the pictures."""
    video_start: float
    """Time of the first picture on the file's clock."""
    rotation: int
    """Degrees, counter-clockwise, by which stored pictures are turned for display: 0, 90, 180 or 270."""
    codec: str
    """Such as ``h264``."""
    has_audio: bool
    """Whether there is an audio track."""
    audio_codec: str = ""
    """Such as ``aac``."""
    audio_rate: int = 0
    """Samples per second."""
    audio_channels: int = 0
    """Channels."""
    audio_seconds: float = 0.0
    """Length of the sound."""
    audio_start: float = 0.0
    """Time of the first sample on the file's clock."""


class Crop(NamedTuple):
    """A square of a picture in pixels."""

    left: int
    top: int
    side: int


def probe(path: Path, limits: Limits | None = None) -> VideoInfo:
    """Read what a video says of itself, decoding one frame.

    Raises:
        MediaError: not a video, without pictures, beyond the limits, or without a single frame.
    """
    limits = limits or Limits()
    with open_container(path) as container:
        stream = first_video_stream(path, container)
        _check_size(path, stream.codec_context.width, stream.codec_context.height, limits)
        if len(container.streams) > limits.max_streams:
            raise MediaError(
                f"{path} has {len(container.streams)} streams", hint="keep one video and one audio"
            )
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        _check_length(path, _stream_seconds(stream, container), fps, limits)
        first = next(iter(PictureFrames(container, stream)), None)
        if first is None:
            raise MediaError(
                f"{path} has no frame that can be read: it is cut off or damaged",
                hint="copy or download it again",
            )
        _check_size(path, first.width, first.height, limits)
        width, height = _display_size(first, stream)
        seconds = _stream_seconds(stream, container)
        estimate = max(1, round(seconds * fps))
        audio = container.streams.audio[0] if container.streams.audio else None
        return VideoInfo(
            width=width,
            height=height,
            fps=fps,
            num_frames=min(stream.frames or estimate, estimate),
            seconds=seconds,
            video_start=float(first.time if first.time is not None else 0.0),
            rotation=first.rotation % 360,
            codec=stream.codec_context.name,
            has_audio=audio is not None,
            audio_codec=audio.codec_context.name if audio else "",
            audio_rate=audio.codec_context.sample_rate if audio else 0,
            audio_channels=audio.codec_context.channels if audio else 0,
            audio_seconds=_stream_seconds(audio, container) if audio else 0.0,
            audio_start=float((audio.start_time or 0) * (audio.time_base or 0)) if audio else 0.0,
        )


class Damage:
    """Counts what decoding could not give."""

    def __init__(self) -> None:
        self.packets = 0
        """Packets that no frame came from."""
        self.frames = 0
        """Frames of the file that were read."""
        self.gaps: list[tuple[int, int]] = []
        """First output frame and length of every stretch of over half a second that repeats one picture."""


def decode(
    path: Path,
    fps: float | int = 25.0,
    *,
    limits: Limits | None = None,
    size: tuple[int, int] | None = None,
    start: float = 0.0,
    cadence: Cadence | None = None,
    damage: Damage | None = None,
    on_picture: Callable[[], None] | None = None,
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Frames at a constant rate, rotated for display, RGB.

    Args:
        path: a video.
        fps: frames per second to give.
        limits: what the file may be at most.
        size: width and height to scale to (bicubic over the area; four times faster than afterwards).
        start: seconds after the first picture to begin with.
        cadence: where the file holds copies that only pad its rate; they are left out.
        damage: filled in while decoding, if given.
        on_picture: called for every picture of the file.

    Raises:
        MediaError: as ``probe``, or longer than the limit although the file said otherwise.
    """
    limits = limits or Limits()
    damage = damage if damage is not None else Damage()
    with open_container(path) as container:
        stream = first_video_stream(path, container)
        _check_size(path, stream.codec_context.width, stream.codec_context.height, limits)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = 2
        frames = PictureFrames(container, stream)
        clock = _Clock(path, fps, limits, damage, size)
        shown: av.VideoFrame | None = None
        origin, shown_until, step = 0.0, 0.0, 1.0 / float(stream.average_rate or stream.guessed_rate or 25)
        first_time = 0.0
        for number, frame in enumerate(frames):
            _check_size(path, frame.width, frame.height, limits)
            time = frame.time if frame.time is not None else shown_until
            first_time = time if number == 0 else first_time
            length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step
            damage.frames += 1
            if on_picture is not None:
                on_picture()
            if cadence is not None:
                if cadence.is_copy(number):
                    continue
                length *= cadence.period / (cadence.period - 1)
                time += cadence.delay(number) * step
            if shown is None:
                origin = first_time + start
            else:
                yield from clock.hold(shown, stream, time - origin)
            shown, shown_until = frame, time + (length if 0 < length < 1 else step)
        damage.packets = frames.damaged
        if shown is None:
            raise MediaError(
                f"{path} has no frame that can be read: it is cut off or damaged",
                hint="copy or download it again",
            )
        yield from clock.hold(shown, stream, shown_until - origin)


class _Clock:
    """The output's clock: which frame it wants next."""

    def __init__(
        self, path: Path, fps: float | int, limits: Limits, damage: Damage, size: tuple[int, int] | None
    ) -> None:
        self.path, self.fps, self.limits, self.damage, self.size = path, fps, limits, damage, size
        self.emitted = 0

    def hold(
        self, shown: av.VideoFrame, stream: VideoStream, until: float
    ) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The picture on show, for every output time before ``until``."""
        first, picture = self.emitted, None
        while (self.emitted + 0.5) / self.fps < until - 1e-6:
            if self.emitted >= self.limits.max_seconds * self.fps:
                raise MediaError(
                    f"{self.path} is longer than {self.limits.max_seconds:.0f} seconds",
                    hint="cut it into parts",
                )
            if picture is None:
                picture = _picture(shown, stream, self.size)
            yield picture
            self.emitted += 1
        count = self.emitted - first
        if count > max(1.0, self.fps / 2):
            self.damage.gaps.append((first, count))


def _picture(
    frame: av.VideoFrame, stream: VideoStream, size: tuple[int, int] | None
) -> UInt8[np.ndarray, "height width 3"]:
    width, height = size or _display_size(frame, stream)
    rotation = frame.rotation % 360
    if rotation in {90, 270}:
        width, height = height, width
    picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="BICUBIC")
    return np.ascontiguousarray(np.rot90(picture, rotation // 90))


def _display_size(frame: av.VideoFrame, stream: VideoStream) -> tuple[int, int]:
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = frame.width, frame.height
    if aspect != 1 and Fraction(1, 4) <= aspect <= 4:
        width = max(1, round(width * aspect))
    return (height, width) if frame.rotation % 360 in {90, 270} else (width, height)


def _stream_seconds(stream: VideoStream | AudioStream, container: InputContainer) -> float:
    """Length that is played: an edit list may make the whole shorter than the stream."""
    whole = (container.duration or 0) / _AV_TIME_BASE
    if stream.duration and stream.time_base:
        own = float(stream.duration * stream.time_base)
        return max(0.0, min(own, whole) if whole > 0 else own)
    return max(0.0, whole)


def _check_size(path: Path, width: int, height: int, limits: Limits) -> None:
    if width > limits.max_side or height > limits.max_side or width * height > limits.max_pixels:
        raise MediaError(
            f"{path} is {width}x{height}, more than {limits.max_side} pixels a side"
            f" or {limits.max_pixels / 1e6:.1f} million in all",
            hint="scale it down; 512 to 1080 pixels are enough",
        )


def _check_length(path: Path, seconds: float, fps: float | int, limits: Limits) -> None:
    if seconds > limits.max_seconds:
        raise MediaError(
            f"{path} is {seconds:.0f} seconds long, more than {limits.max_seconds:.0f}",
            hint="cut it into parts",
        )
    if fps > limits.max_fps:
        raise MediaError(
            f"{path} has {fps:.0f} frames per second, more than {limits.max_fps:.0f}", hint="convert it to 25"
        )

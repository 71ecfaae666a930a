"""Open a media file with FFmpeg, and take decoded frames from it whatever its state."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from nerf_ad.core.errors import MediaError

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,h264,hevc,"
    "ogg,wav,w64,flac,mp3,aac,aiff,caf,amr"
)
"""Demuxers that may open a file. Playlists and picture sequences, which name other files, are left out."""


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """A local media file opened for reading.

    Only the ``file`` protocol and the demuxers of ``FORMATS`` are allowed: a file cannot make us read another
    file or the network.

    Raises:
        MediaError: missing, empty, a folder, or not a media file.
    """
    refuse_unreadable(path)
    av.logging.set_level(None)
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} is not a video or audio file that can be read ({reason(error)})",
            hint="play it in another program; if it plays, convert it to MP4 (H.264 + AAC)",
        ) from error
    with contextlib.closing(container):
        yield container


def first_video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The first stream of pictures that is no cover art.

    Raises:
        MediaError: there is none.
    """
    cover = av.stream.Disposition.attached_pic
    streams = [
        s for s in container.streams.video if not s.disposition & cover and s.codec_context is not None
    ]
    if not streams:
        kind = "an audio file" if container.streams.audio else "not a video"
        raise MediaError(f"{path} has no pictures: it is {kind}", hint="give a video of one person speaking")
    return streams[0]


class PictureFrames:
    """Iterates over the decoded pictures of a stream; what cannot be decoded is skipped and counted."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._packets = _Packets(container, stream)

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded."""
        return self._packets.damaged

    def __iter__(self) -> Iterator[av.VideoFrame]:
        for frame in self._packets:
            if isinstance(frame, av.VideoFrame):
                yield frame


class SoundFrames:
    """Iterates over the decoded pieces of sound of a stream; what cannot be decoded is skipped."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._packets = _Packets(container, stream)

    def __iter__(self) -> Iterator[av.AudioFrame]:
        for frame in self._packets:
            if isinstance(frame, av.AudioFrame):
                yield frame


class _Packets:
    def __init__(self, container: InputContainer, stream: AudioStream | VideoStream) -> None:
        self._container = container
        self._stream = stream
        self.damaged = 0

    def __iter__(self) -> Iterator[object]:
        packets = iter(self._container.demux(self._stream))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.EOFError):
                return
            except av.error.FFmpegError:
                self.damaged += 1
                return
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.damaged += 1
                continue
            yield from frames


def refuse_unreadable(path: Path) -> None:
    """Say in one sentence why ``path`` cannot even be opened.

    Raises:
        MediaError: missing, a folder, not a regular file, empty, or not ours to read.
    """
    if path.is_dir():
        raise MediaError(f"{path} is a folder", hint="name a video or audio file")
    if not path.exists():
        raise MediaError(f"{path} does not exist", hint="check the name")
    if not path.is_file():
        raise MediaError(f"{path} is not a regular file", hint="copy the media into a file first")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from error
    if empty:
        raise MediaError(f"{path} is empty", hint="copy or download it again")


def reason(error: BaseException) -> str:
    """FFmpeg's own words, in lower case."""
    text = str(getattr(error, "strerror", None) or error)
    return text.splitlines()[0].strip().rstrip(".").lower() if text else type(error).__name__

"""Frames and a waveform to an MP4 that plays everywhere."""

import contextlib
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from jaxtyping import UInt8

from nerf_ad.core.errors import NerfAdError
from nerf_ad.core.files import atomic_path
from nerf_ad.media.audio import Waveform, resample

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_BLOCK = 1024
_BT709 = 1


class VideoWriter:
    """Writes H.264 + AAC into an MP4; the file appears under its name only when it is whole.

    Pictures are 4:2:0 with BT.709 tags; an odd width or height grows by one pixel that repeats the edge. The
    index stands at the front of the file. Sound starts with the first picture: the encoder's priming is cut
    by an edit list. Used as a context manager; leaving it by an exception leaves nothing behind.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        *,
        fps: float | int = 25.0,
        audio: Waveform | None = None,
        crf: int = 18,
        preset: str = "medium",
        metadata: dict[str, str] | None = None,
    ) -> None:
        """Prepare; nothing is opened before ``with``.

        Args:
            path: where to; ``.mp4``.
            size: width and height of the pictures in pixels.
            fps: frames per second.
            audio: the whole sound, written at its own rate if AAC knows it, else at 48 kHz.
            crf: H.264 quality, 0 (lossless) to 51; 18 is visually clean.
            preset: x264's trade of time for size.
            metadata: container tags, such as ``title``.
        """
        self.path, self.size, self.fps = path, size, Fraction(fps).limit_denominator(1001)
        self._audio = audio if audio is None or audio.rate in _AAC_RATES else resample(audio, 48_000)
        self._options = {"crf": str(crf), "preset": preset}
        self._metadata = metadata or {}
        self._stack = contextlib.ExitStack()
        self._written = 0
        self._heard = 0

    def __enter__(self) -> "VideoWriter":
        try:
            temporary = self._stack.enter_context(atomic_path(self.path))
            container = av.open(f"file:{temporary}", "w", format="mp4", options={"movflags": "+faststart"})
            # Pushed after the path: closed (and so whole) before the rename.
            self._container = self._stack.enter_context(contextlib.closing(container))
            container.metadata.update(self._metadata)
            self._video = self._add_video(container)
            self._sound: AudioStream | None = None
            if self._audio is not None:
                self._sound = container.add_stream("aac", rate=self._audio.rate)
                self._sound.codec_context.layout = "mono"
                self._sound.codec_context.bit_rate = 64_000 if self._audio.rate <= 24_000 else 128_000
        except av.error.FFmpegError as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise NerfAdError(f"{self.path} could not be written: {error}") from error
        return self

    def _add_video(self, container: OutputContainer) -> VideoStream:
        width, height = self.size
        stream = container.add_stream("libx264", rate=self.fps, options=self._options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = 1  # limited ("tv")
        return stream

    def write(self, frame: UInt8[np.ndarray, "height width 3"]) -> None:
        """Add a picture.

        Raises:
            ValueError: it has another size than the video.
        """
        width, height = self.size
        if frame.shape[:2] != (height, width):
            message = f"a frame is {frame.shape[1]}x{frame.shape[0]}, the video {width}x{height}"
            raise ValueError(message)
        if width % 2 or height % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts, picture.time_base = self._written, 1 / self.fps
        self._mux(self._video.encode(picture))
        self._written += 1
        self._write_sound(float(self._written / self.fps))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._mux(self._video.encode(None))
                if self._sound is not None and self._audio is not None:
                    self._write_sound(self._audio.seconds + 1)
                    self._mux(self._sound.encode(None))
        except av.error.FFmpegError as fault:
            self._stack.__exit__(type(fault), fault, fault.__traceback__)
            raise NerfAdError(f"{self.path} could not be written: {fault}") from fault
        except BaseException as fault:
            self._stack.__exit__(type(fault), fault, fault.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def _write_sound(self, until: float) -> None:
        """Encode the sound up to ``until`` seconds, so that it lies beside its pictures in the file."""
        if self._audio is None or self._sound is None:
            return
        samples, rate = self._audio
        while self._heard < len(samples) and self._heard < until * rate:
            piece = samples[self._heard : self._heard + _AAC_BLOCK]
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(piece[None]), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = rate, self._heard, Fraction(1, rate)
            self._mux(self._sound.encode(frame))
            self._heard += len(piece)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            self._container.mux(packet)

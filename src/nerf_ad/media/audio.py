"""Sound on disk to mono waveforms and back.

Files are read piece by piece: mixed to mono, resampled and put into one buffer, so that an hour costs its own
size (230 MB at 16 kHz) and not a multiple. What is *decoded* is counted, because an hour of silence fits into
180 KB of FLAC.
"""

from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from nerf_ad.core.errors import MediaError
from nerf_ad.core.files import atomic_path
from nerf_ad.media.container import SoundFrames, open_container, refuse_unreadable

SPEECH_RATE = 16_000
"""Samples per second inside the package."""
MAX_SECONDS = 3600.0
"""The longest sound that is read unless the caller says otherwise."""

_SOUND_HEADS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"FORM")
_BLOCK = 1 << 18
_JUMP_SECONDS = 0.04
_LOUDEST = 1e12
"""Above any integer kept in a float file by mistake, below what overflows a filter."""


class Waveform(NamedTuple):
    """Mono sound."""

    samples: Float32[np.ndarray, "samples"]
    """In [-1, 1]."""
    rate: int
    """Samples per second."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate


class Track(NamedTuple):
    """Sound and when it begins on its file's clock."""

    waveform: Waveform
    """The sound."""
    start: float
    """Time of the first sample in seconds on the clock that the pictures share."""


def read_audio(path: Path, *, rate: int = SPEECH_RATE, max_seconds: float | int = MAX_SECONDS) -> Waveform:
    """Read any sound, or the sound of a video, as mono at ``rate``.

    Channels are averaged. Sound that goes beyond [-1, 1] (float files, resampling) is divided by its peak.

    Raises:
        MediaError: missing, not sound, damaged, longer than ``max_seconds``, or holding NaN.
    """
    return read_track(path, rate=rate, max_seconds=max_seconds).waveform


def read_track(path: Path, *, rate: int = SPEECH_RATE, max_seconds: float | int = MAX_SECONDS) -> Track:
    """Like ``read_audio``, with the time of the first sample; gaps in the file's clock become silence.

    Raises:
        MediaError: as ``read_audio``.
    """
    refuse_unreadable(path)
    with path.open("rb") as file:
        head = file.read(4)
    if head in _SOUND_HEADS:
        waveform = _read_soundfile(path, rate, max_seconds)
        if waveform is not None:
            return Track(waveform, 0.0)
    return _read_container(path, rate, max_seconds)


def write_wav(path: Path, waveform: Waveform) -> None:
    """Write a 16-bit mono WAV atomically; values beyond [-1, 1] are clipped.

    Raises:
        BadInputError: the folder cannot be written.
    """
    samples = np.round(np.clip(waveform.samples, -1.0, 1.0) * 32767.0).astype(np.int16)
    with atomic_path(path) as temporary:
        soundfile.write(temporary, samples, waveform.rate, format="WAV", subtype="PCM_16")


def resample(waveform: Waveform, rate: int) -> Waveform:
    """The same sound at another rate."""
    if waveform.rate == rate:
        return waveform
    samples = np.asarray(soxr.resample(waveform.samples, waveform.rate, rate), dtype=np.float32)
    return Waveform(_within_one(samples), rate)


class _Collector:
    """Takes mono pieces at the file's rate, gives one waveform at the wanted rate."""

    def __init__(self, path: Path, source_rate: int, rate: int, max_seconds: float | int) -> None:
        if not 4000 <= source_rate <= 768_000:
            raise MediaError(f"{path} has {source_rate} samples per second", hint="use 8,000 to 192,000")
        self.path, self.source_rate, self.rate, self.max_seconds = path, source_rate, rate, max_seconds
        self._resampler = (
            None if source_rate == rate else soxr.ResampleStream(source_rate, rate, 1, dtype="float32")
        )
        self._buffer: np.ndarray[Any, np.dtype[np.float32]] = np.empty(rate * 16, np.float32)
        self._filled = 0
        self.taken = 0

    def take(self, piece: Float32[np.ndarray, "samples"]) -> None:
        """Add samples at the file's rate."""
        self.taken += len(piece)
        if self.taken > self.max_seconds * self.source_rate:
            raise MediaError(
                f"{self.path} holds more than {self.max_seconds:.0f} seconds of sound",
                hint="cut it into parts",
            )
        if not (np.abs(piece) < _LOUDEST).all():  # NaN is not, either
            raise MediaError(
                f"{self.path} holds samples that are not numbers", hint="export it again as 16-bit WAV"
            )
        self._store(piece if self._resampler is None else self._resampler.resample_chunk(piece))

    def finish(self) -> Waveform:
        """Everything taken."""
        if self._resampler is not None:
            self._store(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
        samples = self._buffer[: self._filled]
        return Waveform(_within_one(samples), self.rate)

    def _store(self, piece: np.ndarray[Any, np.dtype[Any]]) -> None:
        needed = self._filled + len(piece)
        if needed > len(self._buffer):
            self._buffer.resize(max(needed, len(self._buffer) * 3 // 2), refcheck=False)
        self._buffer[self._filled : needed] = piece
        self._filled = needed


def _within_one(samples: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    peak = float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
    if peak > 1.0:
        samples = samples / np.float32(peak)
    return samples


def _read_soundfile(path: Path, rate: int, max_seconds: float | int) -> Waveform | None:
    """WAV, FLAC, OGG and AIFF in any width; ``None`` if libsndfile does not know the file."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.SoundFileError:
        return None
    with file:
        collector = _Collector(path, file.samplerate, rate, max_seconds)
        try:
            for block in file.blocks(max(1, _BLOCK // file.channels), dtype="float32", always_2d=True):
                collector.take(block[:, 0] if file.channels == 1 else block.mean(axis=1, dtype=np.float32))
        except soundfile.SoundFileError as error:
            raise MediaError(f"{path} is damaged: {error}", hint="export it again") from error
    return _nonempty(path, collector)


def _read_container(path: Path, rate: int, max_seconds: float | int) -> Track:
    """Anything with an audio stream that FFmpeg knows."""
    with open_container(path) as container:
        if not container.streams.audio:
            raise MediaError(f"{path} has no sound", hint="use a file with an audio track")
        stream = container.streams.audio[0]
        collector: _Collector | None = None
        start = 0.0
        for frame in SoundFrames(container, stream):
            piece = _mono(frame)
            if collector is None:
                collector = _Collector(path, frame.sample_rate, rate, max_seconds)
                start = float(frame.time or 0.0)
            if frame.sample_rate != collector.source_rate:
                raise MediaError(f"{path} changes its sample rate half-way", hint="export it again")
            if frame.time is not None:
                late = frame.time - start - collector.taken / collector.source_rate
                if late > _JUMP_SECONDS:
                    _take_silence(collector, round(late * collector.source_rate))
                elif late < -_JUMP_SECONDS:
                    piece = piece[round(-late * collector.source_rate) :]
            collector.take(piece)
    if collector is None:
        raise MediaError(f"{path} has an audio track without sound in it", hint="export it again")
    return Track(_nonempty(path, collector), start)


def _nonempty(path: Path, collector: _Collector) -> Waveform:
    if not collector.taken:
        raise MediaError(f"{path} holds no sound", hint="use a file with sound in it")
    return collector.finish()


def _take_silence(collector: _Collector, count: int) -> None:
    limit = round(collector.max_seconds * collector.source_rate) + 1
    for begin in range(0, min(count, limit), _BLOCK):
        collector.take(np.zeros(min(_BLOCK, count - begin), np.float32))


def _mono(frame: av.AudioFrame) -> Float32[np.ndarray, "samples"]:
    """Average of the channels of a decoded frame, integers scaled to [-1, 1)."""
    array = frame.to_ndarray()
    channels = len(frame.layout.channels)
    if not frame.format.is_planar:
        array = array.reshape(-1, channels).T
    mono = np.asarray(array.mean(axis=0, dtype=np.float32))
    if array.dtype == np.uint8:
        mono = (mono - np.float32(128)) / np.float32(128)
    elif array.dtype.kind == "i":
        mono = mono / np.float32(2.0 ** (8 * array.dtype.itemsize - 1))
    return mono

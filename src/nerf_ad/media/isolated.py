"""Open an untrusted media file in a child process that can do little harm.

Decoders are exploitable and greedy. The child (``python -m nerf_ad.media.isolated``) may use the memory, CPU
time and descriptors of ``ChildLimits``, may write no file, opens nothing but the one local file, and hands
frames over a pipe: a line of JSON, then raw bytes. Cropping and shrinking happen in the child, so that little
passes the pipe. A crash, a limit or silence is one sentence. Windows has no such limits; there only the
separate process remains.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, ValidationError

import nerf_ad
from nerf_ad.core.config import Config
from nerf_ad.core.errors import MediaError
from nerf_ad.media.audio import MAX_SECONDS, SPEECH_RATE, Track, Waveform, read_track
from nerf_ad.media.cadence import Cadence, find_cadence
from nerf_ad.media.images import resize_image
from nerf_ad.media.video import Crop, Damage, Limits, VideoInfo, decode, probe

_MAX_LINE = 1 << 16
_HINT = "convert it to MP4 (H.264 + AAC) with another program, or scale it down"


class ChildLimits(Config):
    """What the child process may use."""

    memory_bytes: int = Field(default=3 << 29, ge=1 << 28)
    """Address space: 1.5 GB."""
    cpu_seconds: int = Field(default=20, ge=1)
    """CPU time for opening, and again between two pictures of the file."""
    silence_seconds: float = Field(default=60.0, gt=0)
    """Wall-clock time without a word, after which it is ended."""
    descriptors: int = Field(default=64, ge=8)
    """Open files."""


class Task(Config):
    """What the child is asked to do; its only argument, as JSON."""

    kind: Literal["probe", "cadence", "video", "audio"]
    """Which reader."""
    path: str
    """The file."""
    limits: Limits = Limits()
    """What a video may be."""
    child: ChildLimits = ChildLimits()
    """What the child may use."""
    fps: float | int = 25.0
    """Frames per second to give."""
    start: float = 0.0
    """Seconds to skip."""
    cadence: tuple[int, int] | None = Field(default=None, strict=False)
    """Period and phase of the copies to leave out."""
    crop: tuple[int, int, int] | None = Field(default=None, strict=False)
    """Left, top and side of the square to cut out."""
    size: int | None = None
    """Width and height to shrink or enlarge the square to."""
    rate: int = SPEECH_RATE
    """Samples per second to give."""
    max_seconds: float | int = MAX_SECONDS
    """Longest sound."""


class Header(Config):
    """What precedes a payload."""

    kind: Literal["info", "cadence", "frame", "samples", "end", "error"]
    """What follows."""
    shape: tuple[int, ...] = Field(default=(), strict=False)
    """Shape of the payload: uint8 for a frame, float32 for samples."""
    message: str = ""
    """The error."""
    hint: str | None = None
    """What to do about it."""
    info: VideoInfo | None = None
    """The answer to a probe."""
    cadence: tuple[int, int] | None = Field(default=None, strict=False)
    """Period and phase of the copies that pad the rate."""
    start: float = 0.0
    """Time of the first sample."""
    frames: int = 0
    """Frames of the file that were read."""
    packets: int = 0
    """Packets that could not be decoded."""
    gaps: tuple[tuple[int, int], ...] = Field(default=(), strict=False)
    """Stretches that repeat one picture."""


def probe_isolated(path: Path, limits: Limits | None = None, child: ChildLimits | None = None) -> VideoInfo:
    """``probe`` in a limited child process.

    Raises:
        MediaError: as ``probe``, or the child crashed or met a limit.
    """
    task = _task("probe", path, limits, child)
    with contextlib.closing(_messages(task)) as messages:
        for header, _ in messages:
            if header.info is not None:
                return header.info
    raise MediaError(f"{path} cannot be read: its decoder said nothing", hint=_HINT)


def find_cadence_isolated(path: Path, child: ChildLimits | None = None) -> Cadence | None:
    """``find_cadence`` in a limited child process; a child that fails has found none."""
    # One answer for many pictures: it may compute, and be silent, for longer than between two of them.
    task = _task("cadence", path, None, child or ChildLimits(cpu_seconds=120, silence_seconds=240))
    with contextlib.closing(_messages(task)) as messages, contextlib.suppress(MediaError):
        for header, _ in messages:
            if header.cadence is not None:
                return Cadence(*header.cadence)
    return None


def decode_isolated(
    path: Path,
    fps: float | int = 25.0,
    *,
    crop: Crop | None = None,
    size: int | None = None,
    start: float = 0.0,
    cadence: Cadence | None = None,
    limits: Limits | None = None,
    child: ChildLimits | None = None,
    damage: Damage | None = None,
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """``decode`` in a limited child process, cropped and resized there.

    Args:
        path: a video.
        fps: frames per second to give.
        crop: the square to cut out; the whole picture if absent.
        size: width and height of what is given, for a crop or a square picture; as it is if absent.
        start: seconds after the first picture to begin with.
        cadence: where the file holds copies that only pad its rate.
        limits: what the video may be.
        child: what the child may use.
        damage: filled in when the last frame has come.

    Raises:
        MediaError: as ``decode``, or the child crashed or met a limit.
    """
    task = _task("video", path, limits, child, fps=fps, crop=crop, size=size, start=start, cadence=cadence)
    with contextlib.closing(_messages(task)) as messages:
        for header, payload in messages:
            if header.kind == "frame":
                yield np.frombuffer(payload, np.uint8).reshape(header.shape)
            elif damage is not None:
                damage.frames, damage.packets, damage.gaps = header.frames, header.packets, list(header.gaps)


def read_audio_isolated(
    path: Path,
    *,
    rate: int = SPEECH_RATE,
    max_seconds: float | int = MAX_SECONDS,
    child: ChildLimits | None = None,
) -> Track:
    """``read_track`` in a limited child process.

    Raises:
        MediaError: as ``read_track``, or the child crashed or met a limit.
    """
    # One answer for the whole file: reading a large one from a slow disk takes its time.
    task = _task(
        "audio", path, None, child or ChildLimits(silence_seconds=600), rate=rate, max_seconds=max_seconds
    )
    with contextlib.closing(_messages(task)) as messages:
        for header, payload in messages:
            if header.kind == "samples":
                return Track(Waveform(np.frombuffer(payload, np.float32), rate), header.start)
    raise MediaError(f"{path} cannot be read: its decoder said nothing", hint=_HINT)


def _task(kind: str, path: Path, limits: Limits | None, child: ChildLimits | None, **rest: Any) -> Task:  # noqa: ANN401
    return Task.model_validate(
        {
            "kind": kind,
            "path": str(path),
            "limits": limits or Limits(),
            "child": child or ChildLimits(),
            **rest,
        }
    )


def _messages(task: Task) -> Generator[tuple[Header, bytearray], None, None]:
    """Run the child and give what it says; ends it when closed."""
    command = [sys.executable, "-P", "-m", "nerf_ad.media.isolated", task.model_dump_json()]
    home = str(Path(nerf_ad.__file__).parents[1])
    process = subprocess.Popen(  # noqa: S603 - our own module, an argument list
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": home, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    pipe = process.stdout
    assert pipe is not None
    reader, finished = _Reader(pipe, task), False
    try:
        while not finished:
            line = reader.line()
            if not line:
                break
            header = _parse(line, task)
            if header.kind == "error":
                raise MediaError(header.message, hint=header.hint)
            payload = reader.exactly(_payload_bytes(header, task))
            finished = header.kind in {"end", "info", "cadence", "samples"}
            yield header, payload
        if not finished:
            raise MediaError(_last_words(process.wait(), task), hint=_HINT)
    finally:
        pipe.close()
        if process.poll() is None:
            process.kill()
        process.wait()


def _last_words(code: int, task: Task) -> str:
    what = f"{task.path} cannot be decoded"
    memory = task.child.memory_bytes / 1e9
    if code == -24:  # SIGXCPU
        return f"{what}: it takes more than {task.child.cpu_seconds} seconds of computing for one frame"
    if code < 0:
        return f"{what}: it makes the decoder crash (signal {-code}) or needs more than {memory:.1f} GB"
    return f"{what}: the decoder gave up (exit code {code})"


def _parse(line: bytes, task: Task) -> Header:
    try:
        return Header.model_validate_json(line)
    except ValidationError as error:
        raise MediaError(f"{task.path} cannot be decoded: its decoder spoke nonsense", hint=_HINT) from error


def _payload_bytes(header: Header, task: Task) -> int:
    """Length of the payload, refused where no honest child could have sent it."""
    count = int(np.prod(header.shape, dtype=np.int64)) if header.shape else 0
    frame = header.kind == "frame" and len(header.shape) == 3 and header.shape[2] == 3
    samples = header.kind == "samples" and len(header.shape) == 1
    most = 3 * task.limits.max_pixels if frame else round(task.max_seconds * task.rate * 1.01) + task.rate
    if min(header.shape, default=0) < 0 or count > most or (header.shape and not (frame or samples)):
        raise MediaError(f"{task.path} cannot be decoded: its decoder spoke nonsense", hint=_HINT)
    return count * 4 if samples else count


class _Reader:
    """Lines and exact lengths from a pipe, giving up when nothing comes for too long."""

    def __init__(self, pipe: IO[bytes], task: Task) -> None:
        self._handle, self._task = pipe.fileno(), task
        self._ahead = bytearray()

    def line(self) -> bytes:
        """Up to and without the next line end; empty at the end of the pipe."""
        while (end := self._ahead.find(b"\n")) < 0:
            piece = self._some(4096)
            if not piece or len(self._ahead) > _MAX_LINE:
                return b""
            self._ahead += piece
        line = bytes(self._ahead[:end])
        del self._ahead[: end + 1]
        return line

    def exactly(self, count: int) -> bytearray:
        """This many bytes."""
        payload = self._ahead[:count]
        del self._ahead[:count]
        while len(payload) < count:
            piece = self._some(min(count - len(payload), 1 << 20))
            if not piece:
                raise MediaError(f"{self._task.path} cannot be decoded: the decoder broke off", hint=_HINT)
            payload += piece
        return payload

    def _some(self, count: int) -> bytes:
        self._wait()
        return os.read(self._handle, count)

    def _wait(self) -> None:
        """Return when there is something to read; Windows cannot tell and just waits.

        Time is counted in slices, so that a pause of the whole program (Ctrl-Z, a lid closed) costs only one.
        """
        if os.name != "posix":
            return
        left = self._task.child.silence_seconds
        while left > 0:
            slice_seconds = min(left, 1.0)
            if select.select([self._handle], [], [], slice_seconds)[0]:
                return
            left -= slice_seconds
        raise MediaError(f"{self._task.path} cannot be decoded: the decoder hangs", hint=_HINT)


# ---- the child ----


def _limit(child: ChildLimits) -> None:
    """Take away what the child does not need (POSIX only)."""
    try:
        import resource
    except ImportError:
        return
    wanted = {
        "RLIMIT_AS": child.memory_bytes,
        "RLIMIT_DATA": child.memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_NOFILE": child.descriptors,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        # macOS refuses some of these; the others still help.
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))


def _allow_cpu(seconds: int) -> None:
    """Move the CPU limit on: this many seconds from now."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with contextlib.suppress(ValueError, OSError):
        limit = int(usage.ru_utime + usage.ru_stime) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _say(pipe: IO[bytes], header: Header, payload: memoryview | None = None) -> None:
    pipe.write(header.model_dump_json().encode() + b"\n")
    if payload is not None:
        pipe.write(payload)
    pipe.flush()


def _answer(task: Task, pipe: IO[bytes]) -> None:
    path = Path(task.path)
    if task.kind == "probe":
        _say(pipe, Header(kind="info", info=probe(path, task.limits)))
    elif task.kind == "cadence":
        _say(pipe, Header(kind="cadence", cadence=find_cadence(path)))
    elif task.kind == "audio":
        _allow_cpu(task.child.cpu_seconds + round(task.max_seconds / 20))
        waveform, start = read_track(path, rate=task.rate, max_seconds=task.max_seconds)
        samples = np.ascontiguousarray(waveform.samples)
        _say(pipe, Header(kind="samples", shape=samples.shape, start=start), samples.data.cast("B"))
    else:
        damage = Damage()
        whole = (task.size, task.size) if task.size is not None and task.crop is None else None
        cadence = None if task.cadence is None else Cadence(*task.cadence)
        for frame in decode(
            path,
            task.fps,
            limits=task.limits,
            size=whole,
            start=task.start,
            cadence=cadence,
            damage=damage,
            on_picture=lambda: _allow_cpu(task.child.cpu_seconds),
        ):
            picture = np.ascontiguousarray(_cut(frame, task))
            _say(pipe, Header(kind="frame", shape=picture.shape), picture.data.cast("B"))
        end = Header(kind="end", frames=damage.frames, packets=damage.packets, gaps=tuple(damage.gaps))
        _say(pipe, end)


def _cut(frame: UInt8[np.ndarray, "height width 3"], task: Task) -> UInt8[np.ndarray, "rows columns 3"]:
    if task.crop is not None:
        left, top, side = task.crop
        frame = frame[top : top + side, left : left + side]
    return frame if task.size is None else resize_image(frame, (task.size, task.size))


def main(argument: str) -> int:
    """The child's whole life."""
    task = Task.model_validate(json.loads(argument))
    _limit(task.child)
    _allow_cpu(task.child.cpu_seconds)
    pipe = sys.stdout.buffer
    try:
        _answer(task, pipe)
    except MediaError as error:
        _say(pipe, Header(kind="error", message=error.message, hint=error.hint))
        return 2
    except BrokenPipeError:
        os._exit(0)
    except MemoryError:
        message = f"{task.path} needs more than {task.child.memory_bytes / 1e9:.1f} GB of memory to decode"
        _say(pipe, Header(kind="error", message=message, hint="scale it down; 512 to 1080 pixels are enough"))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

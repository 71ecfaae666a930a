"""Hostile and broken media: one sentence, one hint, quickly, nothing left behind (the small form of R4)."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from nerf_ad.cli.main import main
from nerf_ad.core.errors import MediaError
from nerf_ad.media.audio import Waveform
from nerf_ad.media.container import open_container
from nerf_ad.media.isolated import decode_isolated, probe_isolated, read_audio_isolated
from nerf_ad.media.video import VideoWriter, decode, probe


def make_clip(
    path: Path, *, seconds: float = 1.0, sound: bool = True, size: tuple[int, int] = (64, 64)
) -> Path:
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(round(16_000 * seconds))).astype(np.float32)
    audio = Waveform(samples, 16_000) if sound else None
    width, height = size
    with VideoWriter(path, size, audio=audio, preset="ultrafast") as writer:
        for _ in range(round(25 * seconds)):
            grey = rng.integers(0, 256, (height // 8, width // 8, 1), dtype=np.uint8)
            writer.write(np.kron(grey, np.ones((8, 8, 3), np.uint8)))
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("faults") / "clip.mp4")


def read_everything(path: Path) -> int:
    """Frames of a file; sentences for everything else that may happen. In process: a crash fails the run."""
    try:
        probe(path)
        return sum(1 for _ in decode(path))
    except MediaError as error:
        sentence, hint = error.message, error.hint
    assert "\n" not in sentence
    assert hint
    return 0


def test_every_truncation_ends_in_frames_or_a_sentence(clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    counts = []
    for length in range(0, len(whole), 997):
        path = tmp_path / "cut.mp4"
        path.write_bytes(whole[:length])
        counts.append(read_everything(path))
    assert counts[0] == 0
    assert max(counts) >= 20
    assert len(counts) > 20


def test_flipped_bytes_end_in_frames_or_a_sentence(
    clip: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    whole = np.frombuffer(clip.read_bytes(), np.uint8)
    for _ in range(40):
        damaged = whole.copy()
        where = rng.integers(0, len(whole), 8)
        damaged[where] = rng.integers(0, 256, 8)
        path = tmp_path / "flipped.mp4"
        path.write_bytes(damaged.tobytes())
        read_everything(path)


def test_cut_right_after_the_index(clip: Path, tmp_path: Path) -> None:
    whole = clip.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: whole.index(b"mdat") + 4])
    with pytest.raises(MediaError, match="no frame that can be read"):
        probe_isolated(path)


def playlist(_: bytes) -> bytes:
    return b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"


BAD: dict[str, Callable[[bytes], bytes]] = {
    "text.mp4": lambda _: b"this is a text file\n" * 50,
    "empty.mp4": lambda _: b"",
    "noise.mp4": lambda _: np.random.default_rng(1).bytes(5000),
    "zeros.mp4": lambda _: bytes(5000),
    "head.mp4": lambda whole: whole[:40],
    "tail.mp4": lambda whole: whole[len(whole) // 2 :],
    "playlist.mp4": playlist,
    "concat.mp4": lambda _: b"ffconcat version 1.0\nfile /etc/passwd\n",
    "polyglot.mp4": lambda whole: b"<html>" + whole,
    "page.mp4": lambda _: b"<!doctype html><title>404</title>",
    "picture.mp4": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(200),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence(name: str, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name](clip.read_bytes()))
    for read in (probe, lambda path: list(decode(path))):
        with pytest.raises(MediaError) as caught:
            read(path)
        assert name in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.hint


def test_giant_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "big.mp4", seconds=0.04, size=(4608, 64), sound=False)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    length = int.from_bytes(data[start - 8 : start - 4], "big") - 8
    path.write_bytes(data[:start] + bytes(length) + data[start + length :])  # nothing is left to decode
    for read in (probe_isolated, lambda path: list(decode_isolated(path))):
        with pytest.raises(MediaError, match="4608x64"):
            read(path)


def test_a_file_cannot_name_another_file_or_the_network() -> None:
    for name in ("http://127.0.0.1/a.mp4", "concat:a|b", "pipe:0", "data:x"):
        with pytest.raises(MediaError, match="does not exist"), open_container(Path(name)):
            pass


def test_sound_without_pictures_and_pictures_without_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600, np.float32), 16_000)
    with pytest.raises(MediaError, match="it is an audio file"):
        probe_isolated(tmp_path / "a.wav")
    silent = make_clip(tmp_path / "b.mp4", seconds=0.2, sound=False)
    assert not probe_isolated(silent).has_audio
    with pytest.raises(MediaError, match="has no sound"):
        read_audio_isolated(silent)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(MediaError, match="it is an audio file"):
        probe(path)


@pytest.mark.parametrize("kind", ["text", "empty", "folder", "missing", "audio", "short", "no sound", "cut"])
def test_check_says_one_sentence_and_exits_2(
    kind: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nerf_ad.cli.check.build_landmark_detector", no_detector)
    path = tmp_path / "a.mp4"
    if kind == "text":
        path.write_text("text")
    elif kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "audio":
        soundfile.write(path, np.zeros(1600, np.float32), 16_000, format="WAV")
    elif kind == "short":
        path.write_bytes(clip.read_bytes())
    elif kind == "no sound":
        make_clip(path, seconds=5.0, sound=False)
    elif kind == "cut":
        path.write_bytes(clip.read_bytes()[:600])
    before = sorted(item.name for item in tmp_path.iterdir())
    assert main(["check", str(path)]) == 2
    output = capsys.readouterr()
    assert "Traceback" not in output.err + output.out
    if kind in {"short", "no sound"}:
        assert "refusal:" in output.out
    else:
        lines = [line for line in output.err.splitlines() if line.startswith(("error:", "hint:"))]
        assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    assert sorted(item.name for item in tmp_path.iterdir()) == before


def no_detector() -> None:
    from nerf_ad.core.errors import WeightsError

    raise WeightsError("no weights in this test")

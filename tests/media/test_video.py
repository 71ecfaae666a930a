"""Pictures and sound share one clock, whatever the file's rate, start, rotation or format."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nerf_ad.core.errors import MediaError, NerfAdError
from nerf_ad.media.audio import Waveform, read_track
from nerf_ad.media.video import Damage, Limits, VideoWriter, decode, probe

SIZE = 64


def write(
    path: Path,
    levels: list[int],
    times: Sequence[float],
    *,
    size: tuple[int, int] = (SIZE, SIZE),
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    corner: bool = False,
) -> Path:
    """A video whose frame i is grey ``levels[i]`` and shown from ``times[i]`` seconds on, to the millisecond.

    ``corner`` inverts the upper left quarter.
    """
    width, height = size
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            video.set_display_rotation(rotation)
        for level, time in zip(levels, times, strict=True):
            picture = np.full((height, width, 3), level, np.uint8)
            if corner:
                picture[: height // 2, : width // 2] = 255 - level
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def levels_of(path: Path, fps: float = 25.0) -> list[int]:
    return [round(float(frame.mean()) / 20) * 20 for frame in decode(path, fps)]


def test_thirty_becomes_twenty_five_by_time(tmp_path: Path) -> None:
    count = 30
    path = write(tmp_path / "a.mp4", [20 + 6 * i for i in range(count)], [i / 30 for i in range(count)])
    got = [float(frame.mean()) for frame in decode(path, 25)]
    assert len(got) == 25
    shown = [20 + 6 * int((k + 0.5) / 25 * 30) for k in range(25)]
    np.testing.assert_allclose(got, shown, atol=3)


def test_variable_rate_keeps_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", [20, 100, 200, 60], [0.0, 0.08, 0.60, 0.64])
    damage = Damage()
    got = [round(float(frame.mean()) / 20) * 20 for frame in decode(path, 25, damage=damage)]
    assert got[:17] == [20] * 2 + [100] * 13 + [200] + [60]
    assert damage.gaps == [(2, 13)]


def test_low_rate_is_repeated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", [40, 80, 120], [0.0, 0.2, 0.4])
    assert levels_of(path) == [40] * 5 + [80] * 5 + [120]


def test_first_picture_may_come_late(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", [40, 80, 120], [0.52, 0.56, 0.60])
    assert probe(path).video_start == pytest.approx(0.52, abs=0.002)
    assert levels_of(path) == [40, 80, 120]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(rotation: int, tmp_path: Path) -> None:
    size, still = (96, 48), [60] * 3
    path = write(tmp_path / "a.mp4", still, [0, 0.04, 0.08], size=size, rotation=rotation, corner=True)
    info = probe(path)
    assert info.rotation == rotation
    frame = next(iter(decode(path)))
    stored = np.full((48, 96), 60)
    stored[:24, :48] = 195
    expected = np.rot90(stored, rotation // 90)  # the display matrix turns counter-clockwise
    assert frame.shape[:2] == expected.shape == (info.height, info.width)
    assert np.abs(frame.mean(axis=-1) - expected).mean() < 12


def test_ten_bit_and_odd_sizes(tmp_path: Path) -> None:
    ten = write(tmp_path / "ten.mp4", [40, 120], [0, 0.04], pix_fmt="yuv420p10le")
    assert levels_of(ten) == [40, 120]
    odd = write(tmp_path / "odd.mkv", [40, 120], [0, 0.04], pix_fmt="yuv444p", size=(63, 49))
    assert next(iter(decode(odd))).shape == (49, 63, 3)


def test_scaling_while_decoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [40, 120], [0, 0.04])
    assert [frame.shape for frame in decode(path, size=(24, 32))] == [(32, 24, 3)] * 2


def test_limits_are_checked_before_the_first_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", [40] * 10, [i / 25 for i in range(10)])
    for limits, words in (
        (Limits(max_side=32), "more than 32 pixels a side"),
        (Limits(max_seconds=0.1), "more than 0"),
        (Limits(max_fps=5.0), "frames per second"),
    ):
        with pytest.raises(MediaError, match=words):
            probe(path, limits)


def test_declared_length_is_not_trusted(tmp_path: Path) -> None:
    """Two frames an hour apart: a tiny file, ninety thousand frames."""
    path = write(tmp_path / "a.mkv", [40, 80], [0.0, 3500.0])
    with pytest.raises(MediaError, match="longer than 60 seconds"):
        for _ in decode(path, limits=Limits(max_seconds=60.0)):
            pass


@pytest.mark.parametrize("rate", [16_000, 44_100, 22_050, 11_111])
def test_written_flash_and_click_coincide(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    flashes = (10, 30)
    sound = np.zeros(2 * rate, np.float32)
    for flash in flashes:
        begin = flash * rate // 25
        sound[begin : begin + rate // 50] = 0.8 * np.sin(np.arange(rate // 50) * 2 * np.pi * 1000 / rate)
    with VideoWriter(path, (SIZE, SIZE), fps=25, audio=Waveform(sound, rate)) as writer:
        for k in range(50):
            writer.write(np.full((SIZE, SIZE, 3), 240 if k in flashes else 20, np.uint8))
    lit = [k for k, frame in enumerate(decode(path)) if frame.mean() > 128]
    assert lit == list(flashes)
    info = probe(path)
    waveform, start = read_track(path)
    loud = np.flatnonzero(np.abs(waveform.samples) > 0.2) / waveform.rate
    begins = loud[np.concatenate([[True], np.diff(loud) > 0.1])]
    offsets = start + begins - info.video_start - np.array(flashes) / 25
    assert np.abs(offsets).max() < 0.005
    assert info.num_frames == 50


def test_written_colours_come_back(tmp_path: Path, rng: np.random.Generator) -> None:
    picture = np.kron(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    with VideoWriter(tmp_path / "a.mp4", (SIZE, SIZE), crf=1) as writer:
        writer.write(picture)
        writer.write(picture)
    got = next(iter(decode(tmp_path / "a.mp4")))
    assert np.abs(got[8::16, 8::16].astype(int) - picture[8::16, 8::16]).max() <= 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1  # BT.709
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_size_grows_by_one(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (33, 17)) as writer:
        writer.write(np.zeros((17, 33, 3), np.uint8))
        with pytest.raises(ValueError, match="the video 33x17"):
            writer.write(np.zeros((18, 34, 3), np.uint8))
    assert probe(tmp_path / "a.mp4").width == 34


def test_a_broken_writer_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoWriter(tmp_path / "a.mp4", (SIZE, SIZE)) as writer:
            writer.write(np.zeros((SIZE, SIZE, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(NerfAdError), VideoWriter(tmp_path / "file" / "a.mp4", (SIZE, SIZE)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

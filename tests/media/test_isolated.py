"""The child gives what the reader gives, and dies in one sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nerf_ad.core.errors import MediaError
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.images import resize_image
from nerf_ad.media.isolated import (
    ChildLimits,
    Header,
    Task,
    _payload_bytes,
    decode_isolated,
    probe_isolated,
    read_audio_isolated,
)
from nerf_ad.media.video import Crop, Damage, VideoWriter, decode, probe


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("isolated") / "a.mp4"
    rng = np.random.default_rng(0)
    sound = Waveform((0.1 * rng.standard_normal(16_000)).astype(np.float32), 16_000)
    with VideoWriter(path, (96, 64), audio=sound) as writer:
        for _ in range(25):
            picture = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
            writer.write(np.kron(picture, np.ones((8, 8, 1), np.uint8)))
    return path


def test_the_same_as_in_process(clip: Path) -> None:
    assert probe_isolated(clip) == probe(clip)
    damage = Damage()
    got = list(decode_isolated(clip, damage=damage))
    np.testing.assert_array_equal(np.stack(got), np.stack(list(decode(clip))))
    assert (damage.frames, damage.packets, damage.gaps) == (25, 0, [])
    np.testing.assert_array_equal(read_audio_isolated(clip).waveform.samples, read_audio(clip).samples)


def test_crop_and_size_happen_in_the_child(clip: Path) -> None:
    got = next(iter(decode_isolated(clip, crop=Crop(20, 4, 48), size=24)))
    whole = next(iter(decode(clip)))
    np.testing.assert_array_equal(got, resize_image(whole[4:52, 20:68], (24, 24)))


def test_stopping_early_ends_the_child(clip: Path) -> None:
    frames = decode_isolated(clip)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    assert len(list(decode_isolated(clip))) == 25


def test_a_reader_s_sentence_comes_through(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("just text")
    for read in (probe_isolated, read_audio_isolated):
        with pytest.raises(MediaError, match=r"a\.mp4 is not a video or audio file") as caught:
            read(tmp_path / "a.mp4")
        assert caught.value.hint
    soundfile.write(tmp_path / "b.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match="not numbers"):
        read_audio_isolated(tmp_path / "b.wav")
    with pytest.raises(MediaError, match="it is an audio file"):
        probe_isolated(tmp_path / "b.wav")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are enforced on Linux")
def test_too_little_memory_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (2048, 2048), preset="ultrafast") as writer:
        writer.write(np.zeros((2048, 2048, 3), np.uint8))
    with pytest.raises(MediaError) as caught:
        list(decode_isolated(path, child=ChildLimits(memory_bytes=1 << 28)))
    assert "\n" not in caught.value.message


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_silence_is_a_sentence(clip: Path) -> None:
    with pytest.raises(MediaError, match="hangs"):
        probe_isolated(clip, child=ChildLimits(silence_seconds=0.001))


@pytest.mark.parametrize(
    "header",
    [
        Header(kind="frame", shape=(100_000, 100_000, 3)),
        Header(kind="frame", shape=(-1, 5, 3)),
        Header(kind="samples", shape=(10**12,)),
        Header(kind="info", shape=(5,)),
    ],
)
def test_a_child_gone_bad_cannot_ask_for_memory(header: Header) -> None:
    with pytest.raises(MediaError, match="nonsense"):
        _payload_bytes(header, Task(kind="video", path="a.mp4"))


def test_the_child_does_not_import_torch(clip: Path) -> None:
    code = "import sys, nerf_ad.media.isolated; print('torch' in sys.modules, 'mediapipe' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits are enforced on Linux")
def test_the_child_cannot_write_files(tmp_path: Path) -> None:
    code = (
        "import sys; from nerf_ad.media import isolated; isolated._limit(isolated.ChildLimits());"
        "open(sys.argv[1], 'w').write('x' * 10)"
    )
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, check=False)
    assert target.stat().st_size == 0


def test_frames_go_as_json_and_bytes(clip: Path) -> None:
    task = Task(kind="video", path=str(clip), size=8, crop=(0, 0, 64))
    command = [sys.executable, "-m", "nerf_ad.media.isolated", task.model_dump_json()]
    out = subprocess.run(command, capture_output=True, check=True).stdout
    header, rest = out.split(b"\n", 1)
    assert json.loads(header)["shape"] == [8, 8, 3]
    assert rest[8 * 8 * 3 :].startswith(b'{"kind":"frame"')

"""Any sound becomes mono at the wanted rate; what is not sound becomes a sentence."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from nerf_ad.core.errors import MediaError
from nerf_ad.media.audio import Waveform, read_audio, read_track, resample, write_wav


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate"),
    [
        ("wav", "PCM_16", 16_000),
        ("wav", "PCM_24", 48_000),
        ("wav", "FLOAT", 44_100),
        ("wav", "PCM_U8", 22_050),
        ("flac", "PCM_24", 48_000),
        ("ogg", "VORBIS", 44_100),
    ],
)
def test_formats_rates_and_channels(suffix: str, subtype: str, rate: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    left = tone(rate)
    soundfile.write(path, np.stack([left, np.zeros_like(left)], axis=1), rate, subtype=subtype)
    waveform = read_audio(path)
    assert waveform.rate == 16_000
    assert waveform.seconds == pytest.approx(1.0, abs=0.002)
    inside = slice(800, 15_200)
    # The mean of a tone and of silence is half the tone.
    np.testing.assert_allclose(waveform.samples[inside], tone(16_000)[inside] / 2, atol=0.02)


def test_sound_of_a_container_keeps_its_place_and_its_gaps(tmp_path: Path) -> None:
    """A click at 0.5 s after a track that starts at 0.25 s, and one after a gap of a second."""
    path = tmp_path / "a.mkv"
    rate = 16_000
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for start, length in ((0.25, 0.5), (1.75, 0.5)):
            samples = np.zeros((1, round(length * rate)), np.int16)
            samples[0, rate // 4] = 20_000
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    waveform, start = read_track(path)
    clicks = start + np.flatnonzero(np.abs(waveform.samples) > 0.3) / rate
    np.testing.assert_allclose(clicks, [0.5, 2.0], atol=0.002)


def test_long_sound_is_counted_while_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(16_000 * 120, np.float32), 16_000)
    assert path.stat().st_size < 30_000
    with pytest.raises(MediaError, match="more than 60 seconds"):
        read_audio(path, max_seconds=60)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(value: float, tmp_path: Path) -> None:
    samples = tone(16_000)
    samples[5000] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(MediaError, match="not numbers"):
        read_audio(tmp_path / "a.wav")


def test_too_loud_float_is_scaled_not_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 6 * tone(16_000), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, 2 * tone(16_000), atol=0.01)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"text in a file", b"fLaC" * 9]
)
def test_what_is_not_sound_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        read_audio(path)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_no_samples_is_an_error_of_its_own(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(MediaError, match="no sound"):
        read_audio(tmp_path / "a.wav")


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="does not exist"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(MediaError, match="is a folder"):
        read_audio(tmp_path)


def test_written_wav_is_16_bit_mono_and_clipped(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", Waveform(np.array([0.0, 0.5, -2.0, 2.0], np.float32), 8000))
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert rate == 8000
    assert samples.tolist() == [0, 16384, -32767, 32767]
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_16"


def test_resampling_keeps_the_length() -> None:
    assert resample(Waveform(tone(44_100), 44_100), 16_000).seconds == pytest.approx(1.0, abs=1e-3)

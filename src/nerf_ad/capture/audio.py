"""The clip's sound: 16 kHz mono, from the first picture to the last, and whether the lips agree with it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from nerf_ad.capture.complaints import Complaint
from nerf_ad.core.errors import MediaError
from nerf_ad.media.audio import Track, Waveform, write_wav
from nerf_ad.media.isolated import read_audio_isolated
from nerf_ad.media.video import VideoInfo

SILENT = 1e-3
"""Loudest 20 ms below this RMS (-60 dBFS): nothing was recorded (ours)."""
CLIPPED = 0.999
"""Samples from here on are at the end of the scale."""
_HOP_SECONDS = 0.01
_WINDOW_SECONDS = 0.025
_VOWELS = (500.0, 1200.0)
_LAG_SECONDS = 0.4
_FAR_SECONDS = (0.6, 2.5)
_TREND_SECONDS = 2.0
SURE = 0.25
"""Confidence from which an offset is worth acting on (ours; unrelated sound reached 0.07 on test clips)."""


class AvOffset(NamedTuple):
    """How far the mouth is behind the sound."""

    milliseconds: float
    """Positive: the mouth moves too late."""
    correlation: float
    """Of mouth opening and vowel energy at that offset."""
    confidence: float
    """0 (chance) to 1: how far it beats the best correlation at absurd offsets; below ``SURE`` a guess."""
    lags_ms: tuple[float, ...] = ()
    """Offsets that were tried, in milliseconds."""
    correlations: tuple[float, ...] = ()
    """The correlation at each."""


class SoundFacts(NamedTuple):
    """How good a recording is."""

    loudest_rms: float
    """RMS of the loudest 20 ms."""
    clipped_share: float
    """Share of samples at the end of the scale."""
    signal_to_noise_db: float
    """Energy of the loudest tenth of 20 ms windows over that of the quietest tenth."""


def extract_audio(
    path: Path, info: VideoInfo, *, num_frames: int, fps: float | int, target: Path
) -> list[Complaint]:
    """Write the sound of a video, exactly as long as its frames and beginning with the first.

    Args:
        path: the video.
        info: its probe.
        num_frames: frames that capture took.
        fps: their rate.
        target: ``audio.wav``, 16 kHz, 16 bit, mono.

    Returns:
        What is wrong with it.

    Raises:
        MediaError: there is no sound, or it cannot be read.
    """
    waveform, complaints = load_aligned(path, info, num_frames=num_frames, fps=fps)
    write_wav(target, waveform)
    return complaints


def load_aligned(
    path: Path, info: VideoInfo, *, num_frames: int, fps: float | int
) -> tuple[Waveform, list[Complaint]]:
    """The same without writing it."""
    if not info.has_audio:
        raise MediaError(f"{path} has no audio track", hint="record picture and sound together")
    track = read_audio_isolated(path)
    waveform = align(track, video_start=info.video_start, seconds=num_frames / fps)
    return waveform, sound_complaints(track, waveform, video_start=info.video_start)


def align(track: Track, *, video_start: float, seconds: float | int) -> Waveform:
    """Cut or fill with silence, so that sample 0 sounds with the first picture.

    Args:
        track: the sound and when it begins.
        video_start: when the first picture is shown, on the same clock.
        seconds: length of the result.
    """
    samples, rate = track.waveform
    late = round((track.start - video_start) * rate)
    result = np.zeros(round(seconds * rate), np.float32)
    source = samples[max(0, -late) :]
    room = result[max(0, late) :]
    count = min(len(source), len(room))
    room[:count] = source[:count]
    return Waveform(result, rate)


def sound_facts(waveform: Waveform) -> SoundFacts:
    """Loudness, clipping and noise."""
    window = max(1, waveform.rate // 50)
    count = len(waveform.samples) // window
    if count == 0:
        return SoundFacts(0.0, 0.0, 0.0)
    windows = waveform.samples[: count * window].reshape(count, window)
    rms = np.sort(np.sqrt((windows.astype(np.float64) ** 2).mean(axis=1)))
    tenth = max(1, count // 10)
    quiet, loud = float(np.median(rms[:tenth])), float(np.median(rms[-tenth:]))
    ratio = 20 * np.log10(max(loud, 1e-9) / max(quiet, 1e-5))
    return SoundFacts(float(rms[-1]), float((np.abs(waveform.samples) >= CLIPPED).mean()), float(ratio))


def sound_complaints(track: Track, waveform: Waveform, *, video_start: float) -> list[Complaint]:
    """What is wrong with a clip's sound."""
    facts = sound_facts(waveform)
    if facts.loudest_rms < SILENT:
        return [
            Complaint(
                fault="the sound is silent", advice="record it again with a microphone on", severity="refusal"
            )
        ]
    complaints = []
    if facts.clipped_share > 1e-3:
        share = 100 * facts.clipped_share
        complaints.append(
            Complaint(fault=f"{share:.1f} % of the sound is clipped", advice="record it less loud")
        )
    if facts.signal_to_noise_db < 15:
        ratio = facts.signal_to_noise_db
        complaints.append(
            Complaint(
                fault=f"speech stands only {ratio:.0f} dB above the noise", advice="record in a quiet room"
            )
        )
    end = track.start - video_start + track.waveform.seconds
    missing = waveform.seconds - end
    if missing > 0.5:
        complaints.append(
            Complaint(fault=f"the sound ends {missing:.1f} s before the picture", advice="the rest is silent")
        )
    if track.start - video_start > 0.5:
        late = track.start - video_start
        complaints.append(
            Complaint(fault=f"the sound begins {late:.1f} s after the picture", advice="the start is silent")
        )
    return complaints


def av_offset(mouth_opening: Float[np.ndarray, "frames"], waveform: Waveform, fps: float | int) -> AvOffset:
    """Offset of the mouth against the sound, within 0.4 s (10 frames) either way.

    The lips part for vowels, so mouth opening is correlated with the fourth root of the energy at 500 to
    1200 Hz (on the test clips up to 60 % better than the energy of the whole voice), both without their
    trends over two seconds. The peak is refined by a parabola.

    Args:
        mouth_opening: lip gap of every frame in any unit; NaN where there is no face.
        waveform: the sound, beginning with frame 0.
        fps: frames per second; frame i shows the time i / fps.
    """
    known = np.isfinite(mouth_opening)
    if known.sum() < 2 * fps or not np.ptp(mouth_opening[known]):
        return AvOffset(0.0, 0.0, 0.0)
    frames = np.arange(len(mouth_opening))
    opening = _without_trend(np.interp(frames, frames[known], mouth_opening[known]), fps)
    energy = vowel_energy(waveform)
    lags = np.arange(-round(_FAR_SECONDS[1] / _HOP_SECONDS), round(_FAR_SECONDS[1] / _HOP_SECONDS) + 1)
    times = frames / fps
    centres = np.arange(len(energy)) * _HOP_SECONDS
    scores = np.array(
        [
            _correlation(
                _without_trend(np.interp(times - lag * _HOP_SECONDS, centres, energy), fps)[known],
                opening[known],
            )
            for lag in lags
        ]
    )
    near = np.flatnonzero(np.abs(lags) <= round(_LAG_SECONDS / _HOP_SECONDS))
    best = int(near[np.argmax(scores[near])])
    left, peak, right = scores[best - 1 : best + 2]
    bend = left - 2 * peak + right
    shift = float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5)) if bend < 0 else 0.0
    far = np.abs(lags) >= round(_FAR_SECONDS[0] / _HOP_SECONDS)
    chance = float(np.abs(scores[far]).max())
    confidence = float(np.clip(1 - chance / peak, 0, 1)) if peak > 0 else 0.0
    hop_ms = _HOP_SECONDS * 1000
    curve = tuple(scores[near].tolist())
    return AvOffset(
        float(lags[best] + shift) * hop_ms,
        float(peak),
        confidence,
        tuple((lags[near] * hop_ms).tolist()),
        curve,
    )


def vowel_energy(waveform: Waveform) -> Float[np.ndarray, "steps"]:
    """Fourth root of the energy between 500 and 1200 Hz around 0, 10, 20 ... ms, smoothed over 40 ms."""
    samples, rate = waveform
    hop, window = round(_HOP_SECONDS * rate), round(_WINDOW_SECONDS * rate)
    count = max(1, len(samples) // hop)
    padded = np.pad(samples, (window // 2, window + hop))
    size = 1 << (window - 1).bit_length()
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    band = (frequencies > _VOWELS[0]) & (frequencies < _VOWELS[1])
    taper = np.hanning(window).astype(np.float32)
    energy = np.empty(count)
    block = 4096
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:count]
    for begin in range(0, count, block):
        spectrum = np.abs(np.fft.rfft(pieces[begin : begin + block] * taper, size)) ** 2
        energy[begin : begin + block] = spectrum[:, band].sum(axis=1)
    kernel = np.hanning(9)[1:-1] / np.hanning(9).sum()
    return np.convolve(energy**0.25, kernel, "same")


def _without_trend(values: Float[np.ndarray, "frames"], fps: float | int) -> Float[np.ndarray, "frames"]:
    half = max(1, round(_TREND_SECONDS * fps / 2))
    kernel = np.hanning(2 * half + 3)[1:-1]
    smooth = np.convolve(np.pad(values, half, mode="edge"), kernel / kernel.sum(), "valid")
    return np.asarray(values - smooth)


def _correlation(first: Float[np.ndarray, "frames"], second: Float[np.ndarray, "frames"]) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / scale) if scale > 1e-12 else 0.0

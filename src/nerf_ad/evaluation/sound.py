"""The sound that lips are compared with, as the sync scorer and SyncNet hear it."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from nerf_ad.capture.audio import SILENT, align, sound_facts
from nerf_ad.core import weights
from nerf_ad.core.errors import MediaError, WeightsError
from nerf_ad.core.events import Event, Warned
from nerf_ad.dataset.dataset import Dataset
from nerf_ad.media.audio import Waveform, read_track, resample
from nerf_ad.media.video import VideoInfo
from nerf_ad.speech.encoder import build_speech_encoder, speech_weights
from nerf_ad.sync.scorer import SPEECH

STEP_RATE = 50
"""Speech features per second."""
SAMPLE_RATE = 16_000
"""Samples per second."""
FEWEST_SECONDS = 3.0
"""Below which nothing is said about sync: one window of the scorer."""


class Sound(NamedTuple):
    """Of a stretch of a clip."""

    first: int
    """Frame of the clip that it begins with."""
    samples: Float32[np.ndarray, "samples"]
    """Mono, 16 kHz, in [-1, 1]."""
    features: Float[np.ndarray, "steps channels"] | None
    """Whisper's, 50 a second, from the same moment on; None where its weights are not here."""
    encoder: str
    """What made the features; empty without them."""

    @property
    def hears(self) -> str:
        """What the features are, in words."""
        return f"Whisper's last layer ({self.encoder})" if self.encoder else "samples alone"


def sound_of_dataset(dataset: Dataset, frames: range) -> Generator[Event, None, Sound | None]:
    """The sound of some frames of a data set, with the features that it holds, if they are Whisper's.

    Events say why there is none.
    """
    fps = dataset.manifest.fps
    if len(frames) < FEWEST_SECONDS * fps:
        yield Warned(message=_too_short(len(frames) / fps))
        return None
    try:
        track = read_track(dataset.layout.audio)
    except MediaError as error:
        yield Warned(message=f"lip sync is not measured: {error.message}")
        return None
    begin, end = (round(edge / fps * track.waveform.rate) for edge in (frames.start, frames.stop))
    tail = Waveform(track.waveform.samples[begin:end], track.waveform.rate)
    if is_silent(tail):
        yield Warned(message=f"lip sync is not measured: {dataset.layout.audio} is silent there")
        return None
    if "whisper" in dataset.speech_names():
        held = dataset.speech("whisper")
        if held.encoder == _own_encoder():
            first, last = (round(edge / fps * STEP_RATE) for edge in (frames.start, frames.stop))
            return Sound(frames.start, tail.samples, held.features[first:last], held.encoder)
    sounds = yield from encode_sounds([tail], first=frames.start)
    return sounds[0]


def _own_encoder() -> str:
    """Whose features the scorer knows; nobody's where the user's own file of weights cannot be used."""
    try:
        return weights.extractor_id(speech_weights(SPEECH)[0])
    except WeightsError:
        return ""


def sound_of_video(
    path: Path, info: VideoInfo, *, seconds: float, rate: int = SAMPLE_RATE
) -> Waveform | None:
    """A video's sound from its first picture on; None where there is none that can be read.

    Args:
        path: the file.
        info: its probe.
        seconds: length of the result; silence fills what is missing.
        rate: samples per second of the result.
    """
    if not info.has_audio:
        return None
    try:
        track = read_track(path, rate=rate)
    except MediaError:
        return None
    return align(track, video_start=info.video_start, seconds=seconds)


def is_silent(waveform: Waveform) -> bool:
    """Whether nothing was recorded (below -60 dBFS everywhere)."""
    return sound_facts(waveform).loudest_rms < SILENT


def encode_sounds(waveforms: Sequence[Waveform], *, first: int) -> Generator[Event, None, list[Sound]]:
    """Sounds with Whisper's features; without its weights they have none, and one event says so.

    Args:
        waveforms: beginning with frame ``first``.
        first: frame of the clip.
    """
    samples = [resample(waveform, SAMPLE_RATE).samples for waveform in waveforms]
    try:
        encoder = build_speech_encoder(SPEECH)
    except WeightsError as error:
        yield Warned(
            message=f"sync offset and confidence are not measured: {error.message}; "
            f"nerf-ad weights fetch {speech_weights(SPEECH)[0]}"
        )
        return [Sound(first, heard, None, "") for heard in samples]
    return [Sound(first, heard, encoder.encode(heard), encoder.id) for heard in samples]


class PairSounds(NamedTuple):
    """What the lips of two videos are compared with."""

    made: Sound
    real: Sound
    told: dict[str, str]
    """Whose sound either is, in words."""


def sounds_of_pair(
    made: tuple[Path, VideoInfo], real: tuple[Path, VideoInfo], *, seconds: float
) -> Generator[Event, None, PairSounds | None]:
    """Either video's own sound; a silent one is compared with the other's.

    Args:
        made: what a system made, and its probe.
        real: the recording, and its probe.
        seconds: how long both are compared.
    """
    if seconds < FEWEST_SECONDS:
        yield Warned(message=_too_short(seconds))
        return None
    found = [sound_of_video(*video, seconds=seconds) for video in (made, real)]
    heard = [None if sound is None or is_silent(sound) else sound for sound in found]
    ours, theirs = heard[0] or heard[1], heard[1] or heard[0]
    if ours is None or theirs is None:
        yield Warned(
            message="lip sync is not measured: neither video has sound; put the speech into one of them"
        )
        return None
    alone = ours is theirs
    sounds = yield from encode_sounds([ours] if alone else [ours, theirs], first=0)
    told = {
        "generated": "the recording's sound" if heard[0] is None else "its own sound",
        "reference": "the generated video's sound" if heard[1] is None else "its own sound",
    }
    return PairSounds(sounds[0], sounds[-1], told)


def _too_short(seconds: float) -> str:
    return f"lip sync is not measured: it needs {FEWEST_SECONDS:.0f} s, and {seconds:.1f} s are compared"

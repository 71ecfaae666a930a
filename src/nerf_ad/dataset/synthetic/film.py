"""A video of a synthetic person who speaks, with the truth about every frame.

text -> voice -> utterance (sound, phonemes) -> performance (face, head, torso) -> look (pictures, truth)
"""

from collections.abc import Callable, Generator
from itertools import cycle
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.core.errors import BadInputError, UsageError
from nerf_ad.core.events import Event, Progress, Saved
from nerf_ad.core.files import explained
from nerf_ad.core.workers import in_order, num_cores, single_threads
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.dataset.synthetic.look import Rendered, SyntheticLook, resting_camera
from nerf_ad.dataset.synthetic.motion import Motion, perform
from nerf_ad.dataset.synthetic.script import read_script, training_sentences
from nerf_ad.dataset.synthetic.truth import TruthWriter
from nerf_ad.dataset.synthetic.vocoder import SAMPLE_RATE
from nerf_ad.dataset.synthetic.voice import HibariConfig, VoiceConfig, build_voice, recite
from nerf_ad.geometry.rotations import matrix_from_euler
from nerf_ad.media.audio import Waveform
from nerf_ad.media.encoder import VideoWriter

FPS: Final = 25
"""Frames per second."""
MIN_SIZE, MAX_SIZE = 64, 1024
"""Smallest and largest width of the pictures."""
MAX_SECONDS: Final = 3600.0
"""Longest film."""
TOLD: Final = "synthetic: a person who never was, drawn by nerf-ad"
"""Written into the video's metadata."""
_NECK: Final = np.array([0.0, -0.15, -0.02])
"""What the torso turns about: the base of the neck, metres in the resting head's axes (ours)."""


class FilmConfig(Config):
    """What is filmed."""

    seconds: float = Field(default=60.0, gt=0, le=MAX_SECONDS)
    """Stop after the sentence that reaches this length."""
    seed: int = Field(default=0, ge=0)
    """Of what is said in which order, of pauses, and of everything the person does besides speaking."""
    identity: int = Field(default=0, ge=0, lt=len(IDENTITIES))
    """Which person."""
    size: int = Field(default=512, ge=MIN_SIZE, le=MAX_SIZE, multiple_of=2)
    """Width and height of the pictures."""
    voice: VoiceConfig = HibariConfig()
    """Who lends the voice."""


def film_weights(config: FilmConfig) -> tuple[str, ...]:
    """Names of the third-party weights that such a film needs."""
    mesh = ("head-mesh", "face-units", "head-shapes", "head-masks")
    return (*mesh, "hibari") if isinstance(config.voice, HibariConfig) else mesh


def film_events(
    video: Path, config: FilmConfig, *, text: Path | None = None, truth: Path | None = None
) -> Generator[Event, None, None]:
    """Write the video, and the truth where a folder is given.

    Args:
        video: ``.mp4`` to write: H.264 and AAC, 25 fps.
        config: who, how long, how large.
        text: what is said, instead of our own sentences.
        truth: folder for the truth, new or empty (format: ``dataset.synthetic.truth``).

    Raises:
        UsageError: the video's name does not end in ``.mp4``.
        BadInputError: the video is there already, the text cannot be spoken, or the truth's folder is not
            empty.
        WeightsError: the mesh or the voice is not in the cache.
    """
    _refuse_places(video, truth)
    sentences = training_sentences(seed=config.seed) if text is None else read_script(text)
    writer = None if truth is None else TruthWriter(truth)
    try:
        yield from _film(video, config, sentences, writer, is_repeated=text is None)
    except BaseException:
        if writer is not None:
            writer.discard()  # half a truth would stand in the way of the next try
        raise


def _film(
    video: Path,
    config: FilmConfig,
    sentences: tuple[str, ...],
    writer: TruthWriter | None,
    *,
    is_repeated: bool,
) -> Generator[Event, None, None]:
    yield Progress(stage="speaking", done=0, total=1)
    voice = build_voice(config.voice)
    utterance = recite(
        voice,
        cycle(sentences) if is_repeated else sentences,
        seed=config.seed,
        seconds=config.seconds,
    )
    yield Progress(stage="speaking", done=1, total=1, note=f"{utterance.seconds:.1f} s")
    motion = perform(utterance, seed=config.seed, fps=FPS)
    cameras, torsos = camera_path(motion), torso_path(motion)
    look = SyntheticLook(IDENTITIES[config.identity], config.size)

    def one(index: int) -> Rendered:
        return look.render(motion.units[index].astype(np.float64), cameras[index], torsos[index])

    total = len(motion.units)
    sound = Waveform(utterance.samples, SAMPLE_RATE)
    told = {"title": IDENTITIES[config.identity].name, "comment": TOLD}
    size = (config.size, config.size)
    with single_threads(), VideoWriter(video, size=size, fps=FPS, audio=sound, metadata=told) as film:
        frames = in_order(one, range(total), num_workers=num_cores())
        for done, seen in enumerate(frames, start=1):
            film.write(seen.rgb)
            if writer is not None:
                writer.add(seen)
            yield Progress(stage="drawing", done=done, total=total)
    if writer is not None:
        writer.finish(
            camera_to_world=cameras,
            intrinsics=look.intrinsics.array(),
            torso=torsos,
            units=motion.units,
            utterance=utterance,
            background=look.background,
            facts={**config.model_dump(mode="json"), "fps": FPS, "voice_id": voice.id},
        )
        yield Saved(path=str(writer.root))
    yield Saved(path=str(video))


def synthesize(
    video: str | Path,
    config: FilmConfig | None = None,
    *,
    text: Path | None = None,
    truth: Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Path:
    """Film a synthetic person; see ``film_events``.

    Returns:
        the video's path.
    """
    for event in film_events(Path(video), config or FilmConfig(), text=text, truth=truth):
        if on_event is not None:
            on_event(event)
    return Path(video)


def _refuse_places(video: Path, truth: Path | None) -> None:
    """Stop before work at names that cannot serve."""
    if video.suffix.lower() != ".mp4":
        raise UsageError(f"{video} should end in .mp4", hint="the video is H.264 and AAC in an MP4 file")
    with explained(video):
        if video.exists():
            what = "a folder" if video.is_dir() else "there already"
            raise BadInputError(f"{video} is {what}", hint="choose another name, or delete it")
        if truth is not None and truth.resolve() in (video.resolve(), *video.resolve().parents):
            raise BadInputError(f"{video} would lie in the truth's folder", hint="choose another folder")
        if truth is not None and truth.exists() and not truth.is_dir():
            raise BadInputError(f"{truth} is a file, not a folder", hint="choose another folder")


def camera_path(motion: Motion) -> Float[np.ndarray, "frames 4 4"]:
    """``camera_to_world`` before a resting head, for a head that moves before a still camera."""
    moved = _rigid(motion.angles, motion.offset)
    return np.linalg.inv(moved) @ resting_camera()


def torso_path(motion: Motion) -> Float[np.ndarray, "frames 4 4"]:
    """How far the torso is from where it rests, turning about the base of the neck."""
    moved = _rigid(motion.torso[:, :3], motion.torso[:, 3:])
    moved[:, :3, 3] += _NECK - moved[:, :3, :3] @ _NECK
    return moved


def _rigid(
    angles: Float[np.ndarray, "frames 3"], shift: Float[np.ndarray, "frames 3"]
) -> Float[np.ndarray, "frames 4 4"]:
    moved = np.tile(np.eye(4), (len(angles), 1, 1))
    moved[:, :3, :3] = matrix_from_euler(angles.astype(np.float64))
    moved[:, :3, 3] = shift
    return moved

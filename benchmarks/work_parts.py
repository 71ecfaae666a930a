"""What ``benchmarks/work.py`` does in processes of its own: a short training, and from sound to frames."""

import gc
import time
from pathlib import Path
from typing import Any, NamedTuple

from child_process import MemoryWatch


def perform(task: dict[str, Any], watch: MemoryWatch) -> dict[str, Any]:
    """Whatever the task says."""
    work = {"make": make_clip, "train": train, "sound": make_sound, "speak": speak}[task.pop("part")]
    return work(**task, watch=watch)


def make_clip(*, source: str, root: str, num_frames: int, size: int, watch: MemoryWatch) -> dict[str, Any]:
    """A data set of a wanted length and size."""
    del watch
    from longer_clip import lengthen

    from nerf_ad.dataset.dataset import Dataset

    made = lengthen(Dataset.open(source), Path(root), num_frames=num_frames, size=size)
    return {"frames": made.num_frames, "size": made.size}


def train(
    *, dataset: str, avatar: str, steps: int, draws: int, frames: int, watch: MemoryWatch
) -> dict[str, Any]:
    """``fast`` with few steps; then rays as a long training draws them; then frames.

    A training of few steps sees few frames of a long clip. What a long one would have touched is touched by
    drawing ``draws`` batches more, without learning from them.
    """
    import torch

    from nerf_ad.core.config import merged
    from nerf_ad.core.events import Metric, Progress
    from nerf_ad.dataset.dataset import Dataset
    from nerf_ad.presets import FAST
    from nerf_ad.training.fast import TrainConfig
    from nerf_ad.training.train import train_events

    few = {"torso": {"num_steps": 100}, "speech_training": {"num_steps": 50}, "head": {"num_steps": steps}}
    config = TrainConfig.model_validate(merged(FAST.model_dump(), few))
    opened = Dataset.open(dataset)
    found: dict[str, Any] = {"frames": opened.num_frames, "size": opened.size, "stages": {}}
    learnt: list[tuple[int, float]] = []
    begun, stage = time.monotonic(), "opening"

    def close(name: str) -> None:
        nonlocal begun
        now = time.monotonic()
        found["stages"][name] = {"seconds": round(now - begun, 2), **watch.peaks()}
        watch.restart()
        begun = now

    for event in train_events(opened, Path(avatar), config, device=torch.device("cpu")):
        if isinstance(event, Progress) and event.stage != stage:
            close(stage)
            stage = event.stage
        if isinstance(event, Metric) and event.name == "loss" and event.seconds is not None:
            learnt.append((event.step, event.seconds))
    close(stage)
    (first, early), (last, late) = learnt[0], learnt[-1]  # the first 20 steps warm up
    found["seconds_per_100_steps"] = round(100 * (late - early) / (last - first), 3) if last > first else None
    found["seconds_per_draw"] = round(draw_rays(opened, config, draws), 5)
    close("drawing rays")
    found["seconds_per_frame"] = round(draw_frames(Path(avatar), opened, frames), 4)
    close("frames")
    return found


class Drawn(NamedTuple):
    """What a ray sampler wants of a stage's state."""

    numpy: Any


def draw_rays(dataset: Any, config: Any, draws: int) -> float:  # noqa: ANN401 - loaded late
    """Seconds of a batch of rays, as the head's stage draws them."""
    import numpy as np

    from nerf_ad.training.planes import prepare, ray_sampler

    gc.collect()  # what the training held: here the clip is read a second time
    ready = prepare(dataset, config.model, dataset.size)
    state: Any = Drawn(np.random.default_rng(0))
    sampler = ray_sampler(config.head.rays, dataset, ready, state)
    begun = time.monotonic()
    for _ in range(draws):
        sampler.draw()
    return (time.monotonic() - begun) / max(draws, 1)


def draw_frames(avatar: Path, dataset: Any, frames: int) -> float:  # noqa: ANN401 - loaded late
    """Seconds of a frame that was never drawn before, of held-out frames."""
    import numpy as np

    from nerf_ad.avatar.avatar import Avatar
    from nerf_ad.evaluation.held_out import drive_with_recording
    from nerf_ad.rendering.render import draw

    person = Avatar.load(avatar, device="cpu")
    drive, _ = drive_with_recording(person, dataset)
    begun, done = time.monotonic(), 0
    for done, _ in enumerate(draw(person, drive.only(np.arange(min(frames + 1, len(drive.place)))))):
        if done == 0:  # the first one warms up
            begun = time.monotonic()
    return (time.monotonic() - begun) / max(done, 1)


def make_sound(*, dataset: str, path: str, seconds: int, watch: MemoryWatch) -> dict[str, Any]:
    """A WAV file of a wanted length: the data set's sound again and again."""
    del watch
    from longer_clip import again

    from nerf_ad.dataset.dataset import Dataset
    from nerf_ad.media.audio import Waveform, read_audio, write_wav

    sound = read_audio(Dataset.open(dataset).layout.audio)
    write_wav(Path(path), Waveform(again(sound.samples, seconds * sound.rate), sound.rate))
    return {"seconds": seconds}


def speak(*, avatar: str, sound: str, video: str, frames: int, watch: MemoryWatch) -> dict[str, Any]:
    """``nerf-ad render`` until some frames are made; then it is stopped, and no video is left.

    "reading" is the file at both rates, "listening" the encoder with its weights, features and mouth codes.
    """
    import torch

    from nerf_ad.avatar.avatar import Avatar
    from nerf_ad.core.events import Progress
    from nerf_ad.rendering.render import render_events

    person = Avatar.load(avatar, device=torch.device("cpu"))
    watch.restart()
    found: dict[str, Any] = {"stages": {}}
    begun = time.monotonic()
    first = (0, 0.0)
    events = render_events(person, Path(sound), Path(video))

    def close(name: str) -> None:
        nonlocal begun
        now = time.monotonic()
        found["stages"][name] = {"seconds": round(now - begun, 2), **watch.peaks()}
        watch.restart()
        begun = now

    for event in events:
        if not isinstance(event, Progress):
            continue
        if event.stage == "listening":
            close("reading" if event.done == 0 else "listening")
        elif event.done == 1:
            first = (1, time.monotonic())  # the threads are full by now
            found["frames_in_all"] = event.total
        if event.stage == "rendering" and event.done >= min(frames, event.total):
            seconds = (time.monotonic() - first[1]) / max(event.done - first[0], 1)
            found |= {"frames_made": event.done, "seconds_per_frame": round(seconds, 4)}
            break
    close("frames")
    events.close()  # type: ignore[attr-defined]
    return found

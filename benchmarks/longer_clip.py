"""A data set as long and as large as wanted, from a short one: its frames again and again.

Ten minutes of synthetic film take hours to draw and capture, and what a training costs does not depend on
what is said in it. So a short captured clip is repeated: frame ``i`` is the short clip's frame ``i`` modulo
its length, with its picture, parts, torso, pose, landmarks, action units, sound and speech features. Pictures
of the same size are hard links; each is decoded all the same. Another size is resampled once. There is a jump
where the clip begins again, and one shot: figures of *quality* from such a data set mean nothing.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nerf_ad.capture.split import split_frames
from nerf_ad.core.files import read_npz, write_json, write_npz
from nerf_ad.dataset.dataset import Dataset, DatasetManifest
from nerf_ad.dataset.layout import Layout
from nerf_ad.dataset.pixels import fit_labels, fit_picture
from nerf_ad.face.parsing import PALETTE
from nerf_ad.media.audio import Waveform, read_audio, write_wav
from nerf_ad.media.images import write_image

PER_FRAME = {
    "landmarks": ("points", "confidence", "blendshapes"),
    "tracking": ("camera_to_world", "reprojection_error", "jitter", "jitter_raw"),
    "action_units": ("intensity", "presence"),
}
"""Arrays of the files of these names that have a row for every frame."""
IN_PIXELS = {"points", "intrinsics", "reprojection_error", "jitter", "jitter_raw"}
"""Arrays that grow with the picture."""


def lengthen(source: Dataset, root: Path, *, num_frames: int, size: int) -> Dataset:
    """Write such a data set; one that is there already is opened.

    Args:
        source: the short clip.
        root: the folder to write; ``dataset.toml`` comes last.
        num_frames: how many frames.
        size: pixels along each side.
    """
    layout = Layout(root)
    if layout.manifest.is_file():
        return Dataset.open(root)
    shutil.rmtree(root, ignore_errors=True)
    for folder in (layout.frames, layout.parsing, layout.torso, layout.speech):
        folder.mkdir(parents=True)
    _write_pictures(source, layout, num_frames, size)
    _write_arrays(source, layout, num_frames, size / source.size)
    _write_sound(source, layout, num_frames)
    split = split_frames(num_frames)
    write_json(layout.split, {name: [part.start, part.stop] for name, part in split._asdict().items()})
    _manifest(source, num_frames, size).save_toml(layout.manifest)
    return Dataset.open(root)


def again(rows: np.ndarray, count: int) -> np.ndarray:
    """``count`` rows: those given, from the first one again after the last."""
    return rows[np.arange(count) % len(rows)]


def _write_pictures(source: Dataset, layout: Layout, num_frames: int, size: int) -> None:
    short, is_same = source.num_frames, source.size == size
    kinds: list[tuple[Callable[[int], Path], Callable[[int], Path], Callable[[int], Any]]] = [
        (source.layout.frame, layout.frame, source.frame),
        (source.layout.labels, layout.labels, source.labels),
        (source.layout.torso_image, layout.torso_image, source.torso),
    ]
    for index in range(num_frames):
        for theirs, ours, read in kinds:
            if index >= short:
                _link(ours(index % short), ours(index))
            elif is_same:
                _link(theirs(index), ours(index))
            elif theirs == source.layout.labels:
                write_image(ours(index), fit_labels(read(index), size), palette=PALETTE)
            else:
                write_image(ours(index), fit_picture(read(index), size))
    write_image(layout.background, fit_picture(source.background(), size))


def _link(old: Path, new: Path) -> None:
    try:
        os.link(old, new)
    except OSError:  # another file system, or too many links
        shutil.copyfile(old, new)


def _write_arrays(source: Dataset, layout: Layout, num_frames: int, scale: float) -> None:
    for name, per_frame in PER_FRAME.items():
        arrays = read_npz(getattr(source.layout, name))
        for key, array in arrays.items():
            if key in IN_PIXELS:
                arrays[key] = (array * scale).astype(array.dtype)
            if key in per_frame:
                arrays[key] = again(arrays[key], num_frames)
        write_npz(getattr(layout, name), arrays)


def _write_sound(source: Dataset, layout: Layout, num_frames: int) -> None:
    fps = source.manifest.fps
    sound = read_audio(source.layout.audio)
    short = sound.samples[: round(source.num_frames / fps * sound.rate)]
    write_wav(layout.audio, Waveform(again(short, round(num_frames / fps * sound.rate)), sound.rate))
    for name in source.speech_names():
        arrays = read_npz(source.layout.speech_features(name))
        steps = math.ceil(num_frames / fps * float(arrays["rate_hz"]))
        write_npz(layout.speech_features(name), {**arrays, "features": again(arrays["features"], steps)})


def _manifest(source: Dataset, num_frames: int, size: int) -> DatasetManifest:
    """The short clip's, with keys of its own: caches and trainings are another data set's."""
    told = source.manifest.model_dump(mode="json", exclude_none=True)
    told["source"]["name"] = f"{told['source']['name']} again and again"
    made_from = f"{told['source']['sha256']}:{num_frames}:{size}"
    told["source"]["sha256"] = hashlib.sha256(made_from.encode()).hexdigest()
    told["source"]["seconds"] = num_frames / source.manifest.fps
    told |= {"num_frames": num_frames, "size": size, "shots": [0]}
    return DatasetManifest.from_mapping(told, source="a repeated clip")

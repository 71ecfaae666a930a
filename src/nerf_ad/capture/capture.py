"""capture(): a video of one person becomes a dataset, step by step, continued where it stopped."""

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

from nerf_ad.capture.audio import load_aligned
from nerf_ad.capture.check import file_complaints
from nerf_ad.capture.complaints import Complaint, refuse_if_unfit, save_complaints, sort_complaints
from nerf_ad.capture.frames import FPS
from nerf_ad.capture.recipe import CaptureConfig, Recipe, required_weights
from nerf_ad.capture.speech import try_supplied
from nerf_ad.capture.step import Ledger, refuse_other_source, run_steps
from nerf_ad.capture.survey import (
    choose_crop,
    crop_complaint,
    face_complaints,
    refuse_cut_off,
    survey_faces,
)
from nerf_ad.core import weights
from nerf_ad.core.errors import BadInputError, FormatError, UsageError, WeightsError
from nerf_ad.core.events import Event, Warned
from nerf_ad.core.files import explained, locked, sha256_file
from nerf_ad.dataset.dataset import Dataset, DatasetManifest, Source, read_manifest
from nerf_ad.dataset.layout import Layout
from nerf_ad.face.landmarks import RecordedDetector, build_landmark_detector
from nerf_ad.media.isolated import decode_isolated, probe_isolated
from nerf_ad.media.video import Crop, Damage, VideoInfo
from nerf_ad.speech.encoder import NO_FILES, SpeechFiles, build_speech_encoder, refuse_misplaced_files

MIN_SIZE, MAX_SIZE = 64, 1024
"""Smallest and largest width of a dataset's frames."""


def capture(
    video: str | Path,
    dataset: str | Path,
    *,
    size: int = 512,
    config: CaptureConfig | None = None,
    landmarks: Path | None = None,
    speech: SpeechFiles = NO_FILES,
    on_event: Callable[[Event], None] | None = None,
) -> Dataset:
    """Make a dataset of a video of one person, or go on with one that was begun.

    Args:
        video: the clip: one person, speaking, camera at rest.
        dataset: the folder to write; if it is there, only what is missing or outdated is made.
        size: width and height of its frames in pixels.
        config: choices of the single steps.
        landmarks: the user's own landmarks (npz) instead of the detector's.
        speech: DeepSpeech's features of this clip, or its network, where ``config`` asks for them.
        on_event: told of progress, warnings and finished steps.

    Raises:
        MediaError: the video is not fit.
        FormatError: the folder holds something else: another video or size, another format version; or the
            user's own landmarks or features do not fit the clip.
        UsageError: the size is out of range, or features of speech are wanted that need a file.
        WeightsError: third-party weights are missing.
    """
    video, root = Path(video), Path(dataset)
    chosen = config or CaptureConfig()
    with contextlib.closing(
        capture_events(video, root, size=size, config=chosen, landmarks=landmarks, speech=speech)
    ) as events:
        for event in events:
            if on_event is not None:
                on_event(event)
    return Dataset.open(root)


def capture_events(
    video: Path,
    root: Path,
    *,
    size: int,
    config: CaptureConfig,
    landmarks: Path | None = None,
    speech: SpeechFiles = NO_FILES,
) -> Generator[Event, None, None]:
    """The same as a generator; closing it stops, and the next call continues."""
    if not MIN_SIZE <= size <= MAX_SIZE or size % 8:
        raise UsageError(
            f"frames of {size} pixels cannot be captured",
            hint=f"choose a multiple of 8 between {MIN_SIZE} and {MAX_SIZE}",
        )
    layout = Layout(root)
    found = _found(layout)
    info = probe_isolated(video)
    source = Source(
        name=video.name,
        sha256=sha256_file(video),
        width=info.width,
        height=info.height,
        fps=round(info.fps, 4),
        seconds=round(info.seconds, 4),
    )
    manifest = DatasetManifest(source=source, size=size, num_frames=0)
    if found is not None:
        refuse_other_source(layout, found, manifest)
    _refuse_missing_weights(config, landmarks)
    if landmarks is not None:
        RecordedDetector(landmarks)  # refuses a file that cannot serve before anything is written
    refuse_misplaced_files(config.speech, speech)
    if config.speech.kind == "deepspeech":
        try_supplied(build_speech_encoder(config.speech, speech), info.seconds)
    look = None
    if found is None or not layout.step_complaints("survey").is_file():
        look = yield from _survey(video, info, landmarks)
    with locked(layout.lock, wait=False) as is_ours:
        if not is_ours:
            raise UsageError(f"{root} is being captured by another process", hint="wait for it")
        ledger = Ledger(layout, _found(layout) or manifest)
        if look is not None:
            yield from _begin(ledger, *look)
        recipe = Recipe(video, info, config, ledger, landmarks=landmarks, speech=speech)
        yield from run_steps(recipe.steps(), ledger, source=f"{source.sha256}:{size}")


def _survey(
    video: Path, info: VideoInfo, landmarks: Path | None
) -> Generator[Event, None, tuple[Crop | None, list[Complaint]]]:
    """Look before anything is written: refuse what is unfit, choose the crop."""
    complaints = file_complaints(info)
    refuse_if_unfit(video, complaints)
    num_frames = round(info.seconds * FPS)
    refuse_if_unfit(video, load_aligned(video, info, num_frames=num_frames, fps=FPS)[1])
    crop = None
    if landmarks is None:
        with build_landmark_detector() as detector:
            survey = yield from survey_faces(video, info, detector)
        refuse_if_unfit(video, face_complaints(survey, fps=FPS))
        crop = choose_crop(survey.boxes, info.width, info.height)
        if crop is not None:
            complaints.append(crop_complaint(crop, survey))
        return crop, complaints
    if info.width != info.height:
        raise UsageError(
            f"{video} is not square, so landmarks of its frames cannot be given",
            hint="crop the video first, or leave the landmarks out",
        )
    told = len(RecordedDetector(landmarks))
    if told < num_frames - 1:
        raise FormatError(
            f"{landmarks} holds {told} frames, the video lasts {num_frames} at {FPS} a second",
            hint="save points for every frame",
        )
    damage = Damage()
    for _ in decode_isolated(video, 1.0, damage=damage):
        pass
    refuse_cut_off(video, info, damage)
    return crop, complaints


def _begin(ledger: Ledger, crop: Crop | None, complaints: list[Complaint]) -> Generator[Event, None, None]:
    """The first files of a dataset."""
    source = ledger.manifest.source.model_dump(mode="json", exclude_none=True)
    ledger.update(source=source | ({"crop": list(crop)} if crop else {}))
    save_complaints(ledger.layout.step_complaints("survey"), complaints)
    for complaint in sort_complaints(complaints):
        yield Warned(message=str(complaint))


def _found(layout: Layout) -> DatasetManifest | None:
    """The manifest of a dataset that was begun, if there is one; stops if the folder cannot serve."""
    with explained(layout.root):  # a name may be too long
        place = next(path for path in (layout.root, *layout.root.absolute().parents) if path.exists())
    if place.is_dir() and not os.access(place, os.W_OK | os.X_OK):
        raise BadInputError(f"{place} cannot be written", hint="choose a folder you may write to")
    if not place.is_dir():
        raise FormatError(f"{place} is a file, not a folder", hint="choose another folder")
    if layout.manifest.is_file():
        return read_manifest(layout)
    try:
        entries = list(layout.root.iterdir()) if layout.root.is_dir() else []
        if any(path != layout.lock and not path.name.startswith(".") for path in entries):
            raise FormatError(
                f"{layout.root} is not empty and not a dataset", hint="choose a folder that is empty or new"
            )
    except OSError as error:
        raise BadInputError(f"{layout.root} cannot be read: {error.strerror}") from error
    return None


def _refuse_missing_weights(config: CaptureConfig, landmarks: Path | None) -> None:
    missing = [name for name in required_weights(config, landmarks) if weights.find(name) is None]
    if missing:
        sizes = ", ".join(
            f"{name} ({weights.WEIGHTS[name].size / 1e6:.1f} MB, {weights.WEIGHTS[name].licence})"
            for name in missing
        )
        raise WeightsError(f"capture needs weights that are not here: {sizes}", hint="nerf-ad weights fetch")

"""The steps of a capture and how they hang together.

    frames ─┬─ landmarks ─┬─ tracking ── action_units ───┐
            │             ├─ parsing ─┬─ background ─────┤
            │             │           └─ torso ──────────┤
            ├─ audio ─────┴─ offset ─────────────────────┼─ report
            │  └─ speech ────────────────────────────────┤
            └─ split ────────────────────────────────────┘

Each method is one step: it reads what earlier steps wrote, yields events and returns what the manifest should
know. Nothing large is kept between steps, so a step may run in a later process than the one before it.
"""

from pathlib import Path
from typing import assert_never

import numpy as np
from jaxtyping import Bool, UInt8

from nerf_ad.capture.audio import SURE, AvOffset, av_offset, extract_audio
from nerf_ad.capture.background import (
    BackgroundConfig,
    Plate,
    build_plate,
    fill_from,
    plan_shots,
    sample_frames,
)
from nerf_ad.capture.complaints import (
    Complaint,
    load_complaints,
    refuse_if_unfit,
    save_complaints,
    sort_complaints,
)
from nerf_ad.capture.frames import FPS, extract_frames
from nerf_ad.capture.landmarks import track_landmarks
from nerf_ad.capture.parsing import ParsingConfig, parse_frames
from nerf_ad.capture.report.report import write_report
from nerf_ad.capture.speech import encode_speech
from nerf_ad.capture.split import split_frames
from nerf_ad.capture.step import Ledger, Step, Work, remove
from nerf_ad.capture.torso import TorsoConfig, remove_head
from nerf_ad.capture.tracking import track_clip, tracking_arrays
from nerf_ad.core import weights
from nerf_ad.core.config import Config
from nerf_ad.core.events import Progress, Warned
from nerf_ad.core.files import sha256_file, sync_folder, write_json, write_npz
from nerf_ad.core.workers import in_order, num_cores, single_threads
from nerf_ad.dataset.dataset import Dataset, DatasetManifest
from nerf_ad.face.action_units import ActionUnitConfig, estimate_action_units, mouth_opening
from nerf_ad.face.landmarks import build_landmark_detector
from nerf_ad.face.parsing import BisenetParserConfig, LandmarkParserConfig, Part, build_face_parser
from nerf_ad.face.tracking import TrackingConfig
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.images import write_image
from nerf_ad.media.video import Crop, VideoInfo
from nerf_ad.speech.encoder import (
    NO_FILES,
    DeepSpeechConfig,
    MelConfig,
    PhonemeConfig,
    SpeechConfig,
    SpeechFiles,
    WhisperConfig,
    build_speech_encoder,
    speech_weights,
)

MAX_WARNINGS = 5
"""Complaints of one step that are said while it runs; all of them are in the report."""


class CaptureConfig(Config):
    """How a clip is captured."""

    parsing: ParsingConfig = ParsingConfig()
    """Part labels."""
    background: BackgroundConfig = BackgroundConfig()
    """Clean plate."""
    torso: TorsoConfig = TorsoConfig()
    """Torso image."""
    tracking: TrackingConfig = TrackingConfig()
    """Head pose."""
    action_units: ActionUnitConfig = ActionUnitConfig()
    """Action units."""
    speech: SpeechConfig = WhisperConfig()
    """Speech features."""


def required_weights(config: CaptureConfig, landmarks: Path | None = None) -> tuple[str, ...]:
    """Names of the third-party weights that a capture will load."""
    names: tuple[str, ...] = () if landmarks is not None else ("face-landmarker",)
    if isinstance(config.parsing.parser, BisenetParserConfig):
        names += ("face-parser",)
    return names + speech_weights(config.speech)


class Recipe:
    """The steps of one capture.

    Args:
        video: the source.
        info: what it says of itself.
        config: choices.
        ledger: the dataset's manifest.
        landmarks: the user's own landmarks instead of the detector's, if any.
        speech: the user's own features or network of speech, if any.
    """

    def __init__(
        self,
        video: Path,
        info: VideoInfo,
        config: CaptureConfig,
        ledger: Ledger,
        *,
        landmarks: Path | None = None,
        speech: SpeechFiles = NO_FILES,
    ) -> None:
        self.video, self.info, self.config = video, info, config
        self.ledger, self.layout = ledger, ledger.layout
        self.recorded, self.speech_files = landmarks, speech
        self.num_workers = num_cores()
        crop = ledger.manifest.source.crop
        self.crop = None if crop is None else Crop(*crop)

    def steps(self) -> list[Step]:
        """All of them, each after what it needs."""
        layout, config = self.layout, self.config

        def says(name: str, *outputs: Path) -> tuple[Path, ...]:
            return (*outputs, layout.step_complaints(name))

        return [
            Step("frames", self.frames, says("frames", layout.frames), version=2, is_per_frame=True),
            Step("audio", self.audio, says("audio", layout.audio), ("frames",)),
            Step(
                "landmarks",
                self.landmarks,
                says("landmarks", layout.landmarks),
                ("frames",),
                extractor=self._detector_id(),
            ),
            Step(
                "tracking",
                self.tracking,
                says("tracking", layout.tracking),
                ("landmarks",),
                settings=config.tracking,
                version=3,
            ),
            Step(
                "action_units",
                self.action_units,
                (layout.action_units,),
                ("tracking",),
                settings=config.action_units,
                version=2,
            ),
            Step("offset", self.offset, says("offset"), ("landmarks", "audio"), version=2),
            Step(
                "speech",
                self.speech,
                (layout.speech_features(config.speech.kind),),
                ("audio",),
                settings=config.speech,
                extractor=self._encoder_id(),
            ),
            Step("split", self.split, (layout.split,), ("frames",)),
            Step(
                "parsing",
                self.parsing,
                (layout.parsing,),
                ("landmarks",),
                settings=config.parsing,
                version=2,
                extractor=self._parser_id(),
                is_per_frame=True,
            ),
            Step(
                "background",
                self.background,
                says("background", layout.background),
                ("parsing",),
                settings=config.background,
                version=2,
            ),
            Step(
                "torso",
                self.torso,
                (layout.torso,),
                ("parsing",),
                settings=config.torso,
                is_per_frame=True,
            ),
            Step(
                "report",
                self.report,
                (layout.report, layout.complaints),
                ("action_units", "offset", "speech", "split", "background", "torso"),
            ),
        ]

    def frames(self) -> Work:
        """Decode, crop, resize; find the cuts."""
        result = yield from extract_frames(
            self.video, self.info, self.layout.frames, size=self._manifest.size, crop=self.crop, fps=FPS
        )
        sync_folder(self.layout.frames)
        yield from self._complain("frames", result.complaints)
        return {"num_frames": result.num_frames, "shots": result.shots}

    def audio(self) -> Work:
        """16 kHz mono, as long as the frames."""
        complaints = extract_audio(
            self.video, self.info, num_frames=self._num_frames, fps=FPS, target=self.layout.audio
        )
        refuse_if_unfit(self.video, complaints)
        yield Progress(stage="audio", done=1, total=1)
        yield from self._complain("audio", complaints)
        return {}

    def landmarks(self) -> Work:
        """478 points and 52 blendshapes a frame."""
        track, complaints = yield from track_landmarks(
            self._num_frames,
            self._dataset.frame,
            lambda: build_landmark_detector(self.recorded),
            num_workers=self.num_workers,
        )
        write_npz(self.layout.landmarks, track._asdict())
        yield from self._complain("landmarks", complaints)
        return {}

    def tracking(self) -> Work:
        """Head pose and intrinsics."""
        yield Progress(stage="tracking", done=0, total=1)
        manifest = self._manifest
        result, complaints = track_clip(
            self._dataset.landmarks(),
            (self._dataset.frame(index) for index in range(self._num_frames)),
            manifest.size,
            manifest.shots,
            self.config.tracking,
            scratch=self.layout.root,
        )
        write_npz(self.layout.tracking, tracking_arrays(result))
        error, jitter = float(np.median(result.reprojection_error)), float(np.median(result.jitter))
        yield Progress(
            stage="tracking", done=1, total=1, note=f"error {error:.2f} px, jitter {jitter:.2f} px"
        )
        yield from self._complain("tracking", complaints)
        return {"reprojection_error": round(error, 4), "jitter": round(jitter, 4)}

    def action_units(self) -> Work:
        """Intensity and presence."""
        track = self._dataset.landmarks()
        units = estimate_action_units(
            track.points,
            track.blendshapes,
            self._dataset.tracking().camera_to_world,
            self.config.action_units,
        )
        arrays = {name: np.asarray(value) for name, value in units._asdict().items()}
        write_npz(self.layout.action_units, arrays)
        yield Progress(stage="action units", done=1, total=1)
        return {}

    def offset(self) -> Work:
        """How far the mouth is behind the sound."""
        offset = self._offset()
        yield Progress(stage="offset", done=1, total=1, note=f"{offset.milliseconds:+.0f} ms")
        is_sure = offset.confidence >= SURE
        complaints = []
        if is_sure and abs(offset.milliseconds) > 1000 / FPS:
            fault = f"the mouth is {offset.milliseconds:+.0f} ms behind the sound"
            complaints.append(Complaint(fault=fault, advice="shift the sound with another program"))
        yield from self._complain("offset", complaints)
        return {"av_offset_ms": round(offset.milliseconds, 1) if is_sure else None}

    def speech(self) -> Work:
        """Features of the clip's own sound."""
        encoder = build_speech_encoder(self.config.speech, self.speech_files)
        yield Progress(stage="speech", done=0, total=1)
        write_npz(
            self.layout.speech_features(self.config.speech.kind), encode_speech(self._waveform, encoder)
        )
        yield Progress(stage="speech", done=1, total=1)
        return {}

    def split(self) -> Work:
        """Training and held-out frames."""
        split = split_frames(self._num_frames)
        ranges = {name: [part.start, part.stop] for name, part in split._asdict().items()}
        write_json(self.layout.split, ranges)
        yield Progress(stage="split", done=1, total=1)
        return {}

    def parsing(self) -> Work:
        """Part labels."""
        detector = None
        if not isinstance(self.config.parsing.parser, BisenetParserConfig):
            detector = build_landmark_detector(self.recorded)
        with single_threads():
            yield from parse_frames(
                self._manifest.shots,
                self._dataset.landmarks().points,
                self._dataset.frame,
                build_face_parser(self.config.parsing.parser, detector=detector),
                self.layout.labels,
                self.config.parsing,
                num_workers=self.num_workers,
            )
        sync_folder(self.layout.parsing)
        return {}

    def background(self) -> Work:
        """The clean plate, and one for every shot."""
        config, manifest = self.config.background, self._manifest
        own = plan_shots(manifest.shots, self._num_frames, manifest.size, config)
        total = 1 + len(own)
        yield Progress(stage="background", done=0, total=total)

        def build(frames: list[int]) -> Plate:
            return build_plate(frames, self._picture_and_person, self._dataset.shot_of, config)

        remove(self.layout.backgrounds)
        plate = build(sample_frames(self._num_frames, manifest.size, config))
        differences = dict(plate.shot_differences)
        write_image(self.layout.background, plate.picture)
        yield Progress(stage="background", done=1, total=total, note=f"{100 * plate.seen.mean():.0f} % seen")
        for done, (shot, frames) in enumerate(own.items(), start=2):
            single = build(frames)
            differences |= single.shot_differences
            write_image(self.layout.shot_background(shot), fill_from(single, plate))
            yield Progress(stage="background", done=done, total=total)
        yield from self._complain("background", self._plate_complaints(plate, differences))
        return {}

    def torso(self) -> Work:
        """The head removed from every frame."""
        missing = [index for index in range(self._num_frames) if not self.layout.torso_image(index).is_file()]

        def work(index: int) -> None:
            torso = remove_head(self._dataset.frame(index), self._dataset.labels(index), self.config.torso)
            write_image(self.layout.torso_image(index), torso)

        done = self._num_frames - len(missing)
        for _ in in_order(work, missing, num_workers=self.num_workers):
            done += 1
            yield Progress(stage="torso", done=done, total=self._num_frames)
        sync_folder(self.layout.torso)
        return {}

    def report(self) -> Work:
        """``report/index.html`` and all complaints together."""
        files = sorted(self.layout.complaint_folder.glob("*.json"))
        complaints = sort_complaints(complaint for file in files for complaint in load_complaints(file))
        save_complaints(self.layout.complaints, complaints)
        yield from write_report(self._dataset, self._waveform, self._offset(), complaints)
        return {}

    @property
    def _manifest(self) -> DatasetManifest:
        return self.ledger.manifest

    @property
    def _num_frames(self) -> int:
        return self._manifest.num_frames

    @property
    def _dataset(self) -> Dataset:
        return Dataset(self.layout.root, self._manifest)

    @property
    def _waveform(self) -> Waveform:
        return read_audio(self.layout.audio)

    def _offset(self) -> AvOffset:
        track = self._dataset.landmarks()
        opening = np.where(track.confidence > 0, mouth_opening(track.points), np.nan)
        return av_offset(opening, self._waveform, FPS)

    def _picture_and_person(
        self, frame: int
    ) -> tuple[UInt8[np.ndarray, "height width 3"], Bool[np.ndarray, "height width"]]:
        return self._dataset.frame(frame), self._dataset.labels(frame) != Part.BACKGROUND

    def _plate_complaints(self, plate: Plate, differences: dict[int, float]) -> list[Complaint]:
        shots = self._manifest.shots
        ends = [*shots[1:], self._num_frames]
        complaints = [
            Complaint(
                frame=shots[shot],
                last_frame=ends[shot] - 1,
                fault=f"{100 * difference:.0f} % of the background change while it is filmed",
                advice="use a clip with one background and a camera at rest",
            )
            for shot, difference in differences.items()
            if difference > self.config.background.max_difference
        ]
        if not plate.seen.any():
            fault = "no background was ever seen"
            complaints.append(Complaint(fault=fault, advice="leave room around head and shoulders"))
        return complaints

    def _complain(self, step: str, complaints: list[Complaint]) -> Work:
        """Keep what a step found wrong, and say the first few."""
        save_complaints(self.layout.step_complaints(step), complaints)
        spoken = [complaint for complaint in complaints if complaint.severity != "note"]
        for complaint in spoken[:MAX_WARNINGS]:
            yield Warned(message=str(complaint))
        if len(spoken) > MAX_WARNINGS:
            yield Warned(message=f"and {len(spoken) - MAX_WARNINGS} more of {step}; see the report")
        return {}

    def _encoder_id(self) -> str:
        match self.config.speech:
            case WhisperConfig():
                return weights.extractor_id("speech-encoder")
            case PhonemeConfig():
                return weights.extractor_id("phoneme-encoder")
            case DeepSpeechConfig():
                what, file = next(
                    (name, file) for name, file in self.speech_files._asdict().items() if file is not None
                )
                return f"deepspeech-{what}:{sha256_file(file)[:12]}"
            case MelConfig():
                return "log-mel"
            case _:
                assert_never(self.config.speech)

    def _detector_id(self) -> str:
        if self.recorded is not None:
            return f"recorded:{sha256_file(self.recorded)[:12]}"
        return weights.extractor_id("face-landmarker")

    def _parser_id(self) -> str:
        match self.config.parsing.parser:
            case BisenetParserConfig():
                return weights.extractor_id("face-parser")
            case LandmarkParserConfig():
                return f"landmark-outlines:1+{self._detector_id()}"
            case _:
                assert_never(self.config.parsing.parser)

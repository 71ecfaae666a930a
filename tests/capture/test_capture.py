"""The whole capture of the synthetic person, without weights: its own landmarks, outlines, log-mel."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nerf_ad.capture.capture import capture, capture_events
from nerf_ad.capture.complaints import load_complaints
from nerf_ad.capture.parsing import ParsingConfig
from nerf_ad.capture.recipe import CaptureConfig, required_weights
from nerf_ad.core.errors import FormatError, MediaError, UsageError
from nerf_ad.core.events import Event, Saved
from nerf_ad.core.files import locked, read_npz, write_npz
from nerf_ad.dataset.dataset import Dataset, read_manifest
from nerf_ad.dataset.layout import Layout
from nerf_ad.face.parsing import LandmarkParserConfig
from nerf_ad.media.audio import Waveform, read_audio
from nerf_ad.media.video import VideoWriter
from nerf_ad.speech.encoder import DeepSpeechConfig, MelConfig, PhonemeConfig, SpeechConfig, SpeechFiles

CONFIG = CaptureConfig(parsing=ParsingConfig(parser=LandmarkParserConfig()), speech=MelConfig())
FRAMES = 110


class Clip(NamedTuple):
    """A video and its landmarks."""

    video: Path
    landmarks: Path


@pytest.fixture(scope="module")
def clip(person: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """The person's frames, the last ones backwards, as a video of 4.4 seconds."""
    folder = tmp_path_factory.mktemp("clip")
    walk = [*range(person.num_frames), *range(person.num_frames - 2, -1, -1)][:FRAMES]
    sound = read_audio(person.layout.audio).samples
    waveform = Waveform(np.resize(sound, FRAMES * 640).astype(np.float32), 16_000)
    video = folder / "person.mp4"
    with VideoWriter(video, (person.size, person.size), audio=waveform, crf=10, preset="fast") as writer:
        for index in walk:
            writer.write(person.frame(index))
    write_npz(folder / "landmarks.npz", {"points": person.landmarks().points[walk]})
    return Clip(video, folder / "landmarks.npz")


def run(clip: Clip, root: Path, **choices: object) -> tuple[Dataset, list[Event]]:
    events: list[Event] = []
    config = choices.pop("config", CONFIG)
    assert isinstance(config, CaptureConfig)
    assert not choices
    made = capture(clip.video, root, size=96, config=config, landmarks=clip.landmarks, on_event=events.append)
    return made, events


@pytest.fixture(scope="module")
def captured(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, list[Event]]:
    return run(clip, tmp_path_factory.mktemp("captured") / "person.dataset")


def test_frames_are_those_of_the_person(captured: tuple[Dataset, list[Event]], person: Dataset) -> None:
    made = captured[0]
    assert made.num_frames == FRAMES
    assert made.manifest.shots == (0,)
    assert (made.split().train, made.split().test) == (range(100), range(100, 110))
    for index in (0, 50, 99):
        difference = made.frame(index).astype(float) - person.frame(index)
        assert np.abs(difference).mean() < 6  # 4:2:0 and H.264


def test_head_is_tracked(captured: tuple[Dataset, list[Event]]) -> None:
    made = captured[0]
    assert made.manifest.reprojection_error is not None
    assert made.manifest.reprojection_error < 0.6  # pixels of a 96x96 frame
    assert made.tracking().camera_to_world.shape == (FRAMES, 4, 4)
    assert np.isfinite(made.tracking().camera_to_world).all()


def test_sound_and_features_cover_the_clip(captured: tuple[Dataset, list[Event]]) -> None:
    made = captured[0]
    assert len(read_audio(made.layout.audio).samples) == FRAMES * 640
    track = made.speech("mel")
    assert len(track.features) == pytest.approx(FRAMES / 25 * track.rate_hz, abs=1)


def test_torso_has_no_face(captured: tuple[Dataset, list[Event]]) -> None:
    made = captured[0]
    torso, points = made.torso(40), made.landmarks().points[40]
    x, y = points[1, :2].astype(int)  # the tip of the nose
    assert torso[y, x, 3] == 0
    assert torso[-3, 48, 3] == 255


def test_report_shows_everything_that_it_names(captured: tuple[Dataset, list[Event]]) -> None:
    import re

    folder = captured[0].layout.report
    html = (folder / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="([^"]+)"', html)
    assert len(pictures) == len(set(pictures)) >= 7
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert "<script" not in html
    assert "http" not in html
    assert str(captured[0].root.parent) not in html
    for step in captured[0].manifest.steps:
        if step != "report":
            assert f"<td>{step}</td>" in html


def test_complaints_name_the_short_clip(captured: tuple[Dataset, list[Event]]) -> None:
    faults = [complaint.fault for complaint in load_complaints(captured[0].layout.complaints)]
    assert any("seconds long" in fault for fault in faults)


def test_second_run_makes_nothing(clip: Clip, captured: tuple[Dataset, list[Event]]) -> None:
    made, events = run(clip, captured[0].root)
    assert not [event for event in events if isinstance(event, Saved)]
    assert made.manifest == captured[0].manifest


def test_stopped_anywhere_it_goes_on(
    clip: Clip, tmp_path: Path, captured: tuple[Dataset, list[Event]]
) -> None:
    root = tmp_path / "stopped.dataset"
    for stop in (1, 30, 200, 260):
        work = capture_events(clip.video, root, size=96, config=CONFIG, landmarks=clip.landmarks)
        for count, _ in enumerate(work):
            if count == stop:
                break
        work.close()
    made, _ = run(clip, root)
    for index in range(0, FRAMES, 10):
        assert np.array_equal(made.frame(index), captured[0].frame(index))
        assert np.array_equal(made.labels(index), captured[0].labels(index))
        assert np.array_equal(made.torso(index), captured[0].torso(index))
    assert not list(root.glob("**/.*"))


def test_other_size_video_or_folder_is_refused(
    clip: Clip, tmp_path: Path, captured: tuple[Dataset, list[Event]]
) -> None:
    root = captured[0].root
    before = read_manifest(captured[0].layout)
    with pytest.raises(FormatError, match="was captured at 96x96, not 64x64"):
        capture(clip.video, root, size=64, config=CONFIG, landmarks=clip.landmarks)
    assert read_manifest(captured[0].layout) == before
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FormatError, match="not empty and not a dataset"):
        run(clip, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(FormatError, match="is a file"):
        run(clip, tmp_path / "letter.txt")


def test_unfit_video_leaves_nothing(clip: Clip, tmp_path: Path, person: Dataset) -> None:
    short = tmp_path / "short.mp4"
    with VideoWriter(short, (96, 96), audio=Waveform(np.zeros(32_000, np.float32), 16_000)) as writer:
        for index in range(50):
            writer.write(person.frame(index))
    root = tmp_path / "short.dataset"
    with pytest.raises(MediaError, match=r"2\.0 seconds"):
        capture(short, root, size=96, config=CONFIG, landmarks=clip.landmarks)
    with pytest.raises(MediaError):
        capture(tmp_path / "absent.mp4", root, size=96, config=CONFIG, landmarks=clip.landmarks)
    with pytest.raises(UsageError, match="cannot be captured"):
        capture(clip.video, root, size=100, config=CONFIG, landmarks=clip.landmarks)
    assert not root.exists()


def test_without_weights_none_are_needed(clip: Clip) -> None:
    assert required_weights(CONFIG, clip.landmarks) == ()
    assert len(required_weights(CaptureConfig())) == 3


def test_a_folder_that_another_process_captures_is_refused(clip: Clip, tmp_path: Path) -> None:
    root = tmp_path / "taken.dataset"
    with locked(Layout(root).lock, wait=False), pytest.raises(UsageError, match="another process"):
        run(clip, root)
    assert [path.name for path in root.iterdir()] == ["capture.lock"]


def test_landmarks_that_end_early_are_refused_before_anything_is_written(clip: Clip, tmp_path: Path) -> None:
    arrays = read_npz(clip.landmarks)
    write_npz(tmp_path / "short.npz", {"points": arrays["points"][:50]})
    with pytest.raises(FormatError, match="holds 50 frames"):
        run(clip._replace(landmarks=tmp_path / "short.npz"), tmp_path / "a.dataset")
    assert not (tmp_path / "a.dataset").exists()


def choose(speech: SpeechConfig) -> CaptureConfig:
    return CaptureConfig(parsing=CONFIG.parsing, speech=speech)


def test_other_features_are_added_and_nothing_else_is_made(
    clip: Clip, tmp_path: Path, captured: tuple[Dataset, list[Event]], rng: np.random.Generator
) -> None:
    root = Path(shutil.copytree(captured[0].root, tmp_path / "more.dataset"))
    mine = rng.normal(size=(2 * FRAMES, 29)).astype(np.float32)
    np.save(tmp_path / "mine.npy", mine)
    frames = (root / "frames" / "000007.png").stat().st_mtime_ns
    events: list[Event] = []
    made = capture(
        clip.video,
        root,
        size=96,
        config=choose(DeepSpeechConfig()),
        landmarks=clip.landmarks,
        speech=SpeechFiles(features=tmp_path / "mine.npy"),
        on_event=events.append,
    )
    saved = [Path(event.path).name for event in events if isinstance(event, Saved)]
    assert saved == ["deepspeech.npz", "report"]
    assert (root / "frames" / "000007.png").stat().st_mtime_ns == frames
    assert made.speech_names() == ["deepspeech", "mel"]
    track = made.speech("deepspeech")
    np.testing.assert_array_equal(track.features, mine)
    assert (track.encoder, track.rate_hz) == ("deepspeech:arrays", 50.0)
    np.testing.assert_array_equal(made.speech("mel").features, captured[0].speech("mel").features)


def test_features_that_cannot_serve_are_refused_before_anything_is_written(
    clip: Clip, tmp_path: Path
) -> None:
    root = tmp_path / "a.dataset"

    def run_with(speech: SpeechConfig, **files: Path) -> None:
        capture(
            clip.video,
            root,
            size=96,
            config=choose(speech),
            landmarks=clip.landmarks,
            speech=SpeechFiles(**files),
        )

    np.save(tmp_path / "short.npy", np.zeros((50, 29)))
    np.save(tmp_path / "wide.npy", np.zeros((2 * FRAMES, 30)))
    with pytest.raises(UsageError, match="none is given"):
        run_with(DeepSpeechConfig())
    with pytest.raises(UsageError, match="not both"):
        run_with(DeepSpeechConfig(), features=tmp_path / "short.npy", model=tmp_path / "d.onnx")
    with pytest.raises(UsageError, match="cannot serve mel features"):
        run_with(MelConfig(), features=tmp_path / "short.npy")
    with pytest.raises(FormatError, match=r"features of 1\.00 s, the sound lasts 4\.4"):
        run_with(DeepSpeechConfig(), features=tmp_path / "short.npy")
    with pytest.raises(FormatError, match="shape"):
        run_with(DeepSpeechConfig(), features=tmp_path / "wide.npy")
    with pytest.raises(FormatError, match="missing"):
        run_with(DeepSpeechConfig(), features=tmp_path / "absent.npy")
    assert not root.exists()


def test_weights_of_speech_are_asked_for(clip: Clip) -> None:
    assert required_weights(choose(DeepSpeechConfig()), clip.landmarks) == ()
    assert required_weights(choose(PhonemeConfig()), clip.landmarks) == ("phoneme-encoder", "phoneme-engine")

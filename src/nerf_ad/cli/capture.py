"""``nerf-ad capture VIDEO DATASET``."""

import sys
from pathlib import Path
from typing import Literal, assert_never

from nerf_ad.cli.progress import ProgressPrinter


def capture(
    video: Path,
    dataset: Path,
    *,
    size: int = 512,
    speech: Literal["whisper", "phonemes", "deepspeech", "mel"] = "whisper",
    speech_features: Path | None = None,
    speech_model: Path | None = None,
    parser: Literal["bisenet", "landmarks"] = "bisenet",
    landmarks: Path | None = None,
    yes: bool = False,
) -> int:
    """Make a dataset of a video of one person; continues where it stopped.

    Called again with another --speech, it adds those features and leaves the rest.

    Args:
        video: A clip of one person who speaks to a camera at rest.
        dataset: The folder to write.
        size: Width and height of the dataset's frames in pixels.
        speech: Speech features: Whisper's encoder, phoneme posteriors, DeepSpeech's logits (from a file of
            yours), or log-mel bands, which need no weights.
        speech_features: DeepSpeech's logits of this clip's sound (.npy or .npz: 29 numbers at 50 Hz, or
            AD-NeRF's windows of 16).
        speech_model: DeepSpeech 0.1.0 as .onnx or .tflite; needed to speak new audio later.
        parser: Head, neck and torso: BiSeNet (weights for non-commercial research), or outlines drawn around
            the landmarks.
        landmarks: Your own landmarks (npz, points of every frame at 25 fps) instead of the detector's.
        yes: Fetch missing third-party weights without asking.
    """
    from nerf_ad.capture.capture import capture as run
    from nerf_ad.capture.parsing import ParsingConfig
    from nerf_ad.capture.recipe import CaptureConfig, required_weights
    from nerf_ad.face.parsing import BisenetParserConfig, LandmarkParserConfig
    from nerf_ad.speech.encoder import SpeechFiles, refuse_misplaced_files, speech_config

    match parser:
        case "bisenet":
            parsing = ParsingConfig(parser=BisenetParserConfig())
        case "landmarks":
            parsing = ParsingConfig(parser=LandmarkParserConfig())
        case _:
            assert_never(parser)
    config = CaptureConfig(parsing=parsing, speech=speech_config(speech))
    files = SpeechFiles(speech_features, speech_model)
    refuse_misplaced_files(config.speech, files)
    fetch_missing(required_weights(config, landmarks), yes=yes)
    with ProgressPrinter() as on_event:
        made = run(
            video, dataset, size=size, config=config, landmarks=landmarks, speech=files, on_event=on_event
        )
    sys.stdout.write(f"{made.root}\n")
    sys.stderr.write(f"look at {made.layout.report / 'index.html'}\n")
    return 0


def fetch_missing(names: tuple[str, ...], *, yes: bool) -> None:
    """Show what is missing with size and licence; fetch it after a yes."""
    from nerf_ad.core import weights

    missing = tuple(name for name in names if weights.find(name) is None)
    if not missing:
        return
    from nerf_ad.cli.weights import fetch_weights

    fetch_weights(missing, yes=yes)

"""``nerf-ad render AVATAR AUDIO VIDEO``."""

from pathlib import Path

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.cli.progress import ProgressPrinter
from nerf_ad.core.device import choose_device
from nerf_ad.rendering.render import render_events
from nerf_ad.speech.encoder import SpeechFiles


def render(
    avatar: Path,
    audio: Path,
    video: Path,
    *,
    poses: Path | None = None,
    background: Path | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    speech_features: Path | None = None,
    speech_model: Path | None = None,
    keep_layers: bool = False,
    device: str = "auto",
) -> int:
    """Let an avatar speak new audio: H.264 and AAC at 25 fps, as long as the audio.

    Args:
        avatar: folder that nerf-ad train made.
        audio: any audio file of up to an hour, of any sample rate, mono or stereo.
        video: the .mp4 to write.
        poses: .npz with camera_to_world (frames 4 4) to move the head by, instead of the clip's own motion.
        background: picture to stand before, instead of the clip's own.
        start: where in the audio to begin, seconds.
        seconds: how much of the audio to speak (default: all).
        speech_features: DeepSpeech's logits of just what is spoken (.npy or .npz), for an avatar of theirs.
        speech_model: DeepSpeech 0.1.0 as .onnx or .tflite, for an avatar of its features.
        keep_layers: keep what the mouth does not touch of every pose in AVATAR/runs/layers (0.45 MB a pose at
            256x256, 2 GB at most), so that the next video is fast from its first frame; a CPU only.
        device: auto, cpu or cuda.
    """
    person = Avatar.load(avatar, device=choose_device(device))
    if keep_layers:
        person.keep_layers()
    with ProgressPrinter() as on_event:
        events = render_events(
            person,
            audio,
            video,
            poses=poses,
            background=background,
            start=start,
            seconds=seconds,
            speech=SpeechFiles(speech_features, speech_model),
        )
        for event in events:
            on_event(event)
    return 0

"""From audio to what every frame is conditioned on. New audio and held-out audio differ only here."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from nerf_ad.avatar.avatar import Avatar
from nerf_ad.core.errors import BadInputError, FormatError
from nerf_ad.dataset.dataset import shot_numbers
from nerf_ad.dataset.expression import rest_code
from nerf_ad.geometry.rotations import are_rigid
from nerf_ad.media.audio import Waveform
from nerf_ad.models.talking_head import Condition
from nerf_ad.speech.activity import speech_activity
from nerf_ad.speech.encoder import SpeechEncoder, build_speech_encoder
from nerf_ad.speech.windows import window_steps


class Drive(NamedTuple):
    """What to render: one entry per frame."""

    mouth: Float[np.ndarray, "frames units"]
    """Mouth codes."""
    eyes: Float[np.ndarray, "frames states"]
    """Eye states."""
    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Head poses."""
    shot: Int[np.ndarray, "frames"]
    """Which of the clip's shots the torso stands as in."""

    def frames(self, avatar: Avatar) -> Iterator[tuple[Condition, torch.Tensor]]:
        """Condition and pose of each frame, on the avatar's device."""
        mouth, eyes, poses = (
            torch.from_numpy(np.asarray(part, np.float32)).to(avatar.device) for part in self[:3]
        )
        shot = torch.from_numpy(self.shot).to(avatar.device)
        for index in range(len(poses)):
            one = slice(index, index + 1)
            yield Condition(mouth[one], eyes[one], shot[one]), poses[one]


def num_frames_of(waveform: Waveform, fps: int) -> int:
    """Frames that a sound lasts, rounded to the nearest, at least one."""
    return max(1, round(len(waveform.samples) / waveform.rate * fps))


def open_encoder(avatar: Avatar) -> SpeechEncoder:
    """The speech encoder that the avatar was trained with.

    Raises:
        FormatError: this machine's encoder is another one.
    """
    encoder = build_speech_encoder(avatar.manifest.speech)
    if encoder.id != avatar.manifest.speech_id:
        raise FormatError(
            f"{avatar.root} was trained with {avatar.manifest.speech_id} features, here is {encoder.id}",
            hint="fetch the right weights with: nerf-ad weights fetch, or train the avatar again",
        )
    return encoder


def speak(
    avatar: Avatar,
    waveform: Waveform,
    features: Float[np.ndarray, "steps channels"],
    rate_hz: float,
    num_frames: int,
) -> Float[np.ndarray, "frames units"]:
    """Mouth code of every frame from speech features; in pauses the mouth comes to rest.

    An avatar that is driven by nothing keeps its mean mouth (the static baseline).

    Args:
        avatar: the person.
        waveform: the sound that the features were made of.
        features: of the avatar's speech encoder.
        rate_hz: feature steps per second.
        num_frames: frames wanted.
    """
    if avatar.manifest.driven_by == "nothing":
        return np.zeros((num_frames, avatar.manifest.head.mouth_dim), np.float32)
    steps = window_steps(
        len(features),
        num_frames,
        fps=float(avatar.manifest.fps),
        reach=avatar.manifest.speech_code.reach,
        rate_hz=rate_hz,
    )
    parts = []  # piece by piece: the windows of an hour take 2.4 GB together
    with torch.no_grad():
        for start in range(0, num_frames, 256):
            chunk = np.asarray(features[steps[start : start + 256]], np.float32)
            parts.append(avatar.speech_code(torch.from_numpy(chunk).to(avatar.device)).cpu().numpy())
    activity = speech_activity(waveform.samples, waveform.rate, num_frames, float(avatar.manifest.fps))
    rest = rest_code(avatar.basis)
    return np.asarray(rest + activity[:, None] * (np.concatenate(parts) - rest), np.float32)


def walk(
    num_frames: int, shots: Int[np.ndarray, "shots"], train: tuple[int, int]
) -> Int[np.ndarray, "frames"]:
    """Frames of the clip whose poses and eyes are used: forwards and backwards through its longest shot.

    Only training frames are walked on. Staying inside one shot means that there is no jump at all, however
    long the audio; at either end the walk turns round.
    """
    start, stop = train
    edges = [start, *(int(shot) for shot in shots if start < shot < stop), stop]
    first, last = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    length = last - first
    if length < 2:
        return np.full(num_frames, first, np.int64)
    period = 2 * (length - 1)
    phase = np.arange(num_frames) % period
    return first + np.where(phase < length, phase, period - phase)


def shots_of(avatar: Avatar) -> Int[np.ndarray, "frames"]:
    """Which shot each frame of the avatar's clip belongs to."""
    motion = avatar.motion
    return shot_numbers(motion.shots.tolist(), len(motion.eyes), avatar.manifest.head.num_shots)


def refuse_bent(poses: np.ndarray) -> None:
    """Stop at poses that are no rotations with positions.

    Raises:
        BadInputError: they are not, or there is none.
    """
    if not are_rigid(poses):
        raise BadInputError(
            "poses must be 4x4 matrices of a rotation and a position each",
            hint="see docs/concepts/avatar-format.md",
        )


def drive_with_audio(
    avatar: Avatar,
    waveform: Waveform,
    *,
    encoder: SpeechEncoder | None = None,
    poses: Float[np.ndarray, "frames 4 4"] | None = None,
) -> Drive:
    """What to render for new audio.

    Args:
        avatar: the person.
        waveform: 16 kHz mono.
        encoder: speech encoder, opened if absent.
        poses: head poses to walk on instead of the clip's.

    Raises:
        BadInputError: no sound, or poses that cannot be used.
    """
    if len(waveform.samples) == 0:
        raise BadInputError("the audio holds no sound")
    encoder = encoder or open_encoder(avatar)
    num_frames = num_frames_of(waveform, avatar.manifest.fps)
    mouth = speak(avatar, waveform, encoder.encode(waveform.samples), encoder.rate_hz, num_frames)
    motion = avatar.motion
    first, last = (int(edge) for edge in motion.train_frames)
    path = walk(num_frames, motion.shots, (first, last))
    shot = shots_of(avatar)[path]
    if poses is None:
        return Drive(mouth, motion.eyes[path], motion.camera_to_world[path], shot)
    refuse_bent(poses)
    way = walk(num_frames, np.zeros(1, np.int64), (0, len(poses)))
    return Drive(mouth, motion.eyes[path], poses[way].astype(np.float32), shot)

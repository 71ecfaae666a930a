"""From audio to what every frame is conditioned on. New audio and held-out audio differ only here."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from nerf_ad.avatar.avatar import Avatar, Moment
from nerf_ad.avatar.torso_pictures import TorsoSource
from nerf_ad.core.errors import BadInputError, FormatError, UsageError
from nerf_ad.geometry.rotations import are_rigid
from nerf_ad.media.audio import Waveform
from nerf_ad.speech.deepspeech import ARRAYS_ID
from nerf_ad.speech.encoder import NO_FILES, SpeechEncoder, SpeechFiles, build_speech_encoder


class Drive(NamedTuple):
    """What to render: one entry per frame."""

    code: Float[np.ndarray, "frames units"]
    """What speech makes of the face: mouth codes, or the paper's conditions."""
    eyes: Float[np.ndarray, "frames states"]
    """Eye states; no numbers where an avatar's eyes are not steered."""
    camera_to_world: Float[np.ndarray, "frames 4 4"]
    """Head poses."""
    place: Int[np.ndarray, "frames"]
    """Frame of the clip where each is: its shot, or its torso picture, is what stands behind."""
    torso: TorsoSource | None = None
    """Recorded torsos by frame of the clip, where the avatar does not hold them."""

    def frames(self, avatar: Avatar) -> Iterator[Moment]:
        """What each frame is made from, on the avatar's device."""
        code, eyes, poses = (
            torch.from_numpy(np.asarray(part, np.float32)).to(avatar.device) for part in self[:3]
        )
        again = self.comes_again().tolist()
        for index, place in enumerate(self.place.tolist()):
            one = slice(index, index + 1)
            torso = None if self.torso is None else self.torso(place)
            yield Moment(code[one], eyes[one], poses[one], place, torso, again[index])

    def comes_again(self) -> Bool[np.ndarray, "frames"]:
        """Whether a later frame has the same place, pose and eyes."""
        num_frames = len(self.place)
        parts = (self.place[:, None], self.eyes, self.camera_to_world.reshape(num_frames, 16))
        made_from = np.concatenate([np.asarray(part, np.float64) for part in parts], axis=1)
        # From the end: the first that unique finds of each is the last one.
        _, last = np.unique(made_from[::-1], axis=0, return_index=True)
        again = np.ones(num_frames, np.bool_)
        again[num_frames - 1 - last] = False
        return again

    def only(self, frames: Int[np.ndarray, "some"]) -> "Drive":
        """Some of the frames, in another order if wanted."""
        code, eyes, poses, place = (part[frames] for part in self[:4])
        return Drive(code, eyes, poses, place, self.torso)


def num_frames_of(waveform: Waveform, fps: int) -> int:
    """Frames that a sound lasts, rounded to the nearest, at least one."""
    return max(1, round(len(waveform.samples) / waveform.rate * fps))


def open_encoder(avatar: Avatar, files: SpeechFiles = NO_FILES) -> SpeechEncoder:
    """The speech encoder that the avatar was trained with.

    Args:
        avatar: the person.
        files: what the user supplies, for avatars that speak from DeepSpeech's features: its network, or the
            features of the audio. Which network made an array nobody can tell, so arrays go with any.

    Raises:
        FormatError: this machine's encoder is another one.
        UsageError: files are wanting, or not wanted.
    """
    kind, wanted = avatar.manifest.speech.kind, avatar.manifest.speech_id
    if kind == "deepspeech" and files == NO_FILES:
        raise UsageError(
            f"{avatar.root} speaks from DeepSpeech's features, which need a file of yours",
            hint="--speech-model FILE.onnx, or --speech-features FILE.npy with those of this very audio",
        )
    encoder = build_speech_encoder(avatar.manifest.speech, files)
    if encoder.id != wanted and not (kind == "deepspeech" and ARRAYS_ID in (encoder.id, wanted)):
        own = "give the network that it was trained with" if kind == "deepspeech" else "nerf-ad weights fetch"
        raise FormatError(
            f"{avatar.root} was trained with {wanted} features, here is {encoder.id}",
            hint=f"{own}, or train the avatar again",
        )
    return encoder


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
        BadInputError: no sound, poses that cannot be used, or an avatar that speech does not drive.
    """
    if len(waveform.samples) == 0:
        raise BadInputError("the audio holds no sound")
    if poses is not None and avatar.borrows_torso:
        raise BadInputError(
            f"{avatar.root} stands on torso pictures of its clip, which fit no poses but the clip's own",
            hint="render it without --poses",
        )
    encoder = encoder or open_encoder(avatar)
    num_frames = num_frames_of(waveform, avatar.manifest.fps)
    motion = avatar.motion
    first, last = (int(edge) for edge in motion.train_frames)
    path = walk(num_frames, motion.shots, (first, last))
    way = motion.camera_to_world[path]
    if poses is not None:
        refuse_bent(poses)
        way = poses[walk(num_frames, np.zeros(1, np.int64), (0, len(poses)))].astype(np.float32)
    features = encoder.encode(waveform.samples)
    code = avatar.speak(waveform, features, encoder.rate_hz, num_frames, camera_to_world=way)
    return Drive(code, motion.eyes[path], way, path)

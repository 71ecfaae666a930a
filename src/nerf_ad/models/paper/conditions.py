"""What ties speech to the fields, as a choice: the full method, its ablations and its rivals.

===========  ==========================================================================================
kind         the fields read
===========  ==========================================================================================
audio-face   E_f's code of the fused audio face; f_a, detached, moves the identity branch's offsets
audio        f_a: AD-NeRF's head, the row like DFRF, NeRF-AD without its audio face
landmarks    the code of tracked landmarks: the row like GeneFace
nothing      nothing: NeRF
===========  ==========================================================================================
"""

from typing import Literal, NamedTuple, assert_never

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from nerf_ad.core.config import Config
from nerf_ad.models.paper.audio import AudioBranch, AudioConfig, audio_windows
from nerf_ad.models.paper.audio_face import AudioCode, AudioFace
from nerf_ad.models.paper.fusion import FusionConfig
from nerf_ad.models.paper.landmark_code import LandmarkCode, LandmarkCodeConfig
from nerf_ad.models.paper.nerf import ConditionModule, NerfConditions, NoConditions, PaperHeadConfig

ConditionKind = Literal["audio-face", "audio", "landmarks", "nothing"]


class ConditionWidths(NamedTuple):
    """Numbers in each part of ``NerfConditions``, in its order."""

    audio: int
    face: int
    landmarks: int


class ConditionConfig(Config):
    """What the fields are conditioned on, and the networks that make it."""

    kind: ConditionKind = "audio-face"
    """What the fields read of speech (NeRF-AD: audio-face)."""
    audio: AudioConfig = AudioConfig()
    """AudioNet and AudioAttNet; unused by landmarks and nothing."""
    fusion: FusionConfig = FusionConfig()
    """E_a, GRU, D and E_f; of audio-face."""
    landmarks: LandmarkCodeConfig = LandmarkCodeConfig()
    """The landmark network; of landmarks."""

    @property
    def hears(self) -> bool:
        """Whether speech drives it."""
        return self.kind in ("audio-face", "audio")

    @property
    def widths(self) -> ConditionWidths:
        """Numbers in each part of the conditions."""
        return ConditionWidths(
            audio=self.audio.code_dim if self.hears else 0,
            face=self.fusion.face_code_dim if self.kind == "audio-face" else 0,
            landmarks=self.landmarks.code_dim if self.kind == "landmarks" else 0,
        )


class PaperModelConfig(Config):
    """Everything that a trained head of the paper's method consists of."""

    conditions: ConditionConfig = ConditionConfig()
    """What conditions the fields."""
    head: PaperHeadConfig = PaperHeadConfig()
    """Fields and identity branch."""

    @model_validator(mode="after")
    def _fits(self) -> "PaperModelConfig":
        given, head = self.conditions.widths, self.head
        offset = given.audio if head.uses_references else head.offset_code_dim
        wanted = {
            "face_dim": (head.face_dim, {given.face}),
            "audio_dim": (
                head.audio_dim,
                {given.audio} if self.conditions.kind == "audio" else {0, given.audio},
            ),
            "landmark_dim": (head.landmark_dim, {given.landmarks}),
            "offset_code_dim": (head.offset_code_dim, {offset}),
        }
        for name, (found, allowed) in wanted.items():
            if found not in allowed:
                message = f"the head's {name} is {found}; conditions of the kind {self.conditions.kind} give "
                raise ValueError(message + " or ".join(str(number) for number in sorted(allowed)))
        return self


def build_conditions(config: ConditionConfig, *, channels: int) -> ConditionModule:
    """Untrained networks for a choice.

    Args:
        config: the choice.
        channels: of the speech features.
    """
    match config.kind:
        case "audio-face":
            return AudioFace(AudioBranch(config.audio, channels), config.fusion)
        case "audio":
            return AudioCode(AudioBranch(config.audio, channels))
        case "landmarks":
            return LandmarkCode(config.landmarks)
        case "nothing":
            return NoConditions()
        case _:
            assert_never(config.kind)


def join(conditions: NerfConditions, *, frames: int) -> Float[Tensor, "frames units"]:
    """All parts of the conditions of some frames side by side; ``separate`` takes them apart."""
    parts = [part for part in conditions if part is not None]
    return torch.cat(parts, dim=1) if parts else torch.zeros(frames, 0)


def separate(codes: Float[Tensor, "frames units"], config: ConditionConfig) -> NerfConditions:
    """The inverse of ``join``."""
    parts = codes.split(list(config.widths), dim=1)
    return NerfConditions(*(part if part.shape[1] else None for part in parts))


@torch.no_grad()
def conditions_from_speech(
    module: AudioFace | AudioCode,
    features: Float[Tensor, "steps channels"],
    rate_hz: float,
    num_frames: int,
    fps: float,
    *,
    is_smoothed: bool,
    camera_to_world: Float[Tensor, "frames 4 4"] | None = None,
    chunk: int = 128,
) -> Float[Tensor, "frames units"]:
    """Conditions of every frame of a sound, ``join``ed; piece by piece, for a sound may last an hour.

    Args:
        module: what hears.
        features: of the whole sound.
        rate_hz: their steps per second.
        num_frames: frames wanted.
        fps: frames per second.
        is_smoothed: whether neighbouring frames are heard too.
        camera_to_world: head poses of the frames, where the fusion sees them.
        chunk: frames at a time.
    """
    audio = module.audio
    normal, reach, made = audio.normalise(features), audio.config.num_neighbours, []
    for start in range(0, num_frames, chunk):
        stop = min(start + chunk, num_frames)
        first, last = max(0, start - reach), min(num_frames, stop + reach)
        windows = audio_windows(normal, rate_hz, last - first, fps, audio.config, first=first)
        if isinstance(module, AudioFace):
            module.hear(windows, None if camera_to_world is None else camera_to_world[first:last])
        else:
            module.hear(windows)
        frames = torch.arange(start - first, stop - first, device=features.device)
        made.append(join(module(frames, is_smoothed=is_smoothed), frames=stop - start))
    return torch.cat(made)

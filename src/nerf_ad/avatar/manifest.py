"""``avatar.toml``: what an avatar is, without loading it."""

from typing import Literal

from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.models.paper.conditions import ConditionConfig, PaperModelConfig
from nerf_ad.models.speech_code import SpeechCodeConfig
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.speech.encoder import SpeechConfig

FORMAT = 1
"""Version of the avatar format."""


class AvatarManifest(Config):
    """What every avatar says of itself, however it was made."""

    format: int = FORMAT
    """Version of the folder format."""
    name: str
    """The folder's name when it was trained."""
    made_by: str
    """Version of nerf-ad."""
    preset: str
    """Preset that the training started from."""
    fps: int = Field(ge=1, le=240)
    """Frames per second."""
    size: int = Field(ge=8, le=4096)
    """Width and height of its frames, pixels."""
    speech: SpeechConfig
    """The speech encoder that must be used."""
    speech_channels: int = Field(ge=1, le=65536)
    """Channels of its features."""
    speech_id: str
    """The encoder with its weights' hash; features of another are refused."""
    driven_by: Literal["speech", "landmarks", "nothing"] = "speech"
    """``nothing`` for a baseline that hears nothing: the mouth never moves. ``landmarks`` for one that is
    told where the lips are: it cannot speak new audio."""
    source_sha256: str
    """Hash of the video that it was trained on."""
    synthetic: bool = True
    """Always true: what this avatar shows was never filmed."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file beside this one, by relative path."""


class FastManifest(AvatarManifest):
    """An avatar of the planes field, with a torso of its own."""

    method: Literal["fast"] = "fast"
    """How it makes pictures; avatars that do not say so are of this method."""
    head: TalkingHeadConfig
    """Sizes of the head and torso networks."""
    speech_code: SpeechCodeConfig
    """Sizes of the speech branch."""
    sharpened_by: str = ""
    """What looked at squares of mouth and eyes while the head was trained; empty where nothing did."""


class FastAdManifest(AvatarManifest):
    """An avatar of the planes field whose mouth codes are read off the face that speech paints."""

    method: Literal["fast-ad"] = "fast-ad"
    """How it makes pictures."""
    head: TalkingHeadConfig
    """Sizes of the head and torso networks."""
    conditions: ConditionConfig
    """Sizes of what is between speech and mouth code."""
    sharpened_by: str = ""
    """What looked at squares of mouth and eyes while the head was trained; empty where nothing did."""


class PaperManifest(AvatarManifest):
    """An avatar of the paper's radiance fields, before torso pictures of its clip."""

    method: Literal["paper"] = "paper"
    """How it makes pictures."""
    row: str = "full"
    """Which of the paper's comparisons it is; ``full`` is NeRF-AD."""
    model: PaperModelConfig
    """Sizes of all its networks, and what conditions its fields."""
    is_smoothed: bool
    """Whether the temporal attention was in use when the training ended."""
    num_shots: int = Field(default=1, ge=1, le=4096)
    """Shots of the clip that were trained on."""

"""``avatar.toml``: what an avatar is, without loading it."""

from typing import Literal

from pydantic import Field

from nerf_ad.core.config import Config
from nerf_ad.models.speech_code import SpeechCodeConfig
from nerf_ad.models.talking_head import TalkingHeadConfig
from nerf_ad.speech.encoder import SpeechConfig

FORMAT = 1
"""Version of the avatar format."""


class AvatarManifest(Config):
    """Everything that is needed to load the weights and to drive the avatar."""

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
    head: TalkingHeadConfig
    """Sizes of the head and torso networks."""
    speech_code: SpeechCodeConfig
    """Sizes of the speech branch."""
    speech: SpeechConfig
    """The speech encoder that must be used."""
    speech_channels: int = Field(ge=1, le=65536)
    """Channels of its features."""
    speech_id: str
    """The encoder with its weights' hash; features of another are refused."""
    driven_by: Literal["speech", "nothing"] = "speech"
    """``nothing`` for the static baseline: the mouth never moves."""
    source_sha256: str
    """Hash of the video that it was trained on."""
    synthetic: bool = True
    """Always true: what this avatar shows was never filmed."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every file beside this one, by relative path."""

"""Our own scorer of lip sync: are these lips saying this, and how late are they?

    scorer = SyncScorer.load()
    found = scorer.score(landmarks, features)   # whole clip: offset, confidence
    found.windows                               # the same of every 3 s

Two small networks put the mouth's shape (`mouth`) and Whisper's features of the sound into one space, where a
frame lies near the sound that it belongs to. Over a stretch of frames they agree by

    s(k) = sum_i v_i . a_(i-k) / sqrt(sum_i |v_i|^2 sum_i |a_(i-k)|^2),   k = -15 ... 15 frames

The offset is where s is greatest, positive when the mouth is late; the confidence is s there minus the median
of s. Trained by ``scripts/train-sync`` on synthetic people alone; the file beside this one is ours, under the
package's licence. It knows no person, and 25 frames a second only. The name of these figures is *sync offset*
and *sync confidence*: they are not SyncNet's.
"""

from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nerf_ad.core.config import Config
from nerf_ad.core.errors import FormatError, UsageError
from nerf_ad.core.tensors import write_tensors
from nerf_ad.speech.encoder import WhisperConfig
from nerf_ad.sync.mouth import NUM_LENGTHS, measure_mouth, normalise_mouth

FILE: Final = "sync_scorer.safetensors"
"""Beside this module."""
FORMAT: Final = 1
"""Of the file: which tensors it holds and what they mean."""
SPEECH: Final = WhisperConfig()
"""Whose features it hears: those that data sets hold anyway."""
FPS: Final = 25
"""Frames per second of what is scored."""
STEPS_PER_FRAME: Final = 2
"""Of the speech features: 50 a second."""
MAX_OFFSET: Final = 15
"""Frames either way that are tried."""
WINDOW: Final = 75
"""Frames of a window: 3 s."""
_CLIP: Final = 4.0
"""Deviations beyond which a feature says no more (ours)."""
_FAINT: Final = 1e-3
"""Keeps a still mouth from being divided by nothing."""


class SyncNetworkConfig(Config):
    """Sizes of the two networks, in the file's head."""

    speech_channels: int = 384
    """Numbers per step of the speech features."""
    width: int = 64
    """Channels inside."""
    embedding_dim: int = 32
    """Of the space that both share."""


class SyncNetwork(nn.Module):
    """A frame's embedding sees 9 frames of the mouth, and about half a second of features."""

    def __init__(self, config: SyncNetworkConfig, *, dropout: float = 0.0) -> None:
        super().__init__()
        width, out = config.width, config.embedding_dim
        self.config = config
        self.mouth = nn.Sequential(
            nn.Conv1d(NUM_LENGTHS, width, 5, padding=2), nn.GELU(),
            nn.Conv1d(width, width, 3, padding=1), nn.GELU(),
            nn.Conv1d(width, out, 3, padding=1),
        )  # fmt: skip
        self.speech = nn.Sequential(
            nn.Dropout1d(dropout), nn.Conv1d(config.speech_channels, width, 1),
            nn.Conv1d(width, width, 5, padding=2), nn.GELU(),
            nn.Conv1d(width, width, 5, padding=2, stride=STEPS_PER_FRAME), nn.GELU(), nn.Dropout(dropout / 2),
            nn.Conv1d(width, width, 5, padding=2), nn.GELU(),
            nn.Conv1d(width, out, 3, padding=1),
        )  # fmt: skip

    def embed_mouth(
        self, lengths: Float[Tensor, "batch frames lengths"]
    ) -> Float[Tensor, "batch frames embedding"]:
        """Of ``normalise_mouth``."""
        embedded: Tensor = self.mouth(lengths.transpose(1, 2)).transpose(1, 2)
        return embedded

    def embed_speech(
        self, features: Float[Tensor, "batch steps channels"]
    ) -> Float[Tensor, "batch frames embedding"]:
        """Of ``normalise_speech``; frames are every other step."""
        embedded: Tensor = self.speech(features.transpose(1, 2)).transpose(1, 2)
        return embedded


class SyncScore(NamedTuple):
    """What a clip's lips and sound have in common."""

    offset: int
    """Frames; positive: the mouth is late."""
    confidence: float
    """Greatest agreement minus the median over all offsets, in [0, 2]; unrelated sound has about 0.2."""
    agreement: Float32[np.ndarray, "offsets"]
    """In [-1, 1], for offsets from ``-MAX_OFFSET`` to ``MAX_OFFSET``."""
    windows: "tuple[SyncScore, ...]" = ()
    """The same of windows of 3 s, one beginning every second; empty for a shorter clip."""


class SyncScorer:
    """The networks, ready to score clips of anybody."""

    def __init__(self, network: SyncNetwork, *, version: str) -> None:
        self._network = network.eval()
        self.id = f"network: nerf-ad sync {version}"

    @classmethod
    def load(cls, path: Path | None = None) -> "SyncScorer":
        """The scorer that comes with the package, or one out of a file of ``training.sync``.

        Raises:
            FormatError: missing, damaged, or of another format.
        """
        if path is None:
            with resources.as_file(resources.files(__package__) / FILE) as own:
                return cls.load(own)
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if facts.get("format") != str(FORMAT):
                raise FormatError(f"{path} is no sync scorer of format {FORMAT}")
            network = SyncNetwork(SyncNetworkConfig.model_validate_json(facts["network"]))
            network.load_state_dict(tensors, strict=True)
            return cls(network, version=facts["version"])
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise FormatError(f"{path} cannot be read as a sync scorer: {error}") from error

    def score(
        self,
        landmarks: Float[np.ndarray, "frames 478 3"],
        features: Float[np.ndarray, "steps channels"],
        *,
        hop: int = FPS,
    ) -> SyncScore:
        """Score a clip.

        Args:
            landmarks: of one person at 25 fps, NaN where there is no face; x right, y down, z away from the
                viewer, in one unit.
            features: ``WhisperConfig()``'s features of the sound (data sets: ``speech("whisper")``), 50 a
                second, beginning with the first frame.
            hop: frames from one window of 3 s to the next.

        Raises:
            UsageError: too short, no face, or features of another encoder.
        """
        mouths, sounds = self.embed(landmarks, features)
        frames = np.arange(0, len(mouths) - WINDOW + 1, hop)
        windows = tuple(judge(agreement(mouths, sounds, int(at), int(at) + WINDOW)) for at in frames)
        return judge(agreement(mouths, sounds, 0, len(mouths)))._replace(windows=windows)

    @torch.inference_mode()
    def embed(
        self,
        landmarks: Float[np.ndarray, "frames 478 3"],
        features: Float[np.ndarray, "steps channels"],
    ) -> tuple[Float[Tensor, "frames embedding"], Float[Tensor, "frames embedding"]]:
        """Embeddings of mouth and sound, frame by frame; see ``score``."""
        wanted = self._network.config.speech_channels
        if features.shape[1] != wanted:
            raise UsageError(
                f"the sync scorer wants {wanted} speech features a step, not {features.shape[1]}",
                hint="encode the sound with WhisperConfig()",
            )
        count = min(len(landmarks), len(features) // STEPS_PER_FRAME)
        if count < 2 * MAX_OFFSET:
            raise UsageError(
                f"{count} frames are too few to score", hint=f"give at least {2 * MAX_OFFSET} frames"
            )
        lengths = normalise_mouth(measure_mouth(landmarks[:count]))
        heard = normalise_speech(features[: count * STEPS_PER_FRAME])
        return (
            self._network.embed_mouth(torch.from_numpy(lengths)[None])[0],
            self._network.embed_speech(torch.from_numpy(heard)[None])[0],
        )


def normalise_speech(features: Float[np.ndarray, "steps channels"]) -> Float32[np.ndarray, "steps channels"]:
    """Every channel about the clip's mean, in its deviations: voice and room fall away."""
    moved = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)
    return moved.clip(-_CLIP, _CLIP).astype(np.float32)


def agreement(
    mouths: Float[Tensor, "frames embedding"],
    sounds: Float[Tensor, "frames embedding"],
    start: int,
    stop: int,
) -> Float32[np.ndarray, "offsets"]:
    """s(k) of the frames from ``start`` to ``stop``, over those whose sound there is."""
    found = []
    for offset in range(-MAX_OFFSET, MAX_OFFSET + 1):
        first, last = max(start, offset), min(stop, len(sounds) + offset)
        v, a = mouths[first:last], sounds[first - offset : last - offset]
        found.append((v * a).sum() / (v.square().sum() * a.square().sum() + _FAINT).sqrt())
    return torch.stack(found).numpy()


def judge(agreement: Float32[np.ndarray, "offsets"]) -> SyncScore:
    """Offset and confidence of an agreement."""
    best = int(agreement.argmax())
    return SyncScore(best - MAX_OFFSET, float(agreement[best] - np.median(agreement)), agreement)


def save_scorer(network: SyncNetwork, path: Path, *, version: str, facts: dict[str, str]) -> None:
    """Write the file that ``SyncScorer.load`` reads."""
    head = {"format": str(FORMAT), "version": version, "network": network.config.model_dump_json(), **facts}
    write_tensors(path, network.state_dict(), head)

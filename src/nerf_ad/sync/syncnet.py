"""SyncNet (Chung and Zisserman 2016) as its authors evaluate with it; the weights are the user's.

None are bundled or fetched: their licence and training data do not allow it to be assumed. The published
``syncnet_v2.model`` is a pickle, which this package does not read; convert it once, where you trust it:

    import torch; from safetensors.torch import save_file
    state = torch.load("syncnet_v2.model", map_location="cpu", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, "syncnet.safetensors")

Five pictures of 224x224 at 25 fps are compared with 0.2 s of sound: 20 steps of 13 cepstral coefficients.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from scipy.fft import dct
from torch import Tensor, nn

from nerf_ad.core.errors import BadInputError, UsageError
from nerf_ad.core.files import sha256_file
from nerf_ad.sync.lse import LipSyncError, lip_sync_error

SIDE: Final = 224
"""Pixels of a picture, either way."""
NUM_PICTURES: Final = 5
"""That an embedding sees."""
NUM_STEPS: Final = 20
"""Of sound that an embedding sees, 100 a second."""
NUM_COEFFICIENTS: Final = 13
"""Of each step."""
STEPS_PER_FRAME: Final = 4
"""At 25 fps."""
_RATE: Final = 16_000
_WINDOW, _HOP, _TRANSFORM = 400, 160, 512
_NUM_BANDS: Final = 26
_PRE_EMPHASIS: Final = 0.97
_LIFTER: Final = 22
_BATCH: Final = 16
_REMEMBERED: Final = 64
"""Embeddings that are kept for others who see the same crops."""
_SHORT: Final = "it needs more than five frames and 0.2 s"


class SyncNet(nn.Module):
    """Two towers with the published sizes and names, so that published weights fit."""

    id = "SyncNet"
    """Which weights: the file's name and the beginning of its digest."""

    def __init__(self, embedding_dim: int = 1024) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_flat(1, 64, 3, 1), nn.MaxPool2d(1, 1),
            *_flat(64, 192, 3, 1), nn.MaxPool2d(3, (1, 2)),
            *_flat(192, 384, 3, 1),
            *_flat(384, 256, 3, 1),
            *_flat(256, 256, 3, 1), nn.MaxPool2d(3, 2),
            *_flat(256, 512, (5, 4), 0),
        )  # fmt: skip
        self.netfcaud = _head(embedding_dim)
        self.netfclip = _head(embedding_dim)
        self.netcnnlip = nn.Sequential(
            *_deep(3, 96, (5, 7, 7), stride=2, padding=0), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(96, 256, (1, 5, 5), stride=2), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_deep(256, 256, (1, 3, 3)),
            *_deep(256, 256, (1, 3, 3)),
            *_deep(256, 256, (1, 3, 3)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_deep(256, 512, (1, 6, 6), padding=0),
        )  # fmt: skip

    def embed_pictures(
        self, pictures: Float[Tensor, "batch 3 5 224 224"]
    ) -> Float[Tensor, "batch embedding"]:
        """Blue, green, red in 0...255: the weights were trained on what OpenCV reads."""
        embedded: Tensor = self.netfclip(self.netcnnlip(pictures).flatten(1))
        return embedded

    def embed_sounds(self, sounds: Float[Tensor, "batch 1 13 20"]) -> Float[Tensor, "batch embedding"]:
        """Cepstral coefficients of ``cepstrum``."""
        embedded: Tensor = self.netfcaud(self.netcnnaud(sounds).flatten(1))
        return embedded


def load_syncnet(path: Path) -> SyncNet:
    """SyncNet with the user's weights.

    Raises:
        BadInputError: the file is not there, is no safetensors file, or holds another network.
    """
    hint = "convert the published weights once, as the head of nerf_ad/sync/syncnet.py says"
    if not path.is_file():
        raise BadInputError(f"{path} is not a file", hint="give SyncNet's weights as a safetensors file")
    try:
        state = load_file(path)
        network = SyncNet(len(state["netfclip.3.bias"]) if "netfclip.3.bias" in state else 1024)
        network.load_state_dict(state, strict=True)
        network.id = f"{path.name}:{sha256_file(path)[:12]}"
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}", hint=hint) from error
    except SafetensorError as error:
        raise BadInputError(f"{path} is no safetensors file: {error}", hint=hint) from error
    except (RuntimeError, TypeError) as error:
        fault = str(error).splitlines()[-1].strip()
        raise BadInputError(f"{path} holds another network than SyncNet: {fault}", hint=hint) from error
    return network.eval()


class PictureReader:
    """Embeds five crops, and remembers the last answers: rows of a result see the same pictures."""

    def __init__(self, network: SyncNet) -> None:
        self.network = network.eval()
        self._known: dict[bytes, Tensor] = {}

    def embed(
        self, crops: Sequence[UInt8[np.ndarray, "224 224 3"]], digests: Sequence[bytes]
    ) -> Float[Tensor, "embedding"]:
        """Of ``NUM_PICTURES`` crops with their digests; RGB, 25 a second."""
        key = b"".join(digests)
        if key not in self._known:
            while len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key] = self._embed(np.stack(crops))
        return self._known[key]

    @torch.inference_mode()
    def _embed(self, crops: UInt8[np.ndarray, "5 224 224 3"]) -> Float[Tensor, "embedding"]:
        pictures = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).float()
        return self.network.embed_pictures(pictures.permute(3, 0, 1, 2)[None])[0]


class PictureTrack:
    """Embeddings of crops that come one by one; only five crops are kept."""

    def __init__(self, reader: PictureReader) -> None:
        self._reader = reader
        self._last: deque[tuple[UInt8[np.ndarray, "224 224 3"], bytes]] = deque(maxlen=NUM_PICTURES)
        self._found: list[Tensor] = []

    def add(self, crop: UInt8[np.ndarray, "224 224 3"]) -> None:
        """Take a crop of the face, RGB, 25 a second."""
        self._last.append((crop, hashlib.blake2b(crop.tobytes(), digest_size=16).digest()))
        if len(self._last) == NUM_PICTURES:
            crops, digests = zip(*self._last, strict=True)
            self._found.append(self._reader.embed(crops, digests))

    def embeddings(self) -> Float[Tensor, "windows embedding"]:
        """Of the crops so far; window i begins with crop i.

        Raises:
            UsageError: fewer than five crops.
        """
        if not self._found:
            raise UsageError("the clip is too short for SyncNet", hint=_SHORT)
        return torch.stack(self._found)


@torch.inference_mode()
def embed_sound(
    network: SyncNet, waveform: Float32[np.ndarray, "samples"]
) -> Float[Tensor, "windows embedding"]:
    """Embeddings of 0.2 s of sound each; window i begins with frame i at 25 fps.

    Args:
        network: in eval mode.
        waveform: mono, 16 kHz, in [-1, 1], beginning with the first picture.

    Raises:
        UsageError: shorter than 0.2 s.
    """
    steps = cepstrum(waveform)
    count = (len(steps) - NUM_STEPS) // STEPS_PER_FRAME + 1
    if count < 1:
        raise UsageError("the sound is too short for SyncNet", hint=_SHORT)
    sounds = torch.from_numpy(steps.T.astype(np.float32).copy())
    starts = [STEPS_PER_FRAME * index for index in range(count)]
    heard = [
        network.embed_sounds(torch.stack([sounds[None, :, at : at + NUM_STEPS] for at in batch]))
        for batch in (starts[first : first + _BATCH] for first in range(0, count, _BATCH))
    ]
    return torch.cat(heard)


def score_lip_sync(
    seen: Float[Tensor, "windows embedding"], heard: Float[Tensor, "sounds embedding"], *, num_samples: int
) -> LipSyncError:
    """LSE-D, LSE-C and the offset of embeddings, of as many windows as SyncNet's own evaluation takes.

    Args:
        seen: of ``PictureTrack``, one window for each crop but the last four.
        heard: of ``embed_sound``.
        num_samples: of the sound, at 16 kHz.

    Raises:
        UsageError: fewer than six frames or too little sound.
    """
    crops = len(seen) + NUM_PICTURES - 1
    count = min(crops, num_samples * 25 // _RATE) - NUM_PICTURES
    count = min(count, len(heard))
    if count < 1:
        raise UsageError("the clip is too short for SyncNet", hint=_SHORT)
    return lip_sync_error(seen[:count], heard[:count])


def measure_lip_sync(
    network: SyncNet,
    crops: UInt8[np.ndarray, "frames 224 224 3"],
    waveform: Float32[np.ndarray, "samples"],
) -> LipSyncError:
    """LSE-D, LSE-C and the offset of a clip.

    Args:
        network: in eval mode.
        crops: the face, RGB, 25 a second.
        waveform: mono, 16 kHz, in [-1, 1], beginning with the first picture.

    Raises:
        UsageError: fewer than six frames, or too little sound.
    """
    track = PictureTrack(PictureReader(network))
    for crop in crops:
        track.add(crop)
    return score_lip_sync(track.embeddings(), embed_sound(network, waveform), num_samples=len(waveform))


def cepstrum(waveform: Float32[np.ndarray, "samples"]) -> Float[np.ndarray, "steps 13"]:
    """Mel-frequency cepstral coefficients as SyncNet's evaluation takes them (python_speech_features).

    Of 16-bit numbers: pre-emphasis 0.97, square windows of 25 ms each 10 ms, 26 triangles on the mel scale of
    O'Shaughnessy, orthonormal cosine transform, lifter 22, the first coefficient the log energy.
    """
    samples = np.rint(waveform.astype(np.float64) * 32767)
    if not len(samples):
        return np.zeros((0, NUM_COEFFICIENTS))
    sharpened = np.append(samples[0], samples[1:] - _PRE_EMPHASIS * samples[:-1])
    count = 1 + max(-(-(len(sharpened) - _WINDOW) // _HOP), 0)
    padded = np.pad(sharpened, (0, (count - 1) * _HOP + _WINDOW - len(sharpened)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows, _TRANSFORM)) ** 2 / _TRANSFORM
    tiny = np.finfo(np.float64).eps
    bands = power @ _triangles().T
    found = dct(np.log(np.where(bands == 0, tiny, bands)), type=2, axis=1, norm="ortho")[:, :NUM_COEFFICIENTS]
    found *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(NUM_COEFFICIENTS) / _LIFTER)
    energy = power.sum(axis=1)
    found[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return np.asarray(found)


def _triangles() -> Float[np.ndarray, "bands frequencies"]:
    top = 2595 * np.log10(1 + _RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, _NUM_BANDS + 2) / 2595) - 1)
    edges = np.floor((_TRANSFORM + 1) * hertz / _RATE)
    at = np.arange(_TRANSFORM // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = np.where((at >= low) & (at < middle), (at - low) / np.maximum(middle - low, 1), 0)
    falling = np.where((at >= middle) & (at < high), (high - at) / np.maximum(high - middle, 1), 0)
    return np.asarray(rising + falling)


def _flat(inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _deep(
    inputs: int, outputs: int, kernel: tuple[int, int, int], *, stride: int = 1, padding: int = 1
) -> list[nn.Module]:
    convolution = nn.Conv3d(
        inputs, outputs, kernel, stride=(1, stride, stride), padding=(0, padding, padding)
    )
    return [convolution, nn.BatchNorm3d(outputs), nn.ReLU()]


def _head(embedding_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, embedding_dim))

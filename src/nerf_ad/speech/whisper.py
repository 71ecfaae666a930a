"""The encoder of Whisper tiny.en (Radford et al. 2022) in plain torch: 50 steps a second of 384 numbers.

The network sees 30 s at a time and knows positions only inside that piece: see ``pieces``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from nerf_ad.core.errors import WeightsError
from nerf_ad.speech.ctranslate import read_variables
from nerf_ad.speech.encoder import WhisperLayer
from nerf_ad.speech.mel import NUM_BINS, STEP_SAMPLES, mel_power, num_steps
from nerf_ad.speech.pieces import PIECE, RATE, piece_starts, piece_weight

LAYERS: Final[tuple[WhisperLayer, ...]] = get_args(WhisperLayer)
"""In the order in which the network gives them."""

_DYNAMIC_RANGE: Final = 8.0
"""Decades below the loudest band that are kept (Whisper's preparation of its input)."""


class Block(nn.Module):
    """Pre-norm attention and feed-forward, both with residuals."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "batch steps width"]) -> Float[Tensor, "batch steps width"]:
        """One block."""
        qkv = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        fed: Tensor = self.contract(functional.gelu(self.expand(self.feed_norm(x))))
        return x + fed


class WhisperNetwork(nn.Module):
    """Two convolutions, stored positions, blocks, a last norm."""

    def __init__(
        self, *, width: int = 384, num_heads: int = 6, num_blocks: int = 4, steps: int = PIECE
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(NUM_BINS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(steps, width))
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: Float[Tensor, "batch bins frames"]) -> list[Float[Tensor, "batch steps width"]]:
        """The output of every block, and of the last after its norm: as many as ``LAYERS`` names."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2) + self.positions
        layers = []
        for block in self.blocks:
            x = block(x)
            layers.append(x)
        return [*layers, self.norm(x)]


class WhisperEncoder:
    """Whisper tiny.en features of any length of sound."""

    rate_hz = float(RATE)

    def __init__(
        self, network: WhisperNetwork, *, extractor: str, layers: Sequence[WhisperLayer] = ("final",)
    ) -> None:
        self._network = network.eval()
        self._layers = tuple(LAYERS.index(layer) for layer in layers)
        suffix = "" if tuple(layers) == ("final",) else "-" + "-".join(layers)
        self.name = "whisper" + suffix
        self.id = extractor + suffix
        self.channels = len(self._layers) * network.norm.normalized_shape[0]

    @torch.inference_mode()
    def encode(self, waveform: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "steps channels"]:
        """Features of a mono 16 kHz waveform in [-1, 1]; step ``i`` is centred on sample ``320 i``.

        Returns as many as ``ceil(samples / 320)`` steps.
        """
        steps = num_steps(len(waveform))
        starts = piece_starts(steps)
        mel = _log_mel(waveform, starts[-1] + PIECE)
        total = torch.zeros(starts[-1] + PIECE, self.channels)
        weight = torch.zeros(len(total), 1)
        for start in starts:
            layers = self._network(mel[None, :, 2 * start : 2 * (start + PIECE)])
            fade = piece_weight(is_first=start == starts[0], is_last=start == starts[-1])
            total[start : start + PIECE] += fade * torch.cat([layers[i][0] for i in self._layers], dim=-1)
            weight[start : start + PIECE] += fade
        features: np.ndarray = total[:steps].div_(weight[:steps]).numpy()
        return features


def load_whisper(
    path: Path, *, extractor: str, layers: Sequence[WhisperLayer] = ("final",)
) -> WhisperEncoder:
    """Read the encoder out of a CTranslate2 ``model.bin`` of Whisper tiny.en.

    Raises:
        WeightsError: the file is damaged or holds another network.
    """
    variables = read_variables(path, "encoder/")
    network = WhisperNetwork()
    try:
        network.load_state_dict(_state(variables), strict=True)
    except (KeyError, RuntimeError) as error:
        fault = str(error).splitlines()[-1].strip()
        raise WeightsError(
            f"{path} is not the encoder of Whisper tiny.en: {fault}",
            hint="fetch it again with: nerf-ad weights fetch",
        ) from error
    return WhisperEncoder(network, extractor=extractor, layers=layers)


def _log_mel(waveform: Float32[np.ndarray, "samples"], steps: int) -> Float32[Tensor, "bins frames"]:
    """Whisper's input at 100 Hz for ``steps`` steps, silence after the end.

    The dynamic range is counted from the loudest moment of the whole sound (Whisper: of each piece), so that
    neighbouring pieces see the same numbers.
    """
    padded = np.pad(waveform, (0, steps * STEP_SAMPLES - len(waveform)))
    power = mel_power(torch.from_numpy(padded), STEP_SAMPLES // 2)[:, : 2 * steps]
    log = power.clamp_(min=1e-10).log10_()
    return log.clamp_(min=float(log.max()) - _DYNAMIC_RANGE).add_(4).div_(4)


def _state(variables: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> dict[str, Tensor]:
    """CTranslate2's names to ours."""
    names = {
        "positions": "position_encodings/encodings",
        "norm.weight": "layer_norm/gamma",
        "norm.bias": "layer_norm/beta",
    }
    for part in ("weight", "bias"):
        names |= {f"{conv}.{part}": f"{conv}/{part}" for conv in ("conv1", "conv2")}
        scale = {"weight": "gamma", "bias": "beta"}[part]
        for block in range(4):
            ours, theirs = f"blocks.{block}", f"layer_{block}"
            names |= {
                f"{ours}.attention_norm.{part}": f"{theirs}/self_attention/layer_norm/{scale}",
                f"{ours}.qkv.{part}": f"{theirs}/self_attention/linear_0/{part}",
                f"{ours}.out.{part}": f"{theirs}/self_attention/linear_1/{part}",
                f"{ours}.feed_norm.{part}": f"{theirs}/ffn/layer_norm/{scale}",
                f"{ours}.expand.{part}": f"{theirs}/ffn/linear_0/{part}",
                f"{ours}.contract.{part}": f"{theirs}/ffn/linear_1/{part}",
            }
    return {ours: torch.from_numpy(variables[theirs].astype(np.float32)) for ours, theirs in names.items()}

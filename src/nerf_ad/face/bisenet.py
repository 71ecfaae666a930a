"""BiSeNet (Yu et al. 2018) on ResNet-18: 19 parts of a face.

Inference only: every batch norm of the checkpoint is folded into the convolution before it, and the two
training heads are left out. Module names follow the checkpoint's: loading is a fold and a strict match.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from nerf_ad.core.errors import WeightsError

NUM_CLASSES: Final = 19
TRAINING_HEADS: Final = ("conv_out16.", "conv_out32.")
"""Parts of the checkpoint that inference does not need."""
_BATCH_NORM_EPSILON: Final = 1e-5


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        is_same = channels_in == channels and stride == 1
        self.downsample = None if is_same else nn.Conv2d(channels_in, channels, 1, stride)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """One block."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(shortcut + self.conv2(functional.relu(self.conv1(x))))


class Resnet18(nn.Module):
    """Features at 1/8, 1/16 and 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3)
        self.layer1 = nn.Sequential(Residual(64, 64, 1), Residual(64, 64, 1))
        self.layer2 = nn.Sequential(Residual(64, 128, 2), Residual(128, 128, 1))
        self.layer3 = nn.Sequential(Residual(128, 256, 2), Residual(256, 256, 1))
        self.layer4 = nn.Sequential(Residual(256, 512, 2), Residual(512, 512, 1))

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor, Tensor]:
        """128, 256 and 512 channels."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 3, 2, padding=1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class Refinement(nn.Module):
    """A convolution, gated by its own mean over the picture."""

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, 128, 3, padding=1)
        self.conv_atten = nn.Conv2d(128, 128, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """128 channels."""
        x = functional.relu(self.conv(x))
        return x * torch.sigmoid(self.conv_atten(x.mean((2, 3), keepdim=True)))


class ContextPath(nn.Module):
    """What is where, from the whole picture down to 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = Resnet18()
        self.arm16 = Refinement(256)
        self.arm32 = Refinement(512)
        self.conv_head32 = nn.Conv2d(128, 128, 3, padding=1)
        self.conv_head16 = nn.Conv2d(128, 128, 3, padding=1)
        self.conv_avg = nn.Conv2d(512, 128, 1)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor]:
        """Features at 1/8: the backbone's, and those with context."""
        eighth, sixteenth, last = self.resnet(x)
        mean = functional.relu(self.conv_avg(last.mean((2, 3), keepdim=True)))
        x = functional.interpolate(self.arm32(last) + mean, sixteenth.shape[2:], mode="nearest")
        x = self.arm16(sixteenth) + functional.relu(self.conv_head32(x))
        x = functional.interpolate(x, eighth.shape[2:], mode="nearest")
        return eighth, functional.relu(self.conv_head16(x))


class Fusion(nn.Module):
    """Both kinds of features, gated by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.convblk = nn.Conv2d(256, 256, 1)
        self.conv1 = nn.Conv2d(256, 64, 1)
        self.conv2 = nn.Conv2d(64, 256, 1)

    def forward(self, x: Float[Tensor, "batch 256 height width"]) -> Tensor:
        """256 channels."""
        x = functional.relu(self.convblk(x))
        gate = torch.sigmoid(self.conv2(functional.relu(self.conv1(x.mean((2, 3), keepdim=True)))))
        return x * gate + x


class Head(nn.Module):
    """Features to classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(256, 256, 3, padding=1)
        self.conv_out = nn.Conv2d(256, NUM_CLASSES, 1)

    def forward(self, x: Float[Tensor, "batch 256 height width"]) -> Tensor:
        """Class scores."""
        scores: Tensor = self.conv_out(functional.relu(self.conv(x)))
        return scores


class BiSeNet(nn.Module):
    """Class scores at 1/8 of the picture's size."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Head()

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 19 rows columns"]:
        """Scores of a picture in ImageNet's normalisation, height and width multiples of 32."""
        eighth, context = self.cp(x)
        scores: Tensor = self.conv_out(self.ffm(torch.cat([eighth, context], dim=1)))
        return scores


def load_bisenet(path: Path) -> BiSeNet:
    """Read the checkpoint (its tensors only: nothing in it is executed).

    Raises:
        WeightsError: the file is damaged or holds another network.
    """
    hint = "fetch it again with: nerf-ad weights fetch"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} cannot be read as a checkpoint of tensors", hint=hint) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} is not a BiSeNet of 19 classes: it holds no named tensors", hint=hint)
    network = BiSeNet().eval()
    try:
        network.load_state_dict(fold_batch_norms(state), strict=True)
    except (KeyError, RuntimeError) as error:
        fault = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path} is not a BiSeNet of 19 classes: {fault}", hint=hint) from error
    return network


def fold_batch_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of every convolution with its batch norm folded in; a bias of zero where it has none.

    ``norm(W x) = s W x + (beta - s mean)`` with ``s = gamma / sqrt(var + epsilon)``.

    Raises:
        KeyError: a norm without a convolution, or half of one.
    """
    rest = {
        name
        for name in state
        if not name.startswith(TRAINING_HEADS) and not name.endswith(".num_batches_tracked")
    }
    folded: dict[str, Tensor] = {}
    for name in sorted(rest):
        weight = state[name]
        if weight.ndim != 4:
            continue
        conv = name.removesuffix(".weight")
        parent, _, last = conv.rpartition(".")
        norm = f"{parent}.{'1' if last == '0' else last.replace('conv', 'bn', 1)}"
        scale, bias = torch.ones(len(weight)), torch.zeros(len(weight))
        rest.discard(name)
        if f"{norm}.running_var" in rest:
            scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON).sqrt()
            bias = state[f"{norm}.bias"] - scale * state[f"{norm}.running_mean"]
            rest -= {f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")}
        ours = parent if last in {"conv", "0"} else conv
        folded[f"{ours}.weight"] = weight * scale[:, None, None, None]
        folded[f"{ours}.bias"] = bias
    if rest:
        message = f"{min(rest)} belongs to no convolution"
        raise KeyError(message)
    return folded

"""Dense multi-resolution planes: three 2D grids per level, read bilinearly with plain PyTorch.

Tables are kept as ``[3 planes x 2 halves, features / 2, r, r]`` so that ``grid_sample``, which threads only
over its batch dimension on the CPU, uses all cores (performance.md section 3c). Everything is
feature-major (features x samples), so that levels join without a copy and matrix products stay contiguous.
On a GPU with Triton the kernels of ``nerf_ad.kernels.plane_encode`` do the same several times faster.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nerf_ad.kernels.plane_encode import can_encode, encode_planes

PLANES = ((0, 1), (1, 2), (0, 2))
"""Axes of the three planes."""


class PlaneEncoding(nn.Module):
    """Features of points in the unit cube [-1, 1]^3."""

    def __init__(self, resolutions: Sequence[int], num_features: int) -> None:
        super().__init__()
        if num_features % 2:
            message = "num_features must be even"
            raise ValueError(message)
        self.levels = nn.ParameterList(
            nn.Parameter(torch.empty(2 * len(PLANES), num_features // 2, r, r).uniform_(-1e-2, 1e-2))
            for r in resolutions
        )
        self.out_dim = len(PLANES) * num_features * len(resolutions)
        self.uses_kernels = True

    def forward(self, points: Float[Tensor, "samples 3"]) -> Float[Tensor, "features samples"]:
        """Encode; points outside the cube read the border.

        ``uses_kernels`` may be set to False to read with ``grid_sample`` on a GPU too. Kernels answer in
        bfloat16 under an autocast to it, because the matrix product after them would round anyway.
        """
        levels = list(self.levels)
        if self.uses_kernels and points.device.type == "cuda" and can_encode(points, levels):
            return encode_planes(points, levels, in_bfloat16=_casts_to_bfloat16())
        return torch.cat([level.flatten(0, 1).squeeze(-1) for level in self.read(points)])

    def read(self, points: Float[Tensor, "samples 3"]) -> list[Float[Tensor, "planes features samples 1"]]:
        """What each level says of points, by ``grid_sample``: ``forward`` before it is joined."""
        # Not ``points[:, axes]``: a GPU waits for the numbers of an index that the host makes, which a CUDA
        # graph does not allow, and a CPU takes five times as long.
        along = points.unbind(1)
        pairs = [torch.stack([along[u], along[v]], dim=-1) for u, v in PLANES for _ in range(2)]
        grids = torch.stack(pairs).unsqueeze(2)
        return [
            F.grid_sample(
                table, grids.to(table.dtype), mode="bilinear", padding_mode="border", align_corners=True
            )
            for table in self.levels
        ]


def _casts_to_bfloat16() -> bool:
    return torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16

"""The plane encoding's kernels compiled for sm_90 without a GPU: run by ``test_plane_encode``.

A corner is one or two 16-byte reads, and gradients are added four at a time.
"""

import re
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nerf_ad.kernels import plane_encode

POINTERS = {
    **dict.fromkeys(["points", "table", "table_gradient", "point_gradient"], "*fp32"),
    **dict.fromkeys(["out", "gradient"], "*bf16"),
}
NUMBERS = {"num_points": "i32", "resolution": "i32", "edge": "fp32"}
FLAT = ("num_points",)
"""Multiples of 16; resolutions need not be: 33, 65, 129 and 257 are usual."""


def compile_kernel(kernel: Any, **constants: Any) -> str:
    names = kernel.arg_names
    signature = {name: POINTERS.get(name) or NUMBERS.get(name) or "constexpr" for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if name in POINTERS or name in FLAT
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert made.asm["cubin"].startswith(b"\x7fELF")
    return str(made.asm["ptx"])


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_reading_compiles_into_wide_reads() -> None:
    assembly = compile_kernel(plane_encode.read_level, FEATURES=8, BLOCK=plane_encode.BLOCK)
    assert len(re.findall(r"ld\.global\.v4\.b32", assembly)) >= 3 * 4 * 2


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("needs_points", [True, False])
def test_spreading_compiles_into_wide_additions(*, needs_points: bool) -> None:
    assembly = compile_kernel(
        plane_encode.spread_level, FEATURES=8, BLOCK=plane_encode.BLOCK, NEEDS_POINTS=needs_points
    )
    assert len(re.findall(r"(?:red|atom)\.global\.gpu\.relaxed\.add\.v4\.f32", assembly)) == 3 * 4 * 2

"""The head's kernels compiled for sm_90 without a GPU: run by ``test_head_render``.

What Triton makes of them is looked at where speed hangs on it: a cell's features are read at once, weights
stay in shared memory, products run on the tensor cores.
"""

import re
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nerf_ad.kernels import head_render

POINTERS = {
    **dict.fromkeys(
        ["poses", "intrinsics", "lows", "highs", "depths", "vectors", "scalars", "regions", "conditions"],
        "*fp32",
    ),
    **dict.fromkeys(["behind", "out"], "*fp32"),
    **dict.fromkeys(["counts", "starts", "resolutions"], "*i32"),
    **dict.fromkeys(["tables", "trunk_in_weights", "trunk_out_weights", "colour_in_weights"], "*fp16"),
    "cells": "*u8",
}
NUMBERS = {"num_rays": "i32", "num_steps": "i32", "step": "fp32", "opaque": "fp32"}


def compile_kernel(kernel: Any, num_warps: int, **constants: Any) -> Any:
    names = kernel.arg_names
    signature = {name: POINTERS.get(name) or NUMBERS.get(name) or "constexpr" for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if name in POINTERS or name == "num_rays"
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": num_warps, "num_stages": 1}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_march_compiles() -> None:
    made = compile_kernel(
        head_render.march_kernel, 2, SIZE=512, RESOLUTION=96, NUM_SAMPLES=16, BLOCK=head_render.TILE_RAYS
    )
    assert made.asm["cubin"].startswith(b"\x7fELF")


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("dtype", ["*u8", "*fp32"])
def test_shade_compiles_into_wide_reads_and_tensor_cores(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POINTERS, "out", dtype)
    made = compile_kernel(
        head_render.shade_kernel,
        4,
        SIZE=512,
        NUM_SAMPLES=16,
        NUM_GROUPS=12,
        GROUPS=16,
        FEATURES=8,
        HIDDEN=64,
        PASS=4,
        LARGEST=head_render.LARGEST_HALF,
        BYTES=dtype == "*u8",
        BLOCK=64,
    )
    assert made.asm["cubin"].startswith(b"\x7fELF")
    assembly = made.asm["ptx"]
    assert "wgmma.mma_async" in assembly
    reads = re.findall(r"ld\.global\.v4\.b32", assembly)
    assert len(reads) >= 4 * 64 * 16 // 128  # 4 corners of 64 x 16 cells by 128 threads

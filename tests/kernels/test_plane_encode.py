"""The plane encoding's kernels: in Triton's interpreter against ``grid_sample``, and compiled for sm_90.

Triton decides at its import whether it interprets, so both run in processes of their own.
"""

from pathlib import Path

import pytest
import torch
from tests.kernels.own_process import needs_triton, run_cases

from nerf_ad.models.fields.plane_encoding import PlaneEncoding


@needs_triton
def test_the_kernels_equal_grid_sample_in_the_interpreter() -> None:
    run_cases("plane_encode_cases.py", TRITON_INTERPRET="1")


@needs_triton
def test_the_kernels_compile_for_hopper(tmp_path: Path) -> None:
    run_cases("plane_encode_build.py", TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_reads_the_same_either_way() -> None:
    torch.manual_seed(0)
    encoding = PlaneEncoding((32, 64), 8).to("cuda")
    points = (torch.rand(5000, 3, device="cuda") * 2.2 - 1.1).requires_grad_()
    answers = []
    for uses_kernels in (True, False):
        encoding.uses_kernels = uses_kernels
        out = encoding(points)
        gradient = torch.linspace(-1, 1, out.numel(), device="cuda").view_as(out)
        answers.append([out, *torch.autograd.grad(out, [points, *encoding.levels], gradient)])
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-4)

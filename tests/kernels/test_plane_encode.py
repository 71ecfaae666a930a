"""The plane encoding's kernels: in Triton's interpreter against ``grid_sample``, and compiled for sm_90.

Triton decides at its import whether it interprets, so both run in processes of their own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nerf_ad.models.fields.plane_encoding import PlaneEncoding

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="Triton is not installed: it comes with CUDA builds of torch",
)


def run_cases(name: str, **environment: str) -> None:
    """Run a file of cases in another process, and show what it says where it fails."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TRITON_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / name)],
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


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

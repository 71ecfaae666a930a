"""Which device, how many threads, which seed. With ``weights`` the only reader of the environment."""

import ctypes
import os
import random
import sys
from collections.abc import Callable, Mapping

import numpy as np
import torch

from nerf_ad.core.errors import UsageError


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes CUDA where there is one, else the CPU; anything else is taken at its word.

    Raises:
        UsageError: the device is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # nothing comes back from the device "meta"
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} is not available here", hint="use auto, cpu or cuda") from error
    return device


def prepare_cpu(num_threads: int | None = None) -> None:
    """Use all cores, and keep freed memory instead of giving it back page by page.

    ``OMP_NUM_THREADS`` is respected where it is set. The allocator setting spares every step its page faults
    (performance.md section 4: 2x on big batches).
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        affinity = getattr(os, "sched_getaffinity", None)
        torch.set_num_threads(len(affinity(0)) if affinity else os.cpu_count() or 1)
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(-4, 0)  # M_MMAP_MAX: no separate mappings
            libc.mallopt(-1, 512 << 20)  # M_TRIM_THRESHOLD: keep up to 512 MB
            libc.mallopt(-8, 1)  # M_ARENA_MAX: what one thread gave back, another one takes
        except (OSError, AttributeError):
            return


def multiplies_bfloat16() -> bool:
    """Whether this processor has matrix products in bfloat16 (AVX-512 BF16 or AMX): else they are slow.

    An old torch does not say; then it has none.
    """
    ask: Callable[[], Mapping[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    found = ask()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def seed_everything(seed: int) -> None:
    """Make Python, NumPy and torch repeat themselves."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code may use the legacy state
    torch.manual_seed(seed)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that this process has held: of the GPU on one, else of main memory; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

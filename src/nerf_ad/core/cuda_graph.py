"""Recording work as a CUDA graph, so that a recording that fails harms nothing that comes after it."""

import contextlib
from collections.abc import Iterator, Sequence

import torch

_failed: list[torch.cuda.CUDAGraph] = []
"""Graphs whose recording failed: PyTorch's allocator goes on asking them whose memory is whose."""


@contextlib.contextmanager
def recording(
    graph: torch.cuda.CUDAGraph,
    *,
    generators: Sequence[torch.Generator] = (),
    stream: torch.cuda.Stream | None = None,
) -> Iterator[None]:
    """``torch.cuda.graph``, after which work may be launched singly where an operation could not be recorded.

    Of its own PyTorch leaves two things behind then: the recording's stream stays the current one, and
    generators still believe that they are recorded, so that their next draw is refused ("offset increment
    outside graph capture").

    Args:
        graph: takes what is launched within.
        generators: those registered with it; the device's own one always is.
        stream: where to record; one of PyTorch's where absent.
    """
    device = torch.cuda.current_device()
    try:
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
        ):
            yield
    except BaseException:
        _failed.append(graph)
        for generator in (*generators, torch.cuda.default_generators[device]):
            generator.graphsafe_set_state(generator.clone_state())
        raise

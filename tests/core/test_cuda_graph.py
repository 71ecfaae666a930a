"""A recording that fails, with stand-ins for what PyTorch has on a GPU only; and on a GPU itself."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from nerf_ad.core.cuda_graph import recording


class Generator(torch.Generator):
    """Like one of a GPU: shares its state, and clones it without the belief to be recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.state: dict[str, int] = {"offset": 7, "is_recorded": False}

    def clone_state(self) -> "Generator":
        other = Generator()
        other.state = {**self.state, "is_recorded": False}
        return other

    def graphsafe_set_state(self, other: torch.Generator) -> torch.Generator:
        assert isinstance(other, Generator)
        self.state = other.state
        return self


class Card:
    """The current stream, the device's generator, and a recording that ends as PyTorch's does."""

    def __init__(self) -> None:
        self.current, self.own = "default", Generator()
        self.graph = object.__new__(torch.cuda.CUDAGraph)

    @contextlib.contextmanager
    def stream(self, which: str) -> Iterator[None]:
        before, self.current = self.current, which
        try:
            yield
        finally:
            self.current = before

    @contextlib.contextmanager
    def record(self, graph: object, **_: Any) -> Iterator[None]:
        assert graph is self.graph
        self.current, before = "recording", self.current
        self.own.state["is_recorded"] = True
        yield  # an error leaves everything as it is
        self.current = before
        self.own.state["is_recorded"] = False


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    made = Card()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: made.current)
    monkeypatch.setattr(torch.cuda, "stream", made.stream)
    monkeypatch.setattr(torch.cuda, "graph", made.record)
    monkeypatch.setattr(torch.cuda, "default_generators", (made.own,))
    return made


def test_after_a_recording_that_failed_streams_and_generators_are_as_before(card: Card) -> None:
    mine = Generator()

    def record() -> None:
        with recording(card.graph, generators=[mine]):
            mine.state["is_recorded"] = True
            message = "operation not permitted when stream is capturing"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="not permitted"):
        record()
    assert card.current == "default"
    for generator in (mine, card.own):
        assert generator.state == {"offset": 7, "is_recorded": False}


def test_after_one_that_did_not_fail_too(card: Card) -> None:
    mine = Generator()
    kept = mine.state
    with recording(card.graph, generators=[mine]):
        assert card.current == "recording"
    assert card.current == "default"
    assert mine.state is kept


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_draws_and_records_after_a_recording_that_failed() -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    before = torch.cuda.current_stream()
    numbers = torch.ones(4, device="cuda")

    def record(*, is_refused: bool) -> torch.Tensor:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with recording(graph, generators=[generator]):
            drawn = torch.rand(4, generator=generator, device="cuda") + torch.rand(4, device="cuda")
            if is_refused:
                float(numbers.sum())
        graph.replay()
        return drawn.clone()

    with pytest.raises(RuntimeError):
        record(is_refused=True)
    assert torch.cuda.current_stream() == before
    first = torch.rand(4, generator=generator, device="cuda") + torch.rand(4, device="cuda")
    assert bool(torch.isfinite(first + record(is_refused=False)).all())

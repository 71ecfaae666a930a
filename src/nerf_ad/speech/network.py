"""A network of the user's own that takes one signal: ONNX or TFLite, behind the same two methods.

Neither format runs code of its maker's. Their engines are not among this package's dependencies: whoever has
such a file installs one.
"""

import importlib
import mmap
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np

from nerf_ad.core.errors import NerfAdError, WeightsError

Array = np.ndarray[Any, np.dtype[Any]]


class Input(NamedTuple):
    """What a network wants to be told."""

    name: str
    """Its name in the network."""
    shape: tuple[int | None, ...]
    """Sizes; None where any will do."""
    dtype: type[np.generic]
    """Kind of its numbers."""

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole."""
        return issubclass(self.dtype, np.integer)


@runtime_checkable
class Network(Protocol):
    """A network that was opened."""

    @property
    def inputs(self) -> list[Input]:
        """What it takes."""
        ...

    def run(self, feeds: dict[str, Array]) -> Array:
        """Its first output for inputs by name; raises whatever its engine raises."""
        ...


def open_network(path: Path) -> Network:
    """A network by the ending of its file's name.

    Raises:
        NerfAdError: what runs it cannot be imported.
        WeightsError: the file is missing, is not such a network, or is not all of it.
    """
    kinds: dict[str, type[_Onnx | _Tflite]] = {".onnx": _Onnx, ".tflite": _Tflite}
    if path.suffix.lower() not in kinds:
        raise WeightsError(f"{path} is neither .onnx nor .tflite", hint="convert it with another program")
    kind = kinds[path.suffix.lower()]
    try:
        engine = importlib.import_module(kind.engine)  # they have no types
    except ImportError as error:
        raise NerfAdError(
            f"{path.name} needs {kind.package}, which cannot be imported: {error}",
            hint=f"pip install {kind.package}, or give the features as an array",
        ) from error
    if not path.is_file():
        raise WeightsError(f"{path} is missing", hint="give the path of a network")
    if kind is _Onnx and _has_numbers_elsewhere(path):
        raise WeightsError(
            f"{path} keeps its numbers in other files, which no digest of it would cover",
            hint="save it whole, with the Python package onnx: onnx.save(onnx.load(FILE), OTHER_FILE)",
        )
    try:
        return kind(path, engine)
    except Exception as error:
        raise WeightsError(f"{path} cannot be opened as {path.suffix[1:]}: {brief(error)}") from error


def _has_numbers_elsewhere(path: Path) -> bool:
    """Whether an ONNX file names others that hold its tensors: external data have a ``location``."""
    entry = b"\n\x08location\x12"  # as protobuf writes the key, and that a value follows
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(entry) >= 0
    except (OSError, ValueError):  # empty, or unreadable: its engine says so
        return False


def brief(error: Exception) -> str:
    """An engine's complaint on one line."""
    return " ".join(str(error).split())[:200]


class _Onnx:
    engine: Final = "onnxruntime"
    package: Final = "onnxruntime"

    def __init__(self, path: Path, engine: Any) -> None:  # noqa: ANN401 - an engine without types
        self._session: Any = engine.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        kinds: dict[str, type[np.generic]] = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
        self.inputs = [
            Input(
                entry.name,
                tuple(size if isinstance(size, int) else None for size in entry.shape),
                kinds.get(entry.type, np.float32),
            )
            for entry in self._session.get_inputs()
        ]

    def run(self, feeds: dict[str, Array]) -> Array:
        return np.asarray(self._session.run(None, feeds)[0], np.float32)


class _Tflite:
    engine: Final = "ai_edge_litert.interpreter"
    package: Final = "ai-edge-litert"

    def __init__(self, path: Path, engine: Any) -> None:  # noqa: ANN401 - an engine without types
        self._interpreter: Any = engine.Interpreter(model_path=str(path), num_threads=1)
        self._places = {entry["name"]: entry["index"] for entry in self._interpreter.get_input_details()}
        self.inputs = [
            Input(
                entry["name"],
                tuple(int(size) if size >= 0 else None for size in entry["shape_signature"]),
                entry["dtype"],
            )
            for entry in self._interpreter.get_input_details()
        ]

    def run(self, feeds: dict[str, Array]) -> Array:
        for name, value in feeds.items():
            self._interpreter.resize_tensor_input(self._places[name], list(value.shape))
        self._interpreter.allocate_tensors()
        for name, value in feeds.items():
            self._interpreter.set_tensor(self._places[name], value)
        self._interpreter.invoke()
        output = self._interpreter.get_output_details()[0]["index"]
        return np.array(self._interpreter.get_tensor(output), np.float32)

"""DeepSpeech's features: arrays of other tools, cepstra against another library's, and an ONNX network."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.core.errors import FormatError, NerfAdError, WeightsError
from nerf_ad.models.paper.audio import AudioConfig, audio_windows
from nerf_ad.speech.deepspeech import (
    ARRAYS_ID,
    SLACK_STEPS,
    DeepSpeechArrays,
    DeepSpeechEncoder,
    cepstra,
    network_inputs,
    read_deepspeech,
)
from nerf_ad.speech.encoder import DeepSpeechConfig, SpeechEncoder, SpeechFiles, build_speech_encoder

# fmt: off
FIRST = (
    19.41, 14.5827, -10.0059, -10.2573, 15.0545, 31.1547, 9.561, -35.174, -57.5881,
    -40.5077, -8.8588, 1.6297, -10.361, -20.68, -15.4556, -3.7563, 2.8974, 2.5431,
    1.1159, 1.6091, 2.0363, 0.9891, 0.1831, -0.0676, -0.4364, -0.823,
)
FOURTH = (
    19.7055, 8.6407, -13.7168, 1.4052, 32.8942, 24.4146, -27.583, -62.8192, -41.5353,
    -2.6826, 1.5288, -24.1894, -36.058, -20.52, -2.5683, -0.3385, -3.3858, -0.7148,
    3.7058, 3.4011, 0.5591, -0.4908, 0.0958, -0.2507, -0.8991, -0.7432,
)
# fmt: on
"""Of ``chirp()``, by python_speech_features 0.6: ``mfcc(chirp() * 32768, 16000, numcep=26)[[0, 3]]``."""


def chirp(num_samples: int = 1200) -> np.ndarray:
    seconds = np.arange(num_samples) / 16000
    rising = 0.1 * np.sin(2 * np.pi * (1000 + 4000 * seconds) * seconds)
    return (0.3 * np.sin(2 * np.pi * 220 * seconds) + rising).astype(np.float32)


def field(place: int, content: bytes) -> bytes:
    """A field with bytes of a protobuf message."""
    length, head = len(content), b""
    while True:
        head += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([place << 3 | 2]) + head + content


def number(place: int, value: int) -> bytes:
    """A field with a number of at most 14 bits."""
    return bytes([place << 3, value & 127 | 128, value >> 7])


def value_info(name: str, shape: tuple[int | str, ...]) -> bytes:
    axes = b""
    for axis in shape:
        axes += field(1, number(1, axis) if isinstance(axis, int) else field(2, axis.encode()))
    tensor = number(1, 1) + field(2, axes)
    return field(1, name.encode()) + field(2, field(1, tensor))


def network(
    width: int = 29, inputs: int = 494, signals: tuple[str, ...] = ("cepstra",), elsewhere: str = ""
) -> bytes:
    """An ONNX network that multiplies (1, steps, 494) with a matrix: step's logit k is its input k.

    The matrix may lie in a file ``elsewhere``.
    """
    matrix = np.eye(inputs, width, dtype=np.float32)
    initialiser = b"".join(number(1, size) for size in matrix.shape)
    initialiser += number(2, 1) + field(8, b"matrix")
    if elsewhere:
        entry = field(1, b"location") + field(2, elsewhere.encode())
        initialiser += field(13, entry) + number(14, 1)
    else:
        initialiser += field(9, matrix.tobytes())
    node = field(1, b"cepstra") + field(1, b"matrix") + field(2, b"logits") + field(4, b"MatMul")
    graph = field(1, node) + field(2, b"g") + field(5, initialiser)
    for signal in signals:
        graph += field(11, value_info(signal, (1, "steps", inputs)))
    graph += field(12, value_info("logits", (1, "steps", width)))
    return number(1, 8) + field(7, graph) + field(8, field(1, b"") + number(2, 13))


def test_cepstra_are_those_of_another_library() -> None:
    found = cepstra(chirp())
    assert found.shape == (6, 26)
    np.testing.assert_allclose(found[[0, 3]], [FIRST, FOURTH], atol=1e-3)


def test_silence_has_cepstra_too() -> None:
    assert np.isfinite(cepstra(np.zeros(800, np.float32))).all()
    assert np.isfinite(network_inputs(np.zeros(800, np.float32))).all()


@pytest.mark.parametrize("num_samples", [1, 320, 321, 5000, 16000])
def test_there_is_a_step_every_20_ms_with_its_context(num_samples: int) -> None:
    inputs = network_inputs(chirp(num_samples))
    steps = -(-num_samples // 320)
    assert inputs.shape == (steps, 19 * 26)
    view = inputs.reshape(steps, 19, 26)
    for step in range(1, steps):
        np.testing.assert_array_equal(view[step, :-1], view[step - 1, 1:])
    assert abs(float(inputs.mean())) < 1e-4


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_of_other_tools_are_read(tmp_path: Path, suffix: str) -> None:
    features = np.random.default_rng(0).normal(size=(12, 29))
    path = tmp_path / f"speech{suffix}"
    if suffix == ".npy":
        np.save(path, features)
    else:
        np.savez(path, features=features, rate=np.array(50.0))
    found = read_deepspeech(path)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features, rtol=1e-6)


def test_windows_of_adnerf_are_unrolled(tmp_path: Path) -> None:
    """Its recipe: 8 zeros on each side, windows of 16, every second step."""
    features = np.random.default_rng(0).normal(size=(30, 29)).astype(np.float32)
    padded = np.pad(features, ((8, 8), (0, 0)))
    np.save(tmp_path / "aud.npy", np.stack([padded[2 * i : 2 * i + 16] for i in range(15)]))
    np.testing.assert_array_equal(read_deepspeech(tmp_path / "aud.npy"), features)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((5, 30)), "shape"),
        (np.zeros((0, 29)), "shape"),
        (np.zeros((5, 8, 29)), "shape"),
        (np.full((5, 29), np.nan), "finite"),
        (np.full((5, 29), 1e300), "finite"),
        (np.full((5, 29), "a"), "numbers"),
        (np.full((5, 29), None), "cannot be read"),
    ],
)
def test_other_arrays_are_refused_in_a_sentence(tmp_path: Path, array: np.ndarray, what: str) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(FormatError, match=what):
        read_deepspeech(tmp_path / "x.npy")


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="missing"):
        read_deepspeech(tmp_path / "x.npy")
    (tmp_path / "x.npy").write_bytes(b"hello")
    with pytest.raises(FormatError, match="cannot be read"):
        read_deepspeech(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", a=np.zeros((3, 29)), b=np.zeros((3, 29)))
    with pytest.raises(FormatError, match="several arrays"):
        read_deepspeech(tmp_path / "x.npz")


def test_a_network_is_fed_with_cepstra(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "d.onnx").write_bytes(network())
    encoder = DeepSpeechEncoder(tmp_path / "d.onnx")
    assert isinstance(encoder, SpeechEncoder)
    assert encoder.id.startswith("deepspeech:")
    made = encoder.encode(chirp(5000))
    np.testing.assert_allclose(made, network_inputs(chirp(5000))[:, :29], rtol=1e-5, atol=1e-6)
    assert encoder.encode(np.zeros(0, np.float32)).shape == (0, 29)


def test_other_networks_are_refused_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(WeightsError, match="missing"):
        DeepSpeechEncoder(tmp_path / "d.onnx")
    (tmp_path / "d.onnx").write_bytes(b"hello")
    with pytest.raises(WeightsError, match="cannot be opened"):
        DeepSpeechEncoder(tmp_path / "d.onnx")
    (tmp_path / "d.onnx").write_bytes(network(width=200))
    with pytest.raises(WeightsError, match="shape"):
        DeepSpeechEncoder(tmp_path / "d.onnx").encode(chirp())


def test_a_network_in_several_files_is_refused(tmp_path: Path) -> None:
    """onnxruntime takes it; but other numbers beside it would go by the same id."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "d.onnx"
    path.write_bytes(network(elsewhere="d.data"))
    (tmp_path / "d.data").write_bytes(np.eye(494, 29, dtype=np.float32).tobytes())
    onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with pytest.raises(WeightsError, match="numbers in other files") as caught:
        DeepSpeechEncoder(path)
    assert caught.value.hint is not None
    assert "onnx.save" in caught.value.hint


def test_windows_are_exactly_adnerf_s(tmp_path: Path) -> None:
    """Step s holds the number s + 1: frame t sees 2t-8 to 2t+7, and nothing (0) beyond the ends."""
    steps = np.arange(1, 41, dtype=np.float32)
    np.save(tmp_path / "a.npy", np.repeat(steps[:, None], 29, axis=1))
    features = DeepSpeechArrays(tmp_path / "a.npy").encode(np.zeros(40 * 320, np.float32))
    seen = audio_windows(torch.from_numpy(features), 50.0, 20, 25.0, AudioConfig())[:, :, 0]
    assert seen.shape == (20, 16)
    assert seen[0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert seen[3].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert seen[10].tolist() == [13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]
    assert seen[19].tolist() == [31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 0, 0, 0, 0, 0, 0]


def test_windows_that_adnerf_wrote_are_seen_again(tmp_path: Path) -> None:
    """From its file of (frames 16 29) through our steps, the same windows come out."""
    rng = np.random.default_rng(1)
    padded = np.pad(rng.normal(size=(30, 29)).astype(np.float32), ((8, 8), (0, 0)))
    written = np.stack([padded[2 * frame : 2 * frame + 16] for frame in range(15)])
    np.save(tmp_path / "aud_ds.npy", written)
    features = DeepSpeechArrays(tmp_path / "aud_ds.npy").encode(np.zeros(30 * 320, np.float32))
    seen = audio_windows(torch.from_numpy(features), 50.0, 15, 25.0, AudioConfig())
    np.testing.assert_array_equal(seen.numpy(), written)


@pytest.mark.parametrize("steps", [100 - SLACK_STEPS, 99, 100, 100 + SLACK_STEPS])
def test_arrays_serve_their_own_sound(tmp_path: Path, steps: int) -> None:
    features = np.random.default_rng(0).normal(size=(100, 29)).astype(np.float32)
    np.save(tmp_path / "a.npy", features)
    encoder = build_speech_encoder(DeepSpeechConfig(), SpeechFiles(features=tmp_path / "a.npy"))
    assert isinstance(encoder, SpeechEncoder)
    assert (encoder.id, encoder.channels, encoder.rate_hz) == (ARRAYS_ID, 29, 50.0)
    made = encoder.encode(np.zeros(steps * 320, np.float32))
    assert made.shape == (steps, 29)
    np.testing.assert_array_equal(made[:100], features[:steps])
    assert (made[100:] == features[-1]).all()


@pytest.mark.parametrize("steps", [0, 100 - SLACK_STEPS - 1, 100 + SLACK_STEPS + 1])
def test_arrays_of_another_sound_are_refused(tmp_path: Path, steps: int) -> None:
    np.save(tmp_path / "a.npy", np.zeros((100, 29)))
    with pytest.raises(FormatError, match=r"holds features of 2\.00 s, the sound lasts") as caught:
        DeepSpeechArrays(tmp_path / "a.npy").encode(np.zeros(steps * 320, np.float32))
    assert caught.value.hint is not None
    assert "--speech-model" in caught.value.hint


def test_networks_that_hear_in_pieces_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "d.onnx").write_bytes(network(signals=("cepstra", "previous_state_c")))
    with pytest.raises(WeightsError, match=r"takes 2 signals \(cepstra, previous_state_c\)"):
        DeepSpeechEncoder(tmp_path / "d.onnx")
    with pytest.raises(WeightsError, match=r"neither \.onnx nor \.tflite"):
        DeepSpeechEncoder(tmp_path / "output_graph.pb")


def test_without_onnxruntime_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NerfAdError, match="needs onnxruntime"):
        DeepSpeechEncoder(tmp_path / "d.onnx")


class FakeInterpreter:
    """Stands in for LiteRT's: the same methods, and logits that are the first 29 numbers of each row."""

    def __init__(self, model_path: str, num_threads: int) -> None:
        assert Path(model_path).read_bytes() == b"flat"
        self.sizes: dict[int, list[int]] = {}
        self.values: dict[int, np.ndarray] = {}
        self.is_ready = False

    def get_input_details(self) -> list[dict[str, object]]:
        signal = {"name": "x", "index": 4, "shape_signature": np.array([1, -1, 494]), "dtype": np.float32}
        return [signal, {"name": "n", "index": 7, "shape_signature": np.array([1]), "dtype": np.int32}]

    def get_output_details(self) -> list[dict[str, object]]:
        return [{"name": "logits", "index": 9}]

    def resize_tensor_input(self, index: int, size: list[int]) -> None:
        self.sizes[index] = size

    def allocate_tensors(self) -> None:
        self.is_ready = True

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert self.is_ready
        assert list(value.shape) == self.sizes[index]
        self.values[index] = value

    def invoke(self) -> None:
        assert self.values[7].dtype == np.int32
        assert self.values[7].tolist() == [self.values[4].shape[1]]

    def get_tensor(self, index: int) -> np.ndarray:
        assert index == 9
        return self.values[4][..., :29]


def test_a_tflite_network_is_fed_as_its_engine_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = types.ModuleType("ai_edge_litert"), types.ModuleType("ai_edge_litert.interpreter")
    vars(module)["Interpreter"] = FakeInterpreter
    monkeypatch.setitem(sys.modules, "ai_edge_litert", package)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    (tmp_path / "d.tflite").write_bytes(b"flat")
    made = DeepSpeechEncoder(tmp_path / "d.tflite").encode(chirp(5000))
    np.testing.assert_allclose(made, network_inputs(chirp(5000))[:, :29], rtol=1e-6)


def test_a_real_tflite_engine_refuses_what_is_none(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    (tmp_path / "d.tflite").write_bytes(b"hello, this is no network at all")
    with pytest.raises(WeightsError, match="cannot be opened as tflite"):
        DeepSpeechEncoder(tmp_path / "d.tflite")


def test_without_litert_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ai_edge_litert", "ai_edge_litert.interpreter"):  # the second may have been imported before
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NerfAdError, match="needs ai-edge-litert"):
        DeepSpeechEncoder(tmp_path / "d.tflite")

"""Whether two pictures show the same person: cosine similarity of face embeddings (CSIM).

The network is MobileFaceNet (Chen et al. 2018, ArcFace loss), a file that ``core.weights`` finds. Faces are
laid on ArcFace's five points of a 112x112 picture. It recognises people; see docs/reference/weights.md.
"""

from typing import Any, Final

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from nerf_ad.core import weights
from nerf_ad.core.errors import WeightsError

WEIGHT: Final = "identity"
"""Name in the catalogue."""
SIDE: Final = 112
"""Width and height of what the network sees."""
PLACES: Final = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where ArcFace's alignment puts the person's right eye, left eye, tip of the nose, right and left corner of
the mouth, pixels (InsightFace)."""


class Identity:
    """The network."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            WeightsError: the file is not here, cannot be used, or nothing here can run it.
        """
        path = weights.locate(WEIGHT)
        path = next(path.glob("*.tflite")) if path.is_dir() else path
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise WeightsError(
                "the identity network needs the package ai-edge-litert",
                hint="pip install 'nerf-ad[identity]'",
            ) from error
        try:
            self._net: Any = Interpreter(model_path=str(path), num_threads=1)
            self._net.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise WeightsError(
                "the identity network cannot be read", hint="nerf-ad weights fetch identity"
            ) from error
        self._enters, self._leaves = (
            entries[0] for entries in (self._net.get_input_details(), self._net.get_output_details())
        )
        if tuple(self._enters["shape"][1:]) != (SIDE, SIDE, 3):
            raise WeightsError("the identity network takes other pictures than 112x112")
        self.id = weights.extractor_id(WEIGHT)

    def embed(self, face: UInt8[np.ndarray, "112 112 3"]) -> Float32[np.ndarray, "channels"]:
        """A unit vector that says who it is; ``face`` comes from ``align_face``."""
        batch = np.zeros(self._enters["shape"], np.float32)
        batch[:] = (face.astype(np.float32) - 127.5) / 128
        self._net.set_tensor(self._enters["index"], batch)
        self._net.invoke()
        found = np.array(self._net.get_tensor(self._leaves["index"])[0], np.float32)
        return np.asarray(found / max(float(np.linalg.norm(found)), 1e-9))


def align_face(
    picture: UInt8[np.ndarray, "height width 3"], points: Float[np.ndarray, "5 2"]
) -> UInt8[np.ndarray, "112 112 3"]:
    """Turn, scale and move a face so that its five points lie on ``PLACES`` as well as they can."""
    matrix = fit_similarity(np.array(PLACES), points.astype(np.float64))  # from the output to the picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    # Where the face is larger than the output, the picture is shrunk first: bilinear samples would alias.
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if scale > 1.5:
        size = tuple(max(1, round(side / scale)) for side in image.size)
        by = np.array([size[0] / image.size[0], size[1] / image.size[1]])
        image, matrix = image.resize((size[0], size[1]), Image.Resampling.BOX), matrix * by[:, None]
    laid = image.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, tuple(matrix.ravel().tolist()), Image.Resampling.BILINEAR
    )
    return np.array(laid, dtype=np.uint8)


def fit_similarity(
    source: Float[np.ndarray, "points 2"], target: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "2 3"]:
    """The rotation, scale and translation that takes ``source`` nearest to ``target`` (least squares).

    As complex numbers ``t = a s + b``, which is linear in ``a`` and ``b``.
    """
    s, t = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    centred = s - s.mean()
    a = (centred.conj() @ (t - t.mean())) / max(float((np.abs(centred) ** 2).sum()), 1e-12)
    b = t.mean() - a * s.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def similarity(made: Float[np.ndarray, "channels"], real: Float[np.ndarray, "channels"]) -> float:
    """Cosine of two embeddings: 1 the same picture, about 0 two people."""
    return float(made @ real / max(float(np.linalg.norm(made) * np.linalg.norm(real)), 1e-12))

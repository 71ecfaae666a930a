"""Where the Face Landmarker's 478 points lie on the mesh.

Found once by ``scripts/embed-landmarks``, which runs the detector on renders of known geometry; kept as a
quad and weights of its four corners for each point.
"""

import functools
from importlib import resources
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from nerf_ad.core.files import read_npz

FILE = "face_points.npz"


class FacePoints(NamedTuple):
    """Points on a surface."""

    quad: Int32[np.ndarray, "478"]
    """Index into the mesh's quads."""
    weights: Float32[np.ndarray, "478 4"]
    """Of the quad's corners; they sum to one and may leave [0, 1] for the irises."""

    def locate(
        self, vertices: Float[np.ndarray, "vertices 3"], quads: Int[np.ndarray, "quads 4"]
    ) -> Float[np.ndarray, "478 3"]:
        """The points of a posed mesh, in its units."""
        return np.einsum("pcd,pc->pd", vertices[quads[self.quad]].astype(np.float64), self.weights)


@functools.cache
def load_face_points() -> FacePoints:
    """The embedding that comes with the package."""
    with resources.as_file(resources.files(__package__) / FILE) as path:
        arrays = read_npz(path)
    return FacePoints(arrays["quad"], arrays["weights"])

"""Catmull-Clark subdivision as one sparse matrix, so that targets are subdivided like the mesh itself.

Catmull and Clark, *Recursively generated B-spline surfaces on arbitrary topological meshes*, 1978; borders as
cubic B-splines.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32
from scipy import sparse


class Subdivision(NamedTuple):
    """One level finer."""

    matrix: sparse.csr_array
    """From old to new vertices; vertices that no quad uses are dropped."""
    quads: Int32[np.ndarray, "finer 4"]
    """Four for each old quad, in its order."""


def subdivide(quads: Int[np.ndarray, "quads 4"], num_vertices: int, *, smooth: bool = True) -> Subdivision:
    """Split every quad in four.

    Args:
        quads: corners of each.
        num_vertices: how many vertices there are.
        smooth: round the surface; otherwise the new vertices lie on the old quads, as texture corners must.
    """
    num_quads = len(quads)
    ends = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    edges, edge_of = np.unique(ends, axis=0, return_inverse=True)
    edge_of = edge_of.reshape(num_quads, 4)
    used, compact = np.unique(quads, return_inverse=True)
    compact = compact.reshape(num_quads, 4)

    face_points = _matrix(np.repeat(np.arange(num_quads), 4), quads.ravel(), 0.25, num_quads, num_vertices)
    middles = _matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, len(edges), num_vertices)
    keep = _matrix(np.arange(len(used)), used, 1.0, len(used), num_vertices)
    edge_points, vertex_points = middles, keep
    if smooth:
        quads_of_edge = _matrix(
            edge_of.ravel(), np.repeat(np.arange(num_quads), 4), 1.0, len(edges), num_quads
        )
        is_border = quads_of_edge.sum(axis=1) != 2
        inner = sparse.diags_array((~is_border).astype(float))
        edge_points = middles - 0.5 * inner @ middles + 0.25 * inner @ quads_of_edge @ face_points

        places = np.searchsorted(used, edges)
        edges_of_vertex = _matrix(
            places.ravel(), np.repeat(np.arange(len(edges)), 2), 1.0, len(used), len(edges)
        )
        quads_of_vertex = _matrix(
            compact.ravel(), np.repeat(np.arange(num_quads), 4), 1.0, len(used), num_quads
        )
        valence = quads_of_vertex.sum(axis=1)
        num_borders = edges_of_vertex @ is_border.astype(float)
        inside = sparse.diags_array((num_borders == 0) / valence)
        along = sparse.diags_array((num_borders == 2).astype(float))
        corner = sparse.diags_array(((num_borders != 0) & (num_borders != 2)).astype(float))
        share = sparse.diags_array(1.0 / valence)
        vertex_points = (
            inside
            @ (
                share @ quads_of_vertex @ face_points
                + 2.0 * share @ edges_of_vertex @ middles
                + sparse.diags_array(valence - 3.0) @ keep
            )
            + along
            @ (0.5 * keep + 0.25 * edges_of_vertex @ sparse.diags_array(is_border.astype(float)) @ middles)
            + corner @ keep
        )
    first_edge, first_face = len(used), len(used) + len(edges)
    after, before = first_edge + edge_of, first_edge + np.roll(edge_of, 1, axis=1)
    middle = np.broadcast_to(first_face + np.arange(num_quads)[:, None], (num_quads, 4))
    finer = np.stack([compact, after, middle, before], axis=-1).reshape(-1, 4)
    matrix = sparse.csr_array(sparse.vstack([vertex_points, edge_points, face_points]))
    return Subdivision(matrix, finer.astype(np.int32))


def _matrix(
    rows: Int[np.ndarray, "entries"],
    columns: Int[np.ndarray, "entries"],
    value: float,
    height: int,
    width: int,
) -> sparse.csr_array:
    entries = np.full(len(rows), value)
    return sparse.csr_array(sparse.coo_array((entries, (rows, columns)), shape=(height, width)))

"""The z-buffer against pictures that have a formula."""

import numpy as np
import pytest

from nerf_ad.dataset.synthetic.rasteriser import NOTHING, Fragments, rasterise

SIDE = 96


def draw(vertices: np.ndarray, triangles: np.ndarray, **options: bool) -> Fragments:
    return rasterise(vertices, triangles, height=SIDE, width=SIDE, **options)


def centres() -> tuple[np.ndarray, np.ndarray]:
    along = np.arange(SIDE) + 0.5
    x, y = np.meshgrid(along, along)
    return x, y


def test_a_triangle_covers_the_centres_inside_it() -> None:
    a, b, c = np.array([10.3, 80.2]), np.array([88.7, 61.1]), np.array([30.9, 5.6])
    drawn = draw(np.column_stack([[a, b, c], np.ones(3)]), np.array([[0, 1, 2]]))
    x, y = centres()

    def is_right_of(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.asarray((q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) < 0)

    inside = is_right_of(a, b) & is_right_of(b, c) & is_right_of(c, a)
    np.testing.assert_array_equal(drawn.triangle == 0, inside)
    area = abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / 2
    assert (drawn.triangle == 0).sum() == pytest.approx(area, rel=0.02)
    assert (drawn.barycentric[inside] > 0).all()
    assert (drawn.barycentric[~inside] == 0).all()
    assert np.isinf(drawn.depth[~inside]).all()


def test_depth_and_barycentrics_of_a_tilted_plane_are_in_perspective() -> None:
    focal, slope = 100.0, 0.6  # the plane z = 1 + slope * x before a camera in the middle
    world = np.array([[-0.4, -0.4], [0.4, -0.4], [0.4, 0.4], [-0.4, 0.4]])
    z = 1.0 + slope * world[:, 0]
    screen = np.column_stack([SIDE / 2 + focal * world[:, 0] / z, SIDE / 2 - focal * world[:, 1] / z, z])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    drawn = draw(screen, triangles)
    hit = drawn.triangle != NOTHING
    x, y = centres()
    truth = 1.0 / (1.0 - slope * (x - SIDE / 2) / focal)
    np.testing.assert_allclose(drawn.depth[hit], truth[hit], rtol=1e-5)
    corners = world[triangles[drawn.triangle[hit]]]
    places = np.einsum("pcd,pc->pd", corners, drawn.barycentric[hit])
    np.testing.assert_allclose(places[:, 0], ((x - SIDE / 2) / focal * truth)[hit], atol=1e-5)
    np.testing.assert_allclose(places[:, 1], (-(y - SIDE / 2) / focal * truth)[hit], atol=1e-5)
    np.testing.assert_allclose(drawn.barycentric[hit].sum(axis=1), 1.0, atol=1e-5)


def test_neighbours_leave_no_gap_and_do_not_overlap(rng: np.random.Generator) -> None:
    along = np.linspace(5.5, 90.5, 9)  # edges run exactly through pixel centres, too
    x, y = np.meshgrid(along, along)
    inner = (slice(1, -1), slice(1, -1))
    x[inner] += rng.uniform(-3, 3, x[inner].shape)
    y[inner] += rng.uniform(-3, 3, y[inner].shape)
    vertices = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    index = np.arange(81).reshape(9, 9)
    quads = np.stack([index[1:, :-1], index[1:, 1:], index[:-1, 1:], index[:-1, :-1]], axis=-1).reshape(-1, 4)
    triangles = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    drawn = draw(vertices, triangles)
    assert (drawn.triangle[5:90, 5:90] != NOTHING).all()
    assert (drawn.triangle != NOTHING).sum() == 85 * 85
    alone = sum(int((draw(vertices, triangle[None]).triangle != NOTHING).sum()) for triangle in triangles)
    assert alone == 85 * 85


def test_a_sphere_has_its_silhouette_and_depth() -> None:
    steps, radius, distance, focal = 96, 0.3, 2.0, 240.0
    theta, phi = np.meshgrid(np.linspace(0, np.pi, steps), np.linspace(0, 2 * np.pi, steps), indexing="ij")
    ball = radius * np.stack(
        [np.sin(theta) * np.cos(phi), np.cos(theta), np.sin(theta) * np.sin(phi)], axis=-1
    ).reshape(-1, 3)
    index = np.arange(steps * steps).reshape(steps, steps)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=-1).reshape(-1, 4)
    triangles = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    z = distance - ball[:, 2]
    screen = np.column_stack([SIDE / 2 + focal * ball[:, 0] / z, SIDE / 2 - focal * ball[:, 1] / z, z])
    drawn = draw(screen, triangles)
    x, y = centres()
    ray = np.stack([(x - SIDE / 2) / focal, -(y - SIDE / 2) / focal, -np.ones_like(x)], axis=-1)
    a, b = (ray**2).sum(axis=-1), ray[..., 2] * distance
    root = b**2 - a * (distance**2 - radius**2)
    assert ((drawn.triangle != NOTHING) != (root > 0)).sum() <= 12  # of 5300 pixels, at the rim
    both = (drawn.triangle != NOTHING) & (root > 0.01)
    truth = (-b - np.sqrt(np.maximum(root, 0))) / a
    np.testing.assert_allclose(drawn.depth[both], truth[both], atol=2e-3)


def test_the_nearer_wins_whatever_the_order() -> None:
    near = np.array([[10, 80, 1.0], [80, 80, 1.0], [10, 10, 1.0]])
    far = near + np.array([0.0, 0.0, 1.0])
    for order in ([0, 1], [1, 0]):
        triangles = np.array([[0, 1, 2], [3, 4, 5]])[order]
        drawn = draw(np.concatenate([near, far]), triangles)
        assert set(np.unique(drawn.triangle)) == {NOTHING, order.index(0)}


def test_what_is_seen_from_behind_or_lies_behind_the_camera_is_left_out() -> None:
    front = np.array([[10.0, 80, 1], [80, 80, 1], [10, 10, 1]])
    assert (draw(front[::-1], np.array([[0, 1, 2]])).triangle == NOTHING).all()
    assert (draw(front[::-1], np.array([[0, 1, 2]]), two_sided=True).triangle == 0).any()
    behind = front * np.array([1.0, 1.0, -1.0])
    assert (draw(behind, np.array([[0, 1, 2]]), two_sided=True).triangle == NOTHING).all()


def test_nothing_but_the_picture_is_drawn_on() -> None:
    huge = np.array([[-500.0, 900, 1], [900, 900, 1], [200, -700, 1]])
    assert (draw(huge, np.array([[0, 1, 2]])).triangle == 0).all()
    aside = huge + np.array([5000.0, 0, 0])
    assert (draw(aside, np.array([[0, 1, 2]])).triangle == NOTHING).all()

"""Alignment against a known transform; the network where it is here."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.core.errors import WeightsError
from nerf_ad.metrics.identity import PLACES, SIDE, Identity, align_face, fit_similarity, similarity


def test_a_similarity_is_found_again(rng: np.random.Generator) -> None:
    points = rng.normal(size=(5, 2))
    turn, scale, move = 0.4, 2.5, np.array([3.0, -7.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    found = fit_similarity(points, scale * points @ rotation.T + move)
    assert found[:, :2] == pytest.approx(scale * rotation)
    assert found[:, 2] == pytest.approx(move)


def test_no_similarity_is_nearer(rng: np.random.Generator) -> None:
    """Against least squares over the four unknowns by another solver."""
    source, target = rng.normal(size=(2, 5, 2))
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    a, b, c, d = np.linalg.lstsq(np.array(rows), target.T.ravel(), rcond=None)[0]
    assert fit_similarity(source, target) == pytest.approx(np.array([[a, -b, c], [b, a, d]]))


@pytest.mark.parametrize("scale", [0.7, 4.0])
def test_the_five_points_land_where_they_belong(scale: float) -> None:
    places = np.array(PLACES) * scale + 30
    picture = np.zeros((round(SIDE * scale) + 60,) * 2 + (3,), np.uint8)
    yy, xx = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    for x, y in places:
        picture[np.hypot(xx - x, yy - y) < 3 * scale] = 255
    laid = align_face(picture, places)[..., 0].astype(float)
    yy, xx = np.mgrid[:SIDE, :SIDE] + 0.5
    for x, y in PLACES:
        near = laid * (np.hypot(xx - x, yy - y) < 8)
        assert (near * xx).sum() / near.sum() == pytest.approx(x, abs=0.5)
        assert (near * yy).sum() / near.sum() == pytest.approx(y, abs=0.5)


def test_cosine_by_hand() -> None:
    assert similarity(np.array([1.0, 0, 0]), np.array([0.6, 0.8, 0])) == pytest.approx(0.6)


def test_without_the_file_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise WeightsError(f"the {name} is not here")

    monkeypatch.setattr(weights, "locate", missing)
    with pytest.raises(WeightsError, match="is not here"):
        Identity()


def test_without_the_package_the_hint_names_an_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "locate", lambda _: tmp_path / "identity.tflite")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(WeightsError, match="ai-edge-litert") as refusal:
        Identity()
    assert refusal.value.hint == "pip install 'nerf-ad[identity]'"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    (needed,) = project["project"]["optional-dependencies"]["identity"]
    assert needed.startswith("ai-edge-litert")


@pytest.mark.weights
def test_the_network_gives_unit_vectors_that_repeat(rng: np.random.Generator) -> None:
    pytest.importorskip("ai_edge_litert")
    if weights.find("identity") is None:
        pytest.skip("the identity network is not here")
    network = Identity()
    face = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    found = network.embed(face)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert similarity(found, network.embed(face)) == pytest.approx(1)

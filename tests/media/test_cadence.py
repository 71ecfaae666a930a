"""Copies that pad a clip's rate are found, left out, and nothing else is."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from nerf_ad.media.cadence import Cadence, cadence_of, find_cadence
from nerf_ad.media.isolated import decode_isolated, find_cadence_isolated
from nerf_ad.media.video import decode


def padded(count: int) -> list[int]:
    """Which of ``count`` pictures at 25 a second is on show in each of 30 slots a second (nearest)."""
    first = [round(j * 30 / 25) for j in range(count)]
    return [max(j for j in range(count) if first[j] <= slot) for slot in range(first[-1] + 1)]


def write(path: Path, order: list[int], times: list[float] | None = None) -> Path:
    """A bar that moves with every new picture, at 30 pictures a second or at given times."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 768, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 600)
        for slot, number in enumerate(order):
            picture = np.full((32, 768, 3), 40, np.uint8)
            picture[:, 3 * number : 3 * number + 8] = 220
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = (
                round(600 * (slot / 30 if times is None else times[slot])),
                Fraction(1, 600),
            )
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def position(frame: np.ndarray) -> int:
    """Number of the picture that a frame shows, from where its bar is."""
    columns = np.flatnonzero(frame.astype(float).mean(axis=(0, 2)) > 130)
    return round((columns.mean() - 3.5) / 3)


def test_padding_is_undone(tmp_path: Path) -> None:
    order = padded(75)
    assert len(order) == 90
    path = write(tmp_path / "a.mp4", order)
    cadence = find_cadence(path)
    assert cadence is not None
    assert cadence.period == 6
    assert [position(frame) for frame in decode(path, 25, cadence=cadence)] == list(range(75))
    assert find_cadence_isolated(path) == cadence
    assert len(list(decode_isolated(path, 25, cadence=cadence))) == 75


def test_even_motion_has_no_copies(tmp_path: Path) -> None:
    assert find_cadence(write(tmp_path / "a.mp4", list(range(80)))) is None


@pytest.mark.parametrize(("period", "phase"), [(2, 0), (5, 3), (6, 0), (6, 5), (12, 7)])
def test_period_is_found(period: int, phase: int, rng: np.random.Generator) -> None:
    changes = rng.uniform(1.0, 2.0, 240)
    changes[(np.arange(1, 241) % period) == phase] = 0.05
    assert cadence_of(changes) == Cadence(period, phase)


def test_pauses_and_noise_are_no_cadence(rng: np.random.Generator) -> None:
    assert cadence_of(np.zeros(300)) is None
    assert cadence_of(rng.uniform(0.2, 2.0, 300)) is None
    still = rng.uniform(1.0, 2.0, 300)
    still[rng.choice(300, 40, replace=False)] = 0.0
    assert cadence_of(still) is None
    assert cadence_of(np.ones(5)) is None


def test_times_are_even_and_centred() -> None:
    cadence = Cadence(6, 3)
    kept = [picture for picture in range(60) if not cadence.is_copy(picture)]
    late = np.array([cadence.delay(picture) for picture in kept])
    np.testing.assert_allclose(np.diff((np.array(kept) + late) / 30), 1 / 25, atol=1e-9)
    assert abs(np.mean(late)) < 1e-9
    assert np.abs(late).max() < 1


@pytest.mark.parametrize("dropped", [0, 1, 2, 3, 4, 5])
def test_a_gap_shifts_nothing(tmp_path: Path, dropped: int) -> None:
    order = padded(250)[dropped:]
    times = [slot / 30 + (1.0 if slot >= 150 else 0.0) for slot in range(len(order))]
    path = write(tmp_path / "a.mkv", order, times)
    cadence = find_cadence(path)
    assert cadence is not None
    shown = np.array([position(frame) for frame in decode(path, 25, cadence=cadence)])
    now = (np.arange(len(shown)) + 0.5) / 25
    truth = np.array(order)[np.searchsorted(times, now, side="right") - 1]
    late = shown - truth
    assert np.abs(late).max() <= 1
    for part in (slice(0, 100), slice(-80, None)):
        assert abs(late[part].mean()) < 0.5  # frames: 20 ms

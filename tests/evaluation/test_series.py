"""Figures frame by frame, their means and intervals; and what the page shows of them."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.evaluation.exhibits import TILE, Bad, Exhibits, error_map, tile_of
from nerf_ad.evaluation.figure_list import FIGURES, figure_table
from nerf_ad.evaluation.series import SeriesBook, intervals
from nerf_ad.metrics.bootstrap import mean_interval


def test_means_and_intervals_are_of_the_measured_frames(rng: np.random.Generator) -> None:
    book, values = SeriesBook(), rng.normal(30, 2, 200)
    for index, value in enumerate(values):
        book.add(5 * index, "psnr", value)
    book.add_all([1, 2, 3], "gap", [0.5, np.nan, 0.7])
    assert book.means() == {"psnr": round(values.mean(), 3), "gap": 0.6}
    assert book.all()["gap"].frames.tolist() == [1, 3]
    found = intervals(book.all(), 25)
    assert set(found) == {"psnr"}  # two values are no second
    # Each fifth frame of 25 a second: a block of a second has five.
    assert found["psnr"] == pytest.approx(mean_interval(values, block=5), abs=1e-3)
    assert book.last("gap", 3) == 0.7
    assert book.last("gap", 2) is None
    assert book.last("none", 2) is None


def test_few_frames_of_a_short_clip_have_no_interval(rng: np.random.Generator) -> None:
    for step in (1, 10, 30):  # 3.2 s: four values are not four seconds
        book = SeriesBook()
        book.add_all(range(0, 80, step), "psnr", rng.normal(30, 2, len(range(0, 80, step))))
        assert intervals(book.all(), 25) == {}


def test_the_table_has_a_direction_and_an_interval_for_every_figure() -> None:
    result = {
        "psnr": 31.234,
        "lip_gap_best_lag_frames": 0,
        "intervals": {"psnr": [30.5, 32.0]},
        "rows": {"ground_truth": {"psnr": 100.0}, "static": {"psnr": 20}, "unknown": {}},
    }
    table = figure_table(result)
    assert table.head == ["figure", "better", "made", "95 % interval", "ground truth", "still face"]
    assert table.rows == [
        ["PSNR, dB", "higher", "31.23", "30.50 to 32.00", "100.00", "20.00"],
        ["lips late by, frames", "nearest 0", "0", "", "-", "-"],
    ]
    assert table.text().count("\n") == 3
    assert len({known.key for known in FIGURES}) == len(FIGURES)


def test_the_worst_frames_are_those_of_different_half_seconds(tmp_path: Path) -> None:
    exhibits = Exhibits(tmp_path, (8, 8), range(300), fps=20, sound=None)
    scores = np.random.default_rng(0).random(300)
    black = np.zeros((8, 8, 3), np.uint8)
    for index, score in enumerate(scores):
        exhibits._judge(Bad(float(score), index, black, black))
    kept = [*exhibits._worst, *([exhibits._candidate] if exhibits._candidate is not None else [])]
    best_of_halves = sorted(scores.reshape(30, 10).max(axis=1), reverse=True)
    assert sorted((bad.score for bad in kept), reverse=True)[:10] == pytest.approx(best_of_halves[:10])


def test_error_maps_are_brightened() -> None:
    real = np.full((1, 4, 3), 100, np.uint8)
    made = real.copy()
    made[0, :, :] += np.array([[0], [10], [25], [100]], np.uint8)
    shown = error_map(made, real)
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert shown[0, 1].tolist() == [120, 0, 0]
    assert shown[0, 2].tolist() == [255, 45, 0]
    assert shown[0, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize("shape", [(9, 22), (40, 40), (300, 200)])
def test_tiles_of_any_picture_have_one_size_and_its_shape(shape: tuple[int, int]) -> None:
    tile = tile_of(np.zeros((*shape, 3), np.uint8))
    assert tile.shape == (TILE, TILE, 3)
    dark = tile[..., 0] < 125
    assert dark.any(axis=1).sum() == pytest.approx(TILE * min(1, shape[0] / shape[1]), abs=4)
    assert dark.any(axis=0).sum() == pytest.approx(TILE * min(1, shape[1] / shape[0]), abs=4)

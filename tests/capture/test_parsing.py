"""Interpolated labels of a disc that moves, turns and grows, against the disc drawn anew."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.capture.parsing import RIGID, ParsingConfig, key_spans, move, parse_frames
from nerf_ad.face.parsing import Part
from nerf_ad.media.images import read_image

SIZE, FRAMES = 96, 20


def labels_at(frame: int) -> np.ndarray:
    """A head that walks to the right and grows, over a torso at rest."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[(y > 75) & (np.abs(x - 48) < 40)] = Part.TORSO
    labels[(y > 55) & (y <= 75) & (np.abs(x - 48) < 10)] = Part.NECK
    labels[np.hypot(x - 30 - 1.5 * frame, y - 40) < 18 + 0.2 * frame] = Part.HEAD
    return labels


def points_at(frame: int) -> np.ndarray:
    """Landmarks fixed to that head."""
    around = np.random.default_rng(0).normal(size=(478, 3))
    return ((18 + 0.2 * frame) * 0.4 * around + (30 + 1.5 * frame, 40, 0)).astype(np.float32)


class Drawn:
    """A parser that draws the truth and remembers what it was asked."""

    id = "drawn"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def parse(self, frame: np.ndarray, *, index: int = 0) -> np.ndarray:
        self.asked.append(index)
        return labels_at(index)


def run(folder: Path, *, shots: tuple[int, ...] = (0,), every: int = 3) -> Drawn:
    parser = Drawn()
    points = np.stack([points_at(frame) for frame in range(FRAMES)])
    events = list(
        parse_frames(
            shots,
            points,
            lambda _: np.zeros((SIZE, SIZE, 3), np.uint8),
            parser,
            lambda frame: folder / f"{frame}.png",
            ParsingConfig(every=every),
            num_workers=2,
        )
    )
    assert not events or getattr(events[-1], "done", None) == FRAMES
    return parser


def overlap(first: np.ndarray, second: np.ndarray, part: Part) -> float:
    return float(((first == part) & (second == part)).sum() / ((first == part) | (second == part)).sum())


def test_labels_between_keys_follow_the_head(tmp_path: Path) -> None:
    parser = run(tmp_path)
    assert sorted(parser.asked) == [0, 3, 6, 9, 12, 15, 18, 19]
    for frame in range(FRAMES):
        found, truth = read_image(tmp_path / f"{frame}.png", mode="P"), labels_at(frame)
        assert overlap(found, truth, Part.HEAD) > 0.95, frame
        assert overlap(found, truth, Part.TORSO) > 0.98, frame
        if frame in parser.asked:
            assert np.array_equal(found, truth)


def test_every_frame_is_exact(tmp_path: Path) -> None:
    assert sorted(run(tmp_path, every=1).asked) == list(range(FRAMES))
    assert all(
        np.array_equal(read_image(tmp_path / f"{f}.png", mode="P"), labels_at(f)) for f in range(FRAMES)
    )


def test_cuts_are_keys_on_both_sides(tmp_path: Path) -> None:
    assert sorted(run(tmp_path, shots=(0, 5)).asked) == [0, 3, 4, 5, 8, 11, 14, 17, 19]


def test_only_missing_frames_are_made(tmp_path: Path) -> None:
    run(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "7.png").unlink()
    assert sorted(run(tmp_path).asked) == [6, 9]
    assert (tmp_path / "7.png").is_file()
    untouched = {name for name, when in before.items() if (tmp_path / name).stat().st_mtime_ns == when}
    assert untouched >= {f"{frame}.png" for frame in range(FRAMES) if frame not in {6, 7, 8}}
    assert run(tmp_path).asked == []


@pytest.mark.parametrize(("first", "end", "every"), [(0, 1, 3), (4, 6, 3), (0, 10, 3), (7, 20, 4), (0, 5, 1)])
def test_spans_cover_a_shot_once(first: int, end: int, every: int) -> None:
    spans = key_spans(first, end, every)
    covered = [frame for start, stop in spans for frame in range(start, max(stop, start + 1))]
    assert covered == list(range(first, end))


def test_move_takes_a_disc_to_where_its_points_go() -> None:
    y, x = np.mgrid[0:64, 0:64] + 0.5
    disc = (np.hypot(x - 20, y - 30) < 9).astype(np.float32)
    around = np.random.default_rng(1).normal(size=(len(RIGID), 2))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    moved = move(disc, 5 * around + (20, 30), 6 * around @ turn + (40, 24))
    wanted = np.hypot(x - 40, y - 24) < 9 * 1.2
    assert ((moved > 0.5) != wanted).sum() < 25

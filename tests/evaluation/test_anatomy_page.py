"""The page of what speech moves, on faces whose mask and paint are known."""

from pathlib import Path

import numpy as np
import pytest

from nerf_ad.cli.main import main
from nerf_ad.core.errors import FormatError
from nerf_ad.core.files import write_npz
from nerf_ad.evaluation.anatomy_page import faces_sheet, fused, locality, tint, write_anatomy_page
from nerf_ad.face.landmarks import FOREHEAD, OUTER_LIPS

FRAMES, SIZE = 6, 32


def known() -> dict[str, np.ndarray]:
    """Mouths in the lower half; masks open there; painted faces off by half of what the mean face is."""
    points = np.zeros((FRAMES, 478, 2), np.float32)
    points[..., 0] = np.linspace(2, 30, 478)
    points[..., 1] = 14
    points[:, list(OUTER_LIPS)] = np.array([[10.0, 20.0], [22.0, 28.0]])[np.arange(20) % 2]
    points[:, FOREHEAD, 1] = 4
    masks = np.full((FRAMES, SIZE, SIZE), 255, np.uint8)
    masks[:, 16:] = 51
    shown = np.tile(np.arange(FRAMES) % 2, (1, 1)).T.astype(bool)
    presence = np.zeros((FRAMES, 5), bool)
    presence[:, 3:4] = shown
    said = np.where(shown, 0.9, 0.1).astype(np.float32)
    return {
        "frames": np.arange(90, 90 + FRAMES),
        "crops": np.full((FRAMES, SIZE, SIZE, 3), 100, np.uint8),
        "boxes": np.tile(np.array([0, 0, SIZE, SIZE]), (FRAMES, 1)),
        "points": points,
        "units": np.zeros((FRAMES, 5), np.float32),
        "presence": presence,
        "masks": masks,
        "targets": np.full((FRAMES, SIZE, SIZE, 3), 80, np.uint8),
        "decoded": np.full((FRAMES, SIZE, SIZE, 3), 90, np.uint8),
        "mean_face": np.full((SIZE, SIZE, 3), 60, np.uint8),
        "classified": np.array([3]),
        "probability": 1 - said,
        "probability_of_targets": said,
    }


def test_figures_are_those_of_the_arrays() -> None:
    arrays = known()
    assert locality(arrays).mouth == pytest.approx(0.8)
    report = fused(arrays)
    assert report is not None
    assert report.ratio == pytest.approx(0.5, abs=1e-3)
    assert report.units["AU25"].accuracy == 0
    assert report.units["AU25"].ceiling == 1


def test_the_tint_is_grey_where_the_mask_is_shut() -> None:
    crop = np.zeros((2, 2, 3), np.uint8) + np.array([90, 120, 150], np.uint8)
    openness = np.array([[0.0, 1.0], [0.0, 0.5]])[..., None]
    made = tint(crop, openness)
    assert made[0, 0].tolist() == [120, 120, 120]
    assert made[0, 1].tolist() == [round(0.3 * 120 + 0.7 * value) for value in (255, 96, 32)]


def test_the_sheet_has_a_row_for_everything_there_is() -> None:
    whole, without = known(), known()
    for name in ("masks", "decoded"):
        without.pop(name)
    tall, low = faces_sheet(whole).shape[0], faces_sheet(without).shape[0]
    assert tall - low == 3 * (112 + 4)  # mask, identity, painted


def test_the_page_is_written_beside_its_pictures(tmp_path: Path) -> None:
    write_npz(tmp_path / "anatomy.npz", known())
    page = write_anatomy_page(tmp_path)
    html = page.read_text()
    for name in ("faces.png", "units.png"):
        assert (page.parent / name).is_file()
        assert name in html
    assert "AU25" in html


def test_an_avatar_without_anatomy_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no anatomy\.npz"):
        write_anatomy_page(tmp_path)


@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_arrays_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    arrays = known()
    if fault == "missing":
        arrays.pop("boxes")
    else:
        arrays["masks"] = arrays["masks"][:, :3]
    write_npz(tmp_path / "anatomy.npz", arrays)
    with pytest.raises(FormatError, match="boxes" if fault == "missing" else "masks"):
        write_anatomy_page(tmp_path)


def test_a_dataset_has_the_report_of_its_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert main(["inspect", str(tmp_path), "--html"]) == 2
    assert "neither" in capsys.readouterr().err

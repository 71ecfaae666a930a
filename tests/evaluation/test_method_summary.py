"""Tables of methods against hand-made figures."""

from typing import Any

from nerf_ad.evaluation.method_summary import Line, comparison_lines, line_of, mean_lines, summarise


def cell(row: str, *, iterations: int | None = 400, seconds: float = 60.0, **metrics: Any) -> dict[str, Any]:
    costs = {"train": {"wall_seconds": 1.0, "cpu_seconds": 50.0, "peak_memory_bytes": 1_250_000_000}}
    return {
        "row": row,
        "iterations": iterations,
        "minutes": 1.0,
        "seconds": seconds,
        "own_seconds": seconds / 2,
        "costs": costs,
        "metrics": metrics,
    }


def test_the_best_of_every_column_is_marked_as_it_is_printed() -> None:
    lines = [
        line_of(cell("full", psnr=30.004, lpips=0.2, au_accuracy=0.8, au_accuracy_majority=0.9)),
        line_of(cell("nerf", psnr=30.0, lpips=0.1, au_accuracy=0.7, au_accuracy_majority=0.9)),
        line_of(cell("fast", iterations=None, seconds=30.0, psnr=29.0)),
    ]
    table = summarise("person, 400 iterations", lines)
    assert table.head[:5] == ["", "PSNR, dB", "LPIPS", "AU accuracy", "majority's"]
    assert table.rows[0][:5] == ["full", "30.00", "0.200", "0.800", "0.900"]
    assert table.rows[2][:5] == ["fast (1 min)", "29.00", "-", "-", "-"]
    marked = {(table.rows[row][0], table.head[column]) for row, column in table.best}
    assert {("full", "PSNR, dB"), ("nerf", "PSNR, dB")} <= marked  # equal where it is printed
    assert ("nerf", "LPIPS") in marked
    assert ("full", "AU accuracy") in marked
    assert ("fast (1 min)", "all stages, s") in marked
    assert not {name for _, name in marked} & {"majority's", "CPU, s"}
    assert "| nerf | **30.00** | **0.100** | 0.700 | 0.900 |" in table.markdown()
    assert table.rows[0][table.head.index("memory, GB")] == "1.25"


def test_what_figures_are_worth_stands_below_and_never_wins() -> None:
    worth = {"ground_truth": {"psnr": 99.0, "ssim": 1.0}, "static": {"psnr": 20.0}, "shifted": {"psnr": 28.0}}
    cells = [cell("full", psnr=30.0, rows=worth), cell("nerf", psnr=29.0, rows=worth)]
    below = comparison_lines(cells)
    assert [line.title for line in below] == ["ground truth", "static", "full, shifted"]
    table = summarise("all", [*(line_of(facts) for facts in cells), *below])
    column = table.head.index("PSNR, dB")
    assert {row for row, place in table.best if place == column} == {0}
    assert comparison_lines([cell("full", psnr=1.0)]) == []


def test_means_are_of_what_all_have() -> None:
    first = [Line("full", {"a": 1.0, "b": 2.0}), Line("fast (3 min)", {"a": 4.0}), Line("nerf", {"a": 1.0})]
    second = [Line("full", {"a": 3.0}), Line("fast (5 min)", {"a": 5.0})]
    means = mean_lines([first, second])
    assert [(line.title, line.values) for line in means] == [("full", {"a": 2.0}), ("fast", {"a": 4.5})]

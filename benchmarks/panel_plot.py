"""Panels of bars and of curves over a logarithmic axis, drawn without a screen."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from nerf_ad.capture.report.curves import COLOURS


def draw_bar_panels(
    names: Sequence[str], panels: Sequence[tuple[str, Mapping[str, Sequence[float]]]]
) -> bytes:
    """A group of bars for every name, in panels one below the other; a PNG file.

    Args:
        names: below the groups.
        panels: label of the y axis, and for every kind of bar its heights in the order of the names.
    """
    figure, axes = _figure(len(panels))
    for axis, (label, bars) in zip(axes, panels, strict=True):
        width = 0.8 / len(bars)
        for index, (what, heights) in enumerate(bars.items()):
            places = [place + (index - (len(bars) - 1) / 2) * width for place in range(len(names))]
            axis.bar(places, heights, width, color=COLOURS[index % len(COLOURS)], label=what)
        axis.set_xticks(range(len(names)), names, rotation=20)
        axis.set_ylabel(label, fontsize=8)
        axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def draw_log_panels(
    panels: Sequence[tuple[str, str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]],
    *,
    level: Sequence[Mapping[str, float]] = (),
) -> bytes:
    """Curves with marked points over a logarithmic x axis, in panels one below the other; a PNG file.

    Args:
        panels: labels of the x and y axes, and the named curves: abscissae and values.
        level: named dotted horizontal lines of every panel.
    """
    from matplotlib.ticker import ScalarFormatter

    figure, axes = _figure(len(panels))
    names = list(dict.fromkeys(name for _, _, curves in panels for name in curves))
    for place, (axis, (x_label, y_label, curves)) in enumerate(zip(axes, panels, strict=True)):
        for name, (x, y) in curves.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            axis.plot(x, y, color=colour, marker="o", markersize=3, label=name)
        for name, value in (level[place] if level else {}).items():
            axis.axhline(value, color="#999999", linestyle=":", linewidth=0.9)
            axis.annotate(name, (0.005, value), xycoords=("axes fraction", "data"), fontsize=6)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(ScalarFormatter())
        axis.tick_params(which="minor", labelsize=6)
        axis.set_xlabel(x_label, fontsize=8)
        axis.set_ylabel(y_label, fontsize=8)
        if curves:
            axis.legend(fontsize=7, frameon=False)
    return _png(figure)


def _figure(rows: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 2.9 * rows + 0.4), dpi=110, layout="constrained", facecolor="#fafaf8")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, squeeze=False).ravel()
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.set_axisbelow(True)
        axis.grid(visible=True, color="#e6e6e2", linewidth=0.6)
    return figure, axes


def _png(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib has no types
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

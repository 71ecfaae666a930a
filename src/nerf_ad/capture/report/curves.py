"""Curves for the report, drawn without a screen."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

Series = Mapping[str, Float[np.ndarray, "points"]]

COLOURS = ("#2f6f9f", "#c8553d", "#5a8f3c", "#8a5a9e", "#b8860b", "#4a4a4a", "#1b998b", "#d1495b")


def draw_series(
    x: Float[np.ndarray, "points"],
    panels: Sequence[tuple[str, Series]],
    *,
    x_label: str = "seconds",
    marks: Sequence[float] = (),
    shade: tuple[float, float] | None = None,
    height: float = 1.7,
) -> bytes:
    """Panels of curves one below the other, sharing the x axis.

    Args:
        x: abscissa of every point.
        panels: label of the y axis and the named curves of every panel.
        x_label: below the last panel.
        marks: abscissae of dotted vertical lines (shot cuts).
        shade: a stretch in grey (the held-out tail).
        height: inches a panel.

    Returns:
        A PNG file.
    """
    figure, axes = _figure(len(panels), height)
    for axis, (label, series) in zip(axes, panels, strict=True):
        for index, (name, values) in enumerate(series.items()):
            axis.plot(x, values, color=COLOURS[index % len(COLOURS)], linewidth=0.9, label=name)
        for mark in marks:
            axis.axvline(mark, color="#999999", linestyle=":", linewidth=0.9)
        if shade is not None:
            axis.axvspan(*shade, color="#000000", alpha=0.06, linewidth=0)
        axis.set_ylabel(label, fontsize=8)
        if len(series) > 1:
            axis.legend(loc="upper right", fontsize=7, ncols=min(len(series), 6), frameon=False)
    axes[-1].set_xlabel(x_label, fontsize=8)
    if len(x) > 1:
        axes[0].set_xlim(float(x[0]), float(x[-1]))
    return _png(figure)


def draw_lines(
    panels: Sequence[tuple[str, str, Mapping[str, tuple[np.ndarray, np.ndarray]]]],
) -> bytes:
    """Panels one below the other, in which every curve has points of its own; a PNG file.

    Args:
        panels: labels of the x and y axes, and the named curves: abscissae and values.
    """
    figure, axes = _figure(len(panels), 3.2, shares_x=False)
    for axis, (x_label, y_label, series) in zip(axes, panels, strict=True):
        for index, (name, (x, y)) in enumerate(series.items()):
            style = ("-", "--", ":")[index // len(COLOURS) % 3]
            colour = COLOURS[index % len(COLOURS)]
            axis.plot(x, y, color=colour, linestyle=style, linewidth=1.1, label=name)
        axis.set_xlabel(x_label, fontsize=8)
        axis.set_ylabel(y_label, fontsize=8)
        if series:
            axis.legend(loc="lower right", fontsize=7, ncols=2, frameon=False)
    return _png(figure)


def draw_correlation(
    lags: Float[np.ndarray, "points"], correlation: Float[np.ndarray, "points"], best: float
) -> bytes:
    """Correlation of sound and lips over their offset; lags and best in milliseconds; a PNG file."""
    figure, (axis,) = _figure(1, 2.2, width=5.0)
    axis.plot(lags, correlation, color=COLOURS[0], linewidth=1.2)
    axis.axvline(best, color=COLOURS[1], linewidth=1.0)
    axis.axvspan(-40, 40, color="#5a8f3c", alpha=0.12, linewidth=0)
    axis.set_xlabel("mouth after sound, milliseconds", fontsize=8)
    axis.set_ylabel("correlation", fontsize=8)
    return _png(figure)


def draw_scatter(
    clouds: Mapping[str, tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]],
    *,
    x_label: str,
    y_label: str,
) -> bytes:
    """One panel for each named cloud of points in [0, 1], side by side, with the diagonal; a PNG file."""
    figure, axes = _figure(1, 2.2, columns=len(clouds))
    for index, (axis, (name, (x, y))) in enumerate(zip(axes, clouds.items(), strict=True)):
        axis.plot([0, 1], [0, 1], color="#999999", linestyle=":", linewidth=0.9)
        axis.scatter(x, y, s=3, color=COLOURS[index % len(COLOURS)], alpha=0.4, linewidths=0)
        axis.set_title(name, fontsize=8)
        axis.set_xlabel(x_label, fontsize=8)
    axes[0].set_ylabel(y_label, fontsize=8)
    return _png(figure)


def draw_bars(
    groups: Mapping[str, Mapping[str, float]],
    *,
    y_label: str,
    limits: tuple[float, float],
    legend: str = "lower right",
) -> bytes:
    """Groups of named bars on one axis that shows the values between ``limits``; a PNG file.

    ``legend``: where the names stand, in matplotlib's words.
    """
    figure, (axis,) = _figure(1, 2.6)
    names = list(next(iter(groups.values())))
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        places = np.arange(len(groups)) + (index - (len(names) - 1) / 2) * width
        heights = [values[name] for values in groups.values()]
        axis.bar(places, heights, width, color=COLOURS[index % len(COLOURS)], label=name)
    axis.set_xticks(np.arange(len(groups)), list(groups))
    axis.set_ylim(*limits)
    axis.set_ylabel(y_label, fontsize=8)
    axis.legend(loc=legend, fontsize=7, ncols=len(names))
    return _png(figure)


def _figure(
    rows: int, height: float, width: float = 9.5, columns: int = 1, *, shares_x: bool = True
) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height * rows + 0.4), dpi=110, layout="constrained", facecolor="#fafaf8")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=shares_x, squeeze=False).ravel()
    for axis in axes:
        axis.set_facecolor("#ffffff")
        axis.tick_params(labelsize=7)
        axis.grid(visible=True, color="#e6e6e2", linewidth=0.6)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:  # noqa: ANN401 - matplotlib has no types
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

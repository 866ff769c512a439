"""Lines over time, one a position or condition; a crowd of them in grey under its median."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataops_parsl.figures.base import BLACK, GREY, INKS, Floats


def draw(axes: Axes, lines: Mapping[str, tuple[Floats, Floats]]) -> None:
    """Draw named lines (x, y); NaN is a gap, a lone point is marked.

    As many lines as there are inks get one each; more are drawn in grey, with the median of all on top.
    """
    if len(lines) <= len(INKS):
        for (name, (x, y)), ink in zip(lines.items(), INKS, strict=False):
            axes.plot(x, y, color=ink, label=name, marker=marker(y), markersize=4, clip_on=False, zorder=3)
        return
    for index, (x, y) in enumerate(lines.values()):
        label = f"each of {len(lines)}" if index == 0 else None
        axes.plot(x, y, color=GREY, alpha=0.45, linewidth=0.9, marker=marker(y), markersize=2.5, label=label)
    grid, middle = median(list(lines.values()))
    axes.plot(grid, middle, color=BLACK, linewidth=2.4, marker=marker(middle), label="median")


def legend(made: Figure, axes: Axes, title: str = "") -> None:
    """One legend for the whole figure, below it, with columns that fit its names; none without any name."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    letters = int(made.get_figwidth() * 12)
    columns = max(1, min(len(names), 5, letters // (max(map(len, names)) + 6)))
    made.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=columns,
        handlelength=2.2,
        title=title or None,
        title_fontsize=8.5,
    )


def whole_numbers_from_zero(axes: Axes) -> None:
    """A y axis of counts: from 0, whole numbers only."""
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.set_ylim(0, max(axes.get_ylim()[1], 1))


def marker(y: Floats) -> str:
    """How a line is marked: a line of one finite point would not be seen."""
    return "o" if np.count_nonzero(np.isfinite(y)) == 1 else ""


def on_grid(grid: Floats, lines: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Each line at the grid's x, (n_lines, n); NaN outside of what it reaches."""
    table = np.full((len(lines), len(grid)), np.nan)
    for row, (x, y) in zip(table, lines, strict=True):
        known = np.isfinite(x) & np.isfinite(y)
        if known.any():
            row[:] = np.interp(grid, x[known], y[known], left=np.nan, right=np.nan)
    return table


def median(lines: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Median over the lines that reach each time of the longest one."""
    grid = max((x for x, _ in lines), key=len)
    table = on_grid(grid, lines)
    reached = np.isfinite(table).any(axis=0)
    middle = np.full(len(grid), np.nan)
    middle[reached] = np.nanmedian(table[:, reached], axis=0)
    return grid, middle

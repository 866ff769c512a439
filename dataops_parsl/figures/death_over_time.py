"""How many targets are dead, and how many are left alive, over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dataops_parsl.figures import lines
from dataops_parsl.figures.base import (
    Floats,
    Series,
    column,
    figure,
    label_time,
    longest_s,
    say,
    style,
    time_unit,
)


def death_over_time(groups: Mapping[str, Series]) -> Figure:
    """Per cent of the targets that are dead, and number of live ones; one line a condition or position.

    Where nothing is known of any cell's life or death, the figure says so in words.

    Parameters
    ----------
    groups : mapping of a line's name to columns
        `time_s`, `n_live`, `n_dead` (n,). NaN is unknown; a frame without targets has no per cent.
    """
    with style():
        made, axes = figure(1, 2, (9, 3.6))
        per_unit, time_label = time_unit(longest_s(groups))
        live: dict[str, tuple[Floats, Floats]] = {}
        dead: dict[str, tuple[Floats, Floats]] = {}
        for name, series in groups.items():
            time = column(series, "time_s") / per_unit
            n_live, n_dead = column(series, "n_live"), column(series, "n_dead")
            total = n_live + n_dead
            part = np.full(len(time), np.nan)
            np.divide(100 * n_dead, total, out=part, where=total > 0)
            live[name], dead[name] = (time, n_live), (time, part)
        if not any(np.isfinite(y).any() for _, y in live.values()):
            made, axes = figure(1, 1, (9, 2.6))
            words = "Not known which targets are alive:\nnothing in this run tells dead from live cells."
            say(axes[0, 0], words if groups else "no position")
            return made
        lines.draw(axes[0, 0], dead)
        lines.draw(axes[0, 1], live)
        axes[0, 0].set_title("Dead targets")
        axes[0, 0].set_ylabel("% of targets")
        axes[0, 0].set_ylim(0, 100)
        axes[0, 1].set_title("Live targets")
        axes[0, 1].set_ylabel("targets")
        lines.whole_numbers_from_zero(axes[0, 1])
        times = np.concatenate([column(series, "time_s") / per_unit for series in groups.values()])
        for panel in axes[0]:
            label_time(panel, time_label, times)
        lines.legend(made, axes[0, 0])
        return made

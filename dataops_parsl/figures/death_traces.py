"""Traces of the targets that died, aligned to their death."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataops_parsl.figures.base import BLUE, GREY, VERMILION, Columns, Floats, figure, style, words_only
from dataops_parsl.figures.dead_over_time import UNKNOWN

_MOST_THIN = 80


@dataclass(frozen=True)
class Traces:
    """One quantity of each target that died.

    Attributes
    ----------
    time_s : (n,) float64
        Relative to death, in steps of the median frame interval.
    values : (n_deaths, n) float64
        NaN where the target was not seen.
    names : list of (position, track_id)
    """

    time_s: Floats
    values: Floats
    names: list[tuple[str, int]]


def traces_of(
    frames: Columns, cells: Columns, deaths: Columns, column: str, span_s: tuple[float, float]
) -> Traces:
    """Bring a column of the cells of all targets that died onto one clock, 0 at death.

    Parameters
    ----------
    frames : position_id, frame, time_s
    cells : position_id, population, frame, track_id, and the column
    deaths : position_id, population, track_id, death_time_s
    span_s : (before, after) float
        How far it goes; each observation is put at the nearest step.
    """
    clock = {
        (p, f): t
        for p, f, t in zip(
            frames["position_id"].tolist(), frames["frame"].tolist(), frames["time_s"].tolist(), strict=True
        )
    }
    gaps = np.diff(frames["time_s"].astype(np.float64))
    gaps = gaps[gaps > 0]
    interval = float(np.median(gaps)) if len(gaps) else 1.0
    before, after = (round(s / interval) for s in span_s)
    keys = ("position_id", "population", "track_id")
    died = list(zip(*(deaths[k].tolist() for k in keys), strict=True))
    row_of = {key: row for row, key in enumerate(died)}
    death_s = deaths["death_time_s"].astype(np.float64)
    values = np.full((len(died), before + after + 1), np.nan)
    near = np.isin(cells["track_id"], deaths["track_id"]) & np.isin(
        cells["population"].astype(str), np.unique(deaths["population"].astype(str))
    )
    own = np.flatnonzero(near)
    for p, k, t, f, y in zip(
        *(cells[name][own].tolist() for name in keys), cells["frame"][own].tolist(),
        cells[column][own].astype(np.float64).tolist(), strict=True,
    ):  # fmt: skip
        row = row_of.get((p, k, t))
        if row is not None and (p, f) in clock:
            step = round((clock[p, f] - death_s[row]) / interval) + before
            if 0 <= step < values.shape[1]:
                values[row, step] = y
    time = np.arange(-before, after + 1, dtype=np.float64) * interval
    return Traces(time, values, [(p, int(t)) for p, _, t in died])


def death_traces(traces: Mapping[str, Traces], threshold: float = float("nan"), known: bool = True) -> Figure:
    """Median, quartiles and single targets around death, one panel a quantity.

    Parameters
    ----------
    traces : mapping of the y axis' label to Traces
        The first is what is compared with the threshold.
    threshold : float
        Above it a target is dead; NaN: not known.
    known : bool
        Whether life and death are known at all.
    """
    shown = {label: one for label, one in traces.items() if np.isfinite(one.values).any()}
    if not shown:
        return words_only("No target was seen to die." if known else UNKNOWN)
    with style():
        made, axes = figure(1, len(shown), (max(4.6 * len(shown), 6.2), 3.8))
        for index, (panel, (label, one)) in enumerate(zip(axes[0], shown.items(), strict=True)):
            _panel(panel, one)
            panel.set_ylabel(label)
            panel.set_xlabel("time from death (min)")
            if index == 0 and np.isfinite(threshold):
                panel.axhline(threshold, color=VERMILION, linewidth=1.3, linestyle=(0, (5, 2)), zorder=4)
                panel.annotate(
                    f"dead above {threshold:.3g}", (0.01, threshold), (0, 3), va="bottom", fontsize=8.5,
                    xycoords=panel.get_yaxis_transform(), textcoords="offset points", color=VERMILION,
                )  # fmt: skip
        axes[0, 0].set_title(f"{len(next(iter(shown.values())).values)} targets that died")
        handles, names = axes[0, 0].get_legend_handles_labels()
        made.legend(handles, names, loc="outside lower center", ncols=3)
        return made


def _panel(axes: Axes, one: Traces) -> None:
    time = one.time_s / 60
    n_thin = min(len(one.values), _MOST_THIN)
    chosen = np.unique(np.linspace(0, len(one.values) - 1, n_thin).round().astype(int))
    for number, row in enumerate(one.values[chosen]):
        label = "single targets" if number == 0 else None
        axes.plot(time, row, color=GREY, linewidth=0.6, alpha=0.35, zorder=1, label=label)
    known = np.isfinite(one.values).any(axis=0)
    quartiles = np.full((3, len(time)), np.nan)
    quartiles[:, known] = np.nanpercentile(one.values[:, known], (25, 50, 75), axis=0)
    axes.fill_between(
        time, quartiles[0], quartiles[2], color=BLUE, alpha=0.25, linewidth=0, zorder=2, label="quartiles"
    )
    axes.plot(time, quartiles[1], color=BLUE, label="median", zorder=3)
    axes.axvline(0, color="black", linewidth=0.9, zorder=2)
    # One lone bright trace must not flatten all others.
    low, high = np.nanpercentile(one.values, (0.5, 99.5))
    margin = 0.08 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)

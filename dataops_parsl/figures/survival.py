"""Survival of targets by condition, with the numbers at risk, however the lost are counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dataops_parsl.figures import lines
from dataops_parsl.figures.base import Columns, Floats, figure, short, style, time_unit, words_only
from dataops_parsl.figures.dead_over_time import UNKNOWN
from dataops_parsl.figures.groups import MOST_CONDITIONS, Design

Estimate = Mapping[str, Floats]
_FIELDS = ("time_s", "n_at_risk", "n_entered", "n_dead", "n_censored", "alive_frac", "low_frac", "high_frac")
_LOST = {"censored": "lost targets: not counted further", "dead": "lost targets: counted as dead"}
_FROM = {
    "film_start": "time since the start of the film",
    "entry": "time since the target was first seen",
    "first_contact": "time since the first contact",
}


def estimates(survival: Columns, origin: str, lost_as: str) -> dict[str, Estimate]:
    """The estimates of one origin and one way to count the lost, by condition, or by position without any.

    Parameters
    ----------
    survival : level, name, origin, lost_as, time_s, n_at_risk, n_entered, n_dead, n_censored, alive_frac,
        low_frac, high_frac
    """
    mine = (survival["origin"] == origin) & (survival["lost_as"] == lost_as)
    for level in ("condition", "position"):
        rows = np.flatnonzero(mine & (survival["level"] == level))
        names = survival["name"][rows]
        made: dict[str, Estimate] = {}
        for name in dict.fromkeys(names.tolist()):
            own = rows[names == name]
            own = own[np.argsort(survival["time_s"][own].astype(np.float64), kind="stable")]
            made[str(name)] = {field: survival[field][own].astype(np.float64) for field in _FIELDS}
        if made:
            return made
    return {}


def at_risk(estimate: Estimate, moments_s: Floats) -> NDArray[np.int64]:
    """Targets at risk just before each moment, which is what the table says of its next time."""
    times = estimate["time_s"]
    row = np.searchsorted(times, moments_s, side="left")
    known = (row < len(times)) & (moments_s >= times[0])
    number = np.zeros(len(moments_s), np.int64)
    number[known] = estimate["n_at_risk"][row[known]].astype(np.int64)
    return number


def survival_curves(survival: Columns, origin: str, design: Design, known: bool = True) -> Figure:
    """Two panels, lost as censored and lost as dead: steps, 95 % bands, and a risk table below each.

    Parameters
    ----------
    survival : see `estimates`
    origin : str
        film_start, entry or first_contact.
    design : Design
        For the inks.
    known : bool
        Whether life and death are known at all.
    """
    found = {lost: estimates(survival, origin, lost) for lost in _LOST}
    if not any(found.values()):
        if not known:
            return words_only(UNKNOWN)
        words = "No target could be followed from its first contact" if origin == "first_contact" else ""
        return words_only(f"{words or 'No target could be followed'}:\nnone was judged alive at any time.")
    seen = list(dict.fromkeys(name for made in found.values() for name in made))
    names = [n for n in design.conditions if n in seen] + [n for n in seen if n not in design.conditions]
    with style():
        crowd = len(names) > MOST_CONDITIONS
        table = 0.0 if crowd else 0.45 + 0.2 * len(names)
        made, axes = figure(
            2, 2, (10, 4.2 + table), share="x", height_ratios=(3.4, max(table, 0.01)), width_ratios=(1, 1)
        )
        ends = [float(e["time_s"][-1]) for group in found.values() for e in group.values()]
        per_unit, label = time_unit(max(ends, default=0.0))
        for column, (lost, group) in enumerate(found.items()):
            upper, lower = axes[0, column], axes[1, column]
            _steps(upper, group, per_unit, design, names)
            upper.set_title(_LOST[lost])
            upper.set_ylabel("targets alive (%)" if column == 0 else "")
            upper.set_ylim(0, 103)
            upper.set_xlim(left=0)
            upper.tick_params(labelbottom=True)
            upper.set_xlabel(label.replace("time", _FROM.get(origin, origin)))
            if crowd:
                lower.set_axis_off()
            else:
                _risk_table(upper, lower, group, per_unit, design, names, column == 0)
        words = "each condition, and the median" if crowd else "band: 95 % interval"
        lines.legend(made, axes[0, 0], f"Kaplan–Meier; {words}")
        return made


def _steps(
    axes: Axes, group: Mapping[str, Estimate], per_unit: float, design: Design, names: list[str]
) -> None:
    pens, crowd = design.pens(names), len(names) > MOST_CONDITIONS
    drawn = {}
    shade = 0.18 if len(names) <= 3 else 0.09  # many bands on top of each other hide the curves
    for name in (n for n in names if n in group):
        one = group[name]
        time = np.r_[0.0, one["time_s"] / per_unit]
        alive, low, high = (np.r_[1.0, one[f"{f}_frac"]] * 100 for f in ("alive", "low", "high"))
        if crowd:
            drawn[short(name)] = (np.repeat(time, 2)[1:], np.repeat(alive, 2)[:-1])
            continue
        pen = pens[name]
        axes.step(time, alive, where="post", color=pen.ink, linestyle=pen.dash, label=short(name), zorder=3)
        axes.fill_between(time, low, high, step="post", color=pen.ink, alpha=shade, linewidth=0, zorder=1)
    if crowd:
        lines.draw(axes, drawn)


def _risk_table(
    upper: Axes,
    lower: Axes,
    group: Mapping[str, Estimate],
    per_unit: float,
    design: Design,
    names: list[str],
    named: bool,
) -> None:
    """Numbers at risk under the ticks of the curves, one line a condition in its ink."""
    pens = design.pens(names)
    last = upper.get_xlim()[1]
    ticks = np.array([t for t in upper.get_xticks() if 0 <= t <= last])
    for row, name in enumerate(names):
        numbers: list[Any] = ["–"] * len(ticks)
        if name in group:
            numbers = at_risk(group[name], ticks * per_unit).tolist()
        for x, n in zip(ticks, numbers, strict=True):
            lower.text(x, row, str(n), ha="center", va="center", fontsize=8.5, color=pens[name].ink)
    lower.set_ylim(len(names) - 0.4, -0.6)
    lower.set_yticks(range(len(names)), [short(n, 24) for n in names] if named else [""] * len(names))
    for tick, name in zip(lower.get_yticklabels(), names, strict=True):
        tick.set_color(pens[name].ink)
    lower.tick_params(axis="y", pad=16)
    lower.tick_params(length=0, labelbottom=False)
    lower.grid(False)
    for spine in lower.spines.values():
        spine.set_visible(False)
    lower.set_title("targets at risk", fontsize=9, color="#444444")

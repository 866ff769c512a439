"""Kills per effector and the delay of death, never without what chance and the controls give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from dataops_parsl.figures import lines
from dataops_parsl.figures.base import (
    GREY,
    Columns,
    Floats,
    grid_of,
    say,
    short,
    style,
    time_unit,
    words_only,
)
from dataops_parsl.figures.dead_over_time import UNKNOWN
from dataops_parsl.figures.groups import Design

_MOST_PANELS = 12
_BY_CHANCE = "#B9B9B9"


@dataclass(frozen=True)
class Kills:
    """Deaths of a condition that are attributed to effectors, and what they have to be compared with.

    Attributes
    ----------
    n_deaths, n_attributed : int
    by_chance : (n_draws,) float64
        Deaths that would have had a candidate had other targets died; empty where not known.
    control_per_h : float
        Deaths per hour and target in the negative controls; NaN without any.
    observed, expected : (k,) float64
        Effectors with 0, 1, 2 ... kills, as seen and by chance.
    delay_s : (n,) float64
        From the top candidate's first contact to the death, where that contact's start was seen.
    """

    n_deaths: int = 0
    n_attributed: int = 0
    by_chance: Floats = field(default_factory=lambda: np.empty(0))
    control_per_h: float = float("nan")
    observed: Floats = field(default_factory=lambda: np.empty(0))
    expected: Floats = field(default_factory=lambda: np.empty(0))
    delay_s: Floats = field(default_factory=lambda: np.empty(0))

    def words(self) -> str:
        """The number of kills between chance and controls; no number where chance is not known."""
        if not self.n_deaths:
            return f"no target died\n{self._control()}"
        if not len(self.by_chance):
            return f"chance level not known: no number of kills\n{self._control()}"
        low, high = np.percentile(self.by_chance, (2.5, 97.5), method="nearest")
        chance = f"by chance {self.by_chance.mean():.1f} (95 %: {low:.0f}–{high:.0f})"
        return f"{self.n_attributed} of {self.n_deaths} deaths attributed, {chance}\n{self._control()}"

    def _control(self) -> str:
        if not np.isfinite(self.control_per_h):
            return "control death rate: no negative control"
        return f"control death rate: {self.control_per_h:.2g} per target and hour"


def kills_of(
    deaths: Columns, chance: Columns, chance_kills: Columns, effectors: Columns, design: Design
) -> dict[str, Kills]:
    """Kills of each condition, summed over its positions.

    Parameters
    ----------
    deaths : position_id, attribution, delay_s
    chance : position_id, draw, n_attributed
    chance_kills : position_id, n_kills, n_effectors, n_effectors_by_chance
    effectors : control_deaths_per_h
    design : Design
    """
    rates = effectors["control_deaths_per_h"].astype(np.float64)
    rate = float(rates[np.isfinite(rates)][0]) if np.isfinite(rates).any() else float("nan")
    made = {}
    for condition in design.conditions:
        members = design.members(condition)
        died = np.isin(deaths["position_id"].astype(str), members)
        drawn = np.isin(chance["position_id"].astype(str), members)
        hist = np.isin(chance_kills["position_id"].astype(str), members)
        draw = chance["draw"][drawn].astype(np.int64)
        number = chance_kills["n_kills"][hist].astype(np.int64)
        delay = deaths["delay_s"][died].astype(np.float64)
        observed, expected = (
            _tally(number, chance_kills[name][hist]) for name in ("n_effectors", "n_effectors_by_chance")
        )
        made[condition] = Kills(
            int(died.sum()),
            int((deaths["attribution"][died] == "attributed").sum()),
            _tally(draw, chance["n_attributed"][drawn]),
            rate,
            observed,
            expected,
            delay[np.isfinite(delay)],
        )
    return made


def _tally(number: NDArray[np.int64], weights: NDArray[Any]) -> Floats:
    """Sum of the weights of each number from 0 on."""
    sums = np.bincount(number, weights=np.nan_to_num(weights.astype(np.float64)))
    return np.asarray(sums, np.float64)


def kills_per_effector(kills: Mapping[str, Kills], design: Design, known: bool = True) -> Figure:
    """How many effectors killed how often, beside what chance gives, one panel a condition.

    Parameters
    ----------
    kills : mapping of condition to Kills
    design : Design
    known : bool
        Whether life and death are known at all.
    """
    kept = {c: k for c, k in _few(kills).items() if k.n_deaths or c not in design.controls}
    if not known or not kept:
        return words_only(UNKNOWN if not known else "no position with effectors")
    if not any(k.n_deaths for k in kept.values()):
        return words_only(f"No kill to show: {next(iter(kept.values())).words()}")
    with style():
        made, panels = grid_of(len(kept), (4.5, 3.5))
        _say_left_out(made, kills)
        pens = design.pens(kept)
        for axes, (condition, one) in zip(panels, kept.items(), strict=True):
            _title(axes, condition, one)
            if not one.n_deaths or not len(one.by_chance) or not len(one.observed):
                say(axes, "no kill to show" if not one.n_deaths else "chance level not known")
                continue
            _bars(axes, one, pens[condition].ink)
        return made


def _bars(axes: Axes, one: Kills, ink: str) -> None:
    n = max(int(np.flatnonzero((one.observed > 0) | (one.expected >= 0.05)).max(initial=0)) + 1, 2)
    x = np.arange(n)
    pairs = ((-0.21, one.observed, ink, "observed"), (0.21, one.expected, _BY_CHANCE, "by chance"))
    for shift, values, color, label in pairs:
        height = np.zeros(n)
        height[: len(values)] = values[:n]
        axes.bar(x + shift, height, 0.4, color=color, label=label, zorder=3)
        for place, value in zip(x + shift, height, strict=True):
            words = f"{value:.0f}" if value == round(value) or value >= 10 else f"{value:.1f}"
            axes.text(place, value, words, ha="center", va="bottom", fontsize=8 if n <= 6 else 6.5)
    # Most effectors kill nobody: on a linear axis the killers would not be seen.
    axes.set_yscale("symlog", linthresh=1, linscale=0.6)
    axes.set_ylim(0, 6 * max(one.observed.max(), one.expected.max(), 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(MaxNLocator(1))
    axes.set_xticks(x)
    axes.set_xlabel("kills of an effector")
    axes.set_ylabel("effectors (log scale)")
    axes.grid(False, axis="x")
    axes.legend(loc="upper right", handlelength=1, ncols=2)


def contact_to_death(kills: Mapping[str, Kills], design: Design, known: bool = True) -> Figure:
    """Time from the first contact with the killer to death, one panel a condition, one scale for all."""
    shown = {c: k for c, k in _few(kills).items() if len(k.delay_s) and len(k.by_chance)}
    if not known:
        return words_only(UNKNOWN)
    if not shown:
        words = next((k.words() for k in kills.values()), "")
        return words_only(f"No death with a contact before it whose start was seen.\n{words}".strip())
    with style():
        made, panels = grid_of(len(shown), (4.5, 3.3))
        _say_left_out(made, kills)
        longest = max(float(k.delay_s.max()) for k in shown.values())
        per_unit, unit = time_unit(longest)
        edges = np.linspace(0, max(longest / per_unit, 1e-9), 13)
        pens = design.pens(shown)
        for axes, (condition, one) in zip(panels, shown.items(), strict=True):
            delay = one.delay_s / per_unit
            middle = float(np.median(delay))
            axes.hist(delay, bins=edges.tolist(), color=pens[condition].ink, edgecolor="white", zorder=3)
            axes.axvline(middle, color="black", linewidth=1.4, linestyle=(0, (4, 2)), zorder=4)
            without = one.n_attributed - len(delay)
            words = f"median {middle:.3g} {unit.split('(')[1].rstrip(')')}"
            words += f"\n{without} more without\na seen start" if without else ""
            right = middle > edges[-1] / 2
            axes.annotate(
                words, (middle, 0.97), xycoords=axes.get_xaxis_transform(), xytext=(-6 if right else 6, 0),
                textcoords="offset points", ha="right" if right else "left", va="top", fontsize=8.5,
            )  # fmt: skip
            _title(axes, condition, one)
            axes.set_xlabel(f"first contact to death ({unit.split('(')[1]}")
            axes.set_ylabel("deaths")
            lines.whole_numbers_from_zero(axes)
            axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
        return made


def _few(kills: Mapping[str, Kills]) -> Mapping[str, Kills]:
    """As many conditions as a page holds: those with most deaths, in the order of the design."""
    if len(kills) <= _MOST_PANELS:
        return kills
    chosen: Sequence[str] = sorted(kills, key=lambda c: -kills[c].n_deaths)[:_MOST_PANELS]
    return {c: k for c, k in kills.items() if c in chosen}


def _say_left_out(made: Figure, kills: Mapping[str, Kills]) -> None:
    if len(kills) > _MOST_PANELS:
        made.suptitle(f"the {_MOST_PANELS} of {len(kills)} conditions with most deaths", fontsize=11)


def _title(axes: Axes, condition: str, one: Kills) -> None:
    axes.set_title(f"{short(condition)}\n", fontsize=11, pad=16)
    axes.annotate(
        one.words(), (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", va="bottom",
        fontsize=8, color=GREY,
    )  # fmt: skip

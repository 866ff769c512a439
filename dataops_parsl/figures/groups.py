"""Who belongs together in a figure: conditions, their replicates, their inks, mean and SEM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataops_parsl.figures import lines
from dataops_parsl.figures.base import GREY, INKS, Columns, Floats, short

UNNAMED = "no condition given"
Curve = tuple[Floats, Floats]
Curves = Mapping[str, Mapping[str, Curve]]
"""Replicates' curves (x, y) by condition and replicate."""

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)))
MOST_CONDITIONS = len(INKS) * len(_DASHES)
_MOST_THIN = 60


@dataclass(frozen=True)
class Site:
    """What was done to a position; None where it was not said."""

    condition: str | None = None
    well: str | None = None
    control: str | None = None


@dataclass(frozen=True)
class Pen:
    """Ink and dashes of a condition."""

    ink: str
    dash: Any = "-"


class Design:
    """Positions, put into replicates and conditions.

    The replicate is the well where some well holds several positions, else the position. Negative
    controls come last and are grey, so that the same ink means the same treatment in every figure.

    Parameters
    ----------
    sites : mapping of position to Site
    """

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self.sites = dict(sites)
        wells = [s.well for s in self.sites.values() if s.well]
        self.unit = "well" if len(set(wells)) < len(wells) else "position"
        found: dict[str, dict[str, list[str]]] = {}
        for position in self.sites:
            replicates = found.setdefault(self.condition(position), {})
            replicates.setdefault(self.replicate(position), []).append(position)
        controls = {self.condition(p) for p, s in self.sites.items() if s.control == "negative"}
        self.controls = [c for c in found if c in controls]
        order = [c for c in found if c not in controls] + self.controls
        self.positions = {c: found[c] for c in order}

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, negative controls last."""
        return list(self.positions)

    def condition(self, position: str) -> str:
        """The condition of a position."""
        return self.sites[position].condition or UNNAMED

    def replicate(self, position: str) -> str:
        """The well or the position that counts as one replicate."""
        return (self.sites[position].well or position) if self.unit == "well" else position

    def members(self, condition: str) -> list[str]:
        """All positions of a condition."""
        return [p for positions in self.positions[condition].values() for p in positions]

    def pens(self, names: Iterable[str] = ()) -> dict[str, Pen]:
        """Pen of each condition, and of further names that are none."""
        treated = [c for c in self.conditions if c not in self.controls]
        treated += [n for n in names if n not in self.positions]
        made = {c: Pen(INKS[i % len(INKS)], _DASHES[i // len(INKS) % 3]) for i, c in enumerate(treated)}
        made |= {c: Pen(GREY, _DASHES[(i + 1) % 3]) for i, c in enumerate(self.controls)}
        return made


def design_of(positions: Columns) -> Design:
    """The design of a `positions` table: position_id, condition, well, control."""
    columns = (positions[name] for name in ("position_id", "condition", "well", "control"))
    return Design({p: Site(c, w, k) for p, c, w, k in zip(*columns, strict=True)})


def mean_of(curves: Iterable[Curve]) -> tuple[Floats, Floats, Floats]:
    """Times of the longest curve, and mean and SEM there over the curves that reach them.

    Returns
    -------
    x, mean, sem : (n,) float64
        The SEM is NaN where fewer than two curves are known.
    """
    known = list(curves)
    grid = max((x for x, _ in known), key=len)
    table = lines.on_grid(grid, known)
    n = np.isfinite(table).sum(axis=0)
    mean, sem = np.full(len(grid), np.nan), np.full(len(grid), np.nan)
    if (n > 0).any():
        mean[n > 0] = np.nanmean(table[:, n > 0], axis=0)
    if (n > 1).any():
        sem[n > 1] = np.nanstd(table[:, n > 1], axis=0, ddof=1) / np.sqrt(n[n > 1])
    return grid, mean, sem


def draw(axes: Axes, curves: Curves, design: Design) -> None:
    """Mean over replicates with its SEM band, each replicate as a thin line; n in the name.

    More conditions than there are pens are drawn as a grey crowd of means under their median.
    """
    if len(curves) > MOST_CONDITIONS:
        lines.draw(axes, {c: mean_of(r.values())[:2] for c, r in curves.items()})
        return
    pens = design.pens(curves)
    n_thin = sum(len(r) for r in curves.values())
    for condition, replicates in curves.items():
        pen = pens[condition]
        x, mean, sem = mean_of(replicates.values())
        if len(replicates) > 1:
            axes.fill_between(x, mean - sem, mean + sem, color=pen.ink, alpha=0.22, linewidth=0, zorder=2)
            for replicate in replicates.values():
                alpha = 0.45 if n_thin <= _MOST_THIN else 0.15
                axes.plot(*replicate, color=pen.ink, linewidth=0.7, alpha=alpha, zorder=1)
        label = f"{short(condition)} (n = {len(replicates)})"
        axes.plot(
            x,
            mean,
            color=pen.ink,
            linestyle=pen.dash,
            label=label,
            zorder=3,
            clip_on=False,
            marker=lines.marker(mean),
        )


def legend(made: Figure, axes: Axes, design: Design) -> None:
    """The figure's legend below it, saying what line, band and n are."""
    if len(design.positions) > MOST_CONDITIONS:
        lines.legend(made, axes, f"mean of each condition over its {design.unit}s, and the median of all")
        return
    many = any(len(r) > 1 for r in design.positions.values())
    words = f"mean ± SEM over n {design.unit}s; thin lines: each {design.unit}" if many else ""
    lines.legend(made, axes, words or f"n: {design.unit}s; no SEM with n = 1")

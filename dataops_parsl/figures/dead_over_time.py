"""How many targets are dead, and how many are left alive, over time."""

from __future__ import annotations

from matplotlib.figure import Figure

from dataops_parsl.figures import groups, lines
from dataops_parsl.figures.base import figure, style, words_only
from dataops_parsl.figures.groups import Curves, Design
from dataops_parsl.figures.over_time import in_units

UNKNOWN = "Not known which targets are alive:\nnothing in this run tells dead from live cells."


def dead_over_time(dead_percent: Curves, live: Curves, design: Design) -> Figure:
    """Per cent of the targets that are dead, and live targets a field of view, by condition.

    Parameters
    ----------
    dead_percent, live : mapping of condition to mapping of replicate to (time_s, y)
        NaN is unknown. Empty where nothing is known of any cell's life or death: the figure says so.
    design : Design
    """
    if not dead_percent:
        return words_only(UNKNOWN if design.sites else "no position")
    with style():
        made, axes = figure(1, 2, (9, 4.2))
        drawn, label = in_units((dead_percent, live))
        for panel, curves in zip(axes[0], drawn, strict=True):
            groups.draw(panel, curves, design)
            panel.set_xlabel(label)
        axes[0, 0].set_title("Dead targets")
        axes[0, 0].set_ylabel("% of the targets in view")
        axes[0, 0].set_ylim(0, 100)
        axes[0, 1].set_title("Live targets")
        axes[0, 1].set_ylabel("targets a field of view")
        lines.whole_numbers_from_zero(axes[0, 1])
        groups.legend(made, axes[0, 0], design)
        return made

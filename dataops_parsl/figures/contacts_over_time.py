"""How many effectors touch targets, and how many of the targets are touched, over time."""

from __future__ import annotations

from matplotlib.figure import Figure

from dataops_parsl.figures import groups, lines
from dataops_parsl.figures.base import figure, style, words_only
from dataops_parsl.figures.groups import Curves, Design
from dataops_parsl.figures.over_time import in_units


def contacts_over_time(contacts: Curves, percent: Curves, design: Design) -> Figure:
    """Contacts per frame and field of view, and per cent of the targets in contact, by condition.

    Parameters
    ----------
    contacts, percent : mapping of condition to mapping of replicate to (time_s, y)
        NaN is unknown; a frame without targets has no per cent.
    design : Design
    """
    if not contacts:
        return words_only("no position" if not design.sites else "No frame in which contacts are known.")
    with style():
        made, axes = figure(1, 2, (9, 4.2))
        drawn, label = in_units((contacts, percent))
        for panel, curves in zip(axes[0], drawn, strict=True):
            groups.draw(panel, curves, design)
            panel.set_xlabel(label)
        axes[0, 0].set_title("Contacts of targets")
        axes[0, 0].set_ylabel("contacts a field of view")
        lines.whole_numbers_from_zero(axes[0, 0])
        axes[0, 1].set_title("Targets in contact")
        axes[0, 1].set_ylabel("% of the targets in view")
        axes[0, 1].set_ylim(0, 100)
        groups.legend(made, axes[0, 0], design)
        return made

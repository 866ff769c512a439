"""How many effectors touch targets, and how many of the targets are touched, over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dataops_parsl.figures import lines
from dataops_parsl.figures.base import Series, column, figure, label_time, longest_s, say, style, time_unit


def contacts_over_time(positions: Mapping[str, Series]) -> Figure:
    """Contacts per frame, and per cent of the targets in contact; one line a position or condition.

    Parameters
    ----------
    positions : mapping of a line's name to columns
        `time_s`, `n_contacts` (object pairs), `n_targets_in_contact`, `n_targets` (n,). NaN is unknown; a
        frame without targets has no fraction.
    """
    with style():
        made, axes = figure(1, 2, (9, 3.6))
        if not positions:
            for panel, words in zip(axes[0], ("no position", ""), strict=True):
                say(panel, words)
            return made
        per_unit, time_label = time_unit(longest_s(positions))
        counts, parts = {}, {}
        for name, series in positions.items():
            time = column(series, "time_s") / per_unit
            targets = column(series, "n_targets")
            part = np.full(len(time), np.nan)
            np.divide(100 * column(series, "n_targets_in_contact"), targets, out=part, where=targets > 0)
            counts[name], parts[name] = (time, column(series, "n_contacts")), (time, part)
        lines.draw(axes[0, 0], counts)
        lines.draw(axes[0, 1], parts)
        axes[0, 0].set_title("Contacts of effectors with targets")
        axes[0, 0].set_ylabel("contacts per frame")
        lines.whole_numbers_from_zero(axes[0, 0])
        axes[0, 1].set_title("Targets in contact")
        axes[0, 1].set_ylabel("% of targets")
        axes[0, 1].set_ylim(0, 100)
        times = np.concatenate([column(series, "time_s") / per_unit for series in positions.values()])
        for panel in axes[0]:
            label_time(panel, time_label, times)
        lines.legend(made, axes[0, 0])
        return made

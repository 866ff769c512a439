"""What the cells of a few frames say about diameters, steps and deaths, beside what is set."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataops_parsl.figures import base
from dataops_parsl.figures.base import BLACK, GREY, VERMILION, Floats
from dataops_parsl.figures.preview import inks

_LINE = 92
_BELOW = 0.72  # lines end below the legend


@dataclass(frozen=True, eq=False)
class Distribution:
    """Values seen, and the one that is set.

    Attributes
    ----------
    values : (n,) float64
    current : float
        NaN for none.
    key : str
        Name of what is set.
    words : str
        What there is to say about it, one short line or two.
    suggested : float
        NaN where what is set is fine.
    """

    values: Floats
    current: float
    key: str
    words: str
    suggested: float = float("nan")


def cells_page(
    title: str,
    sizes: Mapping[str, Distribution],
    steps: Mapping[str, Distribution],
    deaths: Distribution,
) -> Figure:
    """Diameters and steps of each population, and the death scores of targets.

    Parameters
    ----------
    sizes, steps : mapping of population to Distribution
        µm.
    deaths : Distribution
        Death scores, counts.
    """
    with base.style():
        rows = max(len(sizes), 1)
        made, _ = base.figure(1, 1, (14.0, 1.2 + 3.0 * rows + 3.2))
        made.clear()
        made.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold")
        grid = made.add_gridspec(rows + 1, 2)
        for row, ((name, size), ink) in enumerate(
            zip(sizes.items(), inks(list(sizes)).values(), strict=True)
        ):
            _distribution(made.add_subplot(grid[row, 0]), size, ink, f"{name}: diameters", "diameter (µm)")
            _distribution(
                made.add_subplot(grid[row, 1]),
                steps[name],
                ink,
                f"{name}: steps between frames",
                "step to the cell of the next frame that is nearest, and back (µm)",
            )
        last = made.add_subplot(grid[rows, :])
        _distribution(last, deaths, GREY, "death scores", "death score (count)", log=True)
        return made


def _distribution(axes: Axes, seen: Distribution, ink: str, name: str, label: str, log: bool = False) -> None:
    values = np.asarray(seen.values, np.float64)
    values = values[np.isfinite(values)]
    words = textwrap.wrap(seen.words, _LINE * (2 if log else 1))
    axes.set_title(name + "\n" * len(words), fontsize=12, fontweight="bold")
    said = axes.text(0, 1.03, "\n".join(words), transform=axes.transAxes, fontsize=9.5, color="#444444")
    said.set_in_layout(False)  # else the words would narrow the axes
    if not len(values):
        base.say(axes, "nothing seen")
        return
    marks = [v for v in (seen.current, seen.suggested) if np.isfinite(v)]
    low, high = min(0.0, float(values.min())), max(float(values.max()), *marks, 1e-6)
    edges = np.linspace(low, high * 1.04, 80 if log else 50)
    count, _ = np.histogram(values, edges)
    inked = [VERMILION if log and edge >= seen.current else ink for edge in edges[:-1]]
    axes.bar(edges[:-1], count, np.diff(edges), align="edge", color=inked)
    if log:
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 4 * axes.get_ylim()[1])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.set_ylim(0, 1.4 * axes.get_ylim()[1])
    if np.isfinite(seen.current):
        axes.axvline(
            seen.current, ymax=_BELOW, color=BLACK, linewidth=1.8, label=f"{seen.key} = {seen.current:.4g}"
        )
    if np.isfinite(seen.suggested):
        axes.axvline(
            seen.suggested,
            ymax=_BELOW,
            color=VERMILION,
            linewidth=1.8,
            linestyle="--",
            label=f"suggested {seen.suggested:.3g}",
        )
    axes.set_xlabel(label)
    axes.set_ylabel("objects" if "step" not in label else "steps")
    if marks:
        axes.legend(loc="upper right", borderpad=0.1)

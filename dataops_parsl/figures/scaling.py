"""Scaling of the stages: times, and speed-up beside the ideal and a published one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from dataops_parsl.figures.base import BLUE, GREY, ORANGE, PALE, SKY, grid_of, style
from dataops_parsl.figures.lines import legend

Times = Mapping[int, float]
PARTS = {"run": BLUE, "libraries and models": SKY, "start-up": PALE}
"""What a time is made of, from the bottom up."""


def results(stages: Mapping[str, Mapping[str, Times]], note: str = "") -> Figure:
    """Bars of the time of each stage by number of workers.

    Parameters
    ----------
    stages : mapping of stage to part to {workers: s}
        The parts are those of `PARTS`.
    note : str
        A line below.
    """
    with style():
        made, panels = grid_of(len(stages), columns=2)
        for axes, (stage, parts) in zip(panels, stages.items(), strict=True):
            counts = list(parts["run"])
            bottom = [0.0] * len(counts)
            for name, ink in PARTS.items():
                heights = [parts[name][n] for n in counts]
                axes.bar(range(len(counts)), heights, 0.7, bottom, color=ink, label=name)
                bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
            for x, (n, top) in enumerate(zip(counts, bottom, strict=True)):
                axes.annotate(
                    _seconds(parts["run"][n]),
                    (x, top),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=BLUE,
                )
            axes.set_xticks(range(len(counts)), [str(n) for n in counts])
            axes.set(title=stage, xlabel="workers", ylabel="time (s)")
            axes.grid(False, axis="x")
            axes.margins(y=0.12)
        legend(made, panels[0], note)
        return made


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def speedup(
    ours: Mapping[str, Times],
    theirs: Mapping[str, Times],
    crowded: Collection[int],
    name: str = "pyCyto",
    ours_name: str = "dataops_parsl",
) -> Figure:
    """Speed-up of each stage by number of workers, with the ideal line and the published points.

    Parameters
    ----------
    ours, theirs : mapping of stage to {workers: speed-up}
        A stage without points of ours is said to be one task.
    crowded : collection of int
        Numbers of workers beyond the host's cores: drawn open.
    name, ours_name : str
        Whose `theirs` and `ours` are.
    """
    with style():
        made, panels = grid_of(len(ours), columns=2)
        for axes, (stage, points) in zip(panels, ours.items(), strict=True):
            published = theirs.get(stage, {})
            counts = sorted({*points, *published, 1})
            axes.plot(counts, counts, color=GREY, linestyle="--", linewidth=1.2, label="ideal")
            if published:
                axes.plot(
                    list(published),
                    list(published.values()),
                    color=ORANGE,
                    marker="s",
                    markersize=5,
                    label=f"{name}, published",
                )
            axes.plot(list(points), list(points.values()), color=BLUE, label=ours_name)
            for n, value in points.items():
                face = "white" if n in crowded else BLUE
                axes.plot(n, value, "o", color=BLUE, markerfacecolor=face, markersize=6, zorder=4)
            if not points:
                axes.text(0.05, 0.9, "takes a film as one task", transform=axes.transAxes, color=GREY)
            _doubling(axes, counts)
            axes.set(title=stage, xlabel="workers", ylabel="speed-up")
        words = "open circles: more workers than cores" if crowded else ""
        legend(made, max(panels, key=lambda a: len(a.get_lines())), words)
        return made


def _doubling(axes: Axes, counts: list[int]) -> None:
    """Both axes doubling, with ticks where there are points."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator(counts))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    low, high = counts[0], counts[-1]
    axes.set_xlim(low / 1.15, high * 1.15)
    axes.set_ylim(min(low / 1.15, axes.get_ylim()[0]), high * 1.3)

"""How far the stage drifted, and how sure the registration is of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dataops_parsl.figures.base import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    PALE,
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

_EVENTS = {"jump": ("--", "jump of the stage"), "refocused": (":", "focus changed")}


def drift(frames: Mapping[str, Series], pixel_size_um: tuple[float, float] | None = None) -> Figure:
    """Drift and confidence over time, one row a position; frames that are not valid lie on grey.

    A jump of the stage is a dashed line, a change of focus a dotted one.

    Parameters
    ----------
    frames : mapping of position to columns
        `time_s`, `dy_px`, `dx_px` (n,), and where known `confidence` (0 to 1), `valid`, `jump` and
        `refocused`. NaN is a gap.
    pixel_size_um : (y, x) float, optional
        Given, the drift is drawn in µm, else in px.
    """
    with style():
        rows = max(len(frames), 1)
        made, axes = figure(rows, 2, (9, 1.1 + 1.5 * rows), width_ratios=(3, 2), share="both")
        if not frames:
            made, axes = figure(1, 1, (9, 2.6))
            say(axes[0, 0], "no position")
            return made
        per_unit, time_label = time_unit(longest_s(frames))
        happened: set[str] = set()
        scale, unit = (pixel_size_um, "µm") if pixel_size_um else ((1.0, 1.0), "px")
        for (left, right), (name, series) in zip(axes, frames.items(), strict=True):
            time = column(series, "time_s") / per_unit
            for part, step, ink in (("dy", scale[0], BLUE), ("dx", scale[1], ORANGE)):
                marker = "o" if len(time) == 1 else ""
                left.plot(time, column(series, f"{part}_px") * step, color=ink, marker=marker)
            left.set_title(name)
            left.set_ylabel(f"drift ({unit})")
            _confidence(right, time, series)
            _shade_invalid((left, right), time, series)
            happened |= {name for name in _EVENTS if _mark(left, time, series, name)}
        low, high = axes[0, 0].get_ylim()
        axes[0, 0].set_ylim(min(low, -1), max(high, 1))
        times = np.concatenate([column(series, "time_s") / per_unit for series in frames.values()])
        for panel in axes[-1]:
            label_time(panel, time_label, times)
        keys = [
            Line2D([], [], color=BLUE, label="dy (down)"),
            Line2D([], [], color=ORANGE, label="dx (right)"),
            Patch(color=PALE, label="frame not valid"),
        ]
        keys += [
            Line2D([], [], color=GREY, linestyle=line, label=words)
            for name, (line, words) in _EVENTS.items()
            if name in happened
        ]
        made.legend(handles=keys, loc="outside lower center", ncols=len(keys), handlelength=1.6)
        return made


def _mark(axes: Axes, time: Floats, series: Series, name: str) -> bool:
    """A line at each frame where it happened; whether it did."""
    moments = time[np.asarray(series[name], dtype=np.bool_)] if name in series else time[:0]
    for moment in moments:
        axes.axvline(moment, color=GREY, linestyle=_EVENTS[name][0], linewidth=1, zorder=1)
    return bool(len(moments))


def _confidence(axes: Axes, time: Floats, series: Series) -> None:
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("confidence")
    if "confidence" not in series:
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", va="center", color=GREY)
        return
    marker = "o" if len(time) == 1 else ""
    axes.plot(time, column(series, "confidence"), color=BLACK, linewidth=1.2, marker=marker)


def _shade_invalid(panels: tuple[Axes, Axes], time: Floats, series: Series) -> None:
    """Grey from half a frame before to half a frame after each invalid frame."""
    if "valid" not in series or not len(time):
        return
    half = float(np.median(np.diff(time))) / 2 if len(time) > 1 else 0.5
    for moment in time[~np.asarray(series["valid"], dtype=np.bool_)]:
        for panel in panels:
            panel.axvspan(moment - half, moment + half, color=PALE, linewidth=0, zorder=0)

"""One page on what the numbers rest on: drift, registration, objects, tracks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dataops_parsl.figures import lines
from dataops_parsl.figures.base import (
    INKS,
    Columns,
    Floats,
    figure,
    say,
    style,
    time_unit,
    words_only,
)

_REASONS = {"film": "#4D4D4D", "division": "#009E73", "edge": "#56B4E9", "lost": "#D55E00"}
_INKS = {"effector": "#56B4E9", "target": "#E69F00"}  # as in the outlines


@dataclass(frozen=True)
class Place:
    """What is known of one position, by frame.

    Attributes
    ----------
    time_s, dy_um, dx_um, confidence : (n,) float64
    valid : (n,) bool
    n_objects, n_lost : mapping of population to (n,) float64
        Objects in a frame; tracks that were lost after it.
    """

    time_s: Floats
    dy_um: Floats
    dx_um: Floats
    confidence: Floats
    valid: NDArray[np.bool_]
    n_objects: Mapping[str, Floats]
    n_lost: Mapping[str, Floats]


def places_of(
    frames: Columns, cells: Columns, tracks: Columns, pixel_size_um: tuple[float, float]
) -> dict[str, Place]:
    """Count objects and losses of each position by frame.

    Parameters
    ----------
    frames : position_id, frame, time_s, dy_px, dx_px, confidence, valid
    cells : position_id, population, frame
    tracks : position_id, population, end_s, end_reason
    """
    populations = list(dict.fromkeys(cells["population"].tolist()))
    made = {}
    cell_at, cell_of = cells["position_id"].astype(str), cells["population"].astype(str)
    track_at, track_of = tracks["position_id"].astype(str), tracks["population"].astype(str)
    lost = tracks["end_reason"] == "lost"
    for position in dict.fromkeys(frames["position_id"].tolist()):
        rows = np.flatnonzero(frames["position_id"] == position)
        rows = rows[np.argsort(frames["frame"][rows])]
        number, time_s = frames["frame"][rows].astype(np.int64), frames["time_s"][rows].astype(np.float64)
        here, ended = cell_at == position, (track_at == position) & lost
        n_objects, n_lost = {}, {}
        for name in populations:
            at = cells["frame"][here & (cell_of == name)].astype(np.int64)
            n_objects[name] = np.bincount(at, minlength=int(number[-1]) + 1)[number].astype(np.float64)
            end_s = tracks["end_s"][ended & (track_of == name)].astype(np.float64)
            row = np.minimum(np.searchsorted(time_s, end_s - 1e-6), len(time_s) - 1)
            n_lost[name] = np.bincount(row, minlength=len(time_s)).astype(np.float64)
        dy, dx, sure = (frames[c][rows].astype(np.float64) for c in ("dy_px", "dx_px", "confidence"))
        made[str(position)] = Place(
            time_s,
            dy * pixel_size_um[0],
            dx * pixel_size_um[1],
            sure,
            frames["valid"][rows].astype(np.bool_),
            n_objects,
            n_lost,
        )
    return made


def quality(places: Mapping[str, Place], tracks: Columns) -> Figure:
    """Drift, registration confidence, objects, track lengths, tracks lost, and how tracks end.

    Parameters
    ----------
    places : mapping of position to Place
    tracks : population, start_s, end_s, end_reason
    """
    if not places:
        return words_only("no position")
    with style():
        made, axes = figure(2, 3, (12, 7))
        longest = max(float(p.time_s.max(initial=0)) for p in places.values())
        per_unit, label = time_unit(longest)
        drift = {n: (p.time_s / per_unit, np.hypot(p.dy_um, p.dx_um)) for n, p in places.items()}
        _lines(axes[0, 0], drift, "Drift since the first frame", "µm", label)
        lines.legend(made, axes[0, 0])
        sure = {n: (p.time_s / per_unit, p.confidence) for n, p in places.items()}
        _lines(axes[0, 1], sure, "Confidence of the registration", "0 to 1", label)
        axes[0, 1].set_ylim(0, 1.05)
        n_frames = sum(len(p.time_s) for p in places.values())
        words = f"{sum(int((~p.valid).sum()) for p in places.values())} of {n_frames} frames not valid"
        axes[0, 1].annotate(words, (0.02, 0.04), xycoords="axes fraction", fontsize=8.5, color="#444444")
        populations = next(iter(places.values())).n_objects
        inks = dict(zip(populations, (i for i in INKS if i not in _INKS.values()), strict=False)) | _INKS
        _objects(axes[0, 2], places, inks, per_unit, label)
        _lengths(axes[1, 0], tracks, inks)
        _losses(axes[1, 1], places, inks, per_unit, label)
        _ends(axes[1, 2], tracks)
        return made


def _lines(
    axes: Axes, curves: Mapping[str, tuple[Floats, Floats]], title: str, unit: str, label: str
) -> None:
    axes.set_title(title)
    axes.set_ylabel(unit)
    axes.set_xlabel(label)
    if not any(np.isfinite(y).any() for _, y in curves.values()):
        say(axes, "not known")
        axes.set(xlabel="", ylabel="")
        return
    lines.draw(axes, curves)
    axes.set_ylim(bottom=0)


def _objects(
    axes: Axes, places: Mapping[str, Place], inks: Mapping[str, str], per_unit: float, label: str
) -> None:
    axes.set_title("Objects a frame")
    populations = next(iter(places.values())).n_objects
    if not populations:
        say(axes, "no cell was found")
        return
    for name in populations:
        curves = [(p.time_s / per_unit, p.n_objects[name]) for p in places.values()]
        for x, y in curves if len(curves) > 1 else ():
            axes.plot(x, y, color=inks[name], linewidth=0.6, alpha=0.4)
        grid, middle = lines.median(curves)
        word = "median of positions" if len(curves) > 1 else ""
        axes.plot(
            grid, middle, color=inks[name], linewidth=2.2, label=f"{name}{', ' * bool(word)}{word}",
            marker=lines.marker(middle),
        )  # fmt: skip
    axes.set_xlabel(label)
    axes.set_ylabel("objects a field of view")
    lines.whole_numbers_from_zero(axes)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
    axes.legend(loc="upper right", handlelength=1.4)


def _lengths(axes: Axes, tracks: Columns, inks: Mapping[str, str]) -> None:
    axes.set_title("Length of tracks")
    length_s = (tracks["end_s"] - tracks["start_s"]).astype(np.float64)
    if not len(length_s):
        say(axes, "no track")
        return
    per_unit, label = time_unit(float(length_s.max()))
    edges = np.linspace(0, max(float(length_s.max()) / per_unit, 1e-9), 21)
    names = list(dict.fromkeys(tracks["population"].tolist()))
    many = [length_s[tracks["population"] == n] / per_unit for n in names]
    axes.hist(many, bins=edges.tolist(), color=[inks.get(n, "#767676") for n in names], label=names, zorder=3)
    axes.set_xlabel(label.replace("time", "from first to last object"))
    axes.set_ylabel("tracks")
    axes.legend(loc="upper center", handlelength=1)


def _losses(
    axes: Axes, places: Mapping[str, Place], inks: Mapping[str, str], per_unit: float, label: str
) -> None:
    axes.set_title("Tracks lost, by frame")
    populations = next(iter(places.values())).n_objects
    if not populations:
        say(axes, "no track")
        return
    longest = max(places.values(), key=lambda p: len(p.time_s)).time_s
    for name in populations:
        lost, there = np.zeros(len(longest)), np.zeros(len(longest))
        for p in places.values():
            lost[: len(p.time_s)] += p.n_lost[name]
            there[: len(p.time_s)] += p.n_objects[name]
        part = np.full(len(longest), np.nan)
        np.divide(100 * lost, there, out=part, where=there > 0)
        marker = lines.marker(part)
        axes.plot(longest / per_unit, part, color=inks[name], label=name, linewidth=1.4, marker=marker)
    axes.set_xlabel(label)
    axes.set_ylabel("% of the tracks in view")
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.2, 1))
    axes.legend(loc="upper right", handlelength=1.4)


def _ends(axes: Axes, tracks: Columns) -> None:
    axes.set_title("How tracks end")
    names = list(dict.fromkeys(tracks["population"].tolist()))
    if not names:
        say(axes, "no track")
        return
    left = np.zeros(len(names))
    for reason, ink in _REASONS.items():
        n = [100 * np.mean(tracks["end_reason"][tracks["population"] == name] == reason) for name in names]
        axes.barh(range(len(names)), n, left=left, color=ink, label=reason, height=0.5, zorder=3)
        left = left + n
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) + 0.2)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of tracks")
    axes.grid(False, axis="y")
    axes.legend(loc="upper center", ncols=4, handlelength=0.9, columnspacing=0.9, handletextpad=0.4)

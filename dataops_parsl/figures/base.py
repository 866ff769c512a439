"""One style for all figures: inks, axes, time units, files. Figures are objects, without pyplot's state.

Colours are Okabe and Ito's, which people with any colour vision tell apart
(Okabe M, Ito K, 2008, "Color Universal Design").
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Series = Mapping[str, ArrayLike]

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PURPLE, YELLOW, BLACK = "#56B4E9", "#CC79A7", "#F0E442", "#000000"
INKS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
GREY, PALE = "#767676", "#E4E4E4"

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#EDEDED",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.hashsalt": "dataops_parsl",
    "svg.fonttype": "none",
}
_NO_DATES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}


def style() -> Any:
    """Context manager: what is drawn inside has the house style."""
    return mpl.rc_context(_STYLE)


def figure(
    rows: int,
    columns: int,
    size_in: tuple[float, float],
    width_ratios: Sequence[float] | None = None,
    share: bool = False,
) -> tuple[Figure, NDArray[np.object_]]:
    """A figure of width x height inches with (rows, columns) axes, on one scale a column if they share."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.03)
    made = Figure(figsize=size_in, dpi=150, layout=layout, facecolor="white")
    axes = made.subplots(
        rows,
        columns,
        squeeze=False,
        sharex="col" if share else False,
        sharey="col" if share else False,
        gridspec_kw={"width_ratios": width_ratios} if width_ratios else None,
    )
    return made, axes


def save(
    made: Figure, path_without_suffix: Path | str, formats: Sequence[str] = ("png", "svg")
) -> list[Path]:
    """Write a figure in each format, and return the files' paths.

    Equal figures give equal bytes: no date, no program version, a fixed salt for ids.

    Raises
    ------
    ValueError
        For a format that cannot be written that way.
    """
    unknown = [name for name in formats if name not in _NO_DATES]
    if unknown:
        raise ValueError(f"no format {unknown[0]!r}: figures are written as {', '.join(_NO_DATES)}")
    stem = Path(path_without_suffix)
    paths = [stem.with_name(f"{stem.name}.{name}") for name in formats]
    for path, name in zip(paths, formats, strict=True):
        with style():
            made.savefig(path, format=name, metadata=_NO_DATES[name])
    return paths


def png_bytes(made: Figure) -> bytes:
    """The figure as a PNG in memory; equal figures give equal bytes."""
    buffer = io.BytesIO()
    with style():
        made.savefig(buffer, format="png", metadata=_NO_DATES["png"])
    return buffer.getvalue()


def time_unit(longest_s: float) -> tuple[float, str]:
    """Seconds per unit and the axis label that suit a film of this length."""
    if longest_s > 4 * 3600:
        return 3600.0, "time (h)"
    return (60.0, "time (min)") if longest_s > 240 else (1.0, "time (s)")


def column(series: Series, name: str) -> Floats:
    """One column of a series as float64.

    Raises
    ------
    ValueError
        Where it is absent.
    """
    if name not in series:
        raise ValueError(f"no column {name!r} in a series that has {', '.join(sorted(series)) or 'none'}")
    return np.asarray(series[name], dtype=np.float64)


def longest_s(lines: Mapping[str, Series]) -> float:
    """Latest time of any series, s; 0 without any."""
    ends = [float(np.nanmax(column(line, "time_s"), initial=0.0)) for line in lines.values()]
    return max(ends, default=0.0)


def label_time(axes: Axes, label: str, times: Floats) -> None:
    """Name the time axis; a single time has a single tick."""
    axes.set_xlabel(label)
    known = np.unique(times[np.isfinite(times)])
    if len(known) == 1:
        axes.set_xticks(known)


def say(axes: Axes, words: str) -> None:
    """A panel that holds words in place of data."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=11)

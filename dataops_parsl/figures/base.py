"""One style for all figures: inks, axes, time units, files. Figures are objects, without pyplot's state.

Colours are Okabe and Ito's, which people with any colour vision tell apart
(Okabe M, Ito K, 2008, "Color Universal Design").
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Series = Mapping[str, ArrayLike]


class Columns(Protocol):
    """A table as NumPy columns by name; null is NaN in numbers, None elsewhere."""

    def __getitem__(self, name: str, /) -> NDArray[Any]: ...


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
    "axes.labelpad": 6,
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
    share: Literal["", "x", "both"] = "",
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, NDArray[np.object_]]:
    """A figure of width x height inches with (rows, columns) axes; a column may share its scales."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.03)
    made = Figure(figsize=size_in, dpi=150, layout=layout, facecolor="white")
    ratios = {"width_ratios": width_ratios, "height_ratios": height_ratios}
    axes = made.subplots(
        rows,
        columns,
        squeeze=False,
        sharex="col" if share else False,
        sharey="col" if share == "both" else False,
        gridspec_kw={name: ratio for name, ratio in ratios.items() if ratio},
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
    return _bytes(made, "png")


def svg_bytes(made: Figure) -> bytes:
    """The figure as an SVG in memory, its words as text; equal figures give equal bytes."""
    return _bytes(made, "svg")


def _bytes(made: Figure, name: str) -> bytes:
    buffer = io.BytesIO()
    with style():
        made.savefig(buffer, format=name, metadata=_NO_DATES[name])
    return buffer.getvalue()


def words_only(words: str) -> Figure:
    """A figure that says in words why there is nothing to draw."""
    with style():
        made, axes = figure(1, 1, (9, 2.6))
        say(axes[0, 0], words)
        return made


def grid_of(
    n: int, panel_in: tuple[float, float] = (3.6, 2.9), columns: int = 3
) -> tuple[Figure, list[Axes]]:
    """A figure of `n` panels, at most so many columns wide, and its axes; left-over places stay empty."""
    wide = min(n, columns)
    deep = -(-n // wide)
    made, axes = figure(deep, wide, (max(wide * panel_in[0], 5.4), deep * panel_in[1]))
    flat: list[Axes] = axes.ravel().tolist()
    for empty in flat[n:]:
        empty.set_axis_off()
    return made, flat[:n]


def short(words: str, most: int = 36) -> str:
    """A name that fits, cut with an ellipsis where it is longer."""
    return words if len(words) <= most else words[: most - 1] + "…"


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

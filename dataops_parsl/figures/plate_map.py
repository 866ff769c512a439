"""The plate, each well coloured by the part of its targets that died."""

from __future__ import annotations

import re
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from dataops_parsl.figures.base import figure, style

_WELL = re.compile(r"([A-P])0*([1-9]|1[0-9]|2[0-4])")
_PLATES = ((8, 12), (16, 24))


def place(well: str) -> tuple[int, int] | None:
    """Row and column of a well name such as ``A1`` or ``H12``, from 0; None for another kind of name."""
    found = _WELL.fullmatch(well.strip().upper())
    return (ord(found[1]) - ord("A"), int(found[2]) - 1) if found else None


def plate_map(wells: Mapping[str, float], label: str) -> Figure | None:
    """A 96- or 384-well plate with a value in each well that was filmed; others stay empty.

    Parameters
    ----------
    wells : mapping of well name to value
        A fraction; NaN is unknown and drawn hollow, with a question mark.
    label : str
        What the values are.

    Returns
    -------
    Figure or None
        None where no well has a name of a plate.
    """
    found = {at: value for well, value in wells.items() if (at := place(well)) is not None}
    if not found:
        return None
    rows, columns = next(
        (r, c) for r, c in _PLATES if all(y < r and x < c for y, x in found) or r == _PLATES[-1][0]
    )
    known = [v for v in found.values() if np.isfinite(v)]
    norm = Normalize(min([0.0, *known]), max([0.1, *known]))
    ramp = mpl.colormaps["cividis"]
    with style():
        made, grid = figure(1, 1, (9.4, 5.4))
        axes = grid[0, 0]
        for y, x in np.ndindex(rows, columns):
            value = found.get((y, x))
            ink = ramp(norm(value)) if value is not None and np.isfinite(value) else "white"
            edge = "#444444" if value is not None else "#DDDDDD"
            axes.add_patch(Circle((x, y), 0.44, facecolor=ink, edgecolor=edge, linewidth=0.8))
            if value is not None:
                words = f"{100 * value:.0f}".replace("-", "−") if np.isfinite(value) else "?"
                light = np.isfinite(value) and norm(value) > 0.55
                color = "black" if light or not np.isfinite(value) else "white"
                size = 9 if rows == _PLATES[0][0] else 5
                axes.text(x, y, words, ha="center", va="center", color=color, fontsize=size)
        axes.set_xlim(-0.6, columns - 0.4)
        axes.set_ylim(rows - 0.4, -0.6)
        axes.set_aspect("equal")
        axes.set_xticks(range(columns), [str(c + 1) for c in range(columns)])
        axes.set_yticks(range(rows), [chr(ord("A") + r) for r in range(rows)])
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"{label}, % in each well" if known else "Not known who died in any well", pad=10)
        if not known:
            return made
        bar = made.colorbar(ScalarMappable(norm, ramp), ax=axes, shrink=0.75, pad=0.02)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
        bar.set_label("%")
        bar.outline.set_visible(False)
        return made

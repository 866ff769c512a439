"""Strips of single deaths: one row a target with its likely killer, frames from before to after death."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from dataops_parsl.figures.base import ORANGE, PALE, SKY, VERMILION, Columns, style
from dataops_parsl.figures.overlay import Limits, black_and_white, grey

_STAIN = (1.0, 0.25, 0.75)  # magenta beside orange and sky blue: told apart with any colour vision
_SIDE_IN, _PAD_IN, _LEFT_IN = 1.05, 0.05, 1.55
_EDGE = [effects.Stroke(linewidth=2.6, foreground="black"), effects.Normal()]


@dataclass(frozen=True, eq=False)
class Crop:
    """A small window of one frame.

    Attributes
    ----------
    images : mapping of population to (n, n) array
        Shown together in grey.
    stain : (n, n) array or None
        The death stain, shown in magenta on it.
    target, effector : (n, n) bool array or None
        Masks of the two cells.
    """

    images: Mapping[str, NDArray[Any]]
    stain: NDArray[Any] | None = None
    target: NDArray[np.bool_] | None = None
    effector: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Strip:
    """One death: crops (None: no such frame) and the words on the left."""

    crops: Sequence[Crop | None]
    words: str = ""


@dataclass(frozen=True)
class Kill:
    """A death and its first candidate."""

    target: tuple[str, int]
    effector: tuple[str, int]
    frame: int
    contact_s: float
    credit_frac: float
    score: float = field(default=0.0, compare=False)


def credible(
    cells: Columns, deaths: Columns, candidates: Columns, interval_s: float, most: int
) -> list[Kill]:
    """The attributed deaths that are easiest to believe, best first.

    Their score is credit x contact / (contact + 10 min) x seen / (seen + 30 min): one candidate rather than
    several, in contact for long, and a target that was seen for long after. It only chooses pictures.

    Parameters
    ----------
    cells : population, track_id, frame
    deaths : population, track_id, death_frame, attribution
    candidates : population, track_id, effector_population, effector_track_id, contact_s, credit_frac, rank
    interval_s : float
        Between frames.
    """
    first = np.flatnonzero(candidates["rank"] == 1)
    best = {(candidates["population"][i], int(candidates["track_id"][i])): i for i in first}
    found = []
    for i in np.flatnonzero(deaths["attribution"] == "attributed"):
        target = (deaths["population"][i], int(deaths["track_id"][i]))
        if target not in best:
            continue
        j, frame = best[target], int(deaths["death_frame"][i])
        own = cells["frame"][(cells["population"] == target[0]) & (cells["track_id"] == target[1])]
        seen_s = max(0.0, float(np.max(own, initial=frame) - frame)) * interval_s
        contact_s, credit = float(candidates["contact_s"][j]), float(candidates["credit_frac"][j])
        score = credit * contact_s / (contact_s + 600) * seen_s / (seen_s + 1800)
        effector = (candidates["effector_population"][j], int(candidates["effector_track_id"][j]))
        found.append(Kill(target, effector, frame, contact_s, credit, score))
    return sorted(found, key=lambda k: (-k.score, k.frame, k.target))[:most]


def window(
    image: NDArray[Any], centre_px: tuple[float, float], half_px: tuple[int, int], fill: float = 0
) -> NDArray[Any]:
    """The window of 2 half + 1 px around a place, `fill` where it hangs over the border."""
    y, x = (round(c) for c in centre_px)
    height, width = half_px
    out = np.full((2 * height + 1, 2 * width + 1), fill, image.dtype)
    top, left = max(y - height, 0), max(x - width, 0)
    part = image[top : max(y + height + 1, 0), left : max(x + width + 1, 0)]
    out[top - y + height :, left - x + width :][: part.shape[0], : part.shape[1]] = part
    return out


def strips(
    rows: Sequence[Strip], heads: Sequence[str], death: int, pixel_size_um: float, title: str
) -> Figure:
    """Rows of crops under their times, the column of death framed.

    Parameters
    ----------
    rows : sequence of Strip
        Each with one crop per head.
    heads : sequence of str
        Times to death.
    death : int
        Column of death.
    pixel_size_um : float
        For the scale bar in the first crop.
    title : str

    Raises
    ------
    ValueError
        Without rows, or where crops and heads differ in number.
    """
    if not rows or any(len(r.crops) != len(heads) for r in rows):
        raise ValueError("strips need at least one row, and one crop for each head")
    with style():
        n, top_in, foot_in = len(heads), 0.75, 0.42
        size = _LEFT_IN + n * (_SIDE_IN + _PAD_IN) + 0.1, top_in + len(rows) * (_SIDE_IN + _PAD_IN) + foot_in
        made = Figure(figsize=size, dpi=150, facecolor="white")
        made.text(0.1 / size[0], 1 - 0.1 / size[1], title, fontsize=11, va="top")
        barred = False
        for r, strip in enumerate(rows):
            bottom = size[1] - top_in - (r + 1) * (_SIDE_IN + _PAD_IN) + _PAD_IN
            made.text(
                0.1 / size[0], (bottom + _SIDE_IN / 2) / size[1], strip.words, fontsize=8.5, va="center"
            )
            limits, stain = _limits(strip.crops)
            for c, crop in enumerate(strip.crops):
                left = _LEFT_IN + c * (_SIDE_IN + _PAD_IN)
                box = (left / size[0], bottom / size[1], _SIDE_IN / size[0], _SIDE_IN / size[1])
                axes = made.add_axes(box)
                _draw(axes, crop, limits, stain, c == death)
                if r == 0:
                    ink, weight = (VERMILION, "bold") if c == death else ("#444444", "normal")
                    axes.set_title(heads[c], fontsize=9, loc="center", pad=4, color=ink, fontweight=weight)
                if crop is not None and not barred:
                    _bar(axes, pixel_size_um)
                    barred = True
        made.legend(handles=_keys(rows), loc="lower center", ncols=4, handlelength=1.4)
        return made


def _limits(crops: Sequence[Crop | None]) -> tuple[Limits, tuple[float, float]]:
    """Black and white of each image over the whole strip, so that a change of brightness is seen."""
    known = [crop for crop in crops if crop is not None]
    names = dict.fromkeys(name for crop in known for name in crop.images)
    limits = black_and_white(
        {name: np.stack([c.images[name] for c in known if name in c.images]) for name in names}
    )
    stains = [c.stain for c in known if c.stain is not None]
    low, high = np.percentile(np.stack(stains), (60, 99.8)) if stains else (0.0, 1.0)
    return limits, (float(low), float(high))


def _draw(axes: Axes, crop: Crop | None, limits: Limits, stain: tuple[float, float], death: bool) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=VERMILION if death else "#888888", linewidth=2.2 if death else 0.5)
    if crop is None:
        axes.set_facecolor(PALE)
        axes.text(0.5, 0.5, "no frame", transform=axes.transAxes, ha="center", va="center", fontsize=8)
        return
    image = np.repeat(0.8 * grey(crop.images, limits)[..., None], 3, axis=2)
    if crop.stain is not None and stain[1] > stain[0]:
        part = np.clip((np.asarray(crop.stain, np.float64) - stain[0]) / (stain[1] - stain[0]), 0, 1)
        image = image * (1 - 0.75 * part[..., None]) + part[..., None] * 0.75 * np.array(_STAIN)
    axes.imshow(np.clip(image, 0, 1), interpolation="nearest")
    for mask, ink in ((crop.target, ORANGE), (crop.effector, SKY)):
        if mask is not None and mask.any():
            axes.contour(mask, levels=[0.5], colors=[to_rgb(ink)], linewidths=1.3)


def _bar(axes: Axes, pixel_size_um: float) -> None:
    width_px = axes.get_xlim()[1] + 0.5
    length_um = max(s for s in (1, 2, 5, 10, 20, 50, 100) if s == 1 or s <= width_px * pixel_size_um / 3)
    length, margin = length_um / pixel_size_um, 0.06 * width_px
    bottom = axes.get_ylim()[0] - margin
    thick = 0.035 * width_px
    box = Rectangle(
        (margin, bottom - thick), length, thick, facecolor="white", edgecolor="black", linewidth=0.5
    )
    axes.add_patch(box)
    words = axes.text(margin + length / 2, bottom - 2 * thick, f"{length_um} µm", color="white", ha="center")
    words.set_fontsize(7.5)
    words.set_path_effects(_EDGE)


def _keys(rows: Sequence[Strip]) -> list[Line2D | Patch]:
    keys: list[Line2D | Patch] = [
        Line2D([], [], color=ORANGE, label="target"),
        Line2D([], [], color=SKY, label="first candidate"),
    ]
    if any(crop is not None and crop.stain is not None for row in rows for crop in row.crops):
        keys.append(Patch(color=_STAIN, label="death stain"))
    return keys

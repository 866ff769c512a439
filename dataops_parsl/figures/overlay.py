"""What the run saw in a frame: outlines, tails, contacts and deaths on the image, with a scale bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from dataops_parsl.figures.base import ORANGE, PURPLE, SKY, VERMILION, YELLOW, style

Point = tuple[float, float]
Limits = Mapping[str, tuple[float, float]]

_KNOWN = {"effector": SKY, "target": ORANGE}
_OTHERS = (PURPLE, "#009E73", "#0072B2")
_CONTACT, _DEAD = YELLOW, VERMILION
_DPI, _LEAST_SIDE_PX = 100, 900
_LEAST_WIDTH_IN, _PAD_IN = 5.0, 0.08
_GAMMA = 0.7  # lifts dim cells beside bright ones
_EDGE = [effects.Stroke(linewidth=3.2, foreground="black"), effects.Normal()]


@dataclass(frozen=True, eq=False)
class Panel:
    """One frame with what was found in it. Places are (y, x) px of the image.

    Attributes
    ----------
    images : mapping of population to (Y, X) array
        What the population was segmented in; they are shown together in grey.
    labels : mapping of population to (Y, X) integer array
        Label images; 0 is background. May be empty.
    tails : sequence of (population, (k, 2) float array)
        Past places y, x of each track, oldest first.
    contacts : sequence of ((y, x), (y, x))
        Centres of the objects of each pair in contact.
    dead : sequence of (y, x)
        Centres of dead objects.
    title : str
        Words above the image.
    limits : mapping of population to (low, high), optional
        Counts shown as black and white; by default percentiles of this frame.
    """

    images: Mapping[str, NDArray[Any]]
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    tails: Sequence[tuple[str, NDArray[np.float64]]] = ()
    contacts: Sequence[tuple[Point, Point]] = ()
    dead: Sequence[Point] = ()
    title: str = ""
    limits: Limits | None = None

    def __post_init__(self) -> None:
        shapes = {np.shape(image) for image in (*self.images.values(), *self.labels.values())}
        if not self.images or len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise ValueError(f"a panel needs images and labels (Y, X) of one shape, not {sorted(shapes)}")


def overlay(
    images: Mapping[str, NDArray[Any]],
    labels: Mapping[str, NDArray[Any]],
    tails: Sequence[tuple[str, NDArray[np.float64]]] = (),
    contacts: Sequence[tuple[Point, Point]] = (),
    dead: Sequence[Point] = (),
    pixel_size_um: float | None = None,
    title: str = "",
    limits: Limits | None = None,
) -> Figure:
    """One frame, large; the parameters are those of `Panel`, and `pixel_size_um` gives the scale bar.

    Raises
    ------
    ValueError
        Where images and labels are not of one shape, or there is no image.
    """
    return montage([Panel(images, labels, tails, contacts, dead, title, limits)], pixel_size_um)


def montage(panels: Sequence[Panel], pixel_size_um: float | None = None, columns: int = 3) -> Figure:
    """Frames side by side under one legend, the scale bar in the first.

    Raises
    ------
    ValueError
        Without any panel, or for less than one column.
    """
    if not panels or columns < 1:
        raise ValueError("a montage needs at least one panel and one column")
    with style():
        columns = min(columns, len(panels))
        rows, inks = -(-len(panels) // columns), _inks(panels)
        height, width = np.shape(next(iter(panels[0].images.values())))
        zoom = max(1, round(_LEAST_SIDE_PX / max(height, width) / (1 if len(panels) == 1 else 1.8)))
        side_in = zoom * width / _DPI, zoom * height / _DPI
        title_in, legend_in = 0.34, 0.42
        wide = columns * (side_in[0] + _PAD_IN) + _PAD_IN
        size = max(wide, _LEAST_WIDTH_IN), rows * (side_in[1] + title_in) + legend_in
        left = (size[0] - wide) / 2 + _PAD_IN
        made = Figure(figsize=size, dpi=_DPI, facecolor="white")
        for index, panel in enumerate(panels):
            row, column = divmod(index, columns)
            corner = left + column * (side_in[0] + _PAD_IN), size[1] - (row + 1) * (side_in[1] + title_in)
            place = (corner[0] / size[0], corner[1] / size[1], side_in[0] / size[0], side_in[1] / size[1])
            axes = made.add_axes(place)
            _draw(axes, panel, inks, zoom)
            if index == 0 and pixel_size_um:
                _scale_bar(axes, pixel_size_um, zoom)
        keys = _keys(panels, inks)
        if keys:
            made.legend(handles=keys, loc="lower center", ncols=len(keys), fontsize=11, handlelength=1.4)
        return made


def black_and_white(images: Mapping[str, NDArray[Any]]) -> Limits:
    """Black and white of each image; one that is empty beside others stays dark, its noise unstretched."""
    bounds = {name: np.percentile(image, (1.0, 99.8)) for name, image in images.items()}
    widest = max((float(high - low) for low, high in bounds.values()), default=1.0)
    return {n: (float(low), float(max(high, low + 0.3 * widest))) for n, (low, high) in bounds.items()}


def grey(images: Mapping[str, NDArray[Any]], limits: Limits | None = None) -> NDArray[np.float64]:
    """Grey image (Y, X), 0 to 1: each population's image between its limits, the brightest in each pixel.

    Dim cells are lifted by a gamma of 0.7.
    """
    layers = []
    for name, image in images.items():
        pixels = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = limits[name] if limits and name in limits else np.percentile(pixels, (1.0, 99.8))
        layers.append(np.clip((pixels - low) / (high - low), 0, 1) if high > low else np.zeros_like(pixels))
    together: NDArray[np.float64] = np.max(layers, axis=0) ** _GAMMA
    return together


def _inks(panels: Sequence[Panel]) -> dict[str, str]:
    """The colour of each population that is drawn, the same in every panel, in the order of first naming."""
    drawn = [(*panel.labels, *(owner for owner, _ in panel.tails)) for panel in panels]
    names = list(dict.fromkeys(name for names in drawn for name in names))
    others = [name for name in names if name not in _KNOWN]
    inks = {name: _OTHERS[index % len(_OTHERS)] for index, name in enumerate(others)}
    return {name: _KNOWN.get(name) or inks[name] for name in names}


def _draw(axes: Axes, panel: Panel, inks: Mapping[str, str], zoom: int) -> None:
    image = np.repeat(0.85 * grey(panel.images, panel.limits)[..., None], 3, axis=2)
    for name, label in panel.labels.items():
        image[find_boundaries(np.asarray(label), mode="inner")] = to_rgb(inks[name])
    axes.imshow(image, interpolation="nearest", vmin=0, vmax=1)
    axes.set_axis_off()
    axes.set_title(panel.title, fontsize=12, pad=5)
    for name, ink in inks.items():
        paths = [np.asarray(tail)[:, ::-1] for owner, tail in panel.tails if owner == name and len(tail) > 1]
        axes.add_collection(LineCollection(paths, colors=ink, linewidths=1.4, alpha=0.8))
    joins = [np.array([first, second])[:, ::-1] for first, second in panel.contacts]
    if joins:
        middle = np.array(joins).mean(axis=1)
        axes.add_collection(LineCollection(joins, colors=_CONTACT, linewidths=1.6))
        dot = 2 + min(zoom, 4)
        axes.plot(middle[:, 0], middle[:, 1], "o", color=_CONTACT, markersize=dot, markeredgecolor="black")
    if len(panel.dead):
        spots = np.asarray(panel.dead, dtype=np.float64)
        size = 4 + 2.2 * min(zoom, 4)
        axes.plot(spots[:, 1], spots[:, 0], "x", color="black", markersize=size + 1, markeredgewidth=4)
        axes.plot(spots[:, 1], spots[:, 0], "x", color=_DEAD, markersize=size, markeredgewidth=2.2)
    height, width = image.shape[:2]
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _scale_bar(axes: Axes, pixel_size_um: float, zoom: int) -> None:
    """A bar of 1, 2 or 5 times a power of ten µm, about a fifth of the image wide."""
    width_px, height_px = axes.get_xlim()[1] + 0.5, axes.get_ylim()[0] + 0.5
    most_um = width_px * pixel_size_um / 4
    power = 10.0 ** np.floor(np.log10(most_um))
    length_um = max(step * power for step in (1, 2, 5) if step * power <= most_um)
    length_px, margin_px, thick_px = length_um / pixel_size_um, 12 / zoom + 4, 6 / zoom
    left, top = width_px - margin_px - length_px, height_px - margin_px - thick_px
    bar = Rectangle((left, top), length_px, thick_px, facecolor="white", edgecolor="black", zorder=5)
    axes.add_patch(bar)
    words = axes.text(left + length_px / 2, top - 3, f"{length_um:g} µm", color="white", ha="center")
    words.set_fontsize(12)
    words.set_path_effects(_EDGE)


def _keys(panels: Sequence[Panel], inks: Mapping[str, str]) -> list[Line2D]:
    """Legend of what is in any of the panels."""
    keys = [Line2D([], [], color=ink, linewidth=2.4, label=name) for name, ink in inks.items()]
    if any(len(panel.contacts) for panel in panels):
        key = Line2D([], [], color=_CONTACT, marker="o", markeredgecolor="black", markersize=6)
        key.set_label("contact")
        keys.append(key)
    if any(len(panel.dead) for panel in panels):
        key = Line2D([], [], color=_DEAD, marker="x", linestyle="", markersize=8, markeredgewidth=2.2)
        key.set_label("dead")
        keys.append(key)
    return keys

"""What a run would see in a position: a few frames with outlines, a detail drawn to scale, intensities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.figures import base
from dataops_parsl.figures.base import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, Floats
from dataops_parsl.figures.overlay import Limits, black_and_white, grey

_KNOWN = {"effector": SKY, "target": ORANGE}
_OTHERS = (PURPLE, GREEN, BLUE)
_ZOOM_DIAMETERS = 5
_LEAST_ZOOM_PX = 40
_STEPS_OF_TIME = ("#9ECAE1", "#4292C6", "#08306B")  # light to dark: early to late


@dataclass(frozen=True, eq=False)
class Shot:
    """A frame with what was found in it.

    Attributes
    ----------
    title : str
    images, labels : mapping of population to (Y, X) array
        What it was segmented in; label images, 0 = background.
    counts : mapping of channel to (Y, X) array
        Acquired counts.
    """

    title: str
    images: Mapping[str, NDArray[Any]]
    labels: Mapping[str, NDArray[Any]]
    counts: Mapping[str, NDArray[Any]]


def inks(populations: Sequence[str]) -> dict[str, str]:
    """A colour for each population, those of the run's other pictures."""
    others = [p for p in populations if p not in _KNOWN]
    return {p: _KNOWN.get(p) or _OTHERS[others.index(p) % len(_OTHERS)] for p in populations}


def position_page(
    title: str,
    shots: Sequence[Shot],
    diameter_um: Mapping[str, float],
    radius_um: float,
    pixel_size_um: tuple[float, float],
    limits: Mapping[str, tuple[float, float]],
    around: str,
) -> Figure:
    """Frames of a position with outlines; a detail with diameter and contact radius to scale; intensities.

    Parameters
    ----------
    title : str
        Words above all.
    shots : sequence of Shot
        One to three.
    diameter_um : mapping of population to float
        Diameters that are set.
    radius_um : float
        Two cells whose outlines are this near are in contact.
    limits : mapping of channel to (low, high)
        Counts that segmentation takes for black and white; channels that are not segmented have none.
    around : str
        Population that the contact radius is drawn around.

    Raises
    ------
    ValueError
        Without any shot.
    """
    if not shots:
        raise ValueError("a page needs at least one frame")
    with base.style():
        made, _ = base.figure(1, 1, (14.0, 10.4))
        made.clear()
        made.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold")
        top, bottom = _two(made.subfigures(2, 1, height_ratios=(1, 1.08), hspace=0.02))
        colours, shown = inks(list(diameter_um)), _limits(shots)
        for axes, shot in zip(np.ravel(top.subplots(1, 3)), [*shots, None, None], strict=False):
            if shot is None:
                axes.set_axis_off()
                continue
            _image(axes, shot, colours, shown, pixel_size_um, 0.9)
            axes.set_title(shot.title)
        _scale_bar(top.axes[0], pixel_size_um)
        left, right = _two(bottom.subfigures(1, 2, width_ratios=(1.12, 2)))
        _detail(left.subplots(), shots, diameter_um, radius_um, pixel_size_um, around, shown)
        _intensities(right, shots, limits)
        return made


def _limits(shots: Sequence[Shot]) -> Limits:
    """One black and white for all frames."""
    names = dict.fromkeys(name for shot in shots for name in shot.images)
    return black_and_white({n: np.stack([s.images[n] for s in shots if n in s.images]) for n in names})


def _image(
    axes: Axes,
    shot: Shot,
    colours: Mapping[str, str],
    limits: Mapping[str, tuple[float, float]],
    pixel_size_um: tuple[float, float],
    linewidth: float,
) -> None:
    shape = np.shape(next(iter([*shot.images.values(), *shot.labels.values(), *shot.counts.values()])))
    picture = grey(shot.images, limits) if shot.images else np.zeros(shape)
    aspect = pixel_size_um[0] / pixel_size_um[1]
    axes.imshow(0.85 * picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect=aspect)
    axes.set_axis_off()
    for name, labels in shot.labels.items():
        for line in _outlines(labels):
            axes.plot(line[:, 1], line[:, 0], color=colours[name], linewidth=linewidth)


def _outlines(labels: NDArray[Any]) -> list[Floats]:
    """Outline of each object by itself, (k, 2) places y, x; objects that touch keep both."""
    from skimage.measure import find_contours

    found: list[Floats] = []
    for index, box in enumerate(ndimage.find_objects(np.asarray(labels, np.int64))):
        if box is None:
            continue
        inside = np.pad(labels[box] == index + 1, 1).astype(float)
        corner = np.array([box[0].start - 1, box[1].start - 1])
        found += [line + corner for line in find_contours(inside, 0.5)]
    return found


def _detail(
    axes: Axes,
    shots: Sequence[Shot],
    diameter_um: Mapping[str, float],
    radius_um: float,
    pixel_size_um: tuple[float, float],
    around: str,
    limits: Mapping[str, tuple[float, float]],
) -> None:
    """The most crowded place, with the contact radius around `around`, and circles as wide as diameters."""
    size = float(np.sqrt(pixel_size_um[0] * pixel_size_um[1]))
    widest_px = max(diameter_um.values()) / size
    side = int(min(max(_LEAST_ZOOM_PX, _ZOOM_DIAMETERS * widest_px), *_shape(shots[0])))
    shot, (y, x) = _crowd(shots, side, around)
    part = (slice(y, y + side), slice(x, x + side))
    cut = Shot(
        shot.title,
        {n: i[part] for n, i in shot.images.items()},
        {n: i[part] for n, i in shot.labels.items()},
        {n: i[part] for n, i in shot.counts.items()},
    )
    colours = inks(list(diameter_um))
    _image(axes, cut, colours, limits, pixel_size_um, 2.0)
    if around in cut.labels and (cut.labels[around] > 0).any():
        gap_um = ndimage.distance_transform_edt(cut.labels[around] == 0, sampling=pixel_size_um)
        axes.contour(gap_um, levels=[radius_um], colors="white", linewidths=1.2, linestyles=":")
    axes.set_title(f"Detail of {shot.title}, to scale")
    _to_scale(axes, side, diameter_um, colours, size)
    handles = [Line2D([], [], color=ink, linewidth=2.4, label=name) for name, ink in colours.items()]
    ring = Line2D([], [], color=GREY, linestyle=":", linewidth=1.6)
    ring.set_label(f"contact radius {radius_um:g} µm around a {around}")
    axes.legend(
        handles=[*handles, ring], loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, columnspacing=1.0
    )


def _to_scale(
    axes: Axes, side: int, diameter_um: Mapping[str, float], colours: Mapping[str, str], size: float
) -> None:
    """Circles of the diameters that are set, below the image, in its scale."""
    most_px = max(diameter_um.values()) / size
    middle = side - 0.5 + 0.62 * most_px
    left = 0.12 * most_px
    for name, diameter in diameter_um.items():
        width = diameter / size
        axes.add_patch(
            Circle((left + width / 2, middle), width / 2, fill=False, color=colours[name], linewidth=2.2)
        )
        words = f"{name}\n{diameter:g} µm"
        axes.text(left + width + 0.1 * most_px, middle, words, va="center", fontsize=10)
        left += width + 1.3 * most_px
    axes.set_ylim(side - 0.5 + 1.24 * most_px, -0.5)
    axes.set_xlim(-0.5, side - 0.5)


def _two(subfigures: Any) -> tuple[Any, Any]:
    first, second = subfigures
    return first, second


def _shape(shot: Shot) -> tuple[int, int]:
    height, width = np.shape(next(iter([*shot.labels.values(), *shot.images.values()])))
    return int(height), int(width)


def _crowd(shots: Sequence[Shot], side: int, around: str) -> tuple[Shot, tuple[int, int]]:
    """The window with the most pixels of `around` times those of the others, in any of the frames."""
    best: tuple[float, int, int, int] = (-1.0, 0, 0, 0)
    for index, shot in enumerate(shots):
        layers = [
            ndimage.uniform_filter((image > 0).astype(np.float32), side) for image in shot.labels.values()
        ]
        score = np.asarray(np.prod([layer + 0.02 for layer in layers], axis=0))
        half = side // 2
        inner = score[half : score.shape[0] - side + half + 1, half : score.shape[1] - side + half + 1]
        y, x = np.unravel_index(int(np.argmax(inner)), inner.shape)
        best = max(best, (float(inner[y, x]), -index, int(y), int(x)))
    return shots[-best[1]], (best[2], best[3])


def _intensities(made: Any, shots: Sequence[Shot], limits: Mapping[str, tuple[float, float]]) -> None:
    """A histogram a channel, a line a frame: bleaching is a shift to the left."""
    channels = list(dict.fromkeys(c for shot in shots for c in shot.counts))
    if not channels:
        base.say(made.subplots(), "no image channel")
        return
    rows = made.subplots(len(channels), 1, squeeze=False)[:, 0]
    for axes, channel in zip(rows, channels, strict=True):
        images = [(s.title, np.asarray(s.counts[channel], np.float64)) for s in shots if channel in s.counts]
        low, high = np.nanpercentile(np.concatenate([i.ravel() for _, i in images]), (0.0, 99.95))
        bounds = limits.get(channel, (low, high))
        edges = np.linspace(min(low, bounds[0]), max(high, bounds[1], low + 1) * 1.02, 120)
        for (title, image), ink in zip(images, _STEPS_OF_TIME[-len(images) :], strict=False):
            count, _ = np.histogram(image, edges)
            axes.stairs(count / max(image.size, 1) * 100, edges, color=ink, linewidth=1.5, label=title)
        axes.set_yscale("log")
        axes.set_ylabel("% of pixels")
        axes.set_title(f"{channel}: acquired counts")
        if channel in limits:
            for bound in bounds:
                axes.axvline(bound, color=VERMILION, linestyle="--", linewidth=1.1)
            axes.axvline(np.nan, color=VERMILION, linestyle="--", linewidth=1.1, label="black, white")
    rows[-1].set_xlabel("count")
    handles, names = max((axes.get_legend_handles_labels() for axes in rows), key=lambda h: len(h[1]))
    made.legend(handles, names, loc="outside lower center", ncols=4)


def _scale_bar(axes: Axes, pixel_size_um: tuple[float, float]) -> None:
    """A bar of 1, 2 or 5 times a power of ten µm, at most a quarter of the image wide."""
    width, height = axes.get_xlim()[1] + 0.5, axes.get_ylim()[0] + 0.5
    most_um = width * pixel_size_um[1] / 4
    power = 10.0 ** np.floor(np.log10(most_um))
    length_um = max(step * power for step in (1, 2, 5) if step * power <= most_um)
    length = length_um / pixel_size_um[1]
    left, thick = 0.96 * width - length, 0.014 * height
    axes.add_patch(
        Rectangle((left, 0.95 * height), length, thick, facecolor="white", edgecolor="black", zorder=5)
    )
    words = axes.text(left + length / 2, 0.94 * height, f"{length_um:g} µm", color="white", ha="center")
    words.set_bbox({"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5})

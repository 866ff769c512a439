"""Shape and intensity of labelled objects, all objects at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float64 = NDArray[np.float64]
Ints = NDArray[np.int64]

_PERCENTILES = (50, 95)
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


def measure(
    labels: NDArray[np.uint32],
    channels: Mapping[str, NDArray[np.float32]],
    others: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    backgrounds: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[Any]]:
    """Measure every object of one frame.

    Parameters
    ----------
    labels : (Y, X) uint32
        0 = background; any other labels, not necessarily consecutive.
    channels : mapping of str to (Y, X) float32
        Acquired counts; NaN where not acquired or invented by a warp.
    others : (Y, X) bool
        Pixels of objects of other populations.
    valid : (Y, X) bool
        False where the frame shows nothing that was acquired.
    backgrounds : mapping of str to (Y, X) float32
        Local background of each channel, in its counts.

    Returns
    -------
    dict of str to (n objects,) arrays, in ascending order of label
        ``label`` uint32; ``y_px``, ``x_px`` float64, centroid, 0-based, whole at pixel centres; ``area_px``
        int64; ``eccentricity_frac``, ``major_axis_px``, ``minor_axis_px`` float64, of the ellipse of equal
        second moments; ``solidity_frac`` float64, area over the pixels within the convex hull of the pixel
        centres; ``perimeter_px`` float64 (Benkrid & Crookes 2000, as in scikit-image); ``touches_edge`` bool,
        a pixel lies at the border or beside, or on, an invalid pixel, diagonals included.
        For each channel float64 ``mean_raw_<channel>``, mean of counts; ``mean_bg_<channel>``, of counts
        minus background; ``p50_bg_<channel>`` and ``p95_bg_<channel>``, median and 95th percentile of counts
        minus background over the pixels not in `others`. NaN pixels are left out; NaN where no pixel is left.

    Raises
    ------
    ValueError
        The shapes differ or are not (Y, X), or a channel has no background.
    """
    _check(labels, channels, others, valid, backgrounds)
    objects = _Objects.of(labels)
    table: dict[str, NDArray[Any]] = {"label": objects.ids}
    table |= _shape(objects)
    table["solidity_frac"] = objects.area / np.maximum(_hull_pixels(objects), 1)
    table["perimeter_px"] = _perimeter(labels, objects)
    bad = ndimage.maximum_filter((~valid).astype(np.uint8), 3, mode="constant", cval=1)
    table["touches_edge"] = objects.total(bad.ravel()[objects.pixels]) > 0
    alone = ~others.ravel()[objects.pixels]
    for name, image in channels.items():
        counts = image.ravel()[objects.pixels].astype(np.float64)
        above = counts - backgrounds[name].ravel()[objects.pixels]
        table[f"mean_raw_{name}"] = _mean(objects, counts)
        table[f"mean_bg_{name}"] = _mean(objects, above)
        for percent, values in _percentiles(objects, above, alone & np.isfinite(above)).items():
            table[f"p{percent}_bg_{name}"] = values
    return table


def _check(
    labels: NDArray[np.uint32],
    channels: Mapping[str, NDArray[np.float32]],
    others: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    backgrounds: Mapping[str, NDArray[np.float32]],
) -> None:
    if labels.ndim != 2:
        raise ValueError(f"expected (Y, X) labels, got shape {labels.shape}")
    if missing := sorted(set(channels) - set(backgrounds)):
        raise ValueError(f"no background for channel {', '.join(missing)}")
    named: dict[str, NDArray[Any]] = {"others": others, "valid": valid}
    named |= {f"channel {name}": image for name, image in channels.items()}
    named |= {f"background of {name}": backgrounds[name] for name in channels}
    for name, image in named.items():
        if image.shape != labels.shape:
            raise ValueError(f"{name} has shape {image.shape}, the labels {labels.shape}")


def _sums(owner: Ints, values: NDArray[Any], n: int) -> Float64:
    return np.bincount(owner, weights=values, minlength=n).astype(np.float64)


@dataclass(frozen=True)
class _Objects:
    """Pixels of all objects, sorted by object, each object's in raster order."""

    ids: NDArray[np.uint32]  # label of object 0, 1, …
    area: Ints
    owner: Ints  # object of each pixel
    pixels: Ints  # flat index of each pixel
    row: Ints
    column: Ints

    @classmethod
    def of(cls, labels: NDArray[np.uint32]) -> _Objects:
        pixels = np.flatnonzero(labels)
        of_pixel = labels.ravel()[pixels]
        order = np.argsort(of_pixel, kind="stable")
        pixels, of_pixel = pixels[order], of_pixel[order]
        ids, area = np.unique(of_pixel, return_counts=True)
        owner = np.repeat(np.arange(len(ids)), area)
        width = max(labels.shape[1], 1)
        return cls(
            ids.astype(np.uint32), area.astype(np.int64), owner, pixels, pixels // width, pixels % width
        )

    def total(self, values: NDArray[Any]) -> Float64:
        """Sum over each object."""
        return _sums(self.owner, values, len(self.ids))


def _shape(objects: _Objects) -> dict[str, NDArray[Any]]:
    y = objects.total(objects.row) / objects.area
    x = objects.total(objects.column) / objects.area
    dy, dx = objects.row - y[objects.owner], objects.column - x[objects.owner]
    yy, xx, xy = (objects.total(product) / objects.area for product in (dy * dy, dx * dx, dy * dx))
    middle, spread = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
    large, small = middle + spread, np.maximum(middle - spread, 0)
    ratio = np.divide(small, large, out=np.ones_like(large), where=large > 0)
    return {
        "y_px": y,
        "x_px": x,
        "area_px": objects.area,
        "eccentricity_frac": np.sqrt(1 - ratio),
        "major_axis_px": 4 * np.sqrt(large),
        "minor_axis_px": 4 * np.sqrt(small),
    }


def _hull_pixels(objects: _Objects) -> Float64:
    """Pixels whose centres lie within the convex hull of the object's pixel centres, by Pick's theorem."""
    if len(objects.ids) == 0:
        return np.zeros(0)
    span = int(objects.row.max(initial=0)) + 1
    rows, first = np.unique(objects.owner * span + objects.row, return_index=True)
    last = np.append(first[1:], len(objects.pixels)) - 1
    owner, row = rows // span, rows % span
    twice_area = np.zeros(len(objects.ids))
    rim = np.zeros(len(objects.ids))
    # The hull is a left and a right chain, down the rows, closed by the first and the last row.
    for column, side in ((objects.column[first], 1), (objects.column[last], -1)):
        at = _convex_chain(owner, row, column * side)
        one, other = at[:-1], at[1:]
        down = owner[one] == owner[other]
        one, other = one[down], other[down]
        dy, dx = row[other] - row[one], column[other] - column[one]
        # Twice the area between the chain and column 0, counted positive for the right chain.
        slab = -side * dy * (column[one] + column[other])
        twice_area += _sums(owner[one], slab, len(rim))
        rim += _sums(owner[one], np.gcd(dy, dx), len(rim))
    width = objects.column[last] - objects.column[first]
    top = np.flatnonzero(np.diff(owner, prepend=-1))
    bottom = np.append(top[1:], len(owner)) - 1
    rim += width[top] + width[bottom]
    return twice_area / 2 + rim / 2 + 1


def _convex_chain(owner: Ints, row: Ints, column: Ints) -> Ints:
    """Indices of the points on the convex chain of least `column`, for points sorted by owner and row.

    A point that is not left of the straight line between two others of its object is no corner, so all such
    points of all objects can go at once, until none does.
    """
    at: Ints = np.arange(len(owner))
    while len(at) > 2:
        before, here, after = at[:-2], at[1:-1], at[2:]
        same = (owner[before] == owner[here]) & (owner[here] == owner[after])
        turn = (column[here] - column[before]) * (row[after] - row[before]) - (
            column[after] - column[before]
        ) * (row[here] - row[before])
        keep = np.ones(len(at), dtype=np.bool_)
        keep[1:-1] = ~same | (turn < 0)
        if keep.all():
            break
        at = at[keep]
    return at


def _perimeter(labels: NDArray[np.uint32], objects: _Objects) -> Float64:
    """Length of the line through the centres of the border pixels, by the pattern of their neighbours."""
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    flat = padded.ravel()
    position = (objects.row + 1) * width + objects.column + 1
    own = flat[position]
    at_border = np.zeros(len(position), dtype=np.bool_)
    for dy, dx in _SIDES:
        at_border |= flat[position + dy * width + dx] != own
    border = np.zeros(len(flat), dtype=np.bool_)
    border[position[at_border]] = True
    here, own, owner = position[at_border], own[at_border], objects.owner[at_border]
    pattern = np.ones(len(here), dtype=np.int64)
    for weight, offsets in ((2, _SIDES), (10, _CORNERS)):
        for dy, dx in offsets:
            beside = here + dy * width + dx
            pattern += weight * (border[beside] & (flat[beside] == own))
    lengths = np.zeros(50)
    lengths[[5, 7, 15, 17, 25, 27]] = 1
    lengths[[21, 33]] = np.sqrt(2)
    lengths[[13, 23]] = (1 + np.sqrt(2)) / 2
    return _sums(owner, lengths[pattern], len(objects.ids))


def _mean(objects: _Objects, values: Float64) -> Float64:
    seen = np.isfinite(values)
    count = objects.total(seen)
    total = objects.total(np.where(seen, values, 0))
    return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))


def _percentiles(objects: _Objects, values: Float64, use: NDArray[np.bool_]) -> dict[int, Float64]:
    """Percentiles with linear interpolation, as numpy's, over the used pixels of each object."""
    owner, values = objects.owner[use], values[use]
    order = np.argsort(values)
    order = order[np.argsort(owner[order], kind="stable")]
    values = values[order]
    count = np.bincount(owner, minlength=len(objects.ids))
    there = np.flatnonzero(count)
    start = (np.cumsum(count) - count)[there]
    out = {}
    for percent in _PERCENTILES:
        at = percent / 100 * (count[there] - 1)
        low = np.floor(at).astype(np.int64)
        high = np.minimum(low + 1, count[there] - 1)
        found = np.full(len(count), np.nan)
        below, beyond = values[start + low], values[start + high]
        found[there] = below + (at - low) * (beyond - below)
        out[percent] = found
    return out

"""Where the outline of an object lies: cut at its steepest edge, or at a part of its own bright level.

A threshold above the noise draws bright objects too wide, by the blur of the objective. The true outline of a
blurred body lies where its image is steepest (Marr & Hildreth 1980, Proc. R. Soc. B 207:187-217), and, of a
body much larger than the blur, where it has half its height.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float32 = NDArray[np.float32]
Labels = NDArray[np.int32]

_BRIGHT_QUANTILE = 0.8
_RIM_QUANTILE = 0.05
_RIM_RISE_FRAC = 0.3
_REACH_FRAC = 0.2  # of the diameter: how far inside the foreground the edge is looked for
_OUTSIDE_RINGS = 3
_LEAST_RING_PX = 5
_STEP_FRAC = 0.4  # of the steepest step: a bright nucleus inside a dim cell does not hide the cell's edge
_HALF = 0.5
_OPENING_FRAC = 1.3  # a square of this side fits only into discs of more than 1.8 diameters
_OPENING_SMOOTH = 0.2
_OPENING_HEIGHT = 0.7
_STEEP_SIGMA_PX = 0.7
_USUAL_DISCS = (0.3, 2.0)  # of the expected disc's area
_LEAST_USUAL = 5
_SOFT_FRAC = 0.65


def edge_levels(labels: Labels, signal: Float32, diameter_px: float) -> Float32:
    """Level at which each object's image is steepest, but half its own mean at most.

    The mean signal is taken in rings one pixel wide, by distance from the foreground's outline, so that the
    seams between objects that touch do not count. The outermost step that is a local maximum and not much
    smaller than the steepest is the edge.

    Parameters
    ----------
    labels : (Y, X) int32
        Objects, drawn wide rather than narrow; 0 = background.
    signal : (Y, X) float32
        Image, background at 0.
    diameter_px : float
        Expected diameter.

    Returns
    -------
    (n + 1,) float32
        By label; 0 for those that are not there and for background.
    """
    n_labels = int(labels.max(initial=0)) + 1
    foreground = labels > 0
    inside_px = ndimage.distance_transform_edt(foreground)
    outside_px, nearest = ndimage.distance_transform_edt(~foreground, return_indices=True)
    owner = labels[nearest[0], nearest[1]]
    depth_px = np.where(foreground, inside_px - 0.5, 0.5 - outside_px)
    n_rings = max(2, round(_REACH_FRAC * diameter_px)) + _OUTSIDE_RINGS
    ring = np.floor(depth_px).astype(np.int64) + _OUTSIDE_RINGS
    use = (ring >= 0) & (ring < n_rings)
    key = owner[use].astype(np.int64) * n_rings + ring[use]
    count = np.bincount(key, minlength=n_labels * n_rings).reshape(n_labels, n_rings)
    total = np.bincount(key, weights=signal[use], minlength=n_labels * n_rings).reshape(count.shape)
    mean = total / np.maximum(count, 1)
    known = np.minimum(count[:, 1:], count[:, :-1]) >= _LEAST_RING_PX
    step = np.where(known, mean[:, 1:] - mean[:, :-1], 0.0)
    beside = np.pad(step, ((0, 0), (1, 1)))
    steepest = step.max(axis=1, keepdims=True)
    edge = (step >= beside[:, :-2]) & (step >= beside[:, 2:]) & (step >= _STEP_FRAC * steepest) & (step > 0)
    at = np.argmax(edge, axis=1)
    rows = np.arange(n_labels)
    level = np.where(edge[rows, at], (mean[rows, at] + mean[rows, at + 1]) / 2, 0.0)
    level = np.minimum(level, _HALF * _mean(labels, signal, n_labels))
    level[0] = 0
    return np.asarray(level, np.float32)


def out_of_focus(signal: Float32, diameter_px: float, noise: float) -> Float32:
    """Light that varies more slowly than cells do: of debris and cells above or below the focus.

    A grey opening (Sternberg 1986, Comput. Vis. Graph. Image Process. 35:333-355) by a square that fits into
    no cell below 1.8 times the expected diameter, smoothed. It never takes more than most of a typical
    object's height, so that a dense sheet of cells stays.

    Parameters
    ----------
    signal : (Y, X) float32
        Image, background at 0.
    diameter_px : float
        Expected diameter.
    noise : float
        Standard deviation of the background.

    Returns
    -------
    (Y, X) float32
        What to subtract, at least 0.
    """
    bright = signal[signal > 3 * noise]
    if not bright.size:
        return np.zeros_like(signal)
    side_px = round(_OPENING_FRAC * diameter_px) | 1
    opened = ndimage.grey_opening(signal, size=(side_px, side_px))
    broad = ndimage.gaussian_filter(opened, _OPENING_SMOOTH * side_px)
    highest = _OPENING_HEIGHT * float(np.percentile(bright, 75))
    return np.asarray(np.clip(broad, 0, highest), np.float32)


def soft(labels: Labels, signal: Float32, diameter_px: float) -> NDArray[np.bool_]:
    """Which objects are haze: large, and with rims much less steep than those of cells beside them.

    Steepness is the mean gradient along the outline over the object's mean signal. It is compared with the
    median of the objects of plausible size; where these are few, nothing is called haze.

    Parameters
    ----------
    labels, signal, diameter_px
        As for `edge_levels`; the objects cut at their edge.

    Returns
    -------
    (n + 1,) bool
        By label; False for background.
    """
    n_labels = int(labels.max(initial=0)) + 1
    steepness = ndimage.gaussian_gradient_magnitude(signal, _STEEP_SIGMA_PX)
    rim = (labels > 0) & (ndimage.minimum_filter(labels, 3) != labels)
    count = np.bincount(labels[rim], minlength=n_labels)
    total = np.bincount(labels[rim], weights=steepness[rim], minlength=n_labels)
    height = np.maximum(_mean(labels, signal, n_labels), 1e-9)
    relative = total / np.maximum(count, 1) / height
    discs = np.bincount(labels.ravel(), minlength=n_labels) / (np.pi * diameter_px**2 / 4)
    usual = (discs > _USUAL_DISCS[0]) & (discs < _USUAL_DISCS[1])
    usual[0] = False
    if np.count_nonzero(usual) < _LEAST_USUAL:
        return np.zeros(n_labels, np.bool_)
    found = (discs >= _USUAL_DISCS[1]) & (relative < _SOFT_FRAC * np.median(relative[usual]))
    found[0] = False
    return np.asarray(found)


def bright_levels(labels: Labels, signal: Float32, trim_frac: float) -> Float32:
    """Level below which an object is dim: a fraction of its own bright level, or the lowest part of its rise.

    Parameters
    ----------
    labels, signal
        As for `edge_levels`.
    trim_frac : float
        Fraction of the object's 80th percentile.

    Returns
    -------
    (n + 1,) float32
        By label; 0 for those that are not there and for background.
    """
    inside = np.flatnonzero(labels)
    owner, values = labels.ravel()[inside], signal.ravel()[inside]
    # One key instead of a lexicographic sort: its whole part is the owner, its fraction grows with the value.
    low = float(values.min(initial=0))
    span = max(float(values.max(initial=0)) - low, 1e-30)
    order = np.argsort(owner + 0.5 * (values.astype(np.float64) - low) / span)
    owner, values = owner[order], values[order]
    first = np.searchsorted(owner, np.arange(int(labels.max(initial=0)) + 2))
    count = np.diff(first)
    level = np.zeros(len(count), dtype=np.float32)
    there = count > 0

    def quantile(frac: float) -> Float32:
        return np.asarray(values[(first[:-1] + (frac * count).astype(np.int64))[there]])

    bright, rim = quantile(_BRIGHT_QUANTILE), quantile(_RIM_QUANTILE)
    level[there] = np.maximum(trim_frac * bright, rim + _RIM_RISE_FRAC * (bright - rim))
    return level


def _mean(labels: Labels, signal: Float32, n_labels: int) -> NDArray[Any]:
    flat = labels.ravel()
    count = np.bincount(flat, minlength=n_labels)
    return np.asarray(np.bincount(flat, weights=signal.ravel(), minlength=n_labels) / np.maximum(count, 1))

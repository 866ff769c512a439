"""Leaving out objects that are bright in a channel that marks other cells.

A stain that colours two populations shows both; where a second stain marks one of them, what is bright there
belongs to it. The threshold is taken from the frame itself: above the noise of its background, and above
Otsu's (1979) parting of its pixels, which keeps objects that only lie in the glow of a marked cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

from dataops_parsl.algorithms.background import background
from dataops_parsl.algorithms.outlines import out_of_focus

Float32 = NDArray[np.float32]

_TILE_DIAMETERS = 4.0
_MIN_TILE_PX = 64
_RIM_PX = 1


def without_bright(
    labels: NDArray[np.uint32],
    image: NDArray[Any],
    *,
    threshold_sigma: float = 6.0,
    diameter_px: float | None = None,
) -> NDArray[np.uint32]:
    """Drop the objects that are bright in a channel that marks other cells.

    An object is bright when the median of its pixels, local background subtracted, is above the channel's
    foreground level; so a marked cell that covers less than half of it does not remove it. One frame cannot
    tell the marker from bleed-through: where the objects themselves shine into the channel above its noise
    and nothing brighter is there, they are dropped. Marks ten times dimmer than others can be missed.

    Parameters
    ----------
    labels : (Y, X) uint32
        Label image, 0 is background.
    image : (Y, X) array
        Counts of the marking channel in the same frame, denoised or not; finite.
    threshold_sigma : float
        The level is at least so many standard deviations of the background's noise.
    diameter_px : float, optional
        Expected diameter of the marked cells: light broader than they are, out of focus, marks nothing.

    Returns
    -------
    (Y, X) uint32
        What is left, numbered 1..n in the order of the old labels.

    Raises
    ------
    ValueError
        The shapes differ or are not (Y, X), a pixel is NaN or infinite, or `threshold_sigma` is negative.
    """
    if image.ndim != 2 or labels.shape != image.shape:
        raise ValueError(f"expected a label image and a (Y, X) frame, got {labels.shape} and {image.shape}")
    if not threshold_sigma >= 0:
        raise ValueError(f"threshold_sigma must be at least 0, got {threshold_sigma}")
    counts = image.astype(np.float32)
    if not np.isfinite(counts).all():
        raise ValueError("the frame holds NaN or infinite pixels: fill them before excluding by it")
    ids, compact = np.unique(labels, return_inverse=True)
    if ids.size and ids[0] != 0:
        ids, compact = np.concatenate([[0], ids]), compact + 1
    compact = compact.reshape(labels.shape)
    if ids.size <= 1:
        return np.zeros(labels.shape, np.uint32)
    if diameter_px is not None:
        counts = _in_focus(counts, diameter_px)
    signal, level = _signal(counts, compact > 0, ids.size - 1, threshold_sigma)
    medians = np.asarray(ndimage.median(signal, compact, np.arange(1, ids.size)))
    kept = np.concatenate([[False], medians <= level])
    number = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)
    return np.asarray(number[compact])


def without_light_of(
    image: NDArray[Any], labels: NDArray[np.uint32], *, threshold_sigma: float = 6.0
) -> Float32:
    """Take the light of other cells out of a channel: of those that are bright in it all through.

    A dead cell of another population that lies on or beside these cells shines in the death stain, and would
    be drawn as a part of them. A live one that only overlaps a bright cell is left alone.

    Parameters
    ----------
    image : (Y, X) array
        Counts of a stain that both populations may show; finite.
    labels : (Y, X) uint32
        The other cells.
    threshold_sigma : float
        As for `without_bright`.

    Returns
    -------
    (Y, X) float32
        The image, with the local background where such cells are, their blurred rims included.
    """
    counts = image.astype(np.float32)
    kept = without_bright(labels, counts, threshold_sigma=threshold_sigma)
    shining = ndimage.binary_dilation((labels > 0) & (kept == 0), iterations=_RIM_PX)
    if not shining.any():
        return counts
    ground = background(counts, shining, _MIN_TILE_PX)
    return np.where(shining, np.minimum(counts, ground), counts)


def _in_focus(counts: Float32, diameter_px: float) -> Float32:
    """Counts without light that is broader than the marked cells."""
    ground = float(np.median(counts))
    noise = 1.4826 * float(np.median(np.abs(counts - ground)))
    return np.asarray(counts - out_of_focus(counts - np.float32(ground), diameter_px, noise))


def _signal(
    counts: Float32, objects: NDArray[np.bool_], n_objects: int, threshold_sigma: float
) -> tuple[Float32, float]:
    """Counts above the local background, and the level from which they are foreground.

    Twice: what the first pass finds bright does not count as background in the second.
    """
    diameter_px = 2 * np.sqrt(np.count_nonzero(objects) / n_objects / np.pi)
    tile_px = max(_MIN_TILE_PX, round(_TILE_DIAMETERS * diameter_px))
    covered = objects
    for _ in range(2):
        signal = counts - background(counts, covered, tile_px)
        level = _level(signal, signal[~covered], threshold_sigma)
        covered = objects | (signal > level)
    return signal, level


def _level(signal: Float32, ground: Float32, threshold_sigma: float) -> float:
    # Light that spills over an outline makes the ground's upper half no measure of its noise.
    below = -ground[ground < 0]
    noise = 1.4826 * float(np.median(below)) if below.size else 0.0
    # The square root keeps a few very bright cells from hiding the dim ones.
    otsu = float(filters.threshold_otsu(np.sqrt(np.maximum(signal, 0)))) ** 2 if np.ptp(signal) else 0.0
    return max(threshold_sigma * noise, otsu)

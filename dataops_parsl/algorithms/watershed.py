"""Classical segmentation of round to oval cells or nuclei, without any learning.

Background removed; foreground by noise level and Otsu (1979); markers from the maxima of the distance
transform and of the log intensity; watershed (Vincent & Soille 1991); neighbours merged where neither a
neck nor a dark valley nor a step in brightness lies between them and both together fit an ellipse; each
object trimmed at its edge or a fraction of its bright level.

The markers are more than the cells on purpose and the merging compares necks with the objects beside them,
so that the expected diameter guides but does not dictate: cells of half and of twice the size are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure
from skimage import segmentation as sk_segmentation

from dataops_parsl.algorithms import outlines
from dataops_parsl.algorithms.background import interpolate_tiles, tile_edges
from dataops_parsl.algorithms.region_merging import Regions, merge

Float32 = NDArray[np.float32]
Labels = NDArray[np.uint32]

_SAMPLE = 500_000  # pixels that are enough for a histogram
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=np.bool_)
# Lengths below are fractions of the diameter.
_SMOOTH_FRAC = 0.03
_SMOOTH_PX = 0.7
_TILE_FRAC = 3.0
_LOCAL_FRAC = 0.6
_MARKER_REACH_FRAC = 0.15
_BRIGHT_REACH_FRAC = 0.35
_BRIGHT_SMOOTH_FRAC = 0.08
_LOCAL_LEVEL = 0.85  # of the local mean: darker pixels part cells that touch
_OTSU_FRAC = 0.55
_CELL_OTSU_FRAC = 0.5  # dim rims of cells count
_SLOPE_FRAC = 0.03  # a background that varies is not known better than this part of its range
_HAZE_FRAC = 2.5  # a square of this side fits only into discs of more than 3.5 diameters
_HAZE_SMOOTH_FRAC = 0.3
_LEAST_SPAN_SIGMA = 50.0


def segment(
    image: NDArray[Any],
    diameter_px: float,
    *,
    threshold_sigma: float = 6.0,
    min_area_frac: float = 0.1,
    trim_frac: float | None = 0.4,
) -> Labels:
    """Label the cells or nuclei of one frame.

    Parameters
    ----------
    image : (Y, X) array
        Bright objects on dark ground, any scale; finite.
    diameter_px : float
        Expected diameter; within a factor of 1.5 of the true median is safe.
    threshold_sigma : float
        Foreground is at least this many standard deviations of the smoothed noise above the background.
    min_area_frac : float
        Smaller objects are dropped; fraction of the area of a disc of the expected diameter.
    trim_frac : float or None
        Pixels below this fraction of the object's own 80th percentile (above background), or in the lowest
        part of its rise, are cut off; it takes halos away. None removes light that is out of focus and cuts
        each object at its own steepest edge instead (see `outlines`); 0 keeps the foreground's outline, for
        cells whose thin, dim rim counts.

    Returns
    -------
    (Y, X) uint32
        0 = background; 1..n in the raster order of each object's first pixel, each connected by edges.

    Raises
    ------
    ValueError
        `image` is not two-dimensional or holds NaN or infinity, or a parameter is out of range.
    """
    if image.ndim != 2:
        raise ValueError(f"expected a (Y, X) frame, got shape {image.shape}")
    if not diameter_px >= 2:
        raise ValueError(f"diameter_px must be at least 2, got {diameter_px}")
    if trim_frac is not None and not 0 <= trim_frac < 1:
        raise ValueError(f"trim_frac must be None or in 0..1, got {trim_frac}")
    work = image.astype(np.float32)
    if not np.isfinite(work).all():
        raise ValueError("the frame holds NaN or infinite pixels: fill them before segmenting")
    empty = np.zeros(work.shape, dtype=np.uint32)
    if work.size == 0 or np.ptp(work) == 0:
        return empty
    signal, slope = _flatten(work, diameter_px)
    if trim_frac is None:
        middle, noise = _dark(_sample(signal), 60)
        signal -= np.float32(middle)
        signal -= outlines.out_of_focus(signal, diameter_px, noise)
    else:
        signal -= _haze(signal, diameter_px)
    otsu_frac = _CELL_OTSU_FRAC if trim_frac is None else _OTSU_FRAC
    level = max(_level(signal, threshold_sigma, otsu_frac), _SLOPE_FRAC * slope)
    foreground = _close_holes(signal > level, 0.1 * diameter_px**2)
    if not foreground.any():
        return empty
    labels = _part(signal, foreground, level, diameter_px)
    if trim_frac != 0:
        cut = (
            outlines.edge_levels(labels, signal, diameter_px)
            if trim_frac is None
            else outlines.bright_levels(labels, signal, trim_frac)
        )
        labels = _trim(labels, signal, cut, 0.1 * diameter_px**2)
    if trim_frac is None:
        labels = np.where(outlines.soft(labels, signal, diameter_px)[labels], 0, labels)
    return _tidy(labels, min_area_frac * np.pi * diameter_px**2 / 4)


def normalized_sum(images: Sequence[NDArray[Any]], limits: Sequence[tuple[float, float]]) -> Float32:
    """Add channels up, each scaled so that its limits become 0 and 1.

    Parameters
    ----------
    images : sequence of (Y, X) arrays
        One a channel, of one shape.
    limits : sequence of (low, high)
        One a channel, in its counts, as :func:`percentile_limits` gives them.

    Returns
    -------
    (Y, X) float32
        Clipped at 0 below, not clipped above. A channel with ``high <= low`` adds nothing.

    Raises
    ------
    ValueError
        No image, or not as many limits as images, or shapes that differ.
    """
    if not images or len(images) != len(limits):
        raise ValueError(f"expected one pair of limits an image, got {len(images)} and {len(limits)}")
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"expected images of one shape, got {[image.shape for image in images]}")
    total = np.zeros(images[0].shape, dtype=np.float32)
    for image, (low, high) in zip(images, limits, strict=True):
        if high > low:
            total += np.maximum((image.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0)
    return total


def percentile_limits(
    frames: Sequence[NDArray[Any]], low: float = 1.0, high: float = 99.8
) -> tuple[float, float]:
    """Pool frames and take two percentiles, so that a film's frames stay comparable.

    Parameters
    ----------
    frames : sequence of (Y, X) arrays
        A sample of one channel's frames; NaN is left out.
    low, high : float
        Percentiles, 0..100.

    Returns
    -------
    low, high : float
        In the channel's counts; (0.0, 0.0) where no finite pixel is given. `high` lies at least
        ``50`` times the noise above `low`: else an empty channel's noise would be stretched to 0..1.

    Raises
    ------
    ValueError
        Not ``0 <= low < high <= 100``.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"expected 0 <= low < high <= 100, got {low} and {high}")
    kept = [frame[np.isfinite(frame)] for frame in frames]
    pooled = np.concatenate(kept) if kept else np.zeros(0)
    if pooled.size == 0:
        return 0.0, 0.0
    bounds = np.percentile(pooled, [low, high])
    floor = bounds[0] + _LEAST_SPAN_SIGMA * float(np.median([_pixel_noise(frame) for frame in frames]))
    return float(bounds[0]), float(max(bounds[1], floor))


def _pixel_noise(frame: NDArray[Any]) -> float:
    """Standard deviation of the noise, from differences of neighbours (Immerkaer's idea, by the median)."""
    steps = np.diff(frame.astype(np.float32), axis=-1)
    steps = steps[np.isfinite(steps)]
    return 1.4826 * float(np.median(np.abs(steps))) / np.sqrt(2.0) if steps.size else 0.0


def _sample(values: Float32) -> Float32:
    return values.ravel()[:: max(1, values.size // _SAMPLE)]


def _flatten(image: Float32, diameter_px: float) -> tuple[Float32, float]:
    """Drop hot pixels, smooth lightly, and take away a low percentile of tiles much larger than a cell.

    Returns the rest, and by how much the background varies over the frame.
    """
    neighbours = ndimage.maximum_filter(image, footprint=_RING)
    smooth = ndimage.gaussian_filter(
        np.minimum(image, neighbours), max(_SMOOTH_PX, _SMOOTH_FRAC * diameter_px), truncate=3
    )
    tile_px = max(48.0, _TILE_FRAC * diameter_px)
    rows, columns = tile_edges(image.shape[0], tile_px), tile_edges(image.shape[1], tile_px)
    grid = np.empty((len(rows) - 1, len(columns) - 1), dtype=np.float32)
    for i, j in np.ndindex(grid.shape):
        grid[i, j] = np.percentile(smooth[rows[i] : rows[i + 1], columns[j] : columns[j + 1]], 20)
    # A tile full of cells must not pass for background. Beyond the rim the grid goes on by odd reflection, so
    # that both filters leave a ramp as it is.
    width = tuple((min(3, n - 1),) * 2 for n in grid.shape)
    wide = np.pad(grid, width, mode="reflect", reflect_type="odd")
    wide = np.minimum(wide, ndimage.median_filter(wide, 5, mode="nearest"))
    wide = ndimage.uniform_filter(wide, 3, mode="nearest")
    inner = tuple(slice(before, before + n) for (before, _), n in zip(width, grid.shape, strict=True))
    ground = interpolate_tiles(wide[inner], rows, columns)
    return smooth - ground, float(np.ptp(ground))


def _haze(signal: Float32, diameter_px: float) -> Float32:
    """Light broader than cells that the tiles miss: a grey opening (Sternberg 1986), smoothed."""
    side_px = round(_HAZE_FRAC * diameter_px) | 1
    opened = ndimage.grey_opening(signal, size=(side_px, side_px))
    width_px = round(_HAZE_SMOOTH_FRAC * side_px) | 1
    for _ in range(2):
        opened = ndimage.uniform_filter(opened, width_px)
    return np.asarray(opened, np.float32)


def _level(signal: Float32, threshold_sigma: float, otsu_frac: float) -> float:
    """Shift `signal` so that its background is at 0, in place, and return the foreground's threshold."""
    sample = _sample(signal)
    middle, noise = _dark(sample, 60)
    fewer_middle, fewer_noise = _dark(sample, 25)
    # In a crowded field the darker 60 % are cells too. Of Gaussian noise alone the darkest quarter shows
    # 0.75 of the spread, and its median lies 0.83 of it lower.
    if fewer_noise / 0.75 < 0.5 * noise:
        middle, noise = fewer_middle + 0.83 * fewer_noise / 0.75, fewer_noise / 0.75
    signal -= np.float32(middle)
    # The square root keeps a few bright cells from hiding the dim ones.
    otsu = float(filters.threshold_otsu(np.sqrt(np.maximum(sample - middle, 0)))) ** 2
    return max(threshold_sigma * noise, otsu_frac * otsu)


def _dark(sample: Float32, percent: float) -> tuple[float, float]:
    """Median of the darkest pixels, and the spread below it."""
    dark = sample[sample <= np.percentile(sample, percent)]
    middle = float(np.median(dark))
    below = middle - dark[dark < middle]
    return middle, 1.4826 * float(np.median(below)) if below.size else 0.0


def _close_holes(mask: NDArray[np.bool_], max_px: float) -> NDArray[np.bool_]:
    holes, _ = ndimage.label(~mask)
    small = np.bincount(holes.ravel()) <= max_px
    small[0] = False
    return np.asarray(mask | small[holes])


def _part(
    signal: Float32, foreground: NDArray[np.bool_], level: float, diameter_px: float
) -> NDArray[np.int32]:
    """Flood from many markers, then merge."""
    local = ndimage.gaussian_filter(signal, _LOCAL_FRAC * diameter_px, truncate=2.5)
    core = ndimage.binary_fill_holes(foreground & (signal > _LOCAL_LEVEL * local))
    depth = ndimage.distance_transform_edt(core).astype(np.float32)
    depth = ndimage.gaussian_filter(depth, 1.0)
    bright = np.log(np.maximum(signal, 0) + 0.1 * level)
    bright = ndimage.gaussian_filter(bright, _BRIGHT_SMOOTH_FRAC * diameter_px)
    reach = max(2, int(_MARKER_REACH_FRAC * diameter_px))
    deepest = _maxima(depth, reach) & (depth > 1)
    near = ndimage.maximum_filter(deepest.astype(np.uint8), reach | 1) > 0
    brightest = _maxima(bright, max(2, int(_BRIGHT_REACH_FRAC * diameter_px))) & foreground & ~near
    markers, _ = ndimage.label(deepest | brightest, structure=np.ones((3, 3)))
    landscape = -depth / np.float32(diameter_px / 4) - np.float32(0.5) * bright
    labels = sk_segmentation.watershed(landscape, markers, mask=foreground)
    regions = Regions.of(labels, depth, np.maximum(signal, 1e-6))
    return merge(regions, labels, np.pi * diameter_px**2 / 4)


def _maxima(values: Float32, reach_px: int) -> NDArray[np.bool_]:
    return np.asarray(values == ndimage.maximum_filter(values, 2 * reach_px + 1))


def _trim(labels: NDArray[np.int32], signal: Float32, level: Float32, hole_px: float) -> NDArray[np.int32]:
    """Cut each object at its level, and close the small holes that this makes."""
    kept = (labels > 0) & (signal >= level[labels])
    return np.where(_close_holes(kept, hole_px), labels, 0)


def _tidy(labels: NDArray[np.int32], min_area_px: float) -> Labels:
    """Keep the largest connected part of each object, drop small ones, number by first pixel."""
    parts = _components(labels)
    flat = parts.ravel()
    inside = np.flatnonzero(flat)
    area = np.bincount(flat)
    area[0] = 0
    owner = np.zeros(len(area), dtype=np.int64)
    owner[flat[inside]] = labels.ravel()[inside]
    largest = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    by_area = np.argsort(area, kind="stable")
    largest[owner[by_area]] = by_area
    keep = np.zeros(len(area), dtype=np.bool_)
    keep[largest] = True
    keep &= area >= max(min_area_px, 1)
    # Of repeated indices the last assignment stands: walking backwards leaves the first pixel.
    first = np.zeros(len(area), dtype=np.int64)
    first[flat[inside[::-1]]] = inside[::-1]
    kept = np.flatnonzero(keep)
    number = np.zeros(len(area), dtype=np.uint32)
    number[kept[np.argsort(first[kept])]] = np.arange(1, len(kept) + 1, dtype=np.uint32)
    return np.asarray(number[parts])


def _components(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Number the edge-connected parts of equal label."""
    return np.asarray(measure.label(labels, connectivity=1, background=0), dtype=np.int32)

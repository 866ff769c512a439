"""Local background of acquired counts: medians of tiles, interpolated."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float32 = NDArray[np.float32]

_GUARD_PX = 3  # light spills this far over a cell's outline
_MIN_FILL_FRAC = 0.05  # of a tile's pixels; its median is not trusted with fewer
_FALLBACK_PERCENTILE = 5.0


def background(image: NDArray[Any], foreground: NDArray[np.bool_], tile_px: int = 64) -> Float32:
    """Estimate the background under each pixel.

    The median of the pixels outside the foreground, tile by tile; tiles with too few of them take the mean
    of their neighbours; linear interpolation between tile centres.

    Parameters
    ----------
    image : (Y, X) array
        Counts; pixels that are NaN or infinite are left out.
    foreground : (Y, X) bool
        Pixels of cells, of all populations. Grown here by 3 px, against spilled light: do not grow it before.
    tile_px : int
        Side of a tile; the sides are evened out so that whole tiles cover the frame.

    Returns
    -------
    (Y, X) float32
        In the units of `image`. A frame without enough free pixels gets its 5th percentile everywhere, one
        without any finite pixel NaN.

    Raises
    ------
    ValueError
        The shapes differ or are not (Y, X), or `tile_px` is below 1.
    """
    if image.ndim != 2 or image.shape != foreground.shape:
        raise ValueError(f"expected a (Y, X) frame and its mask, got {image.shape} and {foreground.shape}")
    if tile_px < 1:
        raise ValueError(f"tile_px must be at least 1, got {tile_px}")
    if image.size == 0:
        return np.zeros(image.shape, dtype=np.float32)
    work = image.astype(np.float32, copy=False)
    finite = np.isfinite(work)
    grown = ndimage.maximum_filter(foreground.astype(np.uint8), 2 * _GUARD_PX + 1) > 0
    free = finite & ~grown
    rows, columns = tile_edges(work.shape[0], tile_px), tile_edges(work.shape[1], tile_px)
    grid = np.full((len(rows) - 1, len(columns) - 1), np.nan, dtype=np.float32)
    for i, j in np.ndindex(grid.shape):
        tile = (slice(rows[i], rows[i + 1]), slice(columns[j], columns[j + 1]))
        values = work[tile][free[tile]]
        if values.size and values.size >= _MIN_FILL_FRAC * free[tile].size:
            grid[i, j] = np.median(values)
    if np.isnan(grid).all():
        level = np.percentile(work[finite], _FALLBACK_PERCENTILE) if finite.any() else np.nan
        return np.full(work.shape, level, dtype=np.float32)
    return interpolate_tiles(_fill(grid), rows, columns)


def tile_edges(n: int, tile_px: float) -> NDArray[np.int64]:
    """Edges of evenly sized tiles of about `tile_px` that cover an axis of `n` pixels; at least one tile."""
    return np.linspace(0, n, max(1, round(n / tile_px)) + 1).astype(np.int64)


def interpolate_tiles(grid: Float32, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Float32:
    """Spread one value a tile linearly over the frame, going on in a straight line at the rim.

    Parameters
    ----------
    grid : (tiles in y, tiles in x) float32
        Values at the tiles' centres.
    rows, columns : int64 arrays
        From :func:`tile_edges`.

    Returns
    -------
    (Y, X) float32
    """
    return _along(_along(grid, rows).T, columns).T.copy()


def _along(grid: Float32, edges: NDArray[np.int64]) -> Float32:
    """Interpolate the first axis of `grid` from tile centres to pixels."""
    if len(grid) == 1:
        return np.repeat(grid, edges[-1], axis=0)
    centres = (edges[:-1] + edges[1:] - 1) / 2
    pixels = np.arange(edges[-1])
    low = np.clip(np.searchsorted(centres, pixels, side="right") - 1, 0, len(centres) - 2)
    part = ((pixels - centres[low]) / (centres[low + 1] - centres[low])).astype(np.float32)[:, None]
    return np.asarray(grid[low] * (1 - part) + grid[low + 1] * part, dtype=np.float32)


def _fill(grid: Float32) -> Float32:
    """Give empty tiles the mean of their known neighbours, again and again until none is empty."""
    while np.isnan(grid).any():
        known = ~np.isnan(grid)
        weight = ndimage.uniform_filter(known.astype(np.float32), 3, mode="constant")
        total = ndimage.uniform_filter(np.where(known, grid, 0), 3, mode="constant")
        # A uniform filter's running sum leaves dust where no neighbour is known.
        reached = ~known & (weight > 0.05)
        grid = grid.copy()
        grid[reached] = total[reached] / weight[reached]
    return grid

"""Pairs of points within a distance, by cells of a grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Coordinates divided by the size of a cell are rounded: the search is a little wider than what is asked, by
# more than that rounding can amount to with so many cells along an axis.
_MARGIN = 1.0 + 1e-9
_MOST_CELLS = 1 << 20


def candidates(
    source: FloatArray,
    target: FloatArray,
    max_distance: float,
    groups: tuple[IntArray, IntArray] | None = None,
) -> tuple[IntArray, IntArray, FloatArray]:
    """All pairs of a source and a target within a distance, by ascending source.

    The search is slightly wider than asked; callers compare the cost with their own limit, open or closed.

    Parameters
    ----------
    source, target : (N, 2) and (M, 2) float64
        Positions.
    max_distance : float
        Radius of the search, greater than 0.
    groups : tuple of (N,) and (M,) int64, or None
        Groups of the sources and of the targets, 0 or more; only pairs within one group count.

    Returns
    -------
    source_index, target_index : (K,) int64
        Pairs; their order depends on nothing but the order of the sources and of equal targets.
    cost : (K,) float64
        Squared distance.

    Notes
    -----
    Cells are as wide as the distance, so that the targets of a source lie in three rows of three cells, and
    each such row is one stretch of the targets in the order of their cells. Memory grows with the pairs in
    such blocks, about three times those within the distance, and never with N times M.
    """
    if len(source) == 0 or len(target) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
    reach = max_distance * _MARGIN
    low = np.minimum(source.min(axis=0), target.min(axis=0))
    extent = np.maximum(source.max(axis=0), target.max(axis=0)) - low
    cell = max(reach, float(extent.max()) / _MOST_CELLS)
    # A ring of empty cells keeps the blocks of one row, or of one group, out of the next.
    down, across = (int(n) + 3 for n in extent / cell)
    key = [
        (((points - low) / cell).astype(np.int64) + 1) @ np.array([across, 1]) for points in (source, target)
    ]
    if groups is not None:
        key = [k + group * (down * across) for k, group in zip(key, groups, strict=True)]
    order = np.argsort(key[1], kind="stable")
    ordered = key[1][order]
    stretch = (key[0][:, None] + across * np.array([-1, 0, 1]) - 1).ravel()
    first = np.searchsorted(ordered, stretch)
    count = np.searchsorted(ordered, stretch + 3) - first
    per_source = count.reshape(-1, 3).sum(axis=1)
    end = np.cumsum(count)
    at = np.arange(end[-1]) + np.repeat(first - end + count, count)
    cost = np.zeros(len(at))
    for axis in (0, 1):
        step = np.repeat(source[:, axis], per_source) - target[order, axis][at]
        cost += step * step
    near = np.flatnonzero(cost <= reach * reach)
    owner = np.repeat(np.arange(len(source)), per_source)
    return owner[near], order[at[near]], cost[near]

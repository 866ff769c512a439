"""Pairs of points within a distance, by cells of a grid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Coordinates divided by the size of a cell are rounded: the search is a little wider than what is asked, by
# more than that rounding can amount to with so many cells along an axis.
_MARGIN = 1.0 + 1e-9
_MOST_CELLS = 1 << 20
# A table of all cells is faster than a search, unless nearly all of them are empty.
_TABLE_PER_POINT = 4
# So many pairs stay in the cache.
_PAIRS_AT_ONCE = 1 << 14


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
    each such row is one stretch of the targets in the order of their cells. Memory grows with the pairs
    within the distance, and never with N times M.
    """
    if len(source) == 0 or len(target) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
    reach = max_distance * _MARGIN
    # By axis: columns of contiguous values are several times faster than rows of two.
    sources, targets = np.ascontiguousarray(source.T), np.ascontiguousarray(target.T)
    low = [min(s.min(), t.min()) for s, t in zip(sources, targets, strict=True)]
    extent = [max(s.max(), t.max()) - lo for s, t, lo in zip(sources, targets, low, strict=True)]
    cell = max(reach, float(max(extent)) / _MOST_CELLS)
    # A ring of empty cells keeps the blocks of one row, or of one group, out of the next.
    down, across = (int(e / cell) + 3 for e in extent)
    key = [
        (((y - low[0]) / cell).astype(np.int64) + 1) * across + ((x - low[1]) / cell).astype(np.int64) + 1
        for y, x in (sources, targets)
    ]
    n_cells = down * across
    if groups is not None:
        key = [k + group * n_cells for k, group in zip(key, groups, strict=True)]
        n_cells *= int(max(group.max() for group in groups)) + 1
    # Numbers of 16 bits are sorted ten times as fast.
    order = np.argsort(key[1].astype(np.uint16) if n_cells <= 1 << 16 else key[1], kind="stable")
    stretch = (key[0][:, None] + across * np.array([-1, 0, 1]) - 1).ravel()
    first, end = _bounds(key[1], order, n_cells, stretch)
    count = end - first
    per_source = count.reshape(-1, 3).sum(axis=1)
    ordered = [axis.take(order) for axis in targets]
    found = []
    cuts = np.flatnonzero(np.diff(np.cumsum(per_source) // _PAIRS_AT_ONCE)) + 1
    for low_row, high_row in pairwise([0, *cuts.tolist(), len(source)]):
        stretches, rows = slice(3 * low_row, 3 * high_row), slice(low_row, high_row)
        at = np.repeat(end[stretches] - np.cumsum(count[stretches]), count[stretches])
        at += np.arange(len(at))
        cost = np.zeros(len(at))
        for ours, theirs in zip(sources, ordered, strict=True):
            step = ours[rows].repeat(per_source[rows])
            step -= theirs.take(at)
            step *= step
            cost += step
        near = np.flatnonzero(cost <= reach * reach)
        owner = np.repeat(np.arange(low_row, high_row), per_source[rows])
        found.append((owner.take(near), order.take(at.take(near)), cost.take(near)))
    owners, others, costs = zip(*found, strict=True)
    return np.concatenate(owners), np.concatenate(others), np.concatenate(costs)


def _bounds(key: IntArray, order: IntArray, n_cells: int, stretch: IntArray) -> tuple[IntArray, IntArray]:
    """Where a stretch of three cells begins and ends among the targets in the order of their cells."""
    if n_cells <= _TABLE_PER_POINT * (len(key) + len(stretch)):
        start = np.zeros(n_cells + 1, np.int64)
        np.cumsum(np.bincount(key, minlength=n_cells), out=start[1:])
        return start.take(stretch), start.take(stretch + 3)
    ordered = key[order]
    return np.searchsorted(ordered, stretch), np.searchsorted(ordered, stretch + 3)

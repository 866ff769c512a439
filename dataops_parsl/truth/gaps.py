"""Smallest distances between the masks of two populations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

Labels = NDArray[np.uint32]
_Outlines = dict[int, NDArray[np.float64]]


def gaps_px(effectors: Labels, targets: Labels, max_gap_px: float) -> list[tuple[int, int, float]]:
    """Pairs of two label images (Y, X) that are near each other.

    Returns
    -------
    list of (effector, target, gap)
        Smallest distance of their pixel centres, up to `max_gap_px`, 0 if and only if they share a pixel;
        ordered by effector, then target.
    """
    both = (effectors > 0) & (targets > 0)
    shared = set(zip(effectors[both].tolist(), targets[both].tolist(), strict=True))
    first, second = _outline_pixels(effectors), _outline_pixels(targets)
    if not first or not second:
        return []
    near = _near(first, second, max_gap_px) | shared
    found: list[tuple[int, int, float]] = []
    for effector, target in sorted(near):
        if (effector, target) in shared:
            found.append((effector, target, 0.0))
        elif (gap := float(cdist(first[effector], second[target]).min())) <= max_gap_px:
            found.append((effector, target, gap))
    return found


def _near(first: _Outlines, second: _Outlines, max_gap_px: float) -> set[tuple[int, int]]:
    """All pairs whose enclosing circles are near enough, and so all pairs whose outlines are."""
    ids = [np.array(list(outlines)) for outlines in (first, second)]
    centres, reach = [], 0.0
    for outlines in (first, second):
        centre = [(pixels.min(axis=0) + pixels.max(axis=0)) / 2 for pixels in outlines.values()]
        spread = zip(outlines.values(), centre, strict=True)
        reach += max(float(np.hypot(*(pixels - middle).T).max()) for pixels, middle in spread)
        centres.append(np.array(centre))
    trees = [cKDTree(centre) for centre in centres]
    hits = trees[0].query_ball_tree(trees[1], reach + max_gap_px + 1e-6)
    return {(int(ids[0][i]), int(ids[1][j])) for i, others in enumerate(hits) for j in others}


def _outline_pixels(image: Labels) -> _Outlines:
    """Pixels (n, 2) y, x of each label that have a 4-neighbour outside of it or lie on the border."""
    padded = np.pad(image, 1)
    inner = padded[1:-1, 1:-1]
    outside = (
        (padded[:-2, 1:-1] != inner)
        | (padded[2:, 1:-1] != inner)
        | (padded[1:-1, :-2] != inner)
        | (padded[1:-1, 2:] != inner)
    )
    y, x = np.nonzero(outside & (inner > 0))
    owner = image[y, x]
    order = np.argsort(owner, kind="stable")
    ids, first = np.unique(owner[order], return_index=True)
    places = np.column_stack([y, x])[order].astype(np.float64)
    return dict(zip(ids.tolist(), np.split(places, first[1:]), strict=True)) if len(ids) else {}

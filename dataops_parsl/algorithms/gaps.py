"""Closing of gaps between track segments, with splits and merges, as TrackMate's sparse LAP tracker does it.

The second step of Jaqaman et al. 2008: the links of consecutive frames form segments, whose ends are then
matched with starts of others. One alternative cost over all candidates says what is too far, so this step
needs the whole film; it sees positions only, never pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataops_parsl.algorithms.lap import (
    BoolArray,
    FloatArray,
    IntArray,
    alternative_cost,
    as_distance,
    as_points,
    assign,
)
from dataops_parsl.algorithms.nearby import candidates

CUTOFF_PERCENTILE_FRAC = 0.9
KINDS = ("gap", "split", "merge")


@dataclass(frozen=True)
class Closing:
    """Edges that join segments, by ascending source row and then target row.

    Attributes
    ----------
    source_row, target_row : (K,) int64
        Rows of the objects; the source is the earlier one.
    kind : (K,) str
        "gap" (segment end to segment start), "split" (segment middle to start) or "merge" (end to middle).
    cost : (K,) float64
        Squared distance.
    """

    source_row: IntArray
    target_row: IntArray
    kind: npt.NDArray[np.str_]
    cost: FloatArray


def close(
    frame: npt.ArrayLike,
    yx: npt.ArrayLike,
    link_source: npt.ArrayLike,
    link_target: npt.ArrayLike,
    *,
    gap_closing_max_distance: float | None,
    max_frame_gap: int = 2,
    splitting_max_distance: float | None = None,
    merging_max_distance: float | None = None,
) -> Closing:
    """Join the segments that frame-to-frame links left apart.

    Parameters
    ----------
    frame : (N,) int
        Frame of each object.
    yx : (N, 2) float64
        Position of each object, in any one unit.
    link_source, link_target : (L,) int
        Rows joined by the linking, the earlier frame first.
    gap_closing_max_distance : float or None
        How far an end may lie from the start that continues it; None closes no gap.
    max_frame_gap : int
        Largest difference of frames that is bridged: 2 allows one missing frame (TrackMate's MAX_FRAME_GAP).
    splitting_max_distance : float or None
        How far a segment that starts may lie from the inner object, one frame before, that it splits from;
        None for no splits.
    merging_max_distance : float or None
        The same for segments that end in another one; None for no merges.

    Returns
    -------
    Closing
        The edges to add to the links.

    Raises
    ------
    ValueError
        If the arrays do not fit one another, a link runs backwards, an object has two links at one side, or a
        parameter is out of range.

    Notes
    -----
    Segments have at least two objects: what linking left alone is never closed. Distances are inclusive. An
    inner object takes part in at most one split and one merge. The alternative cost is 1.05 times the cost
    at the 90th percentile of all candidates of the three kinds together.
    """
    frames = np.asarray(frame, dtype=np.int64).ravel()
    points = as_points(yx, "yx")
    if len(frames) != len(points):
        raise ValueError(f"frame has {len(frames)} rows and yx {len(points)}")
    if max_frame_gap < 1:
        raise ValueError(
            f"max_frame_gap must be at least 1 (2 bridges one missing frame), got {max_frame_gap}"
        )
    has_next, has_previous = _segments(frames, link_source, link_target)
    # Rows in an order that does not depend on the input's, so that ties resolve the same way for any order
    # of rows.
    order = np.lexsort((points[:, 1], points[:, 0], frames))
    has_next, has_previous = has_next[order], has_previous[order]
    last = order[has_previous & ~has_next]
    starts = order[has_next & ~has_previous]
    middles = order[has_next & has_previous]
    found = [
        _candidates(frames, points, sources, targets, limit, name, steps)
        for sources, targets, limit, name, steps in (
            (last, starts, gap_closing_max_distance, "gap_closing_max_distance", max_frame_gap),
            (middles, starts, splitting_max_distance, "splitting_max_distance", 1),
            (last, middles, merging_max_distance, "merging_max_distance", 1),
        )
    ]
    kind = np.repeat(np.array(KINDS), [len(cost) for _, _, cost in found])
    source = np.concatenate([part[0] for part in found])
    target = np.concatenate([part[1] for part in found])
    cost = np.concatenate([part[2] for part in found])
    if cost.size == 0:
        return Closing(source, target, kind, cost)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first, second = (np.unique(rank[rows], return_inverse=True)[1] for rows in (source, target))
    chosen = assign(first, second, cost, alternative_cost(cost, CUTOFF_PERCENTILE_FRAC))
    chosen = chosen[np.lexsort((target[chosen], source[chosen]))]
    return Closing(source[chosen], target[chosen], kind[chosen], cost[chosen])


def _segments(
    frame: IntArray, link_source: npt.ArrayLike, link_target: npt.ArrayLike
) -> tuple[BoolArray, BoolArray]:
    """Per row: whether a link leaves it, and whether one reaches it. Refuses links that branch."""
    source = np.asarray(link_source, dtype=np.int64).ravel()
    target = np.asarray(link_target, dtype=np.int64).ravel()
    if len(source) != len(target):
        raise ValueError(f"links have {len(source)} sources and {len(target)} targets")
    counts = []
    for rows, side in ((source, "from"), (target, "to")):
        if rows.size and (rows.min() < 0 or rows.max() >= len(frame)):
            raise ValueError(f"links name rows outside 0..{len(frame) - 1}")
        count = np.bincount(rows, minlength=len(frame))
        if count.max(initial=0) > 1:
            raise ValueError(
                f"row {int(count.argmax())} has several links {side} it; linking gives one at most"
            )
        counts.append(count > 0)
    if np.any(frame[target] <= frame[source]):
        raise ValueError("a link does not run forward in time: give the earlier object as the source")
    return counts[0], counts[1]


def _candidates(
    frame: IntArray,
    yx: FloatArray,
    sources: IntArray,
    targets: IntArray,
    max_distance: float | None,
    name: str,
    max_step: int,
) -> tuple[IntArray, IntArray, FloatArray]:
    """Rows of sources, of targets near them up to ``max_step`` frames later, and squared distances."""
    none = np.empty(0, np.int64)
    if max_distance is None:
        return none, none, np.empty(0)
    limit = as_distance(max_distance, name)
    if sources.size == 0 or targets.size == 0:
        return none, none, np.empty(0)
    # One search per step, whose groups are the frames of the targets, counted from the first.
    zero = int(min(frame[sources].min(), frame[targets].min()))
    found = []
    for step in range(1, max_step + 1):
        groups = frame[sources] + step - zero, frame[targets] - zero
        found.append(candidates(yx[sources], yx[targets], limit, groups))
    source = sources[np.concatenate([i for i, _, _ in found])]
    target = targets[np.concatenate([j for _, j, _ in found])]
    cost = np.concatenate([c for _, _, c in found])
    near = cost <= limit * limit
    return source[near], target[near], cost[near]

"""Frame-to-frame linking as a linear assignment problem, after Jaqaman et al. 2008 as TrackMate states it.

A candidate link has the squared distance as its cost ``c``; one alternative cost ``a`` per problem says
what a link may cost at most. TrackMate completes the cost matrix so that a link gains ``a - c`` over
leaving both ends alone, whatever else is linked; the optimum is therefore the matching with the largest
total gain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataops_parsl.algorithms.augmenting import serve
from dataops_parsl.algorithms.bidding import Market
from dataops_parsl.algorithms.nearby import candidates

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ALTERNATIVE_COST_FACTOR = 1.05

_ROUNDS = 12  # more rounds of bids would take longer than the searches that they save


def link(
    source_yx: npt.ArrayLike, target_yx: npt.ArrayLike, max_distance: float
) -> tuple[IntArray, IntArray, FloatArray]:
    """Link the objects of one frame with those of the next.

    Parameters
    ----------
    source_yx, target_yx : (N, 2) and (M, 2) float64
        Positions, in any one unit.
    max_distance : float
        Candidates lie strictly closer than this, in the same unit.

    Returns
    -------
    source_index, target_index : (K,) int64
        Rows that are linked, by ascending source.
    cost : (K,) float64
        Squared distance of each link.

    Raises
    ------
    ValueError
        If positions are not finite or not of shape (N, 2), or the distance is not finite and positive.

    Notes
    -----
    The alternative cost is 1.05 times the largest candidate cost of this very pair of frames, as in
    TrackMate's sparse LAP tracker (Jaqaman et al. 2008, Nature Methods 5, 695; Tinevez et al. 2017, Methods
    115, 80). Objects are brought into the order of their coordinates first, so that even ties do not depend
    on the order of the rows.
    """
    source_yx = as_points(source_yx, "source_yx")
    target_yx = as_points(target_yx, "target_yx")
    max_distance = as_distance(max_distance, "max_distance")
    source_order, target_order = _by_place(source_yx), _by_place(target_yx)
    source, target, cost = candidates(source_yx[source_order], target_yx[target_order], max_distance)
    inside = cost < max_distance * max_distance
    if not inside.all():
        source, target, cost = source[inside], target[inside], cost[inside]
    if cost.size == 0:
        return source, target, cost
    chosen = assign(source, target, cost, alternative_cost(cost, 1.0))
    source, target, cost = source_order[source[chosen]], target_order[target[chosen]], cost[chosen]
    by_source = np.argsort(source)
    return source[by_source], target[by_source], cost[by_source]


def _by_place(yx: FloatArray) -> IntArray:
    """Rows by y, then x; x is looked at only if it has to be."""
    order = np.argsort(yx[:, 0])
    y = yx[order, 0]
    if np.any(y[1:] == y[:-1]):
        order = np.lexsort((yx[:, 1], yx[:, 0]))
    return order


def alternative_cost(cost: FloatArray, percentile_frac: float) -> float:
    """Cost of leaving an end alone: 1.05 times the candidate cost at a percentile (rank rounded half up).

    Never 0, so that objects that did not move at all are linked; TrackMate leaves that case to the order of
    its solver.
    """
    rank = int(np.floor((cost.size - 1) * percentile_frac + 0.5))
    cutoff = float(cost.max() if rank == cost.size - 1 else np.partition(cost, rank)[rank])
    return max(ALTERNATIVE_COST_FACTOR * cutoff, float(np.finfo(np.float64).tiny))


def assign(source: IntArray, target: IntArray, cost: FloatArray, alternative: float) -> IntArray:
    """Choose candidates so that the sum of ``alternative - cost`` is largest and no end is used twice.

    Parameters
    ----------
    source, target : (K,) int64
        Ends of each candidate: two separate numberings, no pair twice.
    cost : (K,) float64
        Cost of each candidate, not negative. One that costs the alternative or more gains nothing and is
        never chosen.
    alternative : float
        Cost of leaving one end alone, of the same unit.

    Returns
    -------
    (C,) int64
        Chosen candidates, ascending.

    Notes
    -----
    Exact, in two steps: sources bid for targets until nearly all agree (`bidding`), and shortest augmenting
    paths serve those that are left over (`augmenting`). Memory grows with the largest numbers of an end.
    """
    open_ = np.flatnonzero(cost < alternative)
    if np.any(np.diff(source[open_]) < 0):
        open_ = open_[np.argsort(source[open_], kind="stable")]
    market = Market.opened(source.take(open_), target.take(open_), alternative - cost.take(open_))
    serve(market, market.bids(_ROUNDS))
    return np.sort(open_.take(market.held.compress(market.held >= 0)))


def as_points(points: npt.ArrayLike, name: str) -> FloatArray:
    """Positions as (N, 2) float64; an empty input of any shape is no point. Raises ValueError otherwise."""
    array = np.asarray(points, dtype=np.float64)
    if array.size == 0:
        return np.empty((0, 2))
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} must have shape (N, 2), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite positions; leave such objects out")
    return array


def as_distance(distance: float, name: str) -> float:
    """A finite, positive distance; raises ValueError otherwise."""
    if not (np.isfinite(distance) and distance > 0):
        raise ValueError(f"{name} must be finite and greater than 0, got {distance}")
    return float(distance)

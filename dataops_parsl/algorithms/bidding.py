"""Narrowing of an assignment problem: most links are settled in bulk, the rest is left to an exact solver.

Sources bid for the target that gains them most, all at once, as in the auction of Bertsekas (1988, Annals of
Operations Research 14, 105) and the row reduction of Jonker & Volgenant (1987, Computing 38, 325). The prices
that come out prove, by linear programming duality, which links belong to an optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# More rounds, or rounds for fewer sources, cost more than they save the solver.
_ROUNDS = 40
_FEW_FRAC = 1 / 64
# Prices are sums of many rounded numbers: only what lies farther than this from mattering is left out.
_SLACK_FRAC = 1e-9


@dataclass
class _Market:
    """Candidates by ascending source, what each target costs, and who holds which.

    Attributes
    ----------
    target : (K,) int64
    gain : (K,) float64
        What a candidate gains over leaving both ends alone; greater than 0.
    first, count : (N,) int64
        First candidate of each source, and how many it has.
    price : (M,) float64
        Price of each target; 0 until somebody holds it.
    holder : (M,) int64
        Source that holds a target, or -1.
    held : (N,) int64
        Candidate by which a source holds its target, or -1.
    """

    target: IntArray
    gain: FloatArray
    first: IntArray
    count: IntArray
    price: FloatArray
    holder: IntArray
    held: IntArray

    def bid(self, free: IntArray) -> IntArray:
        """Each free source bids what its best target is worth to it above its second best; who is free now.

        The highest bid holds. To stay alone is worth 0; a source for which that is best leaves the market.
        """
        count = self.count[free]
        begin = np.cumsum(count) - count
        owner = np.repeat(np.arange(len(free)), count)
        candidate = np.arange(len(owner)) + np.repeat(self.first[free] - begin, count)
        value = self.gain[candidate] - self.price[self.target[candidate]]
        best = np.maximum.reduceat(value, begin)
        at = np.flatnonzero(value == best[owner])
        at = at[np.diff(owner[at], prepend=-1) > 0]
        value[at] = 0.0
        raised = best - np.maximum(np.maximum.reduceat(value, begin), 0.0)
        bidder = np.flatnonzero(best > 0)
        # Of several writes to one place the last one stays: the highest bid.
        bidder = bidder[np.argsort(raised[bidder], kind="stable")]
        source, chosen = free[bidder], candidate[at[bidder]]
        wanted = self.target[chosen]
        before = self.holder[wanted]
        self.holder[wanted] = source
        won = self.holder[wanted] == source
        ousted = before[won]
        ousted = ousted[ousted >= 0]
        self.price[wanted[won]] += raised[bidder[won]]
        self.held[ousted] = -1
        self.held[source[won]] = chosen[won]
        still_free: IntArray = np.sort(np.concatenate([source[~won], ousted]))
        return still_free


def narrow(
    source: IntArray, target: IntArray, cost: FloatArray, alternative: float
) -> tuple[IntArray, IntArray, BoolArray]:
    """Tell candidates that an optimum holds, and those that are left to choose from.

    Parameters
    ----------
    source, target : (K,) int64
        Ends of each candidate, by ascending source; no pair twice, one candidate at least.
    cost : (K,) float64
        Cost of each candidate, below `alternative`.
    alternative : float
        Cost of leaving one end alone: a candidate gains ``alternative - cost``.

    Returns
    -------
    settled, left : (S,) and (L,) int64
        Candidates, both ascending. No end of a settled one is an end of one that is left. The settled ones
        and any optimum of the problem of those left are an optimum of the whole, but for rounding.
    may_stay : (N,) bool
        Of each source that is left: whether an optimum may have to leave it alone.

    Notes
    -----
    With prices p >= 0 of targets, and the utility u = max(0, gain - p) of each source's best choice, the
    reduced cost r = u + p - gain of every candidate is at least 0. The bids keep r = 0 for what is held, and
    p = 0 for what is not, so what is held is optimal for all sources but those that are still free. An
    optimum with these too differs from it by alternating paths that begin at a free source f and along which
    the reduced costs add up to u of f at most, since f may stay alone. Dijkstra's search with that budget
    finds every source and candidate on such a path; what it does not reach is settled. A path that ends by
    leaving another source alone costs that source's utility too.
    """
    n = int(source[-1]) + 1
    count = np.bincount(source, minlength=n)
    first = np.cumsum(count) - count
    n_targets = int(target.max()) + 1
    market = _Market(
        target,
        alternative - cost,
        first,
        count,
        np.zeros(n_targets),
        np.full(n_targets, -1, np.int64),
        np.full(n, -1, np.int64),
    )
    present = np.flatnonzero(count)
    free = present
    for _ in range(_ROUNDS):
        if free.size <= _FEW_FRAC * present.size:
            break
        free = market.bid(free)
    held = np.zeros(len(source), np.bool_)
    held[market.held[market.held >= 0]] = True
    if free.size == 0:
        return np.flatnonzero(held), np.empty(0, np.int64), np.zeros(n, np.bool_)
    value = market.gain - market.price[target]
    utility = np.zeros(n)
    utility[present] = np.maximum(np.maximum.reduceat(value, first[present]), 0.0)
    reduced = np.maximum(utility[source] - value, 0.0)
    slack = _SLACK_FRAC * alternative
    onward = market.holder[target]
    budget = _budget(source, onward, reduced, free, utility, slack)
    found = np.isfinite(budget)
    reached = found[source]
    left = reached & (held | (reduced <= budget[source] + slack)) & ((onward < 0) | found[onward])
    return np.flatnonzero(held & ~reached), np.flatnonzero(left), utility <= budget + slack


def _budget(
    source: IntArray,
    onward: IntArray,
    reduced: FloatArray,
    free: IntArray,
    utility: FloatArray,
    slack: float,
) -> FloatArray:
    """Per source: the most that is left of a free source's utility on a way there; -inf if none gets there.

    Parameters
    ----------
    source, onward : (K,) int64
        Of each candidate: its source, and the source that holds its target, or -1.
    reduced : (K,) float64
        Reduced cost of each candidate.
    free : (F,) int64
        Sources that hold nothing and would gain by holding something.
    utility : (N,) float64
        What the best choice is worth to each source.
    slack : float
        How far beyond a budget the search goes.
    """
    n = len(utility)
    ways = np.flatnonzero((onward >= 0) & (onward != source))
    # One more node, from which all free sources are entered: the richest at once, the others later.
    most = float(utility[free].max())
    row_at = np.zeros(n + 2, np.int64)
    np.cumsum(np.bincount(source[ways], minlength=n), out=row_at[1 : n + 1])
    row_at[n + 1] = row_at[n] + len(free)
    graph = csr_matrix(
        (
            np.concatenate([reduced[ways], most - utility[free]]),
            np.concatenate([onward[ways], free]),
            row_at,
        ),
        shape=(n + 1, n + 1),
    )
    budget: FloatArray = most - dijkstra(graph, indices=n, limit=most + slack)[:n]
    return budget

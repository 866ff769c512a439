"""Shortest augmenting paths, for all free sources of a market in one search.

The step of the Hungarian method (Jonker & Volgenant 1987, Computing 38, 325), taken for many sources at a
time: each grows a region of its own, and all whose nearest exit lies within it are served at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from dataops_parsl.algorithms.bidding import FloatArray, IntArray, Market

# Prices are sums of many rounded numbers: what differs by less than this, of the largest gain, is equal.
_SLACK_FRAC = 1e-11
# Most ways are short: as long as more sources than this are free, they look less far than they would go.
_MANY, _NEAR_FRAC = 40, 0.4


@dataclass(frozen=True)
class _Open:
    """Candidates that are still to be looked at, by ascending source.

    Attributes
    ----------
    candidate, source, target : (K,) int64
        Their numbers in the market, and their ends.
    gain : (K,) float64
    count : (N,) int64
        How many each source has.
    """

    candidate: IntArray
    source: IntArray
    target: IntArray
    gain: FloatArray
    count: IntArray


@dataclass(frozen=True)
class _Search:
    """What a search from all free sources found.

    A node is a source, or N plus a target that nobody holds. A target that is held leads to its holder.

    Attributes
    ----------
    node : (K,) int64
        Where each open candidate leads.
    reduced : (K,) float64
        Its reduced cost, which is its length.
    utility : (N,) float64
        What the best choice is worth to each source.
    distance : (N + M,) float64
        Of each node from the nearest free source; infinite beyond the limit.
    before : (N + M,) int32
        Node before it on the way, or negative.
    root : (N + M,) int32
        The nearest free source, whose region it is in, or negative.
    limit : float
        How far it looked: at the most, the largest utility of a free source.
    slack : float
        What is equal but for rounding differs by less.
    """

    node: IntArray
    reduced: FloatArray
    utility: FloatArray
    distance: FloatArray
    before: npt.NDArray[np.int32]
    root: npt.NDArray[np.int32]
    limit: float
    slack: float


def serve(market: Market, free: IntArray) -> None:
    """Complete what is held to an optimum.

    Parameters
    ----------
    market : Market
        Changed in place.
    free : (F,) int64
        Sources that hold nothing and would gain by holding something.

    Notes
    -----
    A way begins at a free source and ends at a target that nobody holds, or at a source that is left alone
    instead, which costs its utility. Let ``d`` be the distance of a node from the nearest free source, and
    ``D`` a radius of that source's region: utilities within it fall, and prices rise, by ``D - d`` where that
    is positive. All reduced costs stay at 0 or more as long as D is no farther than the region's nearest
    exit, nor than ``d + reduced cost + max(0, D' - d')`` for any candidate that leads into another region. If
    it is the exit that limits D, the whole way to it has become tight, and is taken. The nearest exit of all
    limits its own region, so that each search serves one source at least; usually more than half of them.

    An optimum differs from what is held by ways along which the reduced costs add up to no more than the
    utility of their free source, since that may stay alone. So what a search that goes as far does not reach
    is settled, and left out of the next one. One that goes less far limits all radii by that.
    """
    n = len(market.held)
    # Targets that nobody holds get numbers without gaps: the search takes time for each number.
    unheld = np.flatnonzero(market.node >= n)
    market.node[unheld] = n + np.arange(len(unheld))
    n_nodes = n + len(unheld)
    candidates = np.arange(len(market.source))
    open_ = _Open(candidates, market.source, market.target, market.gain, market.count)
    far = free.size <= _MANY
    while free.size:
        found = _search(market, open_, free, n_nodes, 1.0 if far else _NEAR_FRAC)
        radius, ends = _exits(found)
        nearest = radius.take(free)
        radius[free] = np.minimum(nearest, found.limit)
        near = _within(open_, found, radius)
        _limit(open_, found, near, radius)
        served = radius.take(free) == nearest
        if far and not served.any():
            raise ArithmeticError("a search served nobody, which finite costs exclude")
        _raise_prices(market, found, radius)
        _change(market, open_, found, near, free.compress(served), ends)
        free = free.compress(~served)
        if far and free.size:
            open_ = _reached(open_, found)
        far = far or free.size <= _MANY or not served.any()


def _search(market: Market, open_: _Open, free: IntArray, n_nodes: int, frac: float) -> _Search:
    """Distances from the free sources, with the prices as they are."""
    n = len(market.held)
    node = market.node.take(open_.target)
    reduced = market.price.take(open_.target) - open_.gain
    utility = np.zeros(n)
    np.minimum.at(utility, open_.source, reduced)
    np.negative(utility, out=utility)
    reduced += utility.repeat(open_.count)
    row_at = np.full(n_nodes + 1, len(node), np.int32)
    row_at[0] = 0
    np.cumsum(open_.count, out=row_at[1 : n + 1])
    slack = _SLACK_FRAC * float(open_.gain.max())
    limit = frac * float(utility.take(free).max()) + slack
    distance, before, root = dijkstra(
        csr_matrix((reduced, node.astype(np.int32), row_at), shape=(n_nodes, n_nodes)),
        indices=free,
        min_only=True,
        return_predecessors=True,
        limit=limit,
    )
    return _Search(node, reduced, utility, distance, before, root, limit, slack)


def _exits(found: _Search) -> tuple[FloatArray, IntArray]:
    """By free source: how far the nearest exit of its region is, and at which node; else infinite and -1."""
    n = len(found.utility)
    reached = np.flatnonzero(found.root >= 0)
    far = found.distance.take(reached)
    n_sources = int(np.searchsorted(reached, n))
    far[:n_sources] += found.utility.take(reached[:n_sources])
    root = found.root.take(reached)
    radius = np.full(n, np.inf)
    np.minimum.at(radius, root, far)
    nearest = np.flatnonzero(far == radius.take(root))
    ends = np.full(n, -1, np.int64)
    ends[root.take(nearest)] = reached.take(nearest)
    return radius, ends


def _within(open_: _Open, found: _Search, radius: FloatArray) -> IntArray:
    """Open candidates whose source lies within the radius of its region."""
    n = len(radius)
    root = found.root[:n]
    inside = (root >= 0) & (found.distance[:n] <= radius.take(root, mode="clip"))
    return np.flatnonzero(inside.repeat(open_.count))


def _limit(open_: _Open, found: _Search, near: IntArray, radius: FloatArray) -> None:
    """Shorten radii until no candidate that leads into another region would become cheaper than nothing."""
    source, node = open_.source.take(near), found.node.take(near)
    root, other = found.root.take(source), found.root.take(node)
    far = found.distance.take(source) + found.reduced.take(near)
    leads = np.flatnonzero((root != other) & (other >= 0) & (far < radius.take(root)))
    root, other, far = root.take(leads), other.take(leads), far.take(leads)
    there = found.distance.take(node.take(leads))
    while True:
        allowed = far + np.maximum(radius.take(other) - there, 0.0)
        short = np.flatnonzero(allowed < radius.take(root) - found.slack)
        if short.size == 0:
            return
        np.minimum.at(radius, root.take(short), allowed.take(short))


def _raise_prices(market: Market, found: _Search, radius: FloatArray) -> None:
    """Prices of the targets that are held within the radii."""
    holder = np.flatnonzero((found.root[: len(radius)] >= 0) & (market.held >= 0))
    rise = radius.take(found.root.take(holder)) - found.distance.take(holder)
    rise = np.maximum(rise, 0.0)
    market.price[market.target.take(market.held.take(holder))] += rise


def _change(
    market: Market, open_: _Open, found: _Search, near: IntArray, served: IntArray, ends: IntArray
) -> None:
    """Take the ways of those served, from their ends back to them, all of them step by step."""
    node = found.node.take(near)
    tight = np.flatnonzero(found.before.take(node) == open_.source.take(near))
    into = np.empty(len(found.distance), np.int64)
    into[node.take(tight)] = open_.candidate.take(near.take(tight))
    root, node = served, ends.take(served)
    market.held[node.compress(node < len(market.held))] = -1
    while True:
        onward = node != root
        root, node = root.compress(onward), node.compress(onward)
        if node.size == 0:
            return
        candidate = into.take(node)
        node = market.source.take(candidate)
        market.held[node] = candidate
        market.node[market.target.take(candidate)] = node


def _reached(open_: _Open, found: _Search) -> _Open:
    """The candidates both of whose ends the search reached."""
    n = len(found.utility)
    reached = found.root >= 0
    if 2 * open_.count.compress(reached[:n]).sum() > len(open_.source):
        return open_  # to leave so few out would take longer than it saves
    kept = np.flatnonzero(reached[:n].repeat(open_.count))
    kept = kept.compress(reached.take(found.node.take(kept)))
    source = open_.source.take(kept)
    return _Open(
        open_.candidate.take(kept),
        source,
        open_.target.take(kept),
        open_.gain.take(kept),
        np.bincount(source, minlength=n),
    )

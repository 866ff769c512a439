"""An assignment problem as a market: sources bid for targets, all at once, and most of them agree.

The auction of Bertsekas (1988, Annals of Operations Research 14, 105) and the row reduction of Jonker &
Volgenant (1987, Computing 38, 325). Its prices prove, by linear programming duality, that what is held is
best for those that hold it; the few sources that are left over are served by shortest paths (`augmenting`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass
class Market:
    """Candidates by ascending source, what each target costs, and who holds which.

    With the utility ``u = max(0, gain - price)`` of each source's best choice, the reduced cost
    ``u + price - gain`` of every candidate is at least 0. It is 0 for what is held, and the price of what
    nobody holds is 0: so what is held is the best for all sources but those that are free.

    Attributes
    ----------
    source, target : (K,) int64
        Ends of each candidate; no pair twice.
    gain : (K,) float64
        What a candidate gains over leaving both ends alone; greater than 0.
    count : (N,) int64
        Candidates of each source.
    price : (M,) float64
        Price of each target.
    node : (M,) int64
        The source that holds a target, or N plus the target's number.
    held : (N,) int64
        Candidate by which a source holds its target, or -1.
    """

    source: IntArray
    target: IntArray
    gain: FloatArray
    count: IntArray
    price: FloatArray
    node: IntArray
    held: IntArray

    @classmethod
    def opened(cls, source: IntArray, target: IntArray, gain: FloatArray) -> Market:
        """Nobody holds anything yet. Memory grows with the largest numbers of a source and of a target."""
        n, m = int(source.max(initial=-1)) + 1, int(target.max(initial=-1)) + 1
        return cls(
            source,
            target,
            gain,
            np.bincount(source, minlength=n),
            np.zeros(m),
            n + np.arange(m),
            np.full(n, -1, np.int64),
        )

    def bids(self, rounds: int) -> IntArray:
        """So many rounds of bids, or fewer if all sources are served; the sources that are free then."""
        free = np.flatnonzero(self.count)
        first = np.cumsum(self.count) - self.count
        for _ in range(rounds):
            if free.size == 0:
                break
            free = self._bid(free, first)
        return free

    def _bid(self, free: IntArray, first: IntArray) -> IntArray:
        """Each free source bids what its best target is worth to it above its second best; who is free now.

        The highest bid holds. To stay alone is worth 0; a source for which that is best leaves the market.
        """
        count = self.count.take(free)
        owner = np.repeat(np.arange(len(free)), count)
        candidate = np.repeat(first.take(free) - np.cumsum(count) + count, count)
        candidate += np.arange(len(candidate))
        value = self.gain.take(candidate) - self.price.take(self.target.take(candidate))
        best = _highest(value, owner, len(free))
        # Of several writes to one place the last one stays: the first of equals.
        at = np.flatnonzero(value == best.repeat(count))[::-1]
        choice = np.zeros(len(free), np.int64)
        choice[owner.take(at)] = at
        bidder = np.flatnonzero(best > 0)
        choice = choice.take(bidder)
        value[choice] = 0.0
        raised = (best - _highest(value, owner, len(free))).take(bidder)
        source, chosen = free.take(bidder), candidate.take(choice)
        wanted = self.target.take(chosen)
        before = self.node.take(wanted)
        able = np.flatnonzero(raised == _highest(raised, wanted, len(self.price)).take(wanted))
        self.node[wanted.take(able)] = source.take(able)
        won = self.node.take(wanted) == source
        ousted = before.compress(won)
        ousted = ousted.compress(ousted < len(self.held))
        self.price[wanted.compress(won)] += raised.compress(won)
        self.held[ousted] = -1
        self.held[source.compress(won)] = chosen.compress(won)
        still_free: IntArray = np.sort(np.concatenate([source.compress(~won), ousted]))
        return still_free


def _highest(value: FloatArray, owner: IntArray, n: int) -> FloatArray:
    """Largest value of each of n owners, 0 at least."""
    highest = np.zeros(n)
    np.maximum.at(highest, owner, value)
    return highest

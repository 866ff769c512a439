"""How often a death would have a candidate, and each effector a kill, by chance.

Attribution by contact is a statement about coincidence: where targets are touched all the time, any death has
a candidate. So the same question is asked of death times that are given to random targets: a permutation test
within risk sets, the null hypothesis of the partial likelihood (Cox 1975, Biometrika 62:269).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataops_parsl.algorithms.attribution import Bools, Floats, Ints, in_window, is_true, ranking, same_length


@dataclass(frozen=True)
class ChanceLevel:
    """What attribution gives when the death times belong to random targets.

    Attributes
    ----------
    n_deaths : int
        Deaths that were drawn for, in each draw.
    n_attributed : (draws,) int64
        Deaths that would have had a candidate.
    effector : (E,) int64
        The effectors given, ascending.
    kills : (E,) float64
        Mean over the draws of the deaths for which each would rank first.
    n_effectors : (K,) float64
        Mean over the draws of the number of effectors with 0, 1, ... K - 1 such deaths.
    """

    n_deaths: int
    n_attributed: Ints
    effector: Ints
    kills: Floats
    n_effectors: Floats


@dataclass(frozen=True)
class Targets:
    """Targets of one position, as `chance_level` needs them; all (T,).

    Attributes
    ----------
    track_id : int64
        Unique.
    judged_from_s, judged_until_s : float64
        First and last observation in which life or death could be told; NaN for none.
    death_time_s : float64
        NaN where no death was seen.
    dead_at_entry : bool
    """

    track_id: Ints
    judged_from_s: Floats
    judged_until_s: Floats
    death_time_s: Floats
    dead_at_entry: Bools


@dataclass(frozen=True)
class Touches:
    """Contact events of targets and effectors, clipped to the effectors' lives; all (N,)."""

    target: Ints
    effector: Ints
    start_s: Floats
    end_s: Floats


def chance_level(
    targets: Targets,
    touches: Touches,
    effectors: npt.ArrayLike,
    *,
    window_s: float,
    detach_s: float = 0.0,
    draws: int,
    seed: int | Sequence[int],
) -> ChanceLevel:
    """Give each death time to a random target that was at risk then, many times over.

    At risk at a time: judged by then, still judged, not dead at entry and not dead before. Deaths of one time
    go to distinct targets. Deaths of different times are drawn from the risk sets as they were: a target that
    one draw lets die early stays at risk later on, since removing it would tie the draws to what happened (if
    every target dies, the only distinct assignment is the real one, and any effect would look like chance).

    Parameters
    ----------
    targets : Targets
    touches : Touches
    effectors : (E,) int
        All effectors of the position; those that never touch count as having no kill.
    window_s, detach_s : float
        As in `candidates`.
    draws : int
    seed : int or sequence of int
        The same seed gives the same result, whatever the order of the rows.

    Returns
    -------
    ChanceLevel
    """
    order = np.argsort(targets.track_id, kind="stable")
    begin, until = targets.judged_from_s[order], targets.judged_until_s[order]
    ids = targets.track_id[order]
    alive = ~is_true(targets.dead_at_entry)[order]
    death = np.where(alive, targets.death_time_s[order], np.nan)
    known = np.unique(np.asarray(effectors).astype(np.int64))
    rng = np.random.default_rng(seed)
    times, n_at = np.unique(death[np.isfinite(death)], return_counts=True)
    pairs = _Pairs(touches, ids, known)
    attributed = np.zeros(draws, np.int64)
    kills = np.zeros((draws, len(known)), np.int64)
    for time_s, n in zip(times.tolist(), n_at.tolist(), strict=True):
        with np.errstate(invalid="ignore"):
            at_risk = alive & (begin <= time_s) & (until >= time_s) & ~(death < time_s)
        at_risk |= death == time_s
        index = np.flatnonzero(at_risk)
        top = pairs.top(time_s, window_s, detach_s)[index]
        chosen = top[np.argsort(rng.random((draws, len(index))), axis=1)[:, :n]]
        found = chosen >= 0
        attributed += found.sum(axis=1)
        draw = np.nonzero(found)[0]
        np.add.at(kills, (draw, chosen[found]), 1)
    most = int(kills.max(initial=0))
    per_draw = [(kills == k).sum(axis=1) for k in range(most + 1)]
    return ChanceLevel(
        n_deaths=int(n_at.sum()),
        n_attributed=attributed,
        effector=known,
        kills=kills.mean(axis=0) if draws else np.full(len(known), np.nan),
        n_effectors=np.array([float(p.mean()) if draws else np.nan for p in per_draw]),
    )


class _Pairs:
    """Contact events by pair of target and effector, both as indices; the pairs sorted by target."""

    def __init__(self, touches: Touches, targets: Ints, effectors: Ints) -> None:
        same_length(
            target=touches.target,
            effector=touches.effector,
            start_s=touches.start_s,
            end_s=touches.end_s,
        )
        known = np.isin(touches.target, targets)
        if lost := np.setdiff1d(touches.effector, effectors).tolist():
            raise ValueError(f"effector {lost[0]} touches a target but is not among the effectors given")
        target = np.searchsorted(targets, touches.target[known])
        effector = np.searchsorted(effectors, touches.effector[known])
        start, end = touches.start_s[known], touches.end_s[known]
        order = np.lexsort((start, effector, target))
        self._start, self._end = start[order], end[order]
        code, self._pair = np.unique(
            target[order] * max(len(effectors), 1) + effector[order], return_inverse=True
        )
        self._target, self._effector = np.divmod(code, max(len(effectors), 1))
        self._n_targets = len(targets)

    def top(self, time_s: float, window_s: float, detach_s: float) -> Ints:
        """Index of the effector that would rank first for each target dying at this time; -1 for none."""
        contact, lag, _ = in_window(self._pair, len(self._target), self._start, self._end, time_s, window_s)
        best = np.full(self._n_targets, -1, np.int64)
        kept = np.flatnonzero(contact > 0)
        # Written last wins: worst first.
        kept = kept[ranking(self._effector[kept], contact[kept], lag[kept], detach_s)][::-1]
        best[self._target[kept]] = self._effector[kept]
        return best

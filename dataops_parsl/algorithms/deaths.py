"""Death: a score for each observation, a threshold for the dataset, and when a crossing is a death.

Rules. `marker`: the background-subtracted 95th percentile of a death stain inside the cell, as in live-cell
killing assays (propidium iodide, SYTOX). `cdi`: death / (live + death) of two normalized stains, the cell
death index of the pyCyto pipeline. `target_loss`: the loss of a dye that leaks from dead cells, as in calcein
release. No threshold is ever taken from the film that is judged, since a film without deaths must show none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAD_TO_SIGMA = 1.4826
MIN_OBSERVATIONS = 2
_STEADY = 3


def control_threshold(scores: Floats, n_mads: float) -> float:
    """Median + `n_mads` scaled median absolute deviations of control cells.

    Parameters
    ----------
    scores : (n,) float64
        Death scores, NaN ignored.

    Returns
    -------
    float
        NaN where nothing is known.
    """
    known = scores[np.isfinite(scores)]
    if not known.size:
        return float("nan")
    median = float(np.median(known))
    return median + n_mads * MAD_TO_SIGMA * float(np.median(np.abs(known - median)))


def death_index(
    live: Floats, death: Floats, live_limits: tuple[float, float], death_limits: tuple[float, float]
) -> Floats:
    """Cell death index: death / (live + death), each stain scaled so that its limits become 0 and 1.

    Parameters
    ----------
    live, death : (n,) float64
        Counts above background.
    live_limits, death_limits : (low, high)
        Counts; the same for the whole dataset.

    Returns
    -------
    (n,) float64
        0 .. 1; NaN where a stain is unknown or neither shows.
    """
    parts = []
    for counts, (low, high) in ((live, live_limits), (death, death_limits)):
        parts.append(np.clip((counts - low) / (high - low), 0.0, 1.0))
    total = parts[0] + parts[1]
    index = np.full(len(total), np.nan)
    np.divide(parts[1], total, out=index, where=total > 0)
    return index


def dye_loss(live: Floats) -> Floats:
    """Share of its live dye that a cell has lost since it was brightest.

    Parameters
    ----------
    live : (n,) float64
        Counts of one track above background, in order of time; NaN is ignored.

    Returns
    -------
    (n,) float64
        1 - live / reference, at least 0. The reference is the highest median of three observations in a row
        so far, so that one bright flash does not set it; NaN where nothing is known or the cell never shone.
    """
    loss = np.full(len(live), np.nan)
    index = np.flatnonzero(np.isfinite(live))
    known = live[index]
    if not len(known):
        return loss
    steady = np.array([np.median(known[max(k - _STEADY + 1, 0) : k + 1]) for k in range(len(known))])
    reference = np.maximum.accumulate(steady)
    shone = reference > 0
    loss[index[shone]] = np.clip(1 - known[shone] / reference[shone], 0.0, None)
    return loss


@dataclass(frozen=True)
class Fate:
    """What became of one cell.

    Attributes
    ----------
    death : int
        Index of the first positive observation of a sustained crossing; -1 for none.
    last_alive : int
        Index of the last usable observation before it; -1 for none.
    dead_at_entry : bool
        Positive from its first usable observation on: no event.
    """

    death: int
    last_alive: int
    dead_at_entry: bool


def fate(
    time_s: Floats, score: Floats, usable: NDArray[np.bool_], threshold: float, sustain_s: float
) -> Fate:
    """Find a sustained crossing of the threshold in one track.

    Parameters
    ----------
    time_s, score, usable : (n,)
        In order of time. Observations that are not usable (touching the edge, unknown score) are ignored.
    sustain_s : float
        All usable observations for so long after the first positive one must be positive, at least two in
        all, and the track must be seen for so long: else the crossing is not sustained and no event.
    """
    index = np.flatnonzero(usable & np.isfinite(score))
    times, positive = time_s[index], score[index] > threshold
    for k in np.flatnonzero(positive & ~np.r_[False, positive[:-1]]):
        reached = int(np.searchsorted(times, times[k] + sustain_s, side="left"))
        stop = max(reached + 1, k + MIN_OBSERVATIONS)
        if stop <= len(times) and positive[k:stop].all():
            return Fate(int(index[k]), int(index[k - 1]) if k else -1, bool(k == 0))
    return Fate(-1, -1, False)

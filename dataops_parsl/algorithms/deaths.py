"""Death from a marker: a threshold per dataset, sustained crossings, candidates in contact before.

Whether a cell is dead is read from the background-subtracted 95th percentile of a death stain inside it,
as in live-cell killing assays (propidium iodide, SYTOX); the threshold is never taken from the film that is
judged, since a film without deaths must show none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAD_TO_SIGMA = 1.4826
MIN_OBSERVATIONS = 2


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


def contact_before(
    start_s: Floats, end_s: Floats, death_time_s: float, window_s: float
) -> tuple[Floats, Floats]:
    """Time in contact within a window before a death, and how long before it the contact was last seen.

    Parameters
    ----------
    start_s, end_s : (n,) float64
        Contact events as [start, end).

    Returns
    -------
    contact_s, lag_s : (n,) float64
        contact_s is 0 where an event does not reach into the window.
    """
    opens = death_time_s - window_s
    contact = np.clip(np.minimum(end_s, death_time_s) - np.maximum(start_s, opens), 0.0, None)
    lag = np.clip(death_time_s - end_s, 0.0, None)
    return contact, lag

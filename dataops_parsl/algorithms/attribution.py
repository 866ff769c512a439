"""Who was in contact with a target before it died."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Candidates:
    """Effectors that touched one target within the window before its death, best first.

    Attributes
    ----------
    effector : (K,) int64
    contact_s : (K,) float64
        Time in contact within the window, above 0.
    lag_s : (K,) float64
        From the last contact before death to death; 0 when in contact.
    first_s : (K,) float64
        Start of the first contact event that reaches into the window; it may lie before the window.
    first_event : (K,) int64
        Index of that event in the input.
    credit_frac : (K,) float64
        ``contact_s`` over its sum.
    rank : (K,) int64
        1, 2, ...: those in contact until at most `detach_s` before death first; then by contact_s falling,
        lag_s rising, effector rising.
    """

    effector: Ints
    contact_s: Floats
    lag_s: Floats
    first_s: Floats
    first_event: Ints
    credit_frac: Floats
    rank: Ints


def candidates(
    effector: npt.ArrayLike,
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    death_time_s: float,
    window_s: float,
    detach_s: float = 0.0,
) -> Candidates:
    """Rank the effectors that were in contact with a target before it died.

    Those that held on until it died come first: killers let go upon the death of their target (Jenkins et al.
    2015, J. Exp. Med. 212:307-317).

    Parameters
    ----------
    effector : (N,) int
        Effector of each of the target's contact events; one may have several.
    start_s, end_s : (N,) float64
        The events as [start, end), ended at the effector's death (`clip_to_life`).
    death_time_s, window_s : float
        Contact within [death - window, death] counts.
    detach_s : float
        Contact that ended so long before death still counts as held on to.

    Returns
    -------
    Candidates
        Without rows where nobody was in contact.

    Raises
    ------
    ValueError
        If the death time or the window is not a finite number, the window is not positive, or the arrays
        differ in length.
    """
    if not (np.isfinite(death_time_s) and np.isfinite(window_s) and window_s > 0):
        raise ValueError(
            f"death_time_s {death_time_s} and window_s {window_s} must be finite, and the window above 0"
        )
    who = np.asarray(effector).astype(np.int64).ravel()
    start, end = _floats(start_s), _floats(end_s)
    same_length(effector=who, start_s=start, end_s=end)
    order = np.lexsort((start, who))
    ids, pair = np.unique(who[order], return_inverse=True)
    contact, lag, first = in_window(pair, len(ids), start[order], end[order], death_time_s, window_s)
    kept = np.flatnonzero(contact > 0)
    kept = kept[ranking(ids[kept], contact[kept], lag[kept], detach_s)]
    total = contact[kept].sum()
    event = order[first[kept]]
    return Candidates(
        effector=ids[kept],
        contact_s=contact[kept],
        lag_s=lag[kept],
        first_s=start[event],
        first_event=event,
        credit_frac=contact[kept] / total,
        rank=np.arange(1, len(kept) + 1),
    )


def clip_to_life(
    effector: npt.ArrayLike,
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    *,
    track_id: npt.ArrayLike,
    death_time_s: npt.ArrayLike,
    dead_at_entry: npt.ArrayLike,
) -> tuple[Bools, Floats]:
    """End contact events at the death of their effector: the dead do not kill.

    Parameters
    ----------
    effector : (N,) int
        Effector of each event.
    start_s, end_s : (N,) float64
        The events as [start, end).
    track_id : (E,) int
        The effectors' tracks; an effector that is not among them is taken to live.
    death_time_s : (E,) float64
        NaN where no death was seen.
    dead_at_entry : (E,) bool or object
        Null counts as not dead.

    Returns
    -------
    kept : (N,) bool
        Whether anything is left of the event.
    end_s : (N,) float64
        The clipped ends.
    """
    who, start, end = np.asarray(effector).astype(np.int64).ravel(), _floats(start_s), _floats(end_s)
    ids, death = np.asarray(track_id).astype(np.int64).ravel(), _floats(death_time_s)
    at_entry = is_true(dead_at_entry)
    same_length(effector=who, start_s=start, end_s=end)
    same_length(track_id=ids, death_time_s=death, dead_at_entry=at_entry)
    until = np.where(at_entry, -np.inf, np.where(np.isfinite(death), death, np.inf))
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids[order], who), max(len(ids) - 1, 0))
    own = np.full(len(who), np.inf)
    if len(ids):
        own = np.where(ids[order][at] == who, until[order][at], np.inf)
    clipped = np.minimum(end, own)
    return clipped > start, np.where(clipped > start, clipped, end)


def ranking(effector: Ints, contact_s: Floats, lag_s: Floats, detach_s: float) -> Ints:
    """Order of the candidates of one death, best first, as `candidates` tells."""
    return np.asarray(np.lexsort((effector, lag_s, -contact_s, lag_s > detach_s)), np.int64)


def in_window(
    pair: Ints, n_pairs: int, start: Floats, end: Floats, death_s: float, window_s: float
) -> tuple[Floats, Floats, Ints]:
    """Contact with each pair's target before a death.

    Parameters
    ----------
    pair : (N,) int64
        Pair of each event, 0 .. n_pairs - 1; events are in order of start within a pair.
    start, end : (N,) float64
        s, as [start, end).

    Returns
    -------
    contact_s, lag_s : (n_pairs,) float64
        Contact within the window, and from the last such contact to death; 0 and inf for none.
    first : (n_pairs,) int64
        First event that reaches into the window; -1 for none.
    """
    contact = np.minimum(end, death_s) - np.maximum(start, death_s - window_s)
    index = np.flatnonzero(contact > 0)
    total = np.bincount(pair[index], weights=contact[index], minlength=n_pairs).astype(np.float64)
    last, first = np.full(n_pairs, -np.inf), np.full(n_pairs, -1, np.int64)
    np.maximum.at(last, pair[index], end[index])
    first[pair[index[::-1]]] = index[::-1]
    return total, np.clip(death_s - last, 0.0, None), first


def _floats(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64).ravel()


def is_true(values: npt.ArrayLike) -> Bools:
    """Nullable bools as bools: null is not true."""
    return np.asarray(np.asarray(values, dtype=object).ravel() == True, dtype=np.bool_)  # noqa: E712


def same_length(**arrays: npt.NDArray[np.generic]) -> None:
    """Raise ValueError unless all arrays have one length."""
    if len({len(a) for a in arrays.values()}) > 1:
        sizes = ", ".join(f"{name} {len(a)}" for name, a in arrays.items())
        raise ValueError(f"arrays must have one length, got {sizes}")

"""Survival of targets: who is at risk from when to when, and the Kaplan–Meier estimate with delayed entry.

Targets that wander in, or are born, late were not under observation before: they join the risk set when
they are first judged (left truncation), else the early risk set would be too large and survival too high
(Kaplan & Meier 1958, J Am Stat Assoc 53:457; Tsai, Jewell & Wang 1987, Biometrika 74:883).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Origin = Literal["film_start", "entry", "first_contact"]
LostAs = Literal["censored", "dead"]
ORIGINS: tuple[Origin, ...] = get_args(Origin)
LOST_AS: tuple[LostAs, ...] = get_args(LostAs)
LOST = "lost"
CONFIDENCE = 0.95
_DECIMALS = 6


@dataclass(frozen=True)
class AtRisk:
    """Targets with time at risk, each from entry to exit on the clock of the origin.

    Attributes
    ----------
    entry_s, exit_s : (M,) float64
        ``entry_s < exit_s``.
    died : (M,) bool
        Whether the exit is a death; else it is censored.
    index : (M,) int64
        Rows of the input.
    """

    entry_s: Floats
    exit_s: Floats
    died: Bools
    index: Ints


def at_risk(
    judged_from_s: npt.ArrayLike,
    judged_until_s: npt.ArrayLike,
    death_time_s: npt.ArrayLike,
    dead_at_entry: npt.ArrayLike,
    first_contact_s: npt.ArrayLike,
    end_reason: npt.ArrayLike,
    *,
    origin: Origin,
    lost_as: LostAs,
) -> AtRisk:
    """Turn tracks of targets into spells at risk.

    Parameters
    ----------
    judged_from_s, judged_until_s : (N,) float64
        First and last observation in which life or death could be told; NaN for none: not at risk.
    death_time_s : (N,) float64
        NaN where no death was seen.
    dead_at_entry : (N,) bool or object
        Such targets are not at risk.
    first_contact_s : (N,) float64
        NaN where never touched.
    end_reason : (N,) str
        Only ``lost`` is ever counted as a death; film, edge and division are censored.
    origin : {"film_start", "entry", "first_contact"}
        Where the clock starts: at the film's start, when a target is first judged, or at its first contact.
        The first and the last have delayed entry. A target that was never touched, or not before its exit,
        has no spell from first contact.
    lost_as : {"censored", "dead"}
        What becomes of lost targets when they are last judged. The truth lies between the two curves.

    Returns
    -------
    AtRisk
        Targets that were judged once only have no time at risk and are not in it.
    """
    if origin not in ORIGINS or lost_as not in LOST_AS:
        raise ValueError(f"origin {origin!r} must be one of {ORIGINS}, lost_as {lost_as!r} one of {LOST_AS}")
    begin, until, death, contact = (
        np.asarray(v, dtype=np.float64).ravel()
        for v in (judged_from_s, judged_until_s, death_time_s, first_contact_s)
    )
    at_entry = np.asarray(np.asarray(dead_at_entry, dtype=object).ravel() == True, dtype=np.bool_)  # noqa: E712
    reason = np.asarray(end_reason, dtype=object).ravel()
    if len({len(v) for v in (begin, until, death, contact, at_entry, reason)}) > 1:
        raise ValueError("the columns of the targets must have one length")
    died = np.isfinite(death)
    leave = np.where(died, death, until)
    if lost_as == "dead":
        died = died | (np.asarray(reason == LOST, dtype=np.bool_) & np.isfinite(until))
    zero = {"film_start": np.zeros(len(begin)), "entry": begin, "first_contact": contact}[origin]
    # Rounded, so that equal spells on clocks of their own stay equal.
    entry, leave = np.maximum(begin - zero, 0.0).round(_DECIMALS), (leave - zero).round(_DECIMALS)
    index = np.flatnonzero((leave > entry) & ~at_entry)
    return AtRisk(entry[index], leave[index], died[index], index)


@dataclass(frozen=True)
class Curve:
    """A survival curve; all (K,), at every time at which a target enters or leaves, ascending.

    Attributes
    ----------
    time_s : float64
    n_at_risk : int64
        Targets that entered before this time and have not left before it. At the first time: those that
        enter at it.
    n_entered, n_dead, n_censored : int64
        What happens at this time; who enters at it is at risk after it.
    alive_frac : float64
        Kaplan–Meier estimate just after this time.
    low_frac, high_frac : float64
        Pointwise 95 % interval, on the log(-log) scale with Greenwood's variance (Kalbfleisch & Prentice);
        NaN where the estimate is 0 or 1 and the interval is not defined. It takes targets as independent,
        which cells of one well are not: too narrow across replicates.
    """

    time_s: Floats
    n_at_risk: Ints
    n_entered: Ints
    n_dead: Ints
    n_censored: Ints
    alive_frac: Floats
    low_frac: Floats
    high_frac: Floats


def kaplan_meier(spells: AtRisk) -> Curve:
    """Estimate survival by the product-limit method of lifelines.

    Parameters
    ----------
    spells : AtRisk

    Returns
    -------
    Curve
        Without points where nobody was at risk. With delayed entry the estimate can fall to 0, and stays
        there, when everybody in an early, small risk set dies: read it with the numbers at risk.
    """
    entry, leave, died = spells.entry_s, spells.exit_s, spells.died
    if not len(entry):
        none, zero = np.empty(0), np.empty(0, np.int64)
        return Curve(none, zero, zero, zero, zero, none, none, none)
    # Imported here: it takes a second.
    from lifelines import KaplanMeierFitter  # type: ignore[import-untyped]

    time = np.unique(np.concatenate([entry, leave]))
    fitted = KaplanMeierFitter(alpha=1 - CONFIDENCE).fit(leave, died, entry=entry, timeline=time)
    alive = fitted.survival_function_.loc[time].to_numpy(dtype=np.float64)[:, 0]
    bounds = fitted.confidence_interval_.loc[time].to_numpy(dtype=np.float64)
    bounds[(alive <= 0) | (alive >= 1)] = np.nan
    entered, dead = _count(entry, time), _count(leave[died], time)
    censored = _count(leave[~died], time)
    before = np.cumsum(entered - dead - censored) - (entered - dead - censored)
    before[0] = entered[0]
    return Curve(time, before, entered, dead, censored, alive, bounds[:, 0], bounds[:, 1])


def _count(values: Floats, time: Floats) -> Ints:
    return np.bincount(np.searchsorted(time, values), minlength=len(time)).astype(np.int64)

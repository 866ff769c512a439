"""From tables to curves over time by condition and replicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.figures.base import Columns, Floats, time_unit
from dataops_parsl.figures.groups import Curve, Curves, Design

Counts = Mapping[str, Floats]


def counts(frames: Columns, cells: Columns, target: str) -> dict[str, Counts]:
    """What is there in each frame, by position.

    Parameters
    ----------
    frames : position_id, frame, time_s, confidence
    cells : position_id, population, frame, alive, in_contact, n_contacts
    target : str
        The population that is killed.

    Returns
    -------
    mapping of position to columns (n_frames,)
        time_s, and n_targets, n_live, n_dead, n_contacts, n_in_contact of targets. NaN: the frame failed,
        or (n_live, n_dead) nothing is known of life and death in the whole position.
    """
    places, where = np.unique(frames["position_id"].astype(str), return_inverse=True)
    index = {p: i for i, p in enumerate(places.tolist())}
    of = np.array([index.get(p, -1) for p in cells["position_id"].tolist()], np.int64)
    mine = cells["population"] == target
    alive, contacts = cells["alive"], np.nan_to_num(cells["n_contacts"].astype(np.float64))
    made: dict[str, Counts] = {}
    for position, i in index.items():
        rows = np.flatnonzero(where == i)
        number = frames["frame"][rows].astype(np.int64)
        order = np.argsort(number)
        number, rows = number[order], rows[order]
        n = int(number[-1]) + 1
        any_cell, own = np.flatnonzero(of == i), np.flatnonzero((of == i) & mine)

        def tally(
            chosen: NDArray[np.int64], n: int = n, number: NDArray[np.int64] = number
        ) -> NDArray[np.int64]:
            return np.asarray(np.bincount(cells["frame"][chosen].astype(np.int64), minlength=n))[number]

        seen = np.isfinite(frames["confidence"][rows].astype(np.float64)) | (tally(any_cell) > 0)
        touched = np.bincount(cells["frame"][own].astype(np.int64), weights=contacts[own], minlength=n)
        fate = {"n_live": own[alive[own] == True], "n_dead": own[alive[own] == False]}  # noqa: E712
        judged = any(len(chosen) for chosen in fate.values())
        made[position] = {
            "time_s": frames["time_s"][rows].astype(np.float64),
            "n_targets": np.where(seen, tally(own), np.nan),
            "n_contacts": np.where(seen, touched[number], np.nan),
            "n_in_contact": np.where(seen, tally(own[cells["in_contact"][own] == True]), np.nan),  # noqa: E712
        } | {name: np.where(seen & judged, tally(chosen), np.nan) for name, chosen in fate.items()}
    return made


def percent(counts: Mapping[str, Counts], design: Design, part: str, whole: tuple[str, ...]) -> Curves:
    """100 x part / sum of the whole, counts of a replicate's positions taken together."""
    return _curves(design, lambda p: _ratio([counts[x] for x in p if x in counts], part, whole))


def per_field(counts: Mapping[str, Counts], design: Design, name: str) -> Curves:
    """A count a field of view: the mean over a replicate's positions."""
    return _curves(design, lambda p: _mean([counts[x] for x in p if x in counts], name))


def in_units(many: Iterable[Curves]) -> tuple[list[Curves], str]:
    """The curves over time in the unit that suits the longest, and the axis label."""
    many = list(many)
    times = [x for curves in many for r in curves.values() for x, _ in r.values()]
    per_unit, label = time_unit(max((float(x[-1]) for x in times if len(x)), default=0.0))
    scaled: list[Curves] = [
        {c: {r: (x / per_unit, y) for r, (x, y) in replicates.items()} for c, replicates in curves.items()}
        for curves in many
    ]
    return scaled, label


def _curves(design: Design, of: Callable[[list[str]], Curve | None]) -> Curves:
    made: dict[str, dict[str, Curve]] = {}
    for condition, replicates in design.positions.items():
        for name, positions in replicates.items():
            curve = of(positions)
            if curve is not None and np.isfinite(curve[1]).any():
                made.setdefault(condition, {})[name] = curve
    return made


def _sum(many: list[Counts], name: str) -> tuple[Floats, Floats, Floats]:
    """Times of the longest, and sum and number of the known counts by frame."""
    longest = max(many, key=lambda c: len(c["time_s"]))["time_s"]
    total, n = np.zeros(len(longest)), np.zeros(len(longest))
    for one in many:
        known = np.isfinite(one[name])
        total[: len(known)][known] += one[name][known]
        n[: len(known)] += known
    return longest, total, n


def _ratio(many: list[Counts], part: str, whole: tuple[str, ...]) -> Curve | None:
    if not many:
        return None
    time, upper, _ = _sum(many, part)
    lower = np.sum([_sum(many, name)[1] for name in whole], axis=0)
    out = np.full(len(time), np.nan)
    np.divide(100 * upper, lower, out=out, where=lower > 0)
    return time, out


def _mean(many: list[Counts], name: str) -> Curve | None:
    if not many:
        return None
    time, total, n = _sum(many, name)
    out = np.full(len(time), np.nan)
    np.divide(total, n, out=out, where=n > 0)
    return time, out

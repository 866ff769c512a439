"""Rows of the closing tables, from tracks, contacts and fates; no stage of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms import deaths as fates
from dataops_parsl.algorithms import motion
from dataops_parsl.film import Film
from dataops_parsl.tables import Rows


def append(columns: dict[str, list[Any]], values: tuple[Any, ...]) -> None:
    """Add one row to columns that are in the order of the values."""
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


def common(plates: list[dict[str, Any]], name: str) -> Any:
    """The value that all positions share, else none."""
    values = {p[name] for p in plates}
    return values.pop() if len(values) == 1 else None


def joined(objects: Rows, members: Mapping[str, Rows]) -> NDArray[np.int64]:
    """Track of each object."""
    track = {
        (population, frame, label): track_id
        for population, rows in members.items()
        for frame, label, track_id in zip(
            rows["frame"].tolist(), rows["label"].tolist(), rows["track_id"].tolist(), strict=True
        )
    }
    keys = zip(objects["population"], objects["frame"].tolist(), objects["label"].tolist(), strict=True)
    return np.array([track[k] for k in keys], np.int64).reshape(-1)


def contact_columns(objects: Rows, touches: Rows) -> dict[str, Any]:
    """Number of contacts of each object, and whether there is any."""
    known = dict(
        zip(
            zip(touches["population"], touches["frame"].tolist(), touches["label"].tolist(), strict=True),
            touches["n_contacts"].tolist(),
            strict=True,
        )
    )
    keys = zip(objects["population"], objects["frame"].tolist(), objects["label"].tolist(), strict=True)
    n = np.array([known.get(k, 0) for k in keys], np.int64)
    return {"n_contacts": n, "in_contact": n > 0}


def groups(
    rows: NDArray[np.int64], track: NDArray[np.int64], frame: NDArray[np.int64], ids: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """Rows of each track, in order of frames."""
    order = np.lexsort((frame, track))
    starts = np.searchsorted(track[order], ids)
    return np.split(rows[order], starts[1:]) if len(ids) else []


def alive(
    fate: fates.Fate, usable: NDArray[np.bool_], score: NDArray[np.float64], threshold: float
) -> NDArray[Any]:
    """Alive, dead or unknown for each observation of one track."""
    alive = np.full(len(usable), True, object)
    if fate.death >= 0:
        alive[0 if fate.dead_at_entry else fate.death :] = False
    # What was not seen is not alive: before death it is unknown; a dead cell stays dead.
    # Positive, but not for long enough to be called dead, is not alive either.
    unseen = (~usable | ~np.isfinite(score) | (score > threshold)) & (alive == True)  # noqa: E712 - elementwise
    alive[unseen] = None
    return alive


def add_track(
    tracks: dict[str, list[Any]],
    population: str,
    known: Rows,
    row: int,
    moved: motion.Motion,
    ends_s: tuple[float, float],
    n_objects: int,
    film: Film,
    objects: Rows,
    of_track: NDArray[np.int64],
) -> None:
    """Add a track's row, but for its fate."""
    last = of_track[-1]
    if known["divides"][row]:
        reason = "division"
    elif int(objects["frame"][last]) == film.frames[-1]:
        reason = "film"
    else:
        reason = "edge" if objects["touches_edge"][last] else "lost"
    parent = known["parent_track_id"][row]
    values = {
        "population": population,
        "track_id": int(known["track_id"][row]),
        "n_objects": n_objects,
        "start_s": ends_s[0],
        "end_s": ends_s[1],
        "end_reason": reason,
        "lineage_id": int(known["lineage_id"][row]),
        "parent_track_id": int(parent) if parent == parent and parent is not None else None,
        "generation": int(known["generation"][row]),
        "path_um": moved.path_um[row],
        "net_um": moved.net_um[row],
        "straightness_frac": moved.straightness_frac[row],
        "speed_um_min": moved.speed_um_min[row],
    }
    for name, value in values.items():
        tracks[name].append(value)


def add_fate(
    tracks: dict[str, list[Any]],
    fate: fates.Fate,
    judged: bool,
    time_s: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> None:
    """Add what became of the cell to its track's row."""
    died = fate.death >= 0 and not fate.dead_at_entry
    tracks["dead"].append(fate.death >= 0 if judged else None)
    tracks["dead_at_entry"].append(fate.dead_at_entry if judged else None)
    tracks["death_time_s"].append(float(time_s[rows[fate.death]]) if died else None)


def by_effector(
    events: Rows, population: str, track_id: int, effectors: str, death_time_s: float, window_s: float
) -> dict[int, tuple[float, float]]:
    """Contact time and lag of each effector that touched this target within the window."""
    out: dict[int, tuple[float, float]] = {}
    for target, effector in (("a", "b"), ("b", "a")):
        mine = events.where(
            (events[f"population_{target}"] == population)
            & (events[f"track_id_{target}"] == track_id)
            & (events[f"population_{effector}"] == effectors)
        )
        contact, lag = fates.contact_before(mine["start_s"], mine["end_s"], death_time_s, window_s)
        for other, contact_s, lag_s in zip(
            mine[f"track_id_{effector}"].tolist(), contact.tolist(), lag.tolist(), strict=True
        ):
            if contact_s > 0:
                before = out.get(other, (0.0, float("inf")))
                out[other] = (before[0] + contact_s, min(before[1], lag_s))
    return out

"""Targets, effectors and their contacts of one position, and what chance makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms.attribution import clip_to_life, is_true
from dataops_parsl.algorithms.chance import ChanceLevel, Targets, Touches, chance_level
from dataops_parsl.stages.closing import pairs
from dataops_parsl.tables import Rows

S_PER_H = 3600.0


def of_position(rows: Rows, position: str) -> Rows:
    """The rows of one position."""
    return rows.where(np.asarray(rows["position_id"] == position, np.bool_))


def of_population(rows: Rows, population: str) -> Rows:
    """The rows of one population."""
    return rows.where(np.asarray(rows["population"] == population, np.bool_))


def numbers(rows: Rows, name: str) -> NDArray[np.float64]:
    """A column as float64, null as NaN, also where all of it is null."""
    return np.asarray(rows[name], np.float64)


@dataclass(frozen=True)
class Scene:
    """Who was there in one position, and who touched whom while both were alive.

    Attributes
    ----------
    targets, effectors : Rows
        Their tracks.
    touches : Touches
    n_events : int
        Contact events between the two, also those of the dead.
    """

    targets: Rows
    effectors: Rows
    touches: Touches
    n_events: int


def scene(tracks: Rows, contact_events: Rows, targets: str, effectors: str) -> Scene:
    """Pick the two roles out of the tables of one position."""
    of_targets, of_effectors = of_population(tracks, targets), of_population(tracks, effectors)
    touching = pairs(contact_events, targets, effectors)
    target_id, effector_id, start, end = (
        touching[name] for name in ("target", "effector", "start_s", "end_s")
    )
    kept, clipped = np.ones(len(start), np.bool_), end
    for who, cells in ((effector_id, of_effectors), (target_id, of_targets)):
        some, clipped = clip_to_life(
            who,
            start,
            clipped,
            track_id=cells["track_id"],
            death_time_s=numbers(cells, "death_time_s"),
            dead_at_entry=cells["dead_at_entry"],
        )
        kept &= some
    touches = Touches(
        target_id[kept].astype(np.int64), effector_id[kept].astype(np.int64), start[kept], clipped[kept]
    )
    return Scene(of_targets, of_effectors, touches, len(target_id))


def by_chance(
    found: Scene, position: str, *, window_s: float, detach_s: float, draws: int, seed: int
) -> ChanceLevel:
    """The chance level of one position; each position has draws of its own."""
    tracks = found.targets
    return chance_level(
        Targets(
            tracks["track_id"].astype(np.int64),
            numbers(tracks, "judged_from_s"),
            numbers(tracks, "judged_until_s"),
            numbers(tracks, "death_time_s"),
            is_true(tracks["dead_at_entry"]),
        ),
        found.touches,
        found.effectors["track_id"],
        window_s=window_s,
        detach_s=detach_s,
        draws=draws,
        seed=(seed, crc32(position.encode())),
    )


def at_risk_s(targets: Rows) -> NDArray[np.float64]:
    """Time that each target was at risk, s: judged, and not dead; NaN for those that never were."""
    begin, until = numbers(targets, "judged_from_s"), numbers(targets, "judged_until_s")
    death = numbers(targets, "death_time_s")
    spent = np.where(np.isfinite(death), death, until) - begin
    spent[is_true(targets["dead_at_entry"])] = np.nan
    return spent


def effector_columns(
    found: Scene, deaths: Rows, candidates: Rows, chance: ChanceLevel | None, control_per_h: float
) -> dict[str, list[Any]]:
    """One row an effector of one position, in order of tracks.

    Parameters
    ----------
    chance : ChanceLevel or None
        None where death is unknown: so are kills.
    control_per_h : float
        NaN where unknown.
    """
    tracks = found.effectors.take(np.argsort(found.effectors["track_id"], kind="stable"))
    ids = tracks["track_id"].astype(np.int64)
    observed = tracks["end_s"] - tracks["start_s"]
    death = numbers(tracks, "death_time_s")
    alive = np.where(np.isfinite(death), np.minimum(death - tracks["start_s"], observed), observed)
    alive[is_true(tracks["dead_at_entry"])] = 0.0

    touches = found.touches
    who = np.searchsorted(ids, touches.effector)
    contact = np.bincount(who, weights=touches.end_s - touches.start_s, minlength=len(ids))
    pairs = np.unique(np.column_stack([who, touches.target]), axis=0)
    columns: dict[str, Any] = {
        "population": tracks["population"],
        "track_id": ids,
        "observed_s": observed,
        "alive_s": alive,
        "n_targets": np.bincount(pairs[:, 0], minlength=len(ids)),
        "contact_s": contact,
        "control_deaths_per_h": np.full(len(ids), control_per_h),
    }
    if chance is None:
        unknown = np.full(len(ids), np.nan)
        columns |= dict.fromkeys(
            ("n_kills", "credited_kills", "chance_kills", "kills_per_contact_h"), unknown
        )
    else:
        kills = kills_of(ids, deaths)
        credit = np.bincount(
            np.searchsorted(ids, candidates["effector_track_id"]),
            weights=candidates["credit_frac"],
            minlength=len(ids),
        )
        per_h = np.full(len(ids), np.nan)
        np.divide(kills * S_PER_H, contact, out=per_h, where=contact > 0)
        columns |= {
            "n_kills": kills,
            "credited_kills": credit,
            "chance_kills": chance.kills,
            "kills_per_contact_h": per_h,
        }
    return {name: np.asarray(values).tolist() for name, values in columns.items()}


def kills_of(effectors: NDArray[np.int64], deaths: Rows) -> NDArray[np.int64]:
    """Deaths of one position for which each effector, ascending, ranks first."""
    top = numbers(deaths, "top_effector_track_id")
    top = top[np.isfinite(top)].astype(np.int64)
    return np.bincount(np.searchsorted(effectors, top), minlength=len(effectors)).astype(np.int64)

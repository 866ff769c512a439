"""Rows of the closing tables of one position, from tracks, contacts and scores; no stage of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms import attribution, lineage, motion
from dataops_parsl.algorithms import deaths as fates
from dataops_parsl.film import Film
from dataops_parsl.stages.death_rules import Rule
from dataops_parsl.stages.killing_tables import CANDIDATES, DEATHS, TRACKS
from dataops_parsl.tables import Rows, Schema

ATTRIBUTED, UNATTRIBUTED = "attributed", "unattributed"
_UNKNOWN = fates.Fate(-1, -1, False)


class Closing:
    """The closing tables of one position, filled population by population.

    Parameters
    ----------
    film : Film
        With the fact ``time_s``.
    objects : Rows
        All objects of the position.
    members : mapping of population to Rows
        Track of each object.
    touches : Rows
        Objects in contact.
    rule : Rule
        How life and death are told.
    sustain_s : float
        How long a death must be seen.
    """

    def __init__(
        self,
        film: Film,
        objects: Rows,
        members: Mapping[str, Rows],
        touches: Rows,
        rule: Rule,
        sustain_s: float,
    ) -> None:
        self.film, self.objects, self.rule, self.sustain_s = film, objects, rule, sustain_s
        self.track = joined(objects, members)
        self.time_s = np.array([film.time_s[f] for f in objects["frame"].tolist()], np.float64)
        self.cells: dict[str, Any] = {
            **objects.columns(),
            "track_id": self.track,
            "step_speed_um_min": np.full(len(objects), np.nan),
            "step_frames": np.full(len(objects), np.nan),
            "death_score": np.full(len(objects), np.nan),
            "alive": np.full(len(objects), None, object),
            **contact_columns(objects, touches),
        }
        self.tracks, self.deaths, self.candidates = _empty(TRACKS), _empty(DEATHS), _empty(CANDIDATES)

    def tables(self) -> dict[str, Any]:
        """Columns of cells, tracks, deaths and death_candidates."""
        return {
            "cells": self.cells,
            "tracks": self.tracks,
            "deaths": self.deaths,
            "death_candidates": self.candidates,
        }

    def add_population(self, population: str, known: Rows, judged_as: Mapping[str, str]) -> None:
        """Add the motion and fate of every track of a population.

        Parameters
        ----------
        known : Rows
            Its lineages.
        judged_as : mapping of population to "target" or "effector"
        """
        mine = np.flatnonzero(self.objects["population"] == population)
        frame, track = self.objects["frame"][mine], self.track[mine]
        place = np.column_stack([self.objects["y_um"][mine], self.objects["x_um"][mine]])
        moved = motion.measure(track, frame, self.time_s[mine], place)
        self.cells["step_speed_um_min"][mine] = moved.step_speed_um_min
        self.cells["step_frames"][mine] = moved.step_frames
        touching = self.cells["in_contact"][mine]
        speeds = {
            state: motion.speed_in(where, track, frame, self.time_s[mine], place)
            for state, where in (("contact", touching), ("free", ~touching))
        }
        score = self._scores(mine, judged_as.get(population, ""))
        for row, of_track in enumerate(groups(mine, track, frame, moved.track_id)):
            self._add_track(population, known, row, moved, of_track)
            self._add_fate(of_track, None if score is None else score[np.searchsorted(mine, of_track)])
            for state, speed in speeds.items():
                self.tracks[f"speed_{state}_um_min"].append(speed[row])
            self.tracks["first_contact_s"].append(None)

    def _scores(self, mine: NDArray[np.int64], role: str) -> NDArray[np.float64] | None:
        """Scores of a population that is judged, else None."""
        if not role:
            return None
        objects = self.objects.take(mine)
        score = self.rule.target_scores(objects) if role == "target" else self.rule.effector_scores(objects)
        if role == "target" or np.isfinite(score).any():
            self.cells["death_score"][mine] = score
        return score if self.rule.known and (role == "target" or self.rule.name == "marker") else None

    def _add_track(
        self, population: str, known: Rows, row: int, moved: motion.Motion, of_track: NDArray[np.int64]
    ) -> None:
        first, last = of_track[0], of_track[-1]
        if known["divides"][row]:
            reason = "division"
        elif int(self.objects["frame"][last]) == self.film.frames[-1]:
            reason = "film"
        else:
            reason = "edge" if self.objects["touches_edge"][last] else "lost"
        parent = known["parent_track_id"][row]
        values = {
            "population": population,
            "track_id": int(known["track_id"][row]),
            "n_objects": len(of_track),
            "start_s": float(self.time_s[first]),
            "end_s": float(self.time_s[last]),
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
            self.tracks[name].append(value)

    def _add_fate(self, of_track: NDArray[np.int64], score: NDArray[np.float64] | None) -> None:
        """Judge one track; without a score nothing is known."""
        fate, seen = _UNKNOWN, np.zeros(0, np.int64)
        if score is not None:
            usable = ~self.objects["touches_edge"][of_track].astype(bool)
            score = self.rule.along(score, usable)
            self.cells["death_score"][of_track] = score
            fate = fates.fate(self.time_s[of_track], score, usable, self.rule.threshold, self.sustain_s)
            self.cells["alive"][of_track] = alive(fate, usable, score, self.rule.threshold)
            seen = of_track[usable & np.isfinite(score)]
        died = fate.death >= 0 and not fate.dead_at_entry
        judged = bool(len(seen))
        values = {
            "judged_from_s": float(self.time_s[seen[0]]) if judged else None,
            "judged_until_s": float(self.time_s[seen[-1]]) if judged else None,
            "dead": fate.death >= 0 if judged else None,
            "dead_at_entry": fate.dead_at_entry if judged else None,
            "death_time_s": float(self.time_s[of_track[fate.death]]) if died else None,
            "last_alive_s": float(self.time_s[of_track[fate.last_alive]]) if died else None,
            "death_frame": int(self.objects["frame"][of_track[fate.death]]) if died else None,
        }
        for name, value in values.items():
            self.tracks[name].append(value)

    def add_first_contacts(self, events: Rows, roles: Mapping[str, str]) -> None:
        """Add when each track of a role first touched one of the other."""
        first: dict[tuple[str, int], float] = {}
        for one, other in (("a", "b"), ("b", "a")):
            for population, track, partner, start_s in zip(
                events[f"population_{one}"],
                events[f"track_id_{one}"].tolist(),
                events[f"population_{other}"],
                events["start_s"].tolist(),
                strict=True,
            ):
                if roles.get(population) == partner:
                    key = (population, track)
                    first[key] = min(first.get(key, start_s), start_s)
        keys = zip(self.tracks["population"], self.tracks["track_id"], strict=True)
        self.tracks["first_contact_s"] = [first.get(key) for key in keys]

    def add_deaths(
        self, events: Rows, targets: str, effectors: str, window_s: float, detach_s: float
    ) -> None:
        """Add each target that was seen to die, and the live effectors in contact before."""
        touching = pairs(events, targets, effectors)
        tracks = {name: np.array(values, object) for name, values in self.tracks.items()}
        killers = tracks["population"] == effectors
        kept, end_s = attribution.clip_to_life(
            touching["effector"],
            touching["start_s"],
            touching["end_s"],
            track_id=tracks["track_id"][killers],
            death_time_s=tracks["death_time_s"][killers].astype(float),
            dead_at_entry=tracks["dead_at_entry"][killers],
        )
        touching = {name: values[kept] for name, values in {**touching, "end_s": end_s}.items()}
        dead = np.flatnonzero((tracks["population"] == targets) & (tracks["death_time_s"] != None))  # noqa: E711
        dead = dead[np.argsort(tracks["death_time_s"][dead].astype(float), kind="stable")]
        previous: dict[int, float] = {}
        for row in dead:
            of_track = touching["target"] == tracks["track_id"][row]
            near = {name: values[of_track] for name, values in touching.items()}
            death = {name: values[row] for name, values in tracks.items()}
            self._add_death(death, near, effectors, (window_s, detach_s), previous)

    def _add_death(
        self,
        death: Mapping[str, Any],
        near: Mapping[str, NDArray[Any]],
        effectors: str,
        within_s: tuple[float, float],
        previous: dict[int, float],
    ) -> None:
        time_s = float(death["death_time_s"])
        found = attribution.candidates(near["effector"], near["start_s"], near["end_s"], time_s, *within_s)
        top, delay_s = None, None
        if len(found.effector):
            top = int(found.effector[0])
            if near["start_reason"][found.first_event[0]] == "contact":
                delay_s = time_s - float(found.first_s[0])
        values = {
            "population": death["population"],
            "track_id": death["track_id"],
            "death_frame": death["death_frame"],
            "death_time_s": time_s,
            "last_alive_s": death["last_alive_s"],
            "n_candidates": len(found.effector),
            "attribution": UNATTRIBUTED if top is None else ATTRIBUTED,
            "top_effector_population": None if top is None else effectors,
            "top_effector_track_id": top,
            "delay_s": delay_s,
            "since_previous_kill_s": time_s - previous[top] if top in previous else None,
        }
        if top is not None:
            previous[top] = time_s
        for name, value in values.items():
            self.deaths[name].append(value)
        same = {
            "population": death["population"],
            "track_id": death["track_id"],
            "effector_population": effectors,
        }
        for k, effector in enumerate(found.effector.tolist()):
            own = {"effector_track_id": effector, "contact_s": found.contact_s[k], "lag_s": found.lag_s[k]}
            ranked = {"credit_frac": found.credit_frac[k], "rank": int(found.rank[k])}
            for name, value in {**same, **own, **ranked}.items():
                self.candidates[name].append(value)


def _empty(schema: Schema) -> dict[str, list[Any]]:
    return {c.name: [] for c in schema.columns if c.name != "position_id"}


def joined(objects: Rows, members: Mapping[str, Rows]) -> NDArray[np.int64]:
    """Track of each object."""
    track = np.zeros(len(objects), np.int64)
    for population, rows in members.items():
        mine = np.flatnonzero(objects["population"] == population)
        frame, label = objects["frame"][mine], objects["label"][mine]
        track[mine] = rows["track_id"][lineage.rows_of(rows["frame"], rows["label"], frame, label)]
    return track


def contact_columns(objects: Rows, touches: Rows) -> dict[str, Any]:
    """Number of contacts of each object, and whether there is any."""
    n = np.zeros(len(objects), np.int64)
    for population in np.unique(touches["population"].astype(str)):
        mine, touching = (np.flatnonzero(rows["population"] == population) for rows in (objects, touches))
        at = lineage.rows_of(
            objects["frame"][mine],
            objects["label"][mine],
            touches["frame"][touching],
            touches["label"][touching],
        )
        n[mine[at]] = touches["n_contacts"][touching]
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


def pairs(events: Rows, targets: str, effectors: str) -> dict[str, NDArray[Any]]:
    """Contact events of targets with effectors: target, effector, start_s, end_s, start_reason."""
    found: dict[str, list[NDArray[Any]]] = {}
    for target, effector in (("a", "b"), ("b", "a")):
        mine = events.where(
            (events[f"population_{target}"] == targets) & (events[f"population_{effector}"] == effectors)
        )
        columns = {"target": mine[f"track_id_{target}"], "effector": mine[f"track_id_{effector}"]}
        columns |= {name: mine[name] for name in ("start_s", "end_s", "start_reason")}
        for name, values in columns.items():
            found.setdefault(name, []).append(values)
        if targets == effectors:
            break
    return {name: np.concatenate(many) for name, many in found.items()}

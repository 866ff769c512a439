"""outcome: what the deaths mean: chance level, survival, killing rates, spread, summary by replicate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from dataops_parsl.algorithms import motion, survival
from dataops_parsl.film import Film
from dataops_parsl.stage import Stage, step
from dataops_parsl.stages.death_rules import NEGATIVE
from dataops_parsl.stages.outcome_effectors import (
    S_PER_H,
    Scene,
    at_risk_s,
    by_chance,
    effector_columns,
    kills_of,
    numbers,
    of_population,
    of_position,
    scene,
)
from dataops_parsl.stages.outcome_summary import Position, Summary, conditions, per
from dataops_parsl.stages.outcome_tables import (
    CHANCE,
    CHANCE_KILLS,
    EFFECTORS,
    MSD,
    SUMMARY,
    SURVIVAL,
)
from dataops_parsl.tables import Rows


class Outcome(Stage):
    """Set the deaths beside what chance and controls give."""

    name: ClassVar[str] = "outcome"
    version: ClassVar[int] = 1

    draws: int = Field(200, ge=1)
    """How often the death times are given to random targets."""

    seed: int = Field(0, ge=0)
    """Of the random draws; the same seed gives the same chance level."""

    max_lag_frames: int = Field(20, ge=1)
    """Mean squared displacement up to this lag."""

    @step(
        scope="dataset",
        gives={"effectors": EFFECTORS, "chance": CHANCE, "chance_kills": CHANCE_KILLS},
        facts=("plate",),
        parameters=("draws", "seed"),
    )
    def attribute(
        self,
        films: Mapping[str, Film],
        tracks: Rows,
        deaths: Rows,
        death_candidates: Rows,
        contact_events: Rows,
        thresholds: Rows,
    ) -> dict[str, Any]:
        """What each effector did, beside chance and controls.

        The chance level belongs to one position: death times go to targets of the same film.
        """
        known = _known(thresholds)
        scenes = {p: _scene(p, tracks, contact_events, thresholds) for p in films}
        control = _control_per_h(films, scenes) if known else float("nan")
        parts: dict[str, list[dict[str, Any]]] = {"effectors": [], "chance": [], "chance_kills": []}
        for position, found in scenes.items():
            own = of_position(deaths, position)
            level = None
            if known:
                within = {f"{n}_s": 60 * float(thresholds[f"{n}_min"][0]) for n in ("window", "detach")}
                level = by_chance(found, position, **within, draws=self.draws, seed=self.seed)
                n_draws, kills = len(level.n_attributed), kills_of(level.effector, own)
                observed = np.bincount(kills, minlength=len(level.n_effectors))
                expected = np.zeros(len(observed))
                expected[: len(level.n_effectors)] = level.n_effectors
                parts["chance"].append(
                    {
                        "position_id": [position] * n_draws,
                        "draw": list(range(n_draws)),
                        "n_attributed": level.n_attributed.tolist(),
                    }
                )
                parts["chance_kills"].append(
                    {
                        "position_id": [position] * len(observed),
                        "n_kills": list(range(len(observed))),
                        "n_effectors": observed.tolist(),
                        "n_effectors_by_chance": expected.tolist(),
                        "control_deaths_per_h": [control] * len(observed),
                    }
                )
            rows = effector_columns(found, own, of_position(death_candidates, position), level, control)
            parts["effectors"].append({"position_id": [position] * len(rows["track_id"]), **rows})
        schemas = {"effectors": EFFECTORS, "chance": CHANCE, "chance_kills": CHANCE_KILLS}
        return {
            name: {c: [v for part in parts[name] for v in part[c]] for c in schema.names}
            for name, schema in schemas.items()
        }

    @step(
        scope="film",
        gives={"msd": MSD},
        facts=("time_s",),
        parameters=("max_lag_frames",),
        columns={"cells": ("population", "frame", "track_id", "y_um", "x_um")},
    )
    def spread(self, film: Film, cells: Rows) -> dict[str, Any]:
        """Mean squared displacement of each population."""
        out: dict[str, list[Any]] = {c.name: [] for c in MSD.columns[1:]}
        times = film.time_s
        for population in sorted(set(cells["population"])):
            mine = of_population(cells, population)
            found = motion.mean_squared_displacement(
                mine["track_id"],
                mine["frame"],
                [times[int(f)] for f in mine["frame"]],
                np.column_stack([mine["y_um"], mine["x_um"]]),
                self.max_lag_frames,
            )
            out["population"] += [population] * len(found.lag_frames)
            for name in MSD.names[2:]:
                out[name] += getattr(found, name).tolist()
        return out

    @step(scope="dataset", gives={"survival": SURVIVAL}, facts=("plate",), parameters=())
    def survive(self, films: Mapping[str, Film], tracks: Rows, thresholds: Rows) -> dict[str, Any]:
        """Survival of targets by position and by condition, on three clocks, lost targets counted twofold."""
        out: dict[str, list[Any]] = {name: [] for name in SURVIVAL.names}
        if not _known(thresholds):
            return out
        targets = of_population(tracks, str(thresholds["population"][0]))
        groups = [("position", p, [p]) for p in films] + [
            ("condition", c, positions)
            for c, positions in conditions({p: f.plate for p, f in films.items()}).items()
        ]
        for level, name, positions in groups:
            mine = targets.where(np.isin(targets["position_id"].astype(str), positions))
            columns = {
                c: numbers(mine, c)
                for c in ("judged_from_s", "judged_until_s", "death_time_s", "first_contact_s")
            }
            for origin in survival.ORIGINS:
                for lost_as in survival.LOST_AS:
                    curve = survival.kaplan_meier(
                        survival.at_risk(
                            **columns,
                            dead_at_entry=mine["dead_at_entry"],
                            end_reason=mine["end_reason"],
                            origin=origin,
                            lost_as=lost_as,
                        )
                    )
                    labels = {"level": level, "name": name, "origin": origin, "lost_as": lost_as}
                    for column, label in labels.items():
                        out[column] += [label] * len(curve.time_s)
                    for column in SURVIVAL.names[len(labels) :]:
                        out[column] += getattr(curve, column).tolist()
        return out

    @step(
        scope="dataset",
        gives={"summary": SUMMARY},
        facts=("plate",),
        parameters=(),
    )
    def summarise(
        self,
        films: Mapping[str, Film],
        tracks: Rows,
        deaths: Rows,
        contact_events: Rows,
        thresholds: Rows,
        effectors: Rows,
        chance: Rows,
    ) -> dict[str, Any]:
        """Counts and rates per position and per condition; a condition's means are over replicates."""
        positions = {}
        for position, film in films.items():
            positions[position] = Position.of(
                _scene(position, tracks, contact_events, thresholds),
                of_position(deaths, position),
                of_position(effectors, position),
                of_position(chance, position),
                film.plate,
            )
        threshold = float(numbers(thresholds, "threshold")[0])
        return Summary(positions, threshold).columns()


def _scene(position: str, tracks: Rows, contact_events: Rows, thresholds: Rows) -> Scene:
    """One position; the table of thresholds says who may kill whom."""
    return scene(
        of_position(tracks, position),
        of_position(contact_events, position),
        str(thresholds["population"][0]),
        str(thresholds["effector_population"][0]),
    )


def _known(thresholds: Rows) -> bool:
    """Whether deaths are known."""
    return bool(np.isfinite(numbers(thresholds, "threshold")).all())


def _control_per_h(films: Mapping[str, Film], scenes: Mapping[str, Scene]) -> float:
    """Deaths over hours of targets at risk, all negative controls together; NaN without."""
    deaths, hours = 0, 0.0
    for position, film in films.items():
        if film.plate["control"] == NEGATIVE:
            spent = at_risk_s(scenes[position].targets)
            died = np.isfinite(numbers(scenes[position].targets, "death_time_s"))
            deaths += int((died & np.isfinite(spent)).sum())
            hours += float(np.nansum(spent)) / S_PER_H
    return per(deaths, hours)

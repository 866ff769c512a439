"""killing: who died, when, and who was in contact before; the closing tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from dataops_parsl.algorithms import deaths as fates
from dataops_parsl.algorithms import motion
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Stage, step
from dataops_parsl.stages import closing
from dataops_parsl.stages.killing_tables import (
    CANDIDATES,
    CELLS,
    DEATHS,
    POSITIONS,
    SUMMARY,
    THRESHOLDS,
    TRACKS,
)
from dataops_parsl.tables import Rows

_UNKNOWN = fates.Fate(-1, -1, False)
NEGATIVE = "negative"
"""What the column control says where nothing should die: these positions set the death threshold."""


class Killing(Stage):
    """Call deaths from the death marker and name who was in contact before."""

    name: ClassVar[str] = "killing"
    version: ClassVar[int] = 1

    death_channel: str = ""
    """Channel that dead cells light up in. Empty: the one marked death_marker in dataset.toml."""

    threshold_count: float | None = None
    """Death score above which a target is dead. Not set: taken from control positions."""

    n_mads: float = Field(6.0, gt=0)
    """The threshold from controls is their median + this many scaled median absolute deviations."""

    sustain_min: float = Field(5.0, ge=0)
    """A death must be seen for so long, in two observations at least."""

    window_min: float = Field(60.0, gt=0)
    """Effectors in contact within so long before a death are candidates."""

    targets: str = "target"
    """Population that may be killed."""

    effectors: str = "effector"
    """Population that may kill."""

    def check(self, film: Film) -> None:
        """Refuse a death channel or populations that are not there."""
        self._channel(film)
        names = list(film.populations)
        roles = [("targets", self.targets)]
        if len(names) > 1:  # targets alone are a film too
            roles.append(("effectors", self.effectors))
        for role, name in roles:
            if name not in names:
                raise ConfigError(
                    f"this dataset has no population {name!r}{nearest(name, names)}",
                    f"say which of {', '.join(names)} are the {role}: stages.killing.{role}; one population "
                    "alone is tracked by: run tracks",
                )

    def _channel(self, film: Film) -> str:
        names = [n for n, c in film.channels.items() if not c.labels]
        if self.death_channel and self.death_channel not in names:
            raise ConfigError(
                f"stages.killing.death_channel = {self.death_channel!r} is no channel of this dataset"
                f"{nearest(self.death_channel, names)}",
                f"its channels are {', '.join(names)}",
            )
        marked = [n for n, c in film.channels.items() if c.death_marker]
        return self.death_channel or (marked[0] if marked else "")

    @step(
        scope="dataset",
        gives={"thresholds": THRESHOLDS},
        facts=("channels", "plate"),
        parameters=("death_channel", "threshold_count", "n_mads", "targets"),
    )
    def threshold(self, films: Mapping[str, Film], objects: Rows) -> dict[str, Any]:
        """One threshold for the dataset, never one per film."""
        channel = self._channel(next(iter(films.values())))
        controls = [p for p, film in films.items() if film.plate["control"] == NEGATIVE]
        value: float | None = None
        if not channel:
            source = "no channel is marked death_marker: deaths are unknown; mark one in dataset.toml"
        elif self.threshold_count is not None:
            value, source = self.threshold_count, "given: stages.killing.threshold_count"
        elif not controls:
            source = (
                "no negative control and no threshold: deaths are unknown; write negative into the column "
                "control of plate.csv where nothing should die, or set stages.killing.threshold_count"
            )
        else:
            mine = (objects["population"] == self.targets) & np.isin(
                objects["position_id"].astype(str), controls
            )
            mine &= ~objects["touches_edge"].astype(bool)
            found = fates.control_threshold(objects[f"p95_bg_{channel}"][mine], self.n_mads)
            value = found if np.isfinite(found) else None
            source = f"controls: {', '.join(controls)}"
            if value is None:
                source = f"no {self.targets} was seen in the control positions {', '.join(controls)}"
        return {
            "population": [self.targets],
            "channel": [channel or None],
            "threshold_count": [value],
            "source": [source],
        }

    @step(
        scope="film",
        gives={"cells": CELLS, "tracks": TRACKS, "deaths": DEATHS, "death_candidates": CANDIDATES},
        facts=("time_s",),
        parameters=("sustain_min", "window_min", "targets", "effectors"),
    )
    def close(
        self,
        film: Film,
        objects: Rows,
        members: Mapping[str, Rows],
        lineages: Mapping[str, Rows],
        touches: Rows,
        contact_events: Rows,
        thresholds: Rows,
    ) -> dict[str, Any]:
        """Closing tables of one position."""
        channel = thresholds["channel"][0]
        threshold = float(thresholds["threshold_count"][0])
        track = closing.joined(objects, members)
        score = objects[f"p95_bg_{channel}"] if channel else np.full(len(objects), np.nan)
        time_s = np.array([film.time_s[int(f)] for f in objects["frame"]], np.float64)
        cells: dict[str, Any] = {
            **objects.columns(),
            "track_id": track,
            "step_speed_um_min": np.full(len(objects), np.nan),
            "death_score": score,
            "alive": np.full(len(objects), None, object),
            **closing.contact_columns(objects, touches),
        }
        tracks: dict[str, list[Any]] = {c.name: [] for c in TRACKS.columns[1:]}
        deaths: dict[str, list[Any]] = {c.name: [] for c in DEATHS.columns[1:]}
        candidates: dict[str, list[Any]] = {c.name: [] for c in CANDIDATES.columns[1:]}
        for population, known in lineages.items():
            mine = np.flatnonzero(objects["population"] == population)
            moved = motion.measure(
                track[mine],
                objects["frame"][mine],
                time_s[mine],
                np.column_stack([objects["y_um"][mine], objects["x_um"][mine]]),
            )
            cells["step_speed_um_min"][mine] = moved.step_speed_um_min
            judged = population == self.targets and np.isfinite(threshold)
            for row, of_track in enumerate(
                closing.groups(mine, track[mine], objects["frame"][mine], moved.track_id)
            ):
                fate, seen = _UNKNOWN, False
                if judged:
                    usable = ~objects["touches_edge"][of_track].astype(bool)
                    fate = fates.fate(
                        time_s[of_track], score[of_track], usable, threshold, 60 * self.sustain_min
                    )
                    seen = bool((usable & np.isfinite(score[of_track])).any())
                    cells["alive"][of_track] = closing.alive(fate, usable, score[of_track], threshold)
                ends = time_s[of_track[0]], time_s[of_track[-1]]
                closing.add_track(
                    tracks, population, known, row, moved, ends, len(of_track), film, objects, of_track
                )
                closing.add_fate(tracks, fate, seen, time_s, of_track)
                if judged and fate.death >= 0 and not fate.dead_at_entry:
                    at = of_track[fate.death]
                    self._add_death(
                        deaths,
                        candidates,
                        contact_events,
                        population,
                        int(moved.track_id[row]),
                        int(objects["frame"][at]),
                        float(time_s[at]),
                        float(time_s[of_track[fate.last_alive]]),
                    )
        return {"cells": cells, "tracks": tracks, "deaths": deaths, "death_candidates": candidates}

    def _add_death(
        self,
        deaths: dict[str, list[Any]],
        candidates: dict[str, list[Any]],
        events: Rows,
        population: str,
        track_id: int,
        frame: int,
        time_s: float,
        last_alive_s: float,
    ) -> None:
        seen = closing.by_effector(events, population, track_id, self.effectors, time_s, 60 * self.window_min)
        total = sum(contact for contact, _ in seen.values())
        for effector, (contact_s, lag_s) in sorted(seen.items()):
            closing.append(
                candidates,
                (population, track_id, self.effectors, effector, contact_s, lag_s, contact_s / total),
            )
        closing.append(deaths, (population, track_id, frame, time_s, last_alive_s, len(seen)))

    @step(scope="dataset", gives={"positions": POSITIONS}, facts=("plate", "n_frames"), parameters=())
    def describe(self, films: Mapping[str, Film]) -> dict[str, Any]:
        """The fields of view and what was done to them."""
        names = ("well", "condition", "control", "replicate")
        return {
            "position_id": list(films),
            **{name: [film.plate[name] for film in films.values()] for name in names},
            "n_frames": [film.n_frames for film in films.values()],
        }

    @step(
        scope="dataset",
        gives={"summary": SUMMARY},
        facts=("plate",),
        parameters=("targets", "effectors"),
    )
    def summarise(
        self,
        films: Mapping[str, Film],
        tracks: Rows,
        deaths: Rows,
        contact_events: Rows,
        thresholds: Rows,
    ) -> dict[str, Any]:
        """Counts per position and per condition."""
        groups = [("position", p, [p]) for p in films]
        conditions = dict.fromkeys(f.plate["condition"] for f in films.values() if f.plate["condition"])
        groups += [
            ("condition", c, [p for p, f in films.items() if f.plate["condition"] == c]) for c in conditions
        ]
        threshold = thresholds["threshold_count"][0]
        known = bool(np.isfinite(threshold))
        out: dict[str, list[Any]] = {c.name: [] for c in SUMMARY.columns}
        for level, name, positions in groups:
            own = {
                id(t): t.where(np.isin(t["position_id"].astype(str), positions))
                for t in (tracks, deaths, contact_events)
            }
            track, death, event = own[id(tracks)], own[id(deaths)], own[id(contact_events)]
            targets = track["population"] == self.targets
            at_entry = int(np.sum(track["dead_at_entry"][targets] == True)) if known else None  # noqa: E712 - nullable
            at_risk = sum(d is not None for d in track["dead"][targets]) - (at_entry or 0)
            pair = {self.targets, self.effectors}
            mixed = [
                {a, b} == pair for a, b in zip(event["population_a"], event["population_b"], strict=True)
            ]
            plates = [films[p].plate for p in positions]
            values = (
                level,
                name,
                closing.common(plates, "condition"),
                closing.common(plates, "control"),
                len(positions),
                int(targets.sum()),
                int((track["population"] == self.effectors).sum()),
                sum(mixed),
                at_entry,
                len(death) if known else None,
                int((death["n_candidates"] > 0).sum()) if known else None,
                len(death) / at_risk if known and at_risk else None,
                float(threshold),
            )
            closing.append(out, values)
        return out

"""killing: who died, when, and who was in contact before; the closing tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from dataops_parsl.algorithms import deaths as fates
from dataops_parsl.errors import ConfigError, nearest
from dataops_parsl.film import Film
from dataops_parsl.stage import Stage, step
from dataops_parsl.stages.closing import Closing
from dataops_parsl.stages.death_rules import NEGATIVE, Rule, cdi_limits, threshold_row, warning
from dataops_parsl.stages.killing_tables import CANDIDATES, CELLS, DEATHS, POSITIONS, THRESHOLDS, TRACKS
from dataops_parsl.tables import Rows


class Killing(Stage):
    """Call deaths and name who was in contact before."""

    name: ClassVar[str] = "killing"
    version: ClassVar[int] = 2

    death_rule: Literal["marker", "cdi", "target_loss"] = "marker"
    """What tells the dead: marker, the 95th percentile of a death stain above a threshold; cdi, pyCyto's cell
    death index, death / (live + death); target_loss, a dye that dead cells lose."""

    death_channel: str = ""
    """Channel that dead cells light up in. Empty: the one marked death_marker in dataset.toml."""

    live_channel: str = ""
    """For cdi and target_loss: channel of the live dye. Empty: the one marked lost_on_death."""

    threshold_count: float | None = None
    """For marker: death score above which a cell is dead. Not set: taken from control positions."""

    n_mads: float = Field(6.0, gt=0)
    """The threshold from controls is their median + this many scaled median absolute deviations."""

    cdi_threshold_frac: float = Field(0.5, gt=0, lt=1)
    """For cdi: index from which a cell is dead."""

    cdi_live_limits_count: tuple[float, float] | None = None
    """For cdi: counts of the live dye that become 0 and 1. Not set: 0 and all targets' 99th percentile."""

    cdi_death_limits_count: tuple[float, float] | None = None
    """For cdi: counts of the death stain that become 0 and 1. Not set: 0 and all targets' 99th percentile,
    but at least twice what negative controls never reach."""

    loss_threshold_frac: float = Field(0.5, gt=0, lt=1)
    """For target_loss: share of its live dye that a dead cell has lost."""

    sustain_min: float = Field(5.0, ge=0)
    """A death must be seen for so long, in two observations at least."""

    window_min: float = Field(60.0, gt=0)
    """Effectors in contact within so long before a death are candidates."""

    detach_min: float = Field(5.0, ge=0)
    """Candidates whose contact lasted until at most so long before the death rank before those that left."""

    targets: str = "target"
    """Population that may be killed."""

    effectors: str = "effector"
    """Population that may kill."""

    def check(self, film: Film) -> None:
        """Refuse channels or populations that are not there."""
        death, live = self._channels(film)
        if self.death_rule != "marker" and not live:
            raise ConfigError(
                f"stages.killing.death_rule = {self.death_rule!r} needs the channel of a live dye",
                "write lost_on_death = true at it in dataset.toml, or set stages.killing.live_channel",
            )
        if self.death_rule == "cdi" and not death:
            raise ConfigError(
                "stages.killing.death_rule = 'cdi' needs a death stain",
                "write death_marker = true at its channel in dataset.toml, or use the rule target_loss",
            )
        for name in ("cdi_live_limits_count", "cdi_death_limits_count"):
            limits = getattr(self, name)
            if limits is not None and not limits[0] < limits[1]:
                raise ConfigError(
                    f"stages.killing.{name} = {list(limits)}: the first must be below the second",
                    "write [low, high] in counts above background",
                )
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

    def _channels(self, film: Film) -> tuple[str, str]:
        """Names of the death stain and of the live dye; empty for none."""
        images = {n: c for n, c in film.channels.items() if not c.labels}
        found = []
        for key, mark in (("death_channel", "death_marker"), ("live_channel", "lost_on_death")):
            given: str = getattr(self, key)
            if given and given not in images:
                raise ConfigError(
                    f"stages.killing.{key} = {given!r} is no channel of this dataset{nearest(given, images)}",
                    f"its channels are {', '.join(images)}",
                )
            marked = [n for n, c in images.items() if getattr(c, mark)]
            if not given and len(marked) > 1:
                raise ConfigError(
                    f"the channels {', '.join(marked)} are all marked {mark}",
                    f"say which one tells: stages.killing.{key}",
                )
            found.append(given or (marked[0] if marked else ""))
        return found[0], found[1]

    @step(
        scope="dataset",
        gives={"thresholds": THRESHOLDS},
        facts=("channels", "plate"),
        parameters=(
            "death_rule",
            "death_channel",
            "live_channel",
            "targets",
            "effectors",
            "window_min",
            "detach_min",
            "threshold_count",
            "n_mads",
            "cdi_threshold_frac",
            "cdi_live_limits_count",
            "cdi_death_limits_count",
            "loss_threshold_frac",
        ),
        columns={"objects": ("position_id", "population", "touches_edge", "mean_bg_*", "p95_bg_*")},
    )
    def threshold(self, films: Mapping[str, Film], objects: Rows) -> dict[str, Any]:
        """One threshold for the dataset, never one per film."""
        death, live = self._channels(next(iter(films.values())))
        controls = [p for p, film in films.items() if film.plate["control"] == NEGATIVE]
        whole = ~objects["touches_edge"].astype(bool)
        targets = objects.where((objects["population"] == self.targets) & whole)
        calm = targets.where(np.isin(targets["position_id"].astype(str), controls))
        rule, source = self._rule(death, live, controls, targets, calm)
        return threshold_row(
            rule,
            source,
            warning(rule, rule.target_scores(targets), given=self.threshold_count is not None),
            population=self.targets,
            effector_population=self.effectors,
            window_min=self.window_min,
            detach_min=self.detach_min,
        )

    def _rule(
        self, death: str, live: str, controls: list[str], targets: Rows, calm: Rows
    ) -> tuple[Rule, str]:
        unknown = Rule(self.death_rule, death, live, float("nan"))
        by_controls = f"controls: {', '.join(controls)}"
        if self.death_rule == "target_loss":
            rule = Rule("target_loss", death, live, self.loss_threshold_frac)
            return rule, "given: stages.killing.loss_threshold_frac"
        if not death:
            return unknown, "no channel is marked death_marker: deaths are unknown; mark one in dataset.toml"
        given = (
            self.threshold_count is not None
            if self.death_rule == "marker"
            else self.cdi_live_limits_count is not None and self.cdi_death_limits_count is not None
        )
        if not given and not controls:
            key = (
                "threshold_count"
                if self.death_rule == "marker"
                else "cdi_live_limits_count and stages.killing.cdi_death_limits_count"
            )
            return unknown, (
                "no negative control and no threshold: deaths are unknown; write negative into the column "
                f"control of plate.csv where nothing should die, or set stages.killing.{key}"
            )
        if not given and not len(calm):
            return unknown, f"no {self.targets} was seen in the control positions {', '.join(controls)}"
        if self.death_rule == "marker":
            if self.threshold_count is not None:
                return (
                    Rule("marker", death, live, self.threshold_count),
                    "given: stages.killing.threshold_count",
                )
            value = fates.control_threshold(calm[f"p95_bg_{death}"], self.n_mads)
            return Rule("marker", death, live, value), by_controls
        measured = cdi_limits(
            targets[f"mean_bg_{live}"], targets[f"mean_bg_{death}"], calm[f"mean_bg_{death}"], self.n_mads
        )
        limits = self.cdi_live_limits_count or (measured and measured[0])
        death_limits = self.cdi_death_limits_count or (measured and measured[1])
        if not limits or not death_limits:
            return unknown, "the stains' limits for cdi cannot be taken from the controls: give them"
        return Rule("cdi", death, live, self.cdi_threshold_frac, limits, death_limits), (
            "given: stages.killing.cdi_..._limits_count" if given else by_controls
        )

    @step(
        scope="film",
        gives={"cells": CELLS, "tracks": TRACKS, "deaths": DEATHS, "death_candidates": CANDIDATES},
        facts=("time_s",),
        parameters=("sustain_min", "window_min", "detach_min", "targets", "effectors"),
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
        closing = Closing(film, objects, members, touches, Rule.of(thresholds), 60 * self.sustain_min)
        roles = {self.targets: self.effectors, self.effectors: self.targets}
        for population, known in lineages.items():
            closing.add_population(
                population, known, judged_as={self.targets: "target", self.effectors: "effector"}
            )
        closing.add_first_contacts(contact_events, roles)
        window_s, detach_s = 60 * self.window_min, 60 * self.detach_min
        closing.add_deaths(contact_events, self.targets, self.effectors, window_s, detach_s)
        return closing.tables()

    @step(scope="dataset", gives={"positions": POSITIONS}, facts=("plate", "n_frames"), parameters=())
    def describe(self, films: Mapping[str, Film]) -> dict[str, Any]:
        """The fields of view and what was done to them."""
        names = ("well", "condition", "control", "replicate")
        return {
            "position_id": list(films),
            **{name: [film.plate[name] for film in films.values()] for name in names},
            "n_frames": [film.n_frames for film in films.values()],
        }

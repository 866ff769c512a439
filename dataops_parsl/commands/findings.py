"""What a few frames say about a dataset's configuration: sizes, steps, the death threshold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataops_parsl.algorithms import suggest
from dataops_parsl.commands.looking import Look, Looker
from dataops_parsl.errors import ConfigError
from dataops_parsl.stages.death_rules import NEGATIVE, Rule
from dataops_parsl.stages.killing import Killing
from dataops_parsl.stages.trackmate import Trackmate
from dataops_parsl.tables import Rows


class Findings:
    """What the looks say about sizes, steps and deaths."""

    def __init__(self, looker: Looker, looks: list[Look]) -> None:
        self.looker, self.looks = looker, looks
        self.config = looker.config
        self.diameter_um = {n: p.diameter_um for n, p in self.config.config.populations.items()}
        self.objects = pa.concat_tables([look.objects for look in looks]).combine_chunks()
        self.rows = [(look, Rows(look.objects)) for look in looks]
        self.sizes = {p: suggest.diameter(self.areas(p), d) for p, d in self.diameter_um.items()}
        self.reach_um = {
            p: self.config.stage(Trackmate, p).linking_max_distance_um or d
            for p, d in self.diameter_um.items()
        }
        self.steps = {
            p: suggest.linking_distance(self.pairs(p), self.reach_um[p], d)
            for p, d in self.diameter_um.items()
        }
        killing = self.config.stage(Killing)
        self.targets = (
            killing.targets if killing.targets in self.diameter_um else next(iter(self.diameter_um))
        )
        self.death_scores, self.threshold, self.death_words = self._deaths()

    def areas(self, population: str) -> NDArray[np.float64]:
        """Areas of objects of the frames that are shown, those at the edge left out, µm²."""
        found = [
            rows["area_um2"][
                (rows["population"] == population)
                & (rows["frame"] == look.shown)
                & ~rows["touches_edge"].astype(bool)
            ]
            for look, rows in self.rows
        ]
        return np.concatenate(found)

    def pairs(self, population: str) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Places of the population's objects in pairs of neighbouring frames, µm."""
        out = []
        for look, rows in self.rows:
            mine = rows.where(rows["population"] == population)
            yx = [np.column_stack([r["y_um"], r["x_um"]]) for r in (mine.at(f) for f in look.frames)]
            if len(yx) == 2:
                out.append((yx[0], yx[1]))
        return out

    def _deaths(self) -> tuple[NDArray[np.float64], float, str]:
        """Death scores of targets, the threshold (NaN for none), and what there is to say."""
        looked = list(dict.fromkeys(look.position for look in self.looks))
        nothing = np.empty(0, np.float64)
        try:
            rule, source = self.looker.threshold(looked, self.objects)
        except ConfigError as error:
            return nothing, float("nan"), f"deaths: {error.message}"
        rows = Rows(pa.concat_tables([rows.at(look.shown).table for look, rows in self.rows]))
        mine = (rows["population"] == self.targets) & ~rows["touches_edge"].astype(bool)
        scores = rule.target_scores(rows.where(mine))
        scores = scores[np.isfinite(scores)]
        if rule.name == "target_loss":
            words = (
                "deaths: by target_loss, the share of its dye that a cell has lost; that needs whole tracks"
            )
            return scores, float("nan"), f"{words}, here is the dye itself"
        if not rule.known:
            missing = self._no_threshold(looked) if rule.death_channel else ""
            return scores, float("nan"), f"deaths: {missing or source}"
        return scores, rule.threshold, _against(scores, rule, source)

    def _no_threshold(self, looked: list[str]) -> str:
        films = self.looker.dataset.positions
        controls = [p for p, film in films.items() if film.plate.control == NEGATIVE]
        if not controls or set(controls) & set(looked):
            return ""
        return (
            f"no threshold yet, since no negative control is among the positions looked at; "
            f"--positions {','.join([*looked[:1], controls[0]])}"
        )

    def words(self) -> list[str]:
        """Suggestions with their evidence, a line each."""
        out = []
        for p in self.diameter_um:
            key = f"populations.{p}.diameter_um"
            out.append(_advice(f"{p}: ", self.sizes[p], f"{key} = {{value:.0f}}", "dataset.toml"))
            key = f"stages.trackmate.{p}.linking_max_distance_um"
            out.append(_advice(f"{p}: ", self.steps[p], f"{key} = {{value:.0f}}", "configs/config.user.toml"))
        return [*out, self.death_words]


def _against(scores: NDArray[np.float64], rule: Rule, source: str) -> str:
    """The threshold against what was seen."""
    threshold = rule.threshold
    key = "threshold_count" if rule.name == "marker" else f"{rule.name}_threshold_frac"
    words = f"deaths: {key} = {threshold:.4g} ({source})"
    if not len(scores):
        return f"{words}; no target was seen"
    low, high = _count(scores.min()), _count(scores.max())
    n_dead = int((scores > threshold).sum())
    if not n_dead and source.startswith("given"):
        return f"{words} lies above every death score seen (max {high}): no target would be dead"
    if n_dead == len(scores):
        return f"{words} lies below every death score seen (min {low}): all targets would be dead"
    return f"{words}; {n_dead} of {len(scores)} targets seen are above it"


def _count(score: float) -> str:
    return f"{score:.0f}" if abs(score) >= 10 else f"{score:.3g}"


def _advice(name: str, found: suggest.Suggestion, assignment: str, file: str) -> str:
    if found.fine:
        return f"{name}{found.evidence}; now {found.current_um:g}: {_verdict(found)}"
    value = float(f"{found.value_um:.2g}")
    return f"{name}{found.evidence}; now {found.current_um:g}: set {assignment.format(value=value)} in {file}"


def _verdict(found: suggest.Suggestion) -> str:
    return "fine" if np.isfinite(found.value_um) else "left as it is"

"""Scores of a run against the truth of simulated films: a tidy table, with the bars they are held to.

A score over no cases is null. Every score says over how many cases it is (`n`): of an F1 right, wrong and
missed together, of a precision the found, of a recall the true, of an error the pairs compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from dataops_parsl.tables import Column, Schema
from dataops_parsl.truth.evidence import POPULATIONS, Contacts, Deaths, Evidence
from dataops_parsl.truth.population import Bools, Counts, Ints

ALL_POSITIONS, ALL_TARGETS = "all positions", "all targets"
"""Stand for a position and for a case; no position can have such a name."""
Value = tuple[float, int]
"""A score and the number of cases."""


@dataclass(frozen=True)
class Bar:
    """What a score has to reach: at least, at most, or within plus and minus."""

    side: Literal[">=", "<=", "±"]
    limit: float

    def __str__(self) -> str:
        return f"{self.side} {self.limit:g}"

    def met(self, value: float) -> bool | None:
        """Whether the value reaches it; None where the value is unknown."""
        if np.isnan(value):
            return None
        if self.side == "±":
            return abs(value) <= self.limit
        return value >= self.limit if self.side == ">=" else value <= self.limit

    def worst(self, values: Sequence[float]) -> float:
        """The value farthest from what is wanted."""
        if self.side == "±":
            return max(values, key=abs)
        return min(values) if self.side == ">=" else max(values)


DEATH_SCORES = {
    "death_precision": Bar(">=", 0.95),
    "death_recall": Bar(">=", 0.95),
    "death_time_error_frames": Bar("<=", 0),
    "death_within_1_frame_frac": Bar(">=", 0.95),
    "top1_frac": Bar(">=", 0.9),
}
BARS: dict[str, Bar] = {
    "contact_event_f1": Bar(">=", 0.95),
    **DEATH_SCORES,
    "false_deaths_per_100": Bar("<=", 1),
    **{f"speed_error_frac_{p}": Bar("±", 0.05) for p in POPULATIONS[:1]},
}
_SMALLER_IS_BETTER = ("shift_error", "death_time_error", "false_deaths")

SCORES = Schema(
    "truth",
    "a score of a position, or of a hard case over all positions",
    (
        Column("position_id", "string", "field of view, or all positions (pooled)", key=True),
        Column("condition", "string", "what was done to it; null where pooled or not said"),
        Column("case", "string", "hard case that its targets are, or all targets", key=True),
        Column("score", "string", "which score", key=True),
        Column("value", "float64", "its value; null over no cases"),
        Column("n", "int64", "over how many cases", low=0),
        Column("bar", "string", "what it has to reach: >=, <= or ±; null for none"),
        Column("met", "bool", "whether it reaches the bar; null without bar or value"),
    ),
)


def table(evidence: Mapping[str, Evidence], conditions: Mapping[str, str | None]) -> pa.Table:
    """All scores, as `SCORES` describes: of each position, then of each hard case over all positions.

    Parameters
    ----------
    evidence : mapping of position to what `evidence.gather` found
    conditions : mapping of position to its condition
    """
    rows: list[dict[str, Any]] = []
    for position, one in evidence.items():
        bars = _bars(one)
        for score, (value, n) in of_position(one).items():
            rows.append(
                _row(position, conditions.get(position), ALL_TARGETS, score, value, n, bars.get(score))
            )
    names = dict.fromkeys(case for one in evidence.values() for case in one.cases)
    for case in names:
        for score, (value, n) in of_case(list(evidence.values()), case).items():
            rows.append(_row(ALL_POSITIONS, None, case, score, value, n, None))
    return SCORES.table({c: [row[c] for row in rows] for c in SCORES.names})


def _row(
    position: str, condition: str | None, case: str, score: str, value: float, n: int, bar: Bar | None
) -> dict[str, Any]:
    met = bar.met(value) if bar else None
    values = (position, condition, case, score, value, n, str(bar) if bar else None, met)
    return dict(zip(SCORES.names, values, strict=True))


def _bars(evidence: Evidence) -> dict[str, Bar]:
    """Bars of a position: where nobody dies a false death shows in its own score, else in the precision."""
    without = {"death_precision" if deathless(evidence) else "false_deaths_per_100"}
    if evidence.contacts is not None and not len(evidence.contacts.true_target):
        without.add("contact_event_f1")  # nothing to find: one false event would read as a score of 0
    return {score: bar for score, bar in BARS.items() if score not in without}


def deathless(evidence: Evidence) -> bool:
    """Whether no target truly dies."""
    return evidence.deaths is not None and not len(evidence.deaths.true_target)


def of_position(evidence: Evidence) -> dict[str, Value]:
    """All scores of one position, in the order in which they are shown."""
    out: dict[str, Value] = {
        f"shift_error_{name}": (value, evidence.shifts.n_frames)
        for name, value in evidence.shifts.error._asdict().items()
    }
    for name, counts in (("detection_f1", evidence.objects), ("edge_f1", evidence.links)):
        out |= {f"{name}_{population}": _f1(one) for population, one in counts.items()}
    out |= {f"mask_ap50_{population}": value for population, value in evidence.masks.items()}
    if evidence.divisions is not None:
        out["division_recall"] = _recall(evidence.divisions)
    if evidence.contacts is not None:
        every = np.ones(len(evidence.contacts.found_target), np.bool_)
        out["contact_event_f1"] = _f1(_contact_counts(evidence.contacts))
        out["contact_event_f1_with_border"] = _f1(
            _event_counts(evidence.contacts, every, np.ones(len(evidence.contacts.true_target), np.bool_))
        )
    if evidence.deaths is not None:
        out |= _death_scores([evidence.deaths], [evidence.deaths.found_target], [evidence.deaths.true_target])
        seen = evidence.deaths.true_visible
        out["death_recall_with_border"] = _share(evidence.deaths.true_found[seen])
        n_false, n_targets = int((~evidence.deaths.found_right).sum()), len(evidence.targets)
        out["false_deaths_per_100"] = (100 * n_false / n_targets if n_targets else np.nan, n_targets)
    for population, speeds in evidence.speeds.items():
        n, true = len(speeds.true), float(speeds.true.mean()) if len(speeds.true) else 0.0
        error = float(speeds.found.mean()) / true - 1 if true > 0 else np.nan
        out[f"speed_error_frac_{population}"] = (error, n)
    return out


def of_case(evidence: Sequence[Evidence], case: str) -> dict[str, Value]:
    """Scores of contacts and deaths over the targets of one hard case, all positions pooled."""
    out: dict[str, Value] = {"targets": (float(n := sum(len(e.cases[case]) for e in evidence)), n)}
    contacts = [(e.contacts, e.cases[case]) for e in evidence if e.contacts is not None]
    if contacts:
        counts = [_contact_counts(one, targets) for one, targets in contacts]
        out["contact_event_f1"] = _f1(
            Counts(*(sum(getattr(c, k) for c in counts) for k in ("hits", "false", "missed")))
        )
    deaths = [(e.deaths, e.cases[case]) for e in evidence if e.deaths is not None]
    if deaths:
        targets = [t for _, t in deaths]
        out |= _death_scores([d for d, _ in deaths], targets, targets)
        false = sum(int((~d.found_right & np.isin(d.found_target, t)).sum()) for d, t in deaths)
        out["false_deaths"] = (float(false), n)
    return out


def _contact_counts(contacts: Contacts, targets: Ints | None = None) -> Counts:
    """Contact events in view; of these targets only."""
    found, true = contacts.found_in_view, contacts.true_in_view
    if targets is not None:
        found = found & np.isin(contacts.found_target, targets)
        true = true & np.isin(contacts.true_target, targets)
    return _event_counts(contacts, found, true)


def _event_counts(contacts: Contacts, found: Bools, true: Bools) -> Counts:
    """Of the chosen events; a found one with a partner is never wrong, chosen or not."""
    return Counts(
        int((true & contacts.true_found).sum()),
        int((found & ~contacts.found_right).sum()),
        int((true & ~contacts.true_found).sum()),
    )


def _death_scores(
    deaths: Sequence[Deaths], found_targets: Sequence[Ints], true_targets: Sequence[Ints]
) -> dict[str, Value]:
    """Scores of the deaths of the chosen targets, pooled.

    Recall and attribution are over deaths whole in view, and a missed death is a wrong attribution. Precision
    and times are over all found ones: a found death of a target that truly dies at the border is right.
    """
    found = [np.isin(d.found_target, t) for d, t in zip(deaths, found_targets, strict=True)]
    whole = [d.true_whole & np.isin(d.true_target, t) for d, t in zip(deaths, true_targets, strict=True)]

    def pooled(of: Callable[[Deaths], Any], chosen: Sequence[Bools]) -> Any:
        return np.concatenate([of(d)[c] for d, c in zip(deaths, chosen, strict=True)])

    error = pooled(lambda d: d.found_error_frames, found)
    error = error[np.isfinite(error)]
    out = {
        "death_precision": _share(pooled(lambda d: d.found_right, found)),
        "death_recall": _share(pooled(lambda d: d.true_found, whole)),
        "death_time_error_frames": (float(np.median(error)) if len(error) else np.nan, len(error)),
        "death_within_1_frame_frac": _share(error <= 1),
    }
    if all(d.attributed for d in deaths):
        kills = [w & d.killed for d, w in zip(deaths, whole, strict=True)]
        several = [k & (d.n_candidates >= 2) for d, k in zip(deaths, kills, strict=True)]
        out["top1_frac"] = _share(pooled(lambda d: d.credited, kills))
        out["top1_several_frac"] = _share(pooled(lambda d: d.credited, several))
    return out


def _share(right: Bools) -> Value:
    return (float(np.mean(right)) if len(right) else np.nan, len(right))


def _f1(counts: Counts) -> Value:
    n = counts.hits + counts.false + counts.missed
    return (2 * counts.hits / (n + counts.hits) if n else np.nan, n)


def _recall(counts: Counts) -> Value:
    n = counts.hits + counts.missed
    return (counts.hits / n if n else np.nan, n)


@dataclass(frozen=True)
class Summary:
    """A score over the positions of a condition that have a value.

    Attributes
    ----------
    n : int
        Cases of all of them.
    bar : str
        Empty for none.
    verdict : str
        "met", "mean met, worst missed" or "missed"; empty without bar.
    """

    condition: str
    score: str
    mean: float
    worst: float
    n_positions: int
    n: int
    bar: str
    verdict: str


def by_condition(scores: pa.Table) -> list[Summary]:
    """Mean and worst over the positions of each condition, of the scores that have a value."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in scores.to_pylist():
        if row["position_id"] != ALL_POSITIONS and row["value"] is not None:
            groups.setdefault((row["condition"] or "", row["score"]), []).append(row)
    return [_summary(condition, score, rows) for (condition, score), rows in groups.items()]


def _summary(condition: str, score: str, rows: list[dict[str, Any]]) -> Summary:
    """One line; where only some positions are held to the bar, as those without deaths, over these."""
    fallback = Bar("<=" if score.startswith(_SMALLER_IS_BETTER) else ">=", np.nan)
    bar = BARS.get(score, Bar("±", np.nan) if score.startswith("speed_error") else fallback)
    held = [row["value"] for row in rows if row["bar"]]
    values = held or [row["value"] for row in rows]
    mean, worst = float(np.mean(values)), bar.worst(values)
    verdict = ""
    if held:
        verdict = "met" if bar.met(worst) else "mean met, worst missed" if bar.met(mean) else "missed"
    n = sum(row["n"] for row in rows)
    return Summary(condition, score, mean, worst, len(values), n, str(bar) if held else "", verdict)

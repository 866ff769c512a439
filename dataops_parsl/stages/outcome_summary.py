"""The summary: counts and rates of positions, and of conditions with the replicate as the unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms.attribution import is_true
from dataops_parsl.algorithms.replicates import Mean, mean_of, minus_control
from dataops_parsl.stages.death_rules import NEGATIVE
from dataops_parsl.stages.outcome_effectors import S_PER_H, Scene, at_risk_s, numbers
from dataops_parsl.stages.outcome_tables import SUMMARY
from dataops_parsl.tables import Rows

_UNKNOWN = float("nan")
_OF_DEATH = (
    "n_dead_at_entry",
    "n_at_risk",
    "n_deaths",
    "n_attributed",
    "n_delays",
    "target_h",
)
"""Null where no threshold tells the dead; what is derived from them is NaN by itself."""


def per(count: float, hours: float) -> float:
    """A rate; NaN where there was no time (or nobody) to count in."""
    return count / hours if hours > 0 else _UNKNOWN


def conditions(plates: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Positions of each condition, in the order of the positions."""
    out: dict[str, list[str]] = {}
    for position, plate in plates.items():
        if plate["condition"]:
            out.setdefault(plate["condition"], []).append(position)
    return out


@dataclass(frozen=True)
class Position:
    """What is counted in one position; positions of a well or a condition add up.

    Attributes
    ----------
    counts : dict of str to float
        Counts and hours that can be summed.
    delays_s : (n,) float64
        From start of contact to death, where known.
    draws : (draws,) int64
        Deaths with a candidate by chance; none where death is unknown.
    speed_contact, speed_free : (n,) float64
        Of effectors, in µm/min.
    plate : dict
        Well, condition, control, replicate.
    """

    counts: dict[str, float]
    delays_s: NDArray[np.float64]
    draws: NDArray[np.int64]
    speed_contact: NDArray[np.float64]
    speed_free: NDArray[np.float64]
    plate: dict[str, Any]

    @classmethod
    def of(cls, found: Scene, deaths: Rows, effectors: Rows, chance: Rows, plate: dict[str, Any]) -> Position:
        """Count one position."""
        targets = found.targets
        at_entry, spent = is_true(targets["dead_at_entry"]), at_risk_s(targets)
        died = np.isfinite(numbers(targets, "death_time_s"))
        lost = np.asarray(targets["end_reason"] == "lost", np.bool_) & ~died & ~at_entry
        delay = numbers(deaths, "delay_s")
        delay = delay[np.isfinite(delay)]
        counts = {
            "n_targets": len(targets),
            "n_effectors": len(found.effectors),
            "n_contact_events": found.n_events,
            "n_dead_at_entry": int(at_entry.sum()),
            "n_at_risk": int(np.isfinite(spent).sum()),
            "n_lost": int(lost.sum()),
            "n_deaths": len(deaths),
            "n_attributed": int(np.asarray(deaths["attribution"] == "attributed", np.bool_).sum()),
            "n_delays": len(delay),
            "target_h": float(np.nansum(spent)) / S_PER_H,
            "contact_h": float(effectors["contact_s"].sum()) / S_PER_H,
            "effector_h": float(effectors["alive_s"].sum()) / S_PER_H,
        }
        tracks = found.effectors
        order = np.argsort(chance["draw"], kind="stable")
        return cls(
            counts,
            delay,
            np.asarray(chance["n_attributed"], np.int64)[order],
            numbers(tracks, "speed_contact_um_min"),
            numbers(tracks, "speed_free_um_min"),
            plate,
        )


class Summary:
    """Rows of the summary.

    Parameters
    ----------
    positions : mapping of position to Position
    threshold : float
        NaN: deaths are unknown, and all that follows from them is null.
    """

    def __init__(self, positions: Mapping[str, Position], threshold: float) -> None:
        self._all, self._threshold = positions, threshold
        wells = [p.plate["well"] for p in positions.values() if p.plate["well"]]
        self._unit = "well" if len(set(wells)) < len(wells) else "position"
        calm = [p for p, it in positions.items() if it.plate["control"] == NEGATIVE]
        self._control = mean_of([self._dead_frac(unit) for unit in self._units(calm)])
        total = self._counts(calm)
        self._control_per_h = per(total["n_deaths"], total["target_h"])

    def columns(self) -> dict[str, list[Any]]:
        """All rows: positions, then conditions, in the order of the positions."""
        groups = [("position", p, [p]) for p in self._all]
        named = conditions({p: it.plate for p, it in self._all.items()})
        groups += [("condition", c, positions) for c, positions in named.items()]
        rows = [self._row(*group) for group in groups]
        return {name: [row[name] for row in rows] for name in SUMMARY.names}

    def _units(self, positions: Iterable[str]) -> list[list[str]]:
        """Replicates: positions of one well together, where wells have several."""
        units: dict[tuple[str, str], list[str]] = {}
        for position in positions:
            well = self._all[position].plate["well"] if self._unit == "well" else None
            units.setdefault(("well", well) if well else ("position", position), []).append(position)
        return list(units.values())

    def _counts(self, positions: Sequence[str]) -> dict[str, float]:
        names = next(iter(self._all.values())).counts if self._all else {}
        total: dict[str, float] = {n: sum(self._all[p].counts[n] for p in positions) for n in names}
        if not np.isfinite(self._threshold):
            total |= dict.fromkeys(_OF_DEATH, _UNKNOWN)
        return total

    def _dead_frac(self, positions: Sequence[str]) -> float:
        total = self._counts(positions)
        return per(total["n_deaths"], total["n_at_risk"])

    def _kill_rate(self, positions: Sequence[str]) -> float:
        total = self._counts(positions)
        return per(total["n_attributed"], total["contact_h"])

    def _speed(self, units: Sequence[Sequence[str]], name: str) -> float:
        of_units = [mean_of(np.concatenate([getattr(self._all[p], name) for p in u])).mean for u in units]
        return mean_of(of_units).mean

    def _row(self, level: str, name: str, positions: list[str]) -> dict[str, Any]:
        total, units = self._counts(positions), self._units(positions)
        dead: Mean = mean_of([self._dead_frac(unit) for unit in units])
        above = minus_control(dead, self._control)
        rate = mean_of([self._kill_rate(unit) for unit in units])
        delays = np.concatenate([self._all[p].delays_s for p in positions])
        if not np.isfinite(self._threshold):
            delays = delays[:0]
        plates = [self._all[p].plate for p in positions]
        return {
            "level": level,
            "name": name,
            "condition": _common(plates, "condition"),
            "control": _common(plates, "control"),
            "unit": self._unit,
            "n_positions": len(positions),
            "n_replicates": len(units),
            **total,
            **self._chance(positions, total["n_attributed"], total["n_deaths"]),
            "deaths_per_target_h": per(total["n_deaths"], total["target_h"]),
            "control_deaths_per_target_h": self._control_per_h,
            "kills_per_contact_h": per(total["n_attributed"], total["contact_h"]),
            "kills_per_effector": per(total["n_attributed"], total["n_effectors"]),
            "dead_frac": dead.mean,
            "dead_frac_sem": dead.sem,
            "dead_frac_minus_control": above.mean,
            "dead_frac_minus_control_sem": above.sem,
            "kills_per_contact_h_mean": rate.mean,
            "kills_per_contact_h_sem": rate.sem,
            "effector_speed_contact_um_min": self._speed(units, "speed_contact"),
            "effector_speed_free_um_min": self._speed(units, "speed_free"),
            "delay_median_s": float(np.median(delays)) if len(delays) else _UNKNOWN,
            "delay_mean_s": float(delays.mean()) if len(delays) else _UNKNOWN,
            "death_threshold": self._threshold,
        }

    def _chance(self, positions: Sequence[str], n_attributed: float, n_deaths: float) -> dict[str, float]:
        """Where the observed number lies among the draws; draws of several positions add up."""
        names = ("chance_attributed", "chance_low", "chance_high", "chance_p")
        draws = np.sum([self._all[p].draws for p in positions], axis=0)
        if not np.isfinite(self._threshold) or not draws.size:
            return dict.fromkeys(names, _UNKNOWN)
        low, high = np.percentile(draws, (2.5, 97.5))
        p = (1 + int((draws >= n_attributed).sum())) / (1 + len(draws)) if n_deaths else _UNKNOWN
        return dict(zip(names, (float(draws.mean()), float(low), float(high), p), strict=True))


def _common(plates: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The value that all positions share, else none."""
    values = {p[name] for p in plates}
    return values.pop() if len(values) == 1 else None

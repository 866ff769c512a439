"""Wide tables of the figures' numbers, as GraphPad Prism takes them: x, then one column a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dataops_parsl.figures import groups, over_time
from dataops_parsl.figures.base import Columns, Floats
from dataops_parsl.figures.death_traces import traces_of
from dataops_parsl.figures.groups import Curves, Design
from dataops_parsl.figures.kills import kills_of
from dataops_parsl.figures.survival import estimates

TRACE_SPAN_S = (3600.0, 3600.0)
_NEEDED = {
    "dead_over_time": ("frames", "cells"),
    "contacts_over_time": ("frames", "cells"),
    "survival": ("survival",),
    "kills": ("deaths", "chance", "chance_kills", "effectors"),
    "death_traces": ("frames", "cells", "deaths"),
}


def sheets(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """One wide sheet a figure, from the published tables of a run.

    Parameters
    ----------
    tables : mapping of table name to pa.Table
        `positions` and `thresholds`, and those that the figures read; a figure whose tables are not there
        has no sheet, nor has one that has nothing to show.

    Returns
    -------
    mapping of figure name to pa.Table
        dead_over_time, live_over_time, contacts_over_time, contact_percent_over_time: time_h, then a column
        "condition | replicate" each. survival_<origin>_lost_<as>: time_h, then alive in % of each condition.
        kills_per_effector: kills, then effectors seen and by chance of each condition, and the chance level
        and the controls' death rate in rows of `kills_and_chance`. contact_to_death: a column of delays in
        minutes a condition. death_traces: time_min, then a column a target that died.
    """
    if any(name not in tables for name in ("positions", "thresholds")) or not len(tables["thresholds"]):
        return {}
    rows: dict[str, Columns] = {name: _numpy(table) for name, table in tables.items()}
    design = groups.design_of(rows["positions"])
    target = str(rows["thresholds"]["population"][0])
    there = {figure for figure, needed in _NEEDED.items() if set(needed) <= set(tables)}
    made: dict[str, pa.Table | None] = {}
    if "dead_over_time" in there:
        made |= _over_time(rows, design, target)
    if "survival" in there:
        made |= _survival(rows["survival"])
    if "kills" in there:
        made |= _kills(rows, design)
    if "death_traces" in there:
        made["death_traces"] = _traces(rows, design)
    return {name: table for name, table in made.items() if table is not None and table.num_rows}


def _numpy(table: pa.Table) -> dict[str, Any]:
    return {name: table[name].to_numpy() for name in table.column_names}


def _over_time(rows: Mapping[str, Columns], design: Design, target: str) -> dict[str, pa.Table | None]:
    counts = over_time.counts(rows["frames"], rows["cells"], target)
    judged = ("n_live", "n_dead")
    return {
        "dead_over_time": _wide(over_time.percent(counts, design, "n_dead", judged)),
        "live_over_time": _wide(over_time.per_field(counts, design, "n_live")),
        "contacts_over_time": _wide(over_time.per_field(counts, design, "n_contacts")),
        "contact_percent_over_time": _wide(over_time.percent(counts, design, "n_in_contact", ("n_targets",))),
    }


def _wide(curves: Curves) -> pa.Table | None:
    """Times of all curves together, each value at its own time."""
    named = {f"{c} | {r}": curve for c, replicates in curves.items() for r, curve in replicates.items()}
    if not named:
        return None
    grid = np.unique(np.concatenate([x for x, _ in named.values()]))
    columns: dict[str, Floats] = {"time_h": grid / 3600}
    for name, (x, y) in named.items():
        columns[name] = np.full(len(grid), np.nan)
        columns[name][np.searchsorted(grid, x)] = y
    return _table(columns)


def _survival(survival: Columns) -> dict[str, pa.Table | None]:
    made: dict[str, pa.Table | None] = {}
    for origin in dict.fromkeys(survival["origin"].tolist()):
        for lost in dict.fromkeys(survival["lost_as"].tolist()):
            found = estimates(survival, origin, lost)
            if not found:
                continue
            grid = np.unique(np.concatenate([[0.0], *(e["time_s"] for e in found.values())]))
            columns: dict[str, Floats] = {"time_h": grid / 3600}
            for name, one in found.items():
                # A step function holds its value; after its last time nothing is known.
                row = np.searchsorted(one["time_s"], grid, side="right") - 1
                alive = 100 * np.r_[1.0, one["alive_frac"]][row + 1]
                columns[name] = np.where(grid <= one["time_s"][-1], alive, np.nan)
            made[f"survival_{origin}_lost_{lost}"] = _table(columns)
    return made


def _kills(rows: Mapping[str, Columns], design: Design) -> dict[str, pa.Table | None]:
    kills = kills_of(rows["deaths"], rows["chance"], rows["chance_kills"], rows["effectors"], design)
    known = {c: k for c, k in kills.items() if len(k.by_chance) and k.n_deaths}
    if not known:
        return {}
    n = max(len(k.observed) for k in known.values())
    hist: dict[str, Any] = {"kills": np.arange(n, dtype=np.float64)}
    for condition, one in known.items():
        for word, values in (("observed", one.observed), ("by chance", one.expected)):
            hist[f"{condition} | {word}"] = np.r_[values, np.zeros(n - len(values))]
    level = {
        "condition": list(known),
        "deaths": [k.n_deaths for k in known.values()],
        "attributed": [k.n_attributed for k in known.values()],
        "by chance, mean": [float(k.by_chance.mean()) for k in known.values()],
        "by chance, 2.5 %": [float(np.percentile(k.by_chance, 2.5)) for k in known.values()],
        "by chance, 97.5 %": [float(np.percentile(k.by_chance, 97.5)) for k in known.values()],
        "control deaths per target and hour": [k.control_per_h for k in known.values()],
    }
    longest = max(len(k.delay_s) for k in known.values())
    delays = {
        f"{c} (min)": np.r_[k.delay_s / 60, np.full(longest - len(k.delay_s), np.nan)]
        for c, k in known.items()
    }
    return {
        "kills_per_effector": _table(hist),
        "kills_and_chance": _table(level),
        "contact_to_death": _table(delays) if longest else None,
    }


def _traces(rows: Mapping[str, Columns], design: Design) -> pa.Table | None:
    traces = traces_of(rows["frames"], rows["cells"], rows["deaths"], "death_score", TRACE_SPAN_S)
    if not traces.names:
        return None
    columns: dict[str, Floats] = {"time_min": traces.time_s / 60}
    for (position, track), values in zip(traces.names, traces.values, strict=True):
        columns[f"{design.condition(position)} | {position} | {track}"] = values
    return _table(columns)


def _table(columns: Mapping[str, Any]) -> pa.Table:
    """An Arrow table in which NaN is null."""
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})

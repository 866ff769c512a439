"""The figures that matter: who died, beside whom, and what chance and the controls give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataops_parsl.report.html import Html, code, details, join, table, tag
from dataops_parsl.report.view import RunView
from dataops_parsl.report.words import UNKNOWN, many, number, percent

TRUTH = "truth.txt"
MOST_POSITIONS = 96
Row = Mapping[str, Any]
_CONDITIONS = (
    "condition",
    "control",
    "replicates",
    "at risk",
    "died",
    "dead",
    "beside a live effector",
    "by chance (95 %)",
    "p",
    "deaths per target-hour",
    "in controls",
    "kills per contact-hour",
)
_POSITIONS = (
    "position",
    "condition",
    "targets",
    "effectors",
    "contacts",
    "at risk",
    "lost",
    "died",
    "beside a live effector",
    "by chance",
    "deaths per target-hour",
    "in controls",
)


def results(view: RunView) -> Html:
    """Tables of conditions and positions, or what the tables hold where nothing is summed up."""
    summary = view.table("summary")
    rows: list[Row] = [] if summary is None else summary.to_pylist()
    parts: list[Html | None] = []
    if rows:
        parts += [_sentence(view), _conditions(rows), _positions(rows)]
    parts += [_found(view), _truth(view)]
    return join(parts)


def _sentence(view: RunView) -> Html | None:
    """How deaths were called, before any number of them."""
    thresholds = view.table("thresholds")
    if thresholds is None or not thresholds.num_rows:
        return None
    said = thresholds.to_pylist()[0]
    if said["threshold"] is None:
        return tag("p", f"Deaths are unknown: {said['source']}.", class_="warning")
    of = f" of {said['channel']}" if said["channel"] else ""
    where = f"above {number(said['threshold'], 3)}{of}"
    return tag(
        "p",
        f"A {said['population']} counts as dead by the rule {said['rule']}, {where} ({said['source']}); a "
        f"live {said['effector_population']} that touched it within {said['window_min']:g} min before "
        "counts as beside it.",
    )


def _conditions(rows: list[Row]) -> Html:
    mine = [r for r in rows if r["level"] == "condition"]
    return table(
        "Deaths by condition",
        _CONDITIONS,
        [_condition(r) for r in mine],
        (0, 1),
        note="By chance: effectors put beside targets at random, mean and 95 % of the draws; p: share of "
        "draws with at least as many. At risk: targets that could be judged, not dead when first seen.",
    )


def _condition(row: Row) -> tuple[str, ...]:
    sem = f" ± {100 * row['dead_frac_sem']:.0f}" if row["dead_frac_sem"] is not None else ""
    chance = UNKNOWN
    if row["chance_attributed"] is not None:
        low, high = number(row["chance_low"]), number(row["chance_high"])
        chance = f"{number(row['chance_attributed'])} ({low} to {high})"
    return (
        row["name"],
        row["control"] or UNKNOWN,
        f"{row['n_replicates']} {row['unit'] if row['n_replicates'] == 1 else row['unit'] + 's'}",
        number(row["n_at_risk"]),
        number(row["n_deaths"]),
        percent(row["dead_frac"]) + sem,
        number(row["n_attributed"]),
        chance,
        number(row["chance_p"]),
        number(row["deaths_per_target_h"]),
        number(row["control_deaths_per_target_h"]),
        number(row["kills_per_contact_h"]),
    )


def _positions(rows: list[Row]) -> Html | None:
    mine = [r for r in rows if r["level"] == "position"]
    if not mine:
        return None
    cells = [
        (
            r["name"],
            r["condition"] or UNKNOWN,
            *(number(r[k]) for k in ("n_targets", "n_effectors", "n_contact_events", "n_at_risk", "n_lost")),
            *(number(r[k]) for k in ("n_deaths", "n_attributed", "chance_attributed", "deaths_per_target_h")),
            number(r["control_deaths_per_target_h"]),
        )
        for r in mine[:MOST_POSITIONS]
    ]
    rest = f"The first {MOST_POSITIONS} of {len(mine)}; all are in tables/summary.parquet."
    made = table("Deaths by position", _POSITIONS, cells, (0, 1), rest * (len(mine) > MOST_POSITIONS))
    return details(f"By position ({many(len(mine), 'position')})", made)


def _found(view: RunView) -> Html:
    rows = [(name, number(n)) for name, n in view.facts.get("rows", {}).items()]
    words = view.table("cells")
    by_population: list[tuple[str, str]] = []
    if words is not None and "population" in words.column_names:
        counts = words.group_by("population").aggregate([("frame", "count")]).to_pylist()
        by_population = sorted((str(r["population"]), number(r["frame_count"])) for r in counts)
    seen = ", ".join(f"{n} {population}s" for population, n in by_population) or "none"
    told = tag("p", f"Objects in all frames: {seen}.") if words is not None else None
    return join(
        [
            told,
            details("Rows of each table", table("Rows of each table", ("table", "rows"), rows)),
        ]
    )


def _truth(view: RunView) -> Html | None:
    try:
        text = (view.bundle.root / TRUTH).read_text(encoding="utf-8")
    except OSError:
        return None
    met, missed = text.count("  met"), text.count("  missed")
    bars = f": {met} of {met + missed} bars met" if met + missed else ""
    return details(f"Against the truth of this simulated dataset{bars}", code(text.rstrip()))

"""The checks of a sealed benchmark: seal, provenance, every case there, plausible, and the same result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bench.record import FILES, NAME, TASKS, stage_folder
from dataops_parsl.bench.results import AGGREGATED, RESULTS, Row, aggregate
from dataops_parsl.bundle import BENCHMARK_RECORD, Bundle
from dataops_parsl.tables import Schema
from dataops_parsl.validate.checks import Check, check
from dataops_parsl.validate.failures import Failures
from dataops_parsl.validate.inputs import check_inputs, locate
from dataops_parsl.validate.seal import check_beside, check_seal
from dataops_parsl.validate.subject import Kind, Subject

LATE = ("log/workers_", "log/inputs/")
"""Logs of workers: blocks of a start that was killed may end later."""
PLAUSIBLE_FRAC, LONG_ENOUGH_S = 1.25, 5.0
"""A larger efficiency than this, of runs of at least so long, is a disturbed measurement."""
_FACTS = (
    "dataset",
    "config",
    "origins",
    "keys",
    "starts",
    "stages",
    "workers",
    "repeats",
    "n_frames",
    "inputs",
)
_REPLAY_FACTS = ("versions", "git", "host", "command", "config", "origins", "costs", "time_scale", "timed")
_START_FACTS = ("versions", "git", "host", "cpu", "command", "at")


def _is(root: Path, kind: str) -> bool:
    bundle = Bundle.at(root)
    return bundle.record == BENCHMARK_RECORD and bundle.facts.get("kind") == kind


def _checks(subject: Subject) -> Iterator[Check]:
    root, facts = subject.root, Bundle.at(subject.root).facts
    folders = {stage: stage_folder(root, stage) for stage in facts.get("stages", ())}
    yield from check_seal(root)
    yield from check_beside(root, folders, LATE)
    lacking = [name for name in _FACTS if name not in facts]
    lacking += [f"starts.{n}" for n in _START_FACTS if any(n not in s for s in facts.get("starts", ()))]
    yield check(
        "provenance", "versions, commit, configuration with origins, dataset, host, command",
        [f"{BENCHMARK_RECORD} does not say: {', '.join(lacking)}"] if lacking else [], "all said",
    )  # fmt: skip
    missing = [name for name in FILES if not (root / name).is_file()]
    yield check("files", "tables, figures, analysis", [f"{n} is missing" for n in missing], "all there")
    rows: list[Row] = []
    for stage, folder in folders.items():
        results, checks = _table(folder / "tables" / "results.parquet", RESULTS, f"{stage}: results")
        yield from checks
        yield from _table(folder / "tables" / "tasks.parquet", TASKS, f"{stage}: tasks")[1]
        rows += results
    aggregated, checks = _table(root / f"{NAME}.parquet", AGGREGATED, "aggregated")
    yield from checks
    yield _cases(facts, rows)
    if rows:
        yield _recomputed(rows, aggregated, facts.get("cores"))
        yield _plausible(aggregated)
        yield _same(rows)
    if "inputs" in facts:
        yield from check_inputs(
            facts["inputs"], locate(facts, subject.data_root, subject.legacy_root), Failures([]).frames
        )


def _table(path: Path, schema: Schema, what: str) -> tuple[list[Row], list[Check]]:
    """Rows of a table, none where it is wrong, and what there is to say of it."""
    expected = f"{len(schema.columns)} columns with types, units and meanings; unique keys"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        first = str(error).partition("\n")[0].rstrip(".")
        return [], [Check(what, expected, f"{path.name} cannot be read: {first}", "failed")]
    if not table.schema.equals(schema.arrow(), check_metadata=True):
        odd = [n for n in schema.names if n not in table.column_names] or ["order, type or unit of a column"]
        return [], [Check(what, expected, f"differs in: {', '.join(odd)}", "failed")]
    rows = table.to_pylist()
    keys = [tuple(row[k] for k in schema.key) for row in rows]
    twice = sorted({str(k) for k in keys if keys.count(k) > 1}) if len(set(keys)) < len(keys) else []
    return rows, [check(what, expected, [f"{k} is there twice" for k in twice], f"{len(rows)} rows")]


def _cases(facts: Mapping[str, Any], rows: Sequence[Row]) -> Check:
    have = {(r["stage"], r["workers"], r["repeat"]) for r in rows}
    wanted = {
        (stage, n, repeat)
        for stage in facts.get("stages", ())
        for n in facts.get("workers", ())
        for repeat in range(facts.get("repeats", 0))
    }
    problems = [f"{s}, N = {n}, repeat {r} is missing" for s, n, r in sorted(wanted - have)]
    problems += [f"{s}, N = {n}, repeat {r} was not asked for" for s, n, r in sorted(have - wanted)]
    return check("cases", "every stage, number of workers and repeat", problems, f"all {len(wanted)}")


def _recomputed(rows: Sequence[Row], aggregated: Sequence[Row], cores: int | None) -> Check:
    what, expected = "aggregated: from the results", "medians and efficiencies as they follow from them"
    anew = {(r["stage"], r["workers"]): r for r in aggregate(rows, cores)}
    have = {(r["stage"], r["workers"]): r for r in aggregated}
    problems = [f"{s}, N = {n} is in one of them only" for s, n in sorted(set(anew) ^ set(have))]
    for key in sorted(set(anew) & set(have)):
        differ = [name for name, value in anew[key].items() if not _equal(value, have[key][name])]
        problems += [f"{key[0]}, N = {key[1]}: {', '.join(differ)}"] if differ else []
    return check(what, expected, problems, f"{len(have)} rows")


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def _plausible(aggregated: Sequence[Row]) -> Check:
    what, expected = "efficiencies", f"above 0 and at most {PLAUSIBLE_FRAC:g}"
    long = [r for r in aggregated if r["efficiency_frac"] is not None and r["wall_s"] >= LONG_ENOUGH_S]
    if not long:
        return Check(what, expected, f"no run took {LONG_ENOUGH_S:g} s", "not checked")
    problems = [
        f"{r['stage']}, N = {r['workers']}: {r['efficiency_frac']:.2f}"
        for r in long
        if not 0 < r["efficiency_frac"] <= PLAUSIBLE_FRAC
    ]
    return check(what, expected, problems, f"{len(long)} in range")


def _same(rows: Sequence[Row]) -> Check:
    digests: dict[str, set[str]] = {}
    for row in rows:
        digests.setdefault(row["stage"], set()).add(row["digest"])
    problems = [f"{stage} gave {len(found)} results" for stage, found in digests.items() if len(found) > 1]
    return check("results", "equal for every number of workers", problems, "equal")


def _replay_checks(subject: Subject) -> Iterator[Check]:
    yield from check_seal(subject.root)
    facts = Bundle.at(subject.root).facts
    lacking = [name for name in _REPLAY_FACTS if name not in facts]
    yield check(
        "provenance", "versions, commit, configuration, costs, times, command",
        [f"{BENCHMARK_RECORD} does not say: {', '.join(lacking)}"] if lacking else [], "all said",
    )  # fmt: skip


KINDS = (
    Kind("benchmark", lambda root: _is(root, "benchmark"), _checks),
    Kind("replay", lambda root: _is(root, "replay"), _replay_checks),
)

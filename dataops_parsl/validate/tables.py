"""Whether tables hold together: schemas, unique keys, ranges, whole references, complete frames, labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from dataops_parsl.tables import Reference, Schema
from dataops_parsl.validate.checks import Check, check, some
from dataops_parsl.validate.failures import Failures
from dataops_parsl.validate.ranges import ranges

OBJECTS = ("position_id", "population", "frame", "label")
"""Key of a table with one row a label of a label image."""
Labels = Mapping[tuple[str, str], Mapping[int, int]]
"""(position, population) → frame → labels that were counted in the label image when it was written."""


def check_tables(
    schemas: Mapping[str, Schema],
    tables: Mapping[str, pa.Table],
    n_frames: Mapping[str, int],
    failures: Iterable[Mapping[str, Any]] = (),
    labels: Labels | None = None,
    excluded: Mapping[str, Iterable[int]] | None = None,
) -> list[Check]:
    """Check published tables against their schemas and against each other.

    Parameters
    ----------
    schemas : mapping of table to Schema
        Per-channel columns written out.
    tables : mapping of table to pa.Table
    n_frames : mapping of position to number of frames
    failures : iterable of mapping
        What the run lists as failed: it may be missing, and what refers to it finds nothing.
    labels : mapping, optional
        See `Labels`; without it rows are not compared with label images.
    excluded : mapping of position to frames, optional
        Frames that were left out on purpose.
    """
    failed = Failures(failures)
    checks: list[Check] = []
    whole: dict[str, Schema] = {}
    for name, schema in schemas.items():
        if name not in tables:
            checks.append(Check(f"{name}: there", "a table", "the table is missing", "failed"))
            continue
        own = list(_alone(name, schema, tables[name]))
        checks += own
        if own[0].ok:
            whole[name] = schema
    for name, schema in whole.items():
        for reference in schema.references:
            # Of a table that is not as in its schema, types may be such that nothing can be looked up in it.
            if reference.table in whole:
                checks.append(_reference(name, tables[name], reference, tables[reference.table], failed))
    if "frames" in whole:
        checks.append(_complete(tables["frames"], n_frames, failed))
    if labels is not None:
        checks.append(_counted(labels, n_frames, failed, excluded or {}))
        checks += [
            _one_row_a_label(name, tables[name], labels, failed)
            for name, schema in whole.items()
            if schema.key == OBJECTS
        ]
    return checks


def _alone(name: str, schema: Schema, table: pa.Table) -> Iterator[Check]:
    """What a table says without the others; the first check is whether its columns are right."""
    n = len(schema.columns)
    problems = schema.column_problems(table)
    yield check(f"{name}: columns, types and units", f"{n} as in the schema", problems, f"{n} columns")
    if problems:
        return
    rows = f"{table.num_rows} rows"
    if schema.key:
        yield check(f"{name}: keys", "unique, none null", schema.key_problems(table), rows)
    bounded = sum(c.low is not None or c.high is not None for c in schema.columns)
    if bounded:
        yield check(
            f"{name}: values in range",
            f"{bounded} column{'s' * (bounded != 1)} within bounds",
            schema.range_problems(table),
            rows,
        )


def _reference(name: str, table: pa.Table, reference: Reference, target: pa.Table, failed: Failures) -> Check:
    own = [c for c, _ in reference.columns]
    there = [c for _, c in reference.columns]
    what = f"{name}: {', '.join(own)} → {reference.table}"
    expected = f"each is a row of {reference.table}"
    if missing := [c for c in there if c not in target.column_names]:
        return Check(what, expected, f"{reference.table} has no column {missing[0]}", "failed")
    asked = table.select(own).drop_null().rename_columns(there).group_by(there).aggregate([])
    lost = asked.join(target.select(there), keys=there, join_type="left anti")
    if not lost.num_rows:
        return Check(what, expected, f"{asked.num_rows} found", "ok")
    rows = lost.to_pylist()
    unexcused = [row for row in rows if not failed.touches(str(row.get("position_id")))]
    if not unexcused:
        return Check(
            what, expected, f"{len(rows)} of {asked.num_rows} are not there, where frames failed", "ok"
        )
    first = ", ".join(f"{k} {v}" for k, v in unexcused[0].items())
    return Check(
        what,
        expected,
        f"{len(unexcused)} of {asked.num_rows} are not there, such as {first}",
        "failed",
    )


def _complete(frames: pa.Table, n_frames: Mapping[str, int], failed: Failures) -> Check:
    have: dict[str, set[int]] = {position: set() for position in n_frames}
    for row in frames.select(["position_id", "frame"]).to_pylist():
        have.setdefault(row["position_id"], set()).add(row["frame"])
    problems = []
    for position, found in have.items():
        n = n_frames.get(position, 0)
        lacking = [f for f in range(n) if f not in found and not failed.covers(position, f)]
        if lacking:
            problems.append(f"{position} has {len(found)} of {n}: frame {ranges(lacking)} is missing")
        if extra := sorted(f for f in found if not 0 <= f < n):
            problems.append(f"{position} has frame {ranges(extra)}, which this run does not cover")
    expected = f"{sum(n_frames.values())} frames, or listed as failed"
    return check("frames: complete", expected, problems, f"{frames.num_rows} frames")


def _counted(
    labels: Labels, n_frames: Mapping[str, int], failed: Failures, excluded: Mapping[str, Iterable[int]]
) -> Check:
    problems = []
    for position, n in n_frames.items():
        out = set(excluded.get(position, ()))
        for population in dict.fromkeys(p for _, p in labels):
            have = labels.get((position, population), {})
            lacking = [
                f for f in range(n) if f not in have and f not in out and not failed.covers(position, f)
            ]
            if lacking:
                problems.append(f"{position}, {population}: none counted in frame {ranges(lacking)}")
    found = f"{sum(sum(n.values()) for n in labels.values())} labels"
    return check("label images: every frame", "counted, excluded, or listed as failed", problems, found)


def _one_row_a_label(name: str, table: pa.Table, labels: Labels, failed: Failures) -> Check:
    grouped = table.group_by(["position_id", "population", "frame"]).aggregate([("label", "count")])
    rows: Counter[tuple[str, str, int]] = Counter()
    for row in grouped.to_pylist():
        rows[row["position_id"], row["population"], row["frame"]] = row["label_count"]
    counted = {(p, q, f): n for (p, q), many in labels.items() for f, n in many.items()}
    problems = [
        f"{position}, {population}, frame {frame}: {rows[position, population, frame]} rows, "
        f"{counted.get((position, population, frame), 0)} labels"
        for position, population, frame in sorted({*rows, *counted})
        if rows[position, population, frame] != counted.get((position, population, frame), 0)
        and not failed.covers(position, frame)
    ]
    return Check(
        f"{name}: one row a label",
        "in each frame as many rows as labels were counted when it was written",
        some(problems) or f"{table.num_rows} rows",
        "failed" if problems else "ok",
    )

"""The verdict on tables: schemas, unique keys, whole references, complete frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from dataops_parsl.tables import Reference, Schema


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, whether it holds, what was found."""

    name: str
    ok: bool
    found: str


def check_tables(
    schemas: Mapping[str, Schema], tables: Mapping[str, pa.Table], n_frames: Mapping[str, int]
) -> list[Check]:
    """Check published tables against their schemas and against each other.

    Parameters
    ----------
    schemas : mapping of table to Schema
        Per-channel columns written out.
    tables : mapping of table to pa.Table
    n_frames : mapping of position to number of frames
    """
    checks = []
    for name, schema in schemas.items():
        if name not in tables:
            checks.append(Check(f"{name}: there", False, "the table is missing"))
            continue
        problems = schema.problems(tables[name])
        checks.append(
            Check(
                f"{name}: schema and keys",
                not problems,
                "; ".join(problems) or f"{tables[name].num_rows} rows",
            )
        )
        if problems:
            continue
        for reference in schema.references:
            if reference.table in tables:
                checks.append(_reference(name, tables[name], reference, tables[reference.table]))
    if "frames" in tables and "frames" in schemas:
        checks.append(_complete(tables["frames"], n_frames))
    return checks


def _reference(name: str, table: pa.Table, reference: Reference, target: pa.Table) -> Check:
    own = [c for c, _ in reference.columns]
    there = [c for _, c in reference.columns]
    title = f"{name}: {', '.join(own)} → {reference.table}"
    if missing := [c for c in there if c not in target.column_names]:
        return Check(title, False, f"{reference.table} has no column {missing[0]}")
    asked = table.select(own).drop_null().rename_columns(there).group_by(there).aggregate([])
    lost = asked.join(target.select(there), keys=there, join_type="left anti").num_rows
    return Check(
        title, not lost, f"{lost} of {asked.num_rows} are not there" if lost else f"{asked.num_rows} found"
    )


def _complete(frames: pa.Table, n_frames: Mapping[str, int]) -> Check:
    counted = frames.group_by("position_id").aggregate([("frame", "count_distinct")]).to_pylist()
    have = {row["position_id"]: row["frame_count_distinct"] for row in counted}
    lacking = [f"{p} has {have.get(p, 0)} of {n}" for p, n in n_frames.items() if have.get(p, 0) != n]
    return Check("frames: complete", not lacking, "; ".join(lacking) or f"{frames.num_rows} frames")

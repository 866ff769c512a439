"""How two tables of one kind differ: by the rows that their keys name."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dataops_parsl.report.words import many

_MOST_COLUMNS = 5


def key_of(table: pa.Table) -> list[str]:
    """Columns that identify a row, as the table's own schema says."""
    return [field.name for field in table.schema if (field.metadata or {}).get(b"key") == b"yes"]


def counts(table: pa.Table) -> dict[tuple[str, ...], int]:
    """Rows by position and population, as far as the table tells them apart."""
    by = [name for name in ("position_id", "population") if name in table.column_names]
    rows = table.group_by(by).aggregate([([], "count_all")]).sort_by([(name, "ascending") for name in by])
    return {tuple(str(row[name]) for name in by): row["count_all"] for row in rows.to_pylist()}


def table_difference(a: pa.Table, b: pa.Table, key: Sequence[str]) -> str:
    """In words how they differ; nothing where they hold the same, in whatever order.

    Parameters
    ----------
    key : sequence of str
        Columns that identify a row; without any, rows are only counted.
    """
    said = []
    for side, one, other in (("A", a, b), ("B", b, a)):
        if extra := [name for name in one.column_names if name not in other.column_names]:
            said.append(f"columns only in {side}: {', '.join(extra)}")
    if not key or not set(key) <= set(b.column_names):
        if a.num_rows != b.num_rows:
            said.append(f"{a.num_rows} rows in A, {b.num_rows} in B")
        elif not said and not a.equals(b):
            said.append("rows differ")
        return "; ".join(said)
    return "; ".join([*said, *_rows(a, b, list(key))])


def _rows(a: pa.Table, b: pa.Table, key: list[str]) -> list[str]:
    one, other = (t.select(key).append_column(n, _numbers(t)) for t, n in ((a, "_a"), (b, "_b")))
    joined = one.join(
        other.cast(pa.schema([*one.schema.remove(len(key)), other.schema.field("_b")])),
        key,
        join_type="full outer",
    )
    said = []
    for side, missing in (("A", "_b"), ("B", "_a")):
        if n := joined[missing].null_count:
            said.append(f"{many(n, 'row')} only in {side}")
    both = joined.filter(pc.and_(pc.is_valid(joined["_a"]), pc.is_valid(joined["_b"])))
    changed = pa.chunked_array([pa.array([False] * both.num_rows, pa.bool_())])
    names = []
    for name in a.column_names:
        if name in key or name not in b.column_names:
            continue
        differs = _differs(a[name].take(both["_a"]), b[name].take(both["_b"]))
        if pc.any(differs, min_count=0).as_py():
            names.append(name)
            changed = pc.or_(changed, differs)
    if names:
        more = f" and {len(names) - _MOST_COLUMNS} more columns" if len(names) > _MOST_COLUMNS else ""
        n = pc.sum(changed).as_py()
        said.append(
            f"{many(n, 'row')} of {both.num_rows} with other {', '.join(names[:_MOST_COLUMNS])}{more}"
        )
    return said


def _numbers(table: pa.Table) -> pa.Array:
    return pa.array(range(table.num_rows), pa.int64())


def _differs(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where two columns differ; null is equal to null alone."""
    if a.type != b.type:
        a, b = a.cast(pa.string()), b.cast(pa.string())
    same = pc.fill_null(pc.equal(a, b), False)
    return pc.invert(pc.or_(same, pc.and_(pc.is_null(a), pc.is_null(b))))

"""The tables of a run as CSV, and a wide sheet a figure as GraphPad Prism takes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from dataops_parsl.bundle import Bundle
from dataops_parsl.exports.target import new_folder, readme_head, write_readme
from dataops_parsl.figures.sheets import sheets

TABLES, FIGURES = "tables", "figures"
_ROWS_AT_ONCE = 20_000


def export_csv(target: Path, bundle: Bundle, tables: Mapping[str, pa.Table], notes: list[str]) -> str:
    """Write all tables and sheets into a new folder; returns what it holds, in words."""
    wide = sheets(tables)
    with new_folder(target) as folder:
        for name, many in ((TABLES, tables), (FIGURES, wide)):
            (folder / name).mkdir()
            for title, table in many.items():
                write_csv(folder / name / f"{title}.csv", table)
        write_readme(folder, _readme(bundle, tables, wide, notes))
    return f"{len(tables)} tables and {len(wide)} sheets of figures"


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table by RFC 4180, UTF-8: names of columns first, null empty, floats to the last bit."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        _write_rows(file, table)


def csv_bytes(table: pa.Table) -> bytes:
    """The same in memory, for a small table."""
    text = io.StringIO(newline="")
    _write_rows(text, table)
    return text.getvalue().encode()


def _write_rows(file: TextIO, table: pa.Table) -> None:
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        writer.writerows(zip(*(_words(column) for column in batch.columns), strict=True))


def _words(column: pa.Array) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_boolean(column.type):
        return [None if v is None else "true" if v else "false" for v in values]
    return list(values)


def _readme(
    bundle: Bundle, tables: Mapping[str, pa.Table], wide: Mapping[str, pa.Table], notes: list[str]
) -> list[str]:
    lines = [
        *readme_head(bundle, notes),
        "CSV by RFC 4180 in UTF-8; the first line names the columns; an empty field is unknown.",
        "Times are seconds since the film's start, frames count from 0.",
        "",
        f"{FIGURES}/: the numbers of each figure, wide: x first, then a column a group. In GraphPad Prism: "
        "File > Import.",
        *(f"  {name}.csv: {', '.join(table.column_names[:4])}{_more(table)}" for name, table in wide.items()),
        *([] if wide else ["  none: this run has no table that a figure is drawn from"]),
        "",
        f"{TABLES}/: all rows, one table a file.",
    ]
    for name, table in tables.items():
        row = (table.schema.metadata or {}).get(b"row", b"").decode()
        lines += ["", f"{name}.csv: {table.num_rows} rows{f', each {row}' if row else ''}"]
        if table.num_columns:
            lines += _aligned([_column(f) for f in table.schema])
    return lines


def _more(table: pa.Table) -> str:
    return f", ... {table.num_columns} columns" if table.num_columns > 4 else ""


def _column(field: pa.Field) -> tuple[str, str, str]:
    said = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    return field.name, said.get("unit", ""), said.get("meaning", "")


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]

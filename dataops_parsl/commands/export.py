"""``runs export``: the tables of a run as CSV, and a wide sheet a figure as GraphPad Prism takes it."""

from __future__ import annotations

import argparse
import csv
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataops_parsl.bundle import Bundle, RunTables
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.text import columns
from dataops_parsl.commands.which import RUN_HELP, find_run
from dataops_parsl.errors import UsageError
from dataops_parsl.figures.sheets import sheets
from dataops_parsl.storage.atomic import place_errors, sync_folder

README = "README.txt"
TABLES, FIGURES = "tables", "figures"
_ROWS_AT_ONCE = 20_000


def add_parser(actions: Any) -> None:
    """Add ``export`` to the actions of ``runs``."""
    parser = actions.add_parser("export", help="write the tables of a run as CSV")
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--csv", action="store_true", required=True, help="as CSV, the one format so far")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="new folder (default: exports/<run id> in the output folder)",
    )
    add_own_project_argument(parser)
    parser.set_defaults(execute=execute)


def add_own_project_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--project`` to an action: not given there, it stays what it was given before the action."""
    parser.add_argument(
        "--project", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="project folder, as in run"
    )


def execute(args: argparse.Namespace) -> int:
    """Write the folder, under a temporary name first; the run itself is only read."""
    output_root = load_setting(args).config.paths.output_root
    bundle = find_run(output_root, args.run)
    notes = _state(bundle)
    target = args.to or output_root / "exports" / bundle.id
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", "give another folder: --to FOLDER, or remove it")
    if target.resolve().is_relative_to(bundle.root.resolve()):
        raise UsageError(f"{target} lies in the run, which is never changed", "give a folder outside: --to")
    opened = RunTables(bundle)
    tables = {name: opened.arrow(name) for name in opened.results}
    if not tables:
        raise UsageError(f"run {bundle.id} has no tables yet", "let it end, or start the same run again")
    wide = sheets(tables)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    with place_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(temporary, bundle, tables, wide, notes)
            os.rename(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(target.parent)
    for note in notes:
        print(f"note: {note}")
    print(f"{len(tables)} tables and {len(wide)} sheets of figures: {target}")
    return 0


def _state(bundle: Bundle) -> list[str]:
    """What a reader of the numbers has to know of the run."""
    facts = bundle.facts
    if not bundle.sealed:
        if bundle.live:
            return ["the run is still going on: its tables may be missing or change"]
        return ["the run was never finished: its tables may be missing or not checked"]
    verdict = facts.get("verdict")
    notes = [str(note) for note in facts.get("notes", [])]
    if verdict == "partial":
        failures = facts.get("failures", [])
        named = "; ".join(f"{f['position']}, frame {f['frame']}: {f['reason']}" for f in failures[:5])
        more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
        notes.insert(0, f"the run is partial, failed frames are missing from the tables: {named}{more}")
    elif verdict != "accepted":
        notes.insert(0, f"the run's verdict is {verdict}: its tables do not hold together, see its run.json")
    return notes


def _write(
    folder: Path,
    bundle: Bundle,
    tables: Mapping[str, pa.Table],
    wide: Mapping[str, pa.Table],
    notes: list[str],
) -> None:
    for name, many in ((TABLES, tables), (FIGURES, wide)):
        (folder / name).mkdir(parents=True)
        for title, table in many.items():
            write_csv(folder / name / f"{title}.csv", table)
    (folder / README).write_text(_readme(bundle, tables, wide, notes), encoding="utf-8")


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table by RFC 4180, UTF-8: names of columns first, null empty, floats to the last bit."""
    with open(path, "w", newline="", encoding="utf-8") as file:
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
) -> str:
    facts = bundle.facts
    lines = [
        f"Run {bundle.id}, workflow {facts.get('workflow', 'unknown')}, "
        f"dataset {facts.get('dataset', {}).get('name', 'unknown')}",
        f"verdict: {facts.get('verdict', 'none, it was not finished')}",
        *(f"note: {note}" for note in notes),
        "",
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
            lines += [f"  {line}" for line in columns([_column(f) for f in table.schema]).split("\n")]
    return "\n".join(lines) + "\n"


def _more(table: pa.Table) -> str:
    return f", ... {table.num_columns} columns" if table.num_columns > 4 else ""


def _column(field: pa.Field) -> tuple[str, str, str]:
    said = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
    return field.name, said.get("unit", ""), said.get("meaning", "")

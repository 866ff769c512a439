"""``runs export``: a run in the formats of other programs. The run itself is only read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataops_parsl.bundle import Bundle, RunTables
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.which import RUN_HELP, find_run, sealed_run
from dataops_parsl.errors import UsageError
from dataops_parsl.exports.csv_tables import export_csv
from dataops_parsl.exports.ctc import export_ctc
from dataops_parsl.exports.labels import label_films
from dataops_parsl.exports.ome_zarr import export_labels
from dataops_parsl.exports.packed import export_zip
from dataops_parsl.exports.target import check_target, state_notes
from dataops_parsl.exports.trackmate import export_trackmate

FORMATS = {
    "csv": ("", "tables as CSV, and a wide sheet a figure for GraphPad Prism"),
    "zip": (".zip", "the whole sealed run as one zip with an RO-Crate manifest"),
    "trackmate_xml": ("_trackmate", "spots and tracks as Fiji's TrackMate opens them"),
    "ctc": ("_ctc", "masks and tracks in the format of the Cell Tracking Challenge"),
    "labels": ("_labels", "label images as OME-Zarr"),
}
"""Option to the ending of the default name, and what it gives."""


def add_parser(actions: Any) -> None:
    """Add ``export`` to the actions of ``runs``."""
    parser = actions.add_parser("export", help="write a run in the formats of other programs")
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    formats = parser.add_mutually_exclusive_group(required=True)
    for name, (_, what) in FORMATS.items():
        formats.add_argument(
            f"--{name.replace('_', '-')}", dest="format", action="store_const", const=name, help=what
        )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="PLACE",
        help="new folder, or new file (default: a name with the run's id in exports/ of the output folder)",
    )
    add_own_project_argument(parser)
    parser.set_defaults(execute=execute)


def add_own_project_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--project`` to an action: not given there, it stays what it was given before the action."""
    parser.add_argument(
        "--project", type=Path, metavar="DIR", default=argparse.SUPPRESS, help="project folder, as in run"
    )


def execute(args: argparse.Namespace) -> int:
    """Write what is asked for, under a temporary name first."""
    paths = load_setting(args).config.paths
    find = sealed_run if args.format == "zip" else find_run
    bundle = find(paths.output_root, args.run)
    target: Path = args.to or paths.output_root / "exports" / f"{bundle.id}{FORMATS[args.format][0]}"
    check_target(target, bundle)
    notes = state_notes(bundle)
    if args.format == "zip":
        said = export_zip(target, bundle)
    elif args.format == "csv":
        said = export_csv(target, bundle, tables_of(bundle), notes)
    elif args.format == "trackmate_xml":
        said = export_trackmate(target, bundle, tables_of(bundle), notes)
    else:
        write = export_ctc if args.format == "ctc" else export_labels
        tables = tables_of(bundle)
        said = write(target, bundle, tables, label_films(bundle, paths.scratch_root), notes)
    for note in notes:
        print(f"note: {note}")
    print(f"{said}: {target}")
    return 0


class ReadTables(Mapping[str, pa.Table]):
    """The tables that a run's workflow gave, each read when it is first asked for.

    Raises
    ------
    UsageError
        A table that is asked for cannot be read.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._opened = RunTables(bundle)
        self._names = self._opened.results
        self._read: dict[str, pa.Table] = {}

    def __getitem__(self, name: str) -> pa.Table:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._read:
            bundle = self._opened.bundle
            try:
                self._read[name] = self._opened.arrow(name)
            except (OSError, pa.ArrowException) as error:
                raise UsageError(
                    f"a table of run {bundle.id} cannot be read: {error}",
                    f"python -m dataops_parsl validate {bundle.root} says what is wrong with it",
                ) from error
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def tables_of(bundle: Bundle) -> ReadTables:
    """The tables that a run's workflow gave.

    Raises
    ------
    UsageError
        It is no run of a workflow, or has none yet.
    """
    tables = ReadTables(bundle)
    if not tables:
        raise UsageError(f"run {bundle.id} has no tables yet", "let it end, or start the same run again")
    return tables

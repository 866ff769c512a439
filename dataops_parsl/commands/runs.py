"""``runs``: past and open runs: list, show, diff, export, napari."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from dataops_parsl.commands import export, napari, runs_diff, runs_show
from dataops_parsl.commands.setting import add_project_argument, load_setting
from dataops_parsl.commands.text import columns
from dataops_parsl.commands.which import all_runs
from dataops_parsl.report.costs import hours
from dataops_parsl.report.overview import Overview, size
from dataops_parsl.report.words import UNKNOWN, duration

_LONGEST_NAME = 18


def add_parser(commands: Any) -> None:
    """Add ``runs`` to the command line."""
    parser = commands.add_parser("runs", help="past and open runs: list, show, diff, export, napari")
    add_project_argument(parser)
    parser.set_defaults(execute=execute, of_dataset=None, of_workflow=None, json=False)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    listing = actions.add_parser("list", help="list them, newest first; so does runs alone")
    listing.add_argument("--dataset", dest="of_dataset", metavar="NAME", help="only runs of this dataset")
    listing.add_argument("--workflow", dest="of_workflow", metavar="NAME", help="only runs of this workflow")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    export.add_own_project_argument(listing)
    listing.set_defaults(execute=execute)
    for action in (runs_show, runs_diff, export, napari):
        action.add_parser(actions)


def execute(args: argparse.Namespace) -> int:
    """List the bundles of all workflows, newest first."""
    root = load_setting(args).config.paths.output_root
    found = [Overview.of(b, root) for b in sorted(all_runs(root), key=lambda b: b.id, reverse=True)]
    shown = [
        o for o in found if args.of_dataset in (None, o.dataset) and args.of_workflow in (None, o.workflow)
    ]
    if args.json:
        print(json.dumps([{**asdict(o), "root": str(o.root)} for o in shown], indent=1, ensure_ascii=False))
    elif not found:
        print(f"no runs in {root}; python -m dataops_parsl run makes one")
    elif not shown:
        print(f"none of the {len(found)} runs in {root} is of that dataset and workflow")
    else:
        print(_table(shown))
        print(f"\nin {root}/<workflow>/run_<run>; more of one: python -m dataops_parsl runs show RUN")
    return 0


def _table(shown: list[Overview]) -> str:
    gpu = any(o.gpu_h for o in shown)
    head = ("run", "workflow", "dataset", "state", "wall time", "CPU-h", "GPU-h", "size")
    rows = [
        head,
        *(
            (
                o.id,
                _short(o.workflow),
                _short(o.dataset),
                o.state,
                UNKNOWN if o.wall_s is None else duration(o.wall_s),
                UNKNOWN if o.cpu_h is None else hours(o.cpu_h),
                UNKNOWN if o.gpu_h is None else hours(o.gpu_h),
                size(o.size_bytes),
            )
            for o in shown
        ),
    ]
    return columns(rows if gpu else [row[:6] + row[7:] for row in rows])


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"

"""``runs``: past and open runs, and ``runs export``."""

from __future__ import annotations

import argparse
from typing import Any

from dataops_parsl.bundle import Bundle
from dataops_parsl.commands import export
from dataops_parsl.commands.setting import add_project_argument, load_setting
from dataops_parsl.commands.text import columns
from dataops_parsl.commands.which import all_runs
from dataops_parsl.report.words import duration


def add_parser(commands: Any) -> None:
    """Add ``runs`` to the command line."""
    parser = commands.add_parser("runs", help="past and open runs: id, dataset, verdict, wall time, where")
    add_project_argument(parser)
    parser.set_defaults(execute=execute)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    listing = actions.add_parser("list", help="list them, newest first; so does runs alone")
    export.add_own_project_argument(listing)
    listing.set_defaults(execute=execute)
    export.add_parser(actions)


def execute(args: argparse.Namespace) -> int:
    """List the bundles of all workflows, newest first."""
    root = load_setting(args).config.paths.output_root
    found = list(all_runs(root))
    if not found:
        print(f"no runs in {root}; python -m dataops_parsl run makes one")
        return 0
    rows = [("run", "workflow", "dataset", "verdict", "wall time", "where")]
    rows += [_row(b) for b in sorted(found, key=lambda b: b.id, reverse=True)]
    print(columns(rows))
    return 0


def _row(bundle: Bundle) -> tuple[str, str, str, str, str, str]:
    facts = bundle.facts
    state = "running" if bundle.live else facts.get("status", "damaged")
    if bundle.sealed:
        state = facts.get("verdict", "damaged")
    wall = duration(facts["wall_s"]) if "wall_s" in facts else ""
    return (
        bundle.id,
        facts.get("kind") or bundle.root.parent.name,
        facts.get("dataset", {}).get("name", ""),
        str(state),
        wall,
        str(bundle.root),
    )

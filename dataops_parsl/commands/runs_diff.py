"""``runs diff``: what differs between two runs, from their settings to their results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from dataops_parsl.bundle import RECORD, Bundle
from dataops_parsl.commands.export import add_own_project_argument
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.text import columns
from dataops_parsl.commands.which import RUN_HELP, find_run
from dataops_parsl.errors import UsageError
from dataops_parsl.report import difference
from dataops_parsl.report.overview import sound, state
from dataops_parsl.report.words import many

MOST_ROWS = 40


def add_parser(actions: Any) -> None:
    """Add ``diff`` to the actions of ``runs``."""
    parser = actions.add_parser("diff", help="what differs: settings, versions, dataset, steps, results")
    parser.add_argument("a", metavar="A", help=RUN_HELP)
    parser.add_argument("b", metavar="B", help="the other one, named in the same ways")
    add_own_project_argument(parser)
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Print it; the exit code is 0 whether they differ or not."""
    root = load_setting(args).config.paths.output_root
    a, b = (_run(find_run(root, words)) for words in (args.a, args.b))
    print(columns([_line("A", a), _line("B", b)]))
    tables, equal = difference.results(a, b)
    facts = a.facts, b.facts
    sections = {
        "settings": _table(("key", "A", "B"), difference.settings(*facts)),
        "versions": _table(("of", "A", "B"), difference.versions(*facts)),
        "dataset": _table(("what", "A", "B"), difference.dataset(a, b)),
        "steps": _lines("first steps whose results differ:", difference.steps(*facts)),
        "summary": _table(("of", "what", "A", "B", "B − A"), difference.summaries(a, b)),
        "tables": _table(("table", f"how it differs ({equal} are equal)"), tables),
    }
    for title, text in sections.items():
        if text:
            print(f"\n{title}\n{text}")
    same = [title for title, text in sections.items() if not text]
    if len(same) == len(sections):
        n = many(equal, "table")
        print(f"\nThe runs are equal: the same settings, versions, dataset and steps, and {n} row by row.")
    elif same:
        print(f"\nthe same: {', '.join(same)}")
    return 0


def _run(bundle: Bundle) -> Bundle:
    if bundle.record != RECORD or "workflow" not in sound(bundle.facts):
        raise UsageError(
            f"{bundle.root} is no run of a workflow that can be read, so that nothing can be compared",
            "name two runs of workflows; runs list shows them",
        )
    return bundle


def _line(side: str, bundle: Bundle) -> tuple[str, ...]:
    facts = bundle.facts
    name = facts.get("dataset", {}).get("name", "")
    return side, bundle.id, str(facts["workflow"]), str(name), state(bundle, facts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    more = f"\n  and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return _indented(columns([head, *rows[:MOST_ROWS]])) + more


def _lines(title: str, lines: list[str]) -> str:
    return _indented("\n".join([title, *lines])) if lines else ""


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))

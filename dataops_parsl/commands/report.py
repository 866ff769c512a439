"""``report``: one self-contained page on a sealed run."""

from __future__ import annotations

import argparse
import webbrowser
from typing import Any

from dataops_parsl.bundle import RECORD
from dataops_parsl.commands.beside import add_run_arguments, write_beside
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.which import sealed_run
from dataops_parsl.errors import UsageError
from dataops_parsl.report.page import report

PAGE = "report.html"


def add_parser(commands: Any) -> None:
    """Add ``report`` to the command line."""
    parser = commands.add_parser(
        "report", help="write one page on a sealed run: verdict, results, time, cost, advice"
    )
    add_run_arguments(parser, f"{PAGE} goes")
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Write the page; the run itself is only read.

    Raises
    ------
    UsageError
        It is no run of a workflow.
    """
    bundle = sealed_run(load_setting(args).config.paths.output_root, args.run)
    if bundle.record != RECORD:
        raise UsageError(
            f"run {bundle.id} is a {bundle.facts.get('kind', 'benchmark')}, which has no such page",
            f"read its own: {', '.join(str(p) for p in sorted(bundle.root.glob('*.md')))}",
        )
    folder = args.output or bundle.root
    page = report(bundle).encode()
    write_beside(folder, {PAGE: page})
    print(f"{folder / PAGE} ({len(page) / 1e6:.1f} MB)")
    if args.open:
        webbrowser.open((folder / PAGE).resolve().as_uri())
    return 0

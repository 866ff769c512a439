"""``migrate``: bring an older tree to where this program looks, by a plan that can be read and edited."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dataops_parsl.commands.setting import add_project_argument, load_setting
from dataops_parsl.commands.signals import stop_signals
from dataops_parsl.commands.text import columns
from dataops_parsl.dataset.names import printable
from dataops_parsl.errors import PartialError, UsageError
from dataops_parsl.migration import journal
from dataops_parsl.migration.checking import refuse_faults
from dataops_parsl.migration.copying import Ticks
from dataops_parsl.migration.describing import describe
from dataops_parsl.migration.execute import Outcome, execute, undo
from dataops_parsl.migration.plan import Action, Item, Places, Plan, read_plan
from dataops_parsl.migration.plan_text import plan_text, words
from dataops_parsl.migration.proposing import Proposed, propose
from dataops_parsl.migration.rules import load_rules
from dataops_parsl.storage.atomic import write_bytes

PROGRAM = "python -m dataops_parsl migrate"
_SHOWN = 20


def add_parser(commands: Any) -> None:
    """Add ``migrate`` to the command line."""
    parser = commands.add_parser(
        "migrate",
        help="bring an older tree of films, intermediates, figures and results into this layout",
        description="Without --yes nothing is moved: an older tree is looked at, or a plan is checked.",
    )
    parser.add_argument("source", nargs="?", type=Path, help="the older tree")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="with SOURCE: write it; else: read it")
    parser.add_argument("--yes", action="store_true", help="carry the plan out, or go back")
    parser.add_argument("--undo", type=Path, metavar="JOURNAL", help="go back by the journal beside the plan")
    parser.add_argument("--rules", type=Path, metavar="FILE", help="rules to try before those of the program")
    parser.add_argument(
        "--action",
        choices=["move", "copy", "link"],
        help="of all items (default: move on one disk; else link films and copy the rest)",
    )
    add_project_argument(parser)
    parser.set_defaults(execute=run)


def run(args: argparse.Namespace) -> int:
    """Look, write a plan, check it, carry it out, or go back."""
    if args.undo is not None:
        _refuse(args, "--undo", ("source", "plan", "rules", "action"))
        return _undo(Path(os.path.abspath(args.undo)), args.yes)
    if args.source is None and args.plan is None:
        raise UsageError("migrate needs an older tree or a plan", f"{PROGRAM} SOURCE, or --plan FILE")
    places = _places(args)
    if args.source is None:
        _refuse(args, "--plan alone", ("rules", "action"))
        return _carry_out(Path(os.path.abspath(args.plan)), places, args.yes)
    if args.yes:
        raise UsageError(
            "a plan is read by a person before it is carried out",
            f"{PROGRAM} {args.source} --plan FILE writes it; then {PROGRAM} --plan FILE --yes",
        )
    return _look(args.source, args.plan, places, args.rules, args.action)


def _refuse(args: argparse.Namespace, what: str, names: Sequence[str]) -> None:
    given = [name for name in names if getattr(args, name) is not None]
    if given:
        raise UsageError(f"{what} goes without {given[0]}", f"{PROGRAM} --help shows what goes together")


def _places(args: argparse.Namespace) -> Places:
    setting = load_setting(args)
    paths = setting.config.paths
    figures = setting.project / "data" / "paper_figures"
    return Places(setting.project, paths.data_root, paths.scratch_root, paths.output_root, figures)


def _look(source: Path, path: Path | None, places: Places, rules: Path | None, action: Action | None) -> int:
    own = str(Path(os.path.abspath(rules))) if rules else ""
    if path is not None and path.exists():
        raise UsageError(
            f"there is a file {path} already", f"{PROGRAM} --plan {path} reads it; or name a new one"
        )
    proposed = propose(source, places, load_rules(rules), action, own)
    _print_items(proposed.plan.item)
    _print_rest(proposed)
    if path is None:
        print(f"\nNothing was written. For a plan to read and edit: {PROGRAM} {source} --plan plan.toml")
        return 0
    path = Path(os.path.abspath(path))
    described = describe(proposed, path)
    for file, text in described.files.items():
        write_bytes(file, text.encode())
    name = journal.journal_path(path).name
    write_bytes(path, plan_text(described.proposed, path.name, name, described.questions).encode())
    for file in described.files:
        print(f"to fill in: {file}")
    print(f"\nThe plan: {path}\nRead it and edit it, then: {PROGRAM} --plan {path}")
    return 0


def _print_items(items: Sequence[Item], done: Callable[[Item], bool] = lambda item: False) -> None:
    rows = [("class", "what", "files", "size", "how", "where to", "why")]
    for item in items:
        how = "done" if done(item) else item.action
        size = "" if item.size is None else words(item.size)
        files = "" if item.files is None else str(item.files)
        why = f"{item.rule}: {item.why}" if item.why else item.rule
        what, where = printable(item.key), printable(item.target)
        rows.append((item.kind, what, files, size, how, where, printable(why)))
    print(columns(rows) if items else "No rule claims anything here.")


def _print_rest(proposed: Proposed) -> None:
    if proposed.alone:
        print("\nleft alone, since no rule claims it:")
        rows = [(f"  {printable(path)}", f"{n} files", words(size)) for path, size, n in proposed.alone]
        print(columns(rows[:_SHOWN]))
        if len(rows) > _SHOWN:
            print(f"  … and {len(rows) - _SHOWN} more; the plan lists all")
    if proposed.questions:
        print("\nto look at:")
        for question in proposed.questions:
            print(f"  {printable(question)}")


def _carry_out(path: Path, places: Places, yes: bool) -> int:
    plan = read_plan(path)
    file = journal.journal_path(path)
    if not yes:
        progress = journal.read(file)
        refuse_faults(plan, path, places, progress)
        done = {key for key, p in progress.items() if p.done is not None}
        _print_items(plan.item, lambda item: item.key in done)
        print(f"\nNothing was done. To carry it out: {PROGRAM} --plan {path} --yes")
        return 0
    with journal.open_journal(file) as opened, stop_signals():
        refuse_faults(plan, path, places, opened.items)
        outcome = execute(plan, path, places, opened, _say, _ticks(_size(plan)))
    return _end(outcome, f"the way back: {PROGRAM} --undo {file}")


def _undo(file: Path, yes: bool) -> int:
    if not file.is_file():
        raise UsageError(
            f"there is no journal {file}", f"it ends with {journal.SUFFIX} and lies beside the plan"
        )
    if not yes:
        begun = [p.begun for p in reversed(journal.read(file).values()) if p.begun is not None]
        for line in begun:
            back = "remove the link" if line["action"] == "link" else f"back to {line['source']}"
            print(printable(f"{line['target']}: {back}"))
        print(f"\nNothing was done. To go back: {PROGRAM} --undo {file} --yes" if begun else "nothing to do")
        return 0
    with journal.open_journal(file) as opened, stop_signals():
        outcome = undo(opened, _say, _ticks(0))
    return _end(outcome, "all is back where it came from")


def _say(item: str, done: str) -> None:
    print(printable(f"{item}: {done}"), flush=True)


def _size(plan: Plan) -> int:
    return sum(item.size or 0 for item in plan.active)


def _ticks(total: int) -> Ticks:
    """Shows on a terminal how much was copied."""
    copied = 0

    def tick(size: int) -> None:
        nonlocal copied
        copied += size
        if sys.stderr.isatty():
            of = f" of at most {words(total)}" if total else ""
            print(f"\r  {words(copied)} copied{of}  ", end="", file=sys.stderr, flush=True)

    return tick


def _end(outcome: Outcome, afterwards: str) -> int:
    if outcome.failed:
        lines = [f"  {printable(item)}: {_reason(error)}" for item, error in outcome.failed]
        raise PartialError(
            "\n".join([f"{outcome.done} items are done, {len(lines)} are not, and lost nothing:", *lines]),
            "mend what is named; the same command goes on with the rest",
        )
    print(afterwards if outcome.done else "nothing to do")
    return 0


def _reason(error: Exception) -> str:
    return "\n    ".join(printable(line) for line in str(error).splitlines())

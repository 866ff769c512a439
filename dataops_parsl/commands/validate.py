"""``validate``: whether a sealed run is what it says, and what speaks against it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from dataops_parsl.bench import acceptance as benchmark
from dataops_parsl.bundle import Bundle
from dataops_parsl.commands.beside import add_run_arguments, write_beside
from dataops_parsl.commands.setting import load_setting
from dataops_parsl.commands.which import sealed_run
from dataops_parsl.config import Roots
from dataops_parsl.errors import DataopsError, PartialError, RejectedError, UsageError
from dataops_parsl.validate import workflow_run
from dataops_parsl.validate.acceptance import MEANINGS, Acceptance, assess, found, tally
from dataops_parsl.validate.subject import Kind, Subject

JSON, PAGE = "acceptance_report.json", "acceptance_report.md"
_SHOWN = 12
KINDS: tuple[Kind, ...] = (*benchmark.KINDS, workflow_run.KIND)
"""The kinds of bundles that can be validated; the first that fits is taken."""


def add_parser(commands: Any) -> None:
    """Add ``validate`` to the command line."""
    parser = commands.add_parser(
        "validate", help="check a sealed run: its files, tables, input; exit code 0 only if accepted"
    )
    add_run_arguments(parser, f"{JSON} and {PAGE} go")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace) -> int:
    """Say the verdict, write the acceptance report, and end with the code that the verdict has.

    Raises
    ------
    PartialError
        Frames failed in the run, and are listed.
    RejectedError
        Files are not those that were sealed, or the tables do not hold together.
    """
    paths = load_setting(args).config.paths
    bundle = sealed_run(paths.output_root, args.run)
    acceptance = acceptance_of(bundle, paths)
    print(f"run {bundle.id}: {acceptance.verdict}: {MEANINGS[acceptance.verdict]}")
    print(tally(acceptance.checks))
    for one in [c for c in acceptance.checks if c.verdict in ("noted", "not checked")]:
        print(f"  {one.what}: {found(one)}")
    # Said before anything is written: a bundle on a read-only disk has a verdict too.
    folder = args.output or bundle.root
    said = json.dumps(acceptance.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_beside(folder, {JSON: said.encode(), PAGE: acceptance.to_markdown().encode()})
    print(f"every check: {folder / PAGE}", flush=True)
    if acceptance.against:
        raise _error(acceptance, bundle)
    return 0


def acceptance_of(bundle: Bundle, paths: Roots) -> Acceptance:
    """Check a sealed bundle; nothing is written.

    Raises
    ------
    UsageError
        It is of no known kind.
    """
    kind = next((kind for kind in KINDS if kind.fits(bundle.root)), None)
    if kind is None:
        raise UsageError(
            f"{bundle.root} is sealed, but is no run that this version knows",
            "use the version of the program that wrote it, or a newer one",
        )
    subject = Subject(bundle.root, paths.data_root, paths.scratch_root, paths.legacy_root)
    return assess(subject, kind)


def _error(acceptance: Acceptance, bundle: Bundle) -> DataopsError:
    lines = [f"  {c.what}: {c.found}" for c in acceptance.against[:_SHOWN]]
    if (more := len(acceptance.against) - _SHOWN) > 0:
        lines.append(f"  and {more} more")
    words = "\n".join([f"run {bundle.id} is {acceptance.verdict}:", *lines])
    if acceptance.verdict == "partial":
        return PartialError(
            words,
            "what is there can be used; mend or exclude the frames that are named "
            "(dataset add --exclude position:frame), then run again",
        )
    if acceptance.verdict == "tampered":
        return RejectedError(
            words, "take the bundle from a copy that validates, or make it again: run (with --force STAGE)"
        )
    return RejectedError(
        words,
        "do not use its tables; put the input back as it was (dataset verify names its files), or run again",
    )

"""Arguments → command, error → message and exit code; nothing else."""

from __future__ import annotations

import argparse
import sys

from dataops_parsl import __version__
from dataops_parsl.errors import DataopsError, InterruptedRunError

PROGRAM = "dataops-parsl"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from dataops_parsl.commands import (
        bench,
        check,
        config,
        dataset,
        migrate,
        preview,
        purge,
        report,
        run,
        runs,
        validate,
        weights,
    )

    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Live-cell cytotoxicity microscopy, from films to kill tables.",
        epilog="exit codes: 0 done, 1 a bug, 2 usage or config, 3 the place is not fit, 4 partial, "
        "5 rejected, 130 interrupted",
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        preview, run, validate, report, bench, check, weights, dataset, runs, purge, migrate, config,
    ):  # fmt: skip
        module.add_parser(commands)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    args = parser().parse_args(argv)
    try:
        return int(args.execute(args))
    except DataopsError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return InterruptedRunError.exit_code
    except BrokenPipeError:
        return 0

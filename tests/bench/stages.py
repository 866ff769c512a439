"""The stages against the field's own tools, side by side in one run: one table.

    make bench-stages
    python -m tests.bench.stages [SECTION ...]

A section is a module beside this one with ``rows()``, which gives the lines of the table one by one (their
keys: `tests.bench.measure.Row`). One thread each. What a section lacks to be measured is a line that says so.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator

from dataops_parsl.commands.text import columns
from tests.bench.measure import Row

SECTIONS = (
    "linking",
    "golden",
    "detections",
    "contacts",
    "memory",
    "worker_memory",
    "registration",
    "denoise",
    "segmentation",
)
HEAD = ("", "ours", "reference", "unit", "ratio", "bar", "", "note")


def there(section: str) -> bool:
    """Whether the section's module gives rows."""
    spec = importlib.util.find_spec(f"tests.bench.{section}")
    if spec is None or spec.origin is None:
        return False
    with open(spec.origin, encoding="utf-8") as file:
        return "\ndef rows(" in file.read()


def measured(section: str) -> Iterator[Row]:
    """The section's lines, as they come."""
    yield from importlib.import_module(f"tests.bench.{section}").rows()


def shown(row: Row) -> tuple[str, ...]:
    """A line as text."""
    verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
    numbers = ("" if row[key] is None else f"{row[key]:.3g}" for key in ("ours", "reference"))
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}x"
    return (row["what"], *numbers, row["unit"], ratio, row["bar"], verdict, row["note"])


def main() -> int:
    """Print each section's table as soon as it is measured; 1 if a bar is missed."""
    known = [section for section in SECTIONS if there(section)]
    parser = argparse.ArgumentParser(description="The stages against the field's own tools.")
    parser.add_argument("section", nargs="*", help=f"of: {', '.join(known)}; default: all")
    wanted = parser.parse_args().section or known
    if strange := [section for section in wanted if section not in known]:
        parser.error(f"no section {strange[0]!r}; there are {', '.join(known)}")
    missed = 0
    for section in wanted:
        started = time.monotonic()
        rows = list(measured(section))
        missed += sum(row["met"] is False for row in rows)
        print(f"\n{section} ({time.monotonic() - started:.0f} s)\n")
        print(columns([HEAD, *map(shown, rows)]), flush=True)
    print(f"\n{missed} bars missed" if missed else "\nall bars met")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())

"""How a benchmark measures: ours and the reference in turns, so that the machine's noise hits both."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.helpers import PROJECT

Row = dict[str, Any]
"""A line of the table: what, ours, reference, unit, ratio, bar, met (None: no bar), note."""


def row(
    what: str,
    ours: float,
    reference: float | None = None,
    *,
    unit: str = "s",
    ratio: float | None = None,
    bar: str = "",
    met: bool | None = None,
    note: str = "",
) -> Row:
    """A line of the table."""
    return {
        "what": what,
        "ours": ours,
        "reference": reference,
        "unit": unit,
        "ratio": ratio,
        "bar": bar,
        "met": met,
        "note": note,
    }


def seconds(method: Callable[[], object]) -> float:
    """CPU time of one call, s: on one thread the wall time of an idle machine, and fair on a busy one."""
    started = time.process_time()
    method()
    return time.process_time() - started


def in_turns(repeats: int, *methods: Callable[[], float]) -> list[float]:
    """Medians of what each method measures, called in turns."""
    measured = [[method() for method in methods] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*measured, strict=True)]


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1000


def alone(module: str, *arguments: object) -> Any:
    """What ``python -m MODULE ARGUMENTS`` prints last, as JSON: a process of its own, for its peak memory."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | threads, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])

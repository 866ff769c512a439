"""Tasks that every worker of an executor does once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import Group
from dataops_parsl.errors import PlaceError

PATIENCE_S = 600.0
"""So long workers wait for each other, once the first of them works."""


def on_every_worker(
    pool: Pool,
    group: Group,
    function: Callable[[dict[str, Any]], dict[str, Any]],
    facts: Sequence[dict[str, Any]],
    log: Path,
) -> list[dict[str, Any]]:
    """Let each worker do `function`, which begins with a meeting; returns what they return.

    Parameters
    ----------
    function : callable
        `tasks.meet`, or one that calls it.
    facts : sequence of dict
        One a worker: what its task holds beside the meeting.

    Raises
    ------
    PlaceError
        When they do not all come.
    """
    pool.demand(group.label, group.workers, True)
    n = group.workers
    meeting = {
        "folder": str(log / "meetings" / f"{group.label}-{time.time_ns()}"),
        "workers": n,
        "patience_s": PATIENCE_S,
    }
    futures = [pool.submit(group.label, function.__name__, function, {**meeting, **own}) for own in facts]
    while not all(f.done() for f in futures):
        time.sleep(0.02)
        pool.check()
    rows = [dict(f.result()) for f in futures]
    if len({(row["host"], row["pid"]) for row in rows}) < n:
        raise PlaceError(
            f"{n} workers of {group.label} did not meet within {PATIENCE_S:g} s",
            f"see {log} for blocks that died, and run the same command again",
        )
    return rows

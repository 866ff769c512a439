"""Tasks that every worker of an executor does once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import Group
from dataops_parsl.errors import PlaceError

PATIENCE_S = 120.0
"""So long workers wait for each other: all are connected when they are asked to meet."""


def on_every_worker(
    pool: Pool,
    group: Group,
    function: Callable[[dict[str, Any]], dict[str, Any]],
    facts: Sequence[dict[str, Any]],
    log: Path,
) -> list[dict[str, Any]]:
    """Let each worker do `function`, which begins with a meeting; returns what they return.

    It waits for the workers as long as their blocks wait in the queue.

    Parameters
    ----------
    function : callable
        `tasks.meet`, or one that calls it.
    facts : sequence of dict
        One a worker: what its task holds beside the meeting.

    Raises
    ------
    PlaceError
        When they cannot be had, do not all come, or one of them dies.
    """
    pool.demand(group.label, group.workers, True)
    while pool.connected(group.label) < group.workers:
        time.sleep(0.05)
        pool.check()
    meeting = {
        "folder": str(log / "meetings" / f"{group.label}-{time.time_ns()}"),
        "workers": group.workers,
        "patience_s": PATIENCE_S,
    }
    futures = [pool.submit(group.label, function.__name__, function, {**meeting, **own}) for own in facts]
    while not all(f.done() for f in futures):
        for future in futures:
            _require_alive(future, group, log)
        time.sleep(0.02)
        pool.check()
    for future in futures:
        _require_alive(future, group, log)
    rows = [dict(f.result()) for f in futures]
    if len({(row["host"], row["pid"]) for row in rows}) < group.workers:
        raise PlaceError(
            f"{group.workers} workers of {group.label} did not meet within {PATIENCE_S:g} s",
            f"see {log} for what they said, and run the same command again",
        )
    return rows


def _require_alive(future: Future[Any], group: Group, log: Path) -> None:
    error = future.exception() if future.done() else None
    if isinstance(error, PlaceError):
        raise error
    if error is not None:
        raise PlaceError(
            f"a worker of {group.label} was lost before the clock started: {error}",
            f"see {log} for what it said; a larger resources.<stage>.mem_gb if it ran out of memory",
        ) from error

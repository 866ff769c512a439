"""Tasks of known length, to measure what the engine adds to them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from dataops_parsl.provenance import host_facts


def nap(task: dict[str, Any]) -> dict[str, Any]:
    """Sleep ``task["seconds"]``; returns when it started and ended (s since 1970), host and pid."""
    started = time.time()
    time.sleep(task["seconds"])
    return {"started": started, "ended": time.time(), **host_facts()}


def meet(task: dict[str, Any]) -> dict[str, Any]:
    """Wait in the folder ``task["folder"]`` until ``task["workers"]`` workers are there: one task on each.

    Gives up after ``task["patience_s"]``, so that a worker that never comes does not hold the others.
    """
    started = time.time()
    folder = Path(task["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    facts = host_facts()
    (folder / f"{facts['host']}-{os.getpid()}").touch()
    while time.time() - started < task["patience_s"]:
        if len(list(folder.iterdir())) >= task["workers"]:
            break
        time.sleep(0.02)
    return {"started": started, "ended": time.time(), "met": len(list(folder.iterdir())), **facts}

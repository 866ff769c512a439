"""Tasks of known length, to measure what the engine adds to them."""

from __future__ import annotations

import contextlib
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from dataops_parsl.provenance import host_facts
from dataops_parsl.storage.parts import PartPlace, Receipt, publish_receipt
from dataops_parsl.task import execute
from dataops_parsl.worker.attempt import Attempt


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


def rehearse(task: dict[str, Any]) -> dict[str, Any]:
    """Meet, then compute the parts of ``task["passes"]``, a list of lists of specs of `task.execute`.

    The first pass of a worker loads libraries, models and virtual machines, the others do not.

    Returns
    -------
    dict
        ``seconds`` of each pass; ``problem``, the first outcome that is no result, or None; and what `meet`
        returns.
    """
    met = meet(task)
    seconds, problem = [], None
    for parts in task["passes"]:
        started = time.perf_counter()
        for part in parts:
            outcome = execute(part)
            if outcome["status"] != "done":
                problem = problem or {"task": part["id"], "remedy": "", **outcome}
        seconds.append(round(time.perf_counter() - started, 4))
    return {**met, "seconds": seconds, "problem": problem}


def replay(task: dict[str, Any]) -> dict[str, Any]:
    """Sleep ``task["replay_s"]`` instead of computing the part; the outcome is that of `task.execute`.

    With ``task["receipt"]`` it also says in its worker's log what it does and leaves a receipt, as a
    computed part would.
    """
    began = {"started": time.time(), **this_host()}
    attempt = Attempt(task) if task.get("receipt") else None
    with attempt.watched() if attempt else contextlib.nullcontext():
        if task["replay_s"]:
            time.sleep(task["replay_s"])
    if attempt:
        place = PartPlace(Path(task["folder"]), task["stem"], task["recipe"])
        publish_receipt(place, Receipt(recipe=task["recipe"], part=task["id"]))
        began |= attempt.end("done")
    return {
        "id": task["id"],
        "status": "done",
        "reason": "",
        "failed": {},
        "cpu_s": 0.0,
        "max_rss_mb": 0.0,
        **began,
        "ended": time.time(),
    }


@cache
def this_host() -> dict[str, Any]:
    """Host and process id, looked up once: a task of no length is dearer for it."""
    return host_facts()


def nothing(task: dict[str, Any]) -> dict[str, Any]:
    """Do nothing."""
    return task

"""What became of an attempt whose worker is gone: from the worker's own log and from SLURM."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from dataops_parsl.worker.log import attempt_lines

_REMOTE = re.compile(r"parsl\.\S+\.(WorkerLost|ManagerLost)\b")
CLOCK_SLACK_S = 60.0
"""Clocks of nodes may differ by so much from the driver's."""


@dataclass(frozen=True)
class Lost:
    """A lost attempt.

    Parameters
    ----------
    reason : str
        In words.
    out_of_memory : bool
        It needed more than its worker's share.
    blames_frame : bool
        The worker died by itself, so that the frame that it was at may be to blame; a block that ends
        takes its tasks with it, whatever they were at.
    facts : mapping
        ``executor, block, job_id, host, pid`` where known.
    """

    reason: str
    out_of_memory: bool
    blames_frame: bool
    facts: dict[str, Any] = field(default_factory=dict)


def is_loss(error: BaseException) -> bool:
    """Whether a task ended because its worker or its block did."""
    return isinstance(error, WorkerLost | ManagerLost) or bool(_lost_at_endpoint(error))


def _lost_at_endpoint(error: BaseException) -> str:
    """What an endpoint of Globus Compute lost, of which it sends the words only: its Parsl's traceback."""
    found = _REMOTE.search(str(getattr(error, "remote_data", "")))
    return found[1] if found else ""


def explain(
    error: BaseException,
    log_dir: Path,
    task: str,
    attempt: int,
    since: float,
    cause: Callable[[str], str],
) -> Lost:
    """Say what became of an attempt.

    Parameters
    ----------
    log_dir : Path
        Of the workers.
    since : float
        When it was submitted, s since 1970.
    cause : callable
        Job id → why the job ended, in SLURM's words.
    """
    lines = [x for x in attempt_lines(log_dir, task, attempt) if x["time"] > since - CLOCK_SLACK_S]
    by_event = {line["event"]: line for line in lines}
    start = by_event.get("start", {})
    facts = {k: start.get(k) for k in ("block", "job_id", "host", "pid") if start.get(k) not in (None, "")}
    if over := by_event.get("oom"):
        reason = f"out of memory: it used {over['rss_mb']:.0f} MB, its share is {over['limit_mb']:.0f} MB"
        return Lost(reason, True, False, facts)
    job = f"job {facts['job_id']}" if "job_id" in facts else ""
    state = cause(str(facts.get("job_id", "")))
    if isinstance(error, ManagerLost) or _lost_at_endpoint(error) == ManagerLost.__name__:
        if state.startswith("RUNNING"):
            state = "its manager does not answer any more, though the job runs"
        where = " ".join(filter(None, ("block", str(facts.get("block", "")), job and f"({job})")))
        reason = f"{where} is lost: {state}" if facts else f"a block is lost ({error})"
        return Lost(reason.rstrip(": "), "OUT_OF_MEMORY" in state, False, facts)
    near = by_event.get("near")
    words = f"its worker, process {facts.get('pid', '?')} on {facts.get('host', 'a node')}, died"
    if near:
        words += f" near the end of its memory share ({near['rss_mb']:.0f} of {near['limit_mb']:.0f} MB)"
    if state:
        words += f"; {job}: {state}"
    return Lost(words, bool(near) or "OUT_OF_MEMORY" in state, True, facts)

"""What happened, as it happens: an append-only log, and whoever listens to it.

Each line has ``time`` (UTC, s since 1970) and ``event``: ``opened`` once for each start of the run; of a
``task`` ``submitted, waits, passed_over, lost, ended``; of a block of workers ``block``, with its ``state``.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from dataops_parsl.storage.atomic import place_errors


class Listener(Protocol):
    """Is told each event, also of blocks, which have no task; and every second that time goes on."""

    def on_event(self, event: dict[str, Any]) -> None: ...

    def on_tick(self) -> None: ...


class TaskLike(Protocol):
    """What an event needs to know of a part."""

    @property
    def id(self) -> str: ...

    @property
    def frames(self) -> tuple[int, ...]: ...


class Events:
    """The log of one run, one JSON object a line.

    Parameters
    ----------
    path : Path
        Appended to; a continued run goes on in the same file.
    failures : Path
        Folder for the tracebacks of failed tasks.

    Attributes
    ----------
    n_lost : int
        Attempts whose worker died since this log was opened.
    """

    def __init__(self, path: Path, failures: Path, listeners: tuple[Listener, ...] = ()) -> None:
        self._path, self._failures, self._listeners = path, failures, listeners
        with place_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            before = path.read_bytes() if path.exists() else b""
            self._file = open(path, "a", buffering=1)  # noqa: SIM115 - lives as long as the run
            if before and not before.endswith(b"\n"):
                # Cut short by a kill: what comes now must not be lost with it.
                self._file.write("\n")
        self.ended_tasks = [e for e in read(path) if e["event"] == "ended"]
        self._before = len(self.ended_tasks)
        self.n_lost = 0
        self._write("opened")

    @property
    def n_tasks(self) -> int:
        """Tasks that ended since this log was opened."""
        return len(self.ended_tasks) - self._before

    def close(self) -> None:
        """Close the log."""
        # What a full disk did not take is tried once more here: that has been said when it happened.
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, kind: str, **facts: Any) -> None:
        event = {"time": round(time.time(), 3), "event": kind, **facts}
        with place_errors(self._path):
            self._file.write(json.dumps(event) + "\n")
        for listener in self._listeners:
            listener.on_event(event)

    def submitted(self, part: TaskLike, attempt: int, reason: str, executor: str = "") -> None:
        """A task went to the workers of an executor."""
        self._write("submitted", task=part.id, attempt=attempt, reason=reason, executor=executor)

    def waits(self, part: TaskLike, run: str, what: str) -> None:
        """A task is put aside until another run has computed it, or has ended; see `part_claims.Holder`."""
        self._write("waits", task=part.id, run=run, what=what)

    def passed_over(self, part: TaskLike) -> None:
        """A task turned out to be done: by another run, or because its inputs came out as before."""
        self._write("passed_over", task=part.id, frames=len(part.frames))

    def lost(self, part: TaskLike, attempt: int, reason: str, **facts: Any) -> None:
        """The worker of a task died.

        `facts` are ``outcome`` (lost | oom), ``executor``, and what is known of ``block, job_id, host, pid``.
        """
        self.n_lost += 1
        self._write("lost", task=part.id, attempt=attempt, reason=reason, **facts)

    def block(self, executor: str, block: str, job_id: str, state: str, **facts: Any) -> None:
        """A block of workers came to a state.

        ``submitted`` (with its number of ``workers``), ``waiting``, ``running``, ``connected``, ``ended``
        (with ``reason`` and ``log``) or, at the end of a run, ``left``. ``refused`` is of no block: sbatch
        gives no more for now.
        """
        self._write("block", executor=executor, block=block, job_id=job_id, state=state, **facts)

    def ended(self, part: TaskLike, outcome: dict[str, Any]) -> None:
        """A task came back with an outcome; a traceback goes into a file of its own."""
        facts = {k: v for k, v in outcome.items() if k not in ("id", "traceback")}
        facts["frames"] = len(part.frames)
        if "traceback" in outcome:
            path = self.failure_log(part.id)
            with place_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(outcome["traceback"])
            facts["log"] = str(path)
        self._write("ended", task=part.id, **facts)
        self.ended_tasks.append({"task": part.id, **facts})

    def failure_log(self, task: str) -> Path:
        """Where the traceback of a failed task lies."""
        return self._failures / (task.replace("/", "_") + ".txt")

    def tick(self) -> None:
        """A second passed."""
        for listener in self._listeners:
            listener.on_tick()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, in order; a line that a kill cut short is passed over."""
    for line in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def stage_times(tasks: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Sum the ended tasks by stage.

    Returns
    -------
    dict
        stage → tasks, frames, wall_s (sum over tasks), cpu_s, max_rss_mb (largest).
    """
    out: dict[str, dict[str, float]] = {}
    for task in tasks:
        stage = task["task"].partition(".")[0]
        row = out.setdefault(stage, {"tasks": 0, "frames": 0, "wall_s": 0.0, "cpu_s": 0.0, "max_rss_mb": 0.0})
        row["tasks"] += 1
        row["frames"] += task["frames"]
        row["wall_s"] = round(row["wall_s"] + task.get("ended", 0.0) - task.get("started", 0.0), 3)
        row["cpu_s"] = round(row["cpu_s"] + task.get("cpu_s", 0.0), 3)
        row["max_rss_mb"] = max(row["max_rss_mb"], task.get("max_rss_mb") or 0.0)
    return out

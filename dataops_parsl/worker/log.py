"""What a worker says of its work, one JSON object a line: a worker that dies returns nothing.

Each worker process has a small file of its own, ``<host>-<pid>.jsonl``. Its lines, by ``event``:

- ``start``: an attempt began; with the device, where one was checked
- ``loaded``: something was loaded that is kept for later tasks, ``what`` in ``load_s`` seconds
- ``smaller``: it goes on with less at a time, for lack of memory; ``note`` says it in words
- ``end``: it ended, with ``status, cpu_s, max_rss_mb`` and, where a step told them, ``device, gpu_mem_mb,
  load_s, note``
- ``near``, ``oom``: it used most of its share of memory, or more: ``rss_mb, limit_mb``
- ``unwatched``: its memory could not be watched, and the ``reason``

All have ``time`` (UTC, s since 1970), ``task, attempt, executor, block, job_id, host, pid, gpus``.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataops_parsl.provenance import host_facts


def identity() -> dict[str, Any]:
    """Who this worker is: ``block, job_id, host, pid``; empty texts where there is none."""
    return {
        "block": os.environ.get("PARSL_WORKER_BLOCK_ID", ""),
        "job_id": os.environ.get("SLURM_JOB_ID", ""),
        **host_facts(),
    }


def this_worker() -> str:
    """This worker in words: its host, and its job where it is in one."""
    who = identity()
    return f"the worker on {who['host']}" + (f" (job {who['job_id']})" if who["job_id"] else "")


class AttemptLog:
    """Where a worker writes about one attempt; a disk that takes no line fails no task.

    Parameters
    ----------
    log_dir : str
        Folder of the run's workers; empty: nothing is written.
    task : str
        Id of the part.
    attempt : int
    executor : str
    """

    def __init__(self, log_dir: str, task: str, attempt: int, executor: str) -> None:
        who = identity()
        self.path = Path(log_dir) / f"{who['host']}-{who['pid']}.jsonl" if log_dir else None
        self.facts = {
            "task": task,
            "attempt": attempt,
            "executor": executor,
            **who,
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }

    def write(self, event: str, **facts: Any) -> None:
        """Append one line. The file is closed again, so that a network file system shows it to others."""
        if self.path is None:
            return
        line = {"time": round(time.time(), 3), "event": event, **self.facts, **facts}
        with contextlib.suppress(OSError):
            handle = self.open()
            try:
                os.write(handle, (_break(handle) + json.dumps(line) + "\n").encode())
            finally:
                os.close(handle)

    def open(self) -> int:
        """Open the file for appending; returns the descriptor.

        Raises
        ------
        OSError
        """
        assert self.path is not None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)


def _break(handle: int) -> str:
    """A line break where the last line has none: a full disk cut it short."""
    size = os.fstat(handle).st_size
    return "\n" if size and os.pread(handle, 1, size - 1) != b"\n" else ""


def attempt_lines(log_dir: Path, task_id: str, attempt: int) -> list[dict[str, Any]]:
    """All lines on one attempt, in order of time.

    A run that was killed and started again counts attempts anew, so that there may be several of this number.
    """
    # Most lines are on other tasks: they are not even parsed.
    wanted = json.dumps(task_id).encode()
    found = [x for x in _lines(log_dir, wanted) if x["task"] == task_id and x["attempt"] == attempt]
    return sorted(found, key=lambda x: float(x["time"]))


def read_all(log_dir: Path) -> list[dict[str, Any]]:
    """All lines of all workers, in order of time."""
    return sorted(_lines(log_dir, b""), key=lambda x: float(x["time"]))


def _lines(log_dir: Path, wanted: bytes) -> Iterator[dict[str, Any]]:
    """Whole lines that hold the bytes `wanted`; one that a kill or a full disk cut short is passed over."""
    for path in sorted(log_dir.glob("*.jsonl")):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if wanted not in data:
            continue
        for line in data.split(b"\n"):
            if line and wanted in line:
                with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
                    yield json.loads(line)

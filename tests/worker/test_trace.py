"""The table of attempts and the use of executors, from planted logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dataops_parsl import events
from dataops_parsl.nodes import Part, StepNode
from dataops_parsl.stages.contact import Contact
from dataops_parsl.task import _root
from dataops_parsl.trace import TRACE, executors, trace

Row = dict[str, Any]


PAIRS = "contact.pairs/P1/00003"
LINK = "trackmate.link[target]/P1/00000"
END = {"status": "done", "cpu_s": 4.0, "max_rss_mb": 300.0}
DONE = {"host": "c1", "pid": 11, "reason": "", "failed": {}, **END}


class Logs:
    """The logs of a run, written by hand."""

    def __init__(self, folder: Path) -> None:
        self.events, self.workers = folder / "events.jsonl", folder / "workers"
        self.workers.mkdir()
        self.events.touch()

    def driver(self, time: float, event: str, task: str = "", **facts: Any) -> None:
        """An event."""
        named = {"task": task} if task else {}
        self._append(self.events, {"time": time, "event": event, **named, **facts})

    def submitted(self, time: float, task: str, attempt: int = 1, executor: str = "short") -> None:
        """A submission."""
        self.driver(time, "submitted", task, attempt=attempt, executor=executor, reason="missing")

    def worker(self, time: float, event: str, task: str, attempt: int = 1, **facts: Any) -> None:
        """A worker's line, of process 11 on c1."""
        who = {
            "executor": "short",
            "block": "0",
            "job_id": "91",
            "host": "c1",
            "pid": 11,
            "gpus": "",
            **facts,
        }
        path = self.workers / f"{who['host']}-{who['pid']}.jsonl"
        self._append(path, {"time": time, "event": event, "task": task, "attempt": attempt, **who})

    def block(self, time: float, executor: str, block: str, state: str, **facts: Any) -> None:
        """What became of a block."""
        self.driver(time, "block", executor=executor, block=block, job_id=f"9{block}", state=state, **facts)

    def _append(self, path: Path, line: Row) -> None:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")

    @property
    def table(self) -> pa.Table:
        """The trace."""
        return trace(self.events, self.workers)

    @property
    def rows(self) -> list[Row]:
        """Its rows."""
        rows: list[Row] = self.table.to_pylist()
        return rows


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    """No line yet."""
    return Logs(tmp_path)


def test_no_attempt_is_a_table_without_rows(logs: Logs, tmp_path: Path) -> None:
    logs.driver(1, "opened")
    assert logs.table.num_rows == 0
    assert TRACE.problems(logs.table) == []
    assert trace(logs.events, tmp_path / "nowhere").equals(logs.table)
    assert executors(logs.events, logs.table) == []


@pytest.mark.parametrize(
    ("task", "names"),
    [
        (PAIRS, ("contact", "pairs", None, "P1", 3)),
        (LINK, ("trackmate", "link", "target", "P1", 0)),
        ("trackmate.close[NK cells]/A1.f_2", ("trackmate", "close", "NK cells", "A1.f_2", None)),
        ("outcome.summarize/dataset", ("outcome", "summarize", None, None, None)),
    ],
)
def test_names_of_a_task(logs: Logs, task: str, names: tuple[Any, ...]) -> None:
    logs.submitted(1, task)
    (row,) = logs.rows
    assert tuple(row[k] for k in ("stage", "step", "population", "position_id", "batch")) == names
    assert (row["outcome"], row["started"], row["worker_pid"]) == ("stopped", None, None)


def test_out_of_memory_and_then_more_of_it(logs: Logs) -> None:
    logs.submitted(10, LINK)
    logs.worker(11, "start", LINK)
    logs.worker(12, "near", LINK, rss_mb=900.0, limit_mb=1024.0)
    logs.worker(13, "oom", LINK, rss_mb=1100.0, limit_mb=1024.0)
    logs.driver(
        15, "lost", LINK, attempt=1, outcome="oom", executor="short", reason="out of memory: …", pid=11
    )
    logs.submitted(15, LINK, 2, "short_16gb")
    logs.worker(16, "start", LINK, 2, pid=12, executor="short_16gb")
    logs.worker(19, "end", LINK, 2, pid=12, executor="short_16gb", **END)
    ended = {**DONE, "pid": 12, "started": 16.0, "ended": 19.0}
    logs.driver(19, "ended", LINK, attempt=2, executor="short_16gb", **ended)
    first, second = logs.rows
    want = {
        "outcome": "oom",
        "max_rss_mb": 1100.0,
        "job_id": "91",
        "block": "0",
        "started": 11.0,
        "ended": 15.0,
    }
    assert {k: first[k] for k in want} == want
    assert first["reason"].startswith("out of memory")
    want = {"outcome": "done", "executor": "short_16gb", "worker_pid": 12, "cpu_s": 4.0, "reason": None}
    assert {k: second[k] for k in want} == want


def test_a_task_that_is_given_up_is_one_row_an_attempt(logs: Logs) -> None:
    for attempt in (1, 2):
        logs.submitted(10 * attempt, PAIRS, attempt)
        logs.worker(10 * attempt + 1, "start", PAIRS, attempt)
        logs.driver(10 * attempt + 2, "lost", PAIRS, attempt=attempt, outcome="lost", reason="died", pid=11)
    given_up = {"status": "failed", "reason": "its worker died 2 times", "failed": {}}
    logs.driver(23, "ended", PAIRS, attempt=2, executor="short", **given_up)
    assert [(r["attempt"], r["outcome"], r["reason"]) for r in logs.rows] == [
        (1, "lost", "died"),
        (2, "lost", "died"),
    ]


def test_failed_frames_are_the_reason_of_a_partial_attempt(logs: Logs) -> None:
    logs.submitted(10, PAIRS)
    partial = {**DONE, "status": "partial", "failed": {"5": "it is black"}, "started": 11.0, "ended": 12.0}
    logs.driver(12, "ended", PAIRS, attempt=1, executor="short", **partial)
    (row,) = logs.rows
    assert (row["outcome"], row["reason"]) == ("partial", "frame 5: it is black")


def test_starts_of_one_attempt_number_are_told_apart_by_time(logs: Logs) -> None:
    """Three starts of the run, two of which were killed; and one of which nothing but the worker speaks."""
    for n, begin in enumerate((100, 200)):
        logs.driver(begin, "opened")
        logs.submitted(begin + 1, PAIRS)
        logs.worker(begin + 2, "start", PAIRS, pid=20 + n)
    logs.driver(300, "opened")
    logs.submitted(301, PAIRS)
    logs.worker(302, "start", PAIRS, pid=22)
    logs.worker(303, "end", PAIRS, pid=22, **END)
    ended = {**DONE, "pid": 22, "started": 302.0, "ended": 303.0}
    logs.driver(304, "ended", PAIRS, attempt=1, executor="short", **ended)
    logs.worker(50, "start", LINK, pid=19)
    assert [(r["task"], r["submitted"], r["started"], r["worker_pid"], r["outcome"]) for r in logs.rows] == [
        (LINK, None, 50, 19, "stopped"),
        (PAIRS, 101, 102, 20, "stopped"),
        (PAIRS, 201, 202, 21, "stopped"),
        (PAIRS, 301, 302, 22, "done"),
    ]


def test_what_a_worker_ended_after_its_driver_was_killed(logs: Logs) -> None:
    logs.submitted(10, PAIRS)
    logs.worker(11, "start", PAIRS)
    logs.worker(14, "end", PAIRS, **END)
    (row,) = logs.rows
    assert (row["outcome"], row["started"], row["ended"], row["cpu_s"]) == ("done", 11, 14, 4.0)


def test_a_worker_whose_clock_is_behind(logs: Logs) -> None:
    logs.submitted(100, PAIRS)
    logs.worker(75, "start", PAIRS)
    (row,) = logs.rows
    assert (row["submitted"], row["started"], row["outcome"]) == (100, 75, "stopped")


def test_lines_that_were_cut_short_are_passed_over(logs: Logs) -> None:
    logs.submitted(10, PAIRS)
    logs.worker(11, "start", PAIRS)
    for path in (logs.events, logs.workers / "c1-11.jsonl"):
        with open(path, "a") as file:
            file.write('{"time": 12, "event": "en')
    log = events.Events(logs.events, logs.events.parent / "failures")
    log.block("short", "0", "90", "running")
    log.close()
    assert [e["event"] for e in events.read(logs.events)] == ["submitted", "opened", "block"]
    assert [r["outcome"] for r in logs.rows] == ["stopped"]


def test_how_executors_were_used(logs: Logs) -> None:
    """Two CPU blocks of four workers, one of which never ran; a GPU block whose driver was killed."""
    logs.driver(0, "opened")
    logs.block(0, "short", "0", "submitted", workers=4)
    logs.block(0, "short", "1", "submitted", workers=4)
    logs.block(0, "gpu", "0", "submitted", workers=1)
    logs.block(10, "short", "0", "running")
    logs.block(12, "short", "0", "connected")
    logs.block(20, "gpu", "0", "connected")
    for n in range(6):
        task = f"contact.pairs/P1/{n:05d}"
        logs.submitted(12, task)
        done = {**DONE, "started": 20.0, "ended": 30.0}
        logs.driver(30, "ended", task, attempt=1, executor="short", **done)
    logs.block(60, "short", "0", "ended", reason="CANCELLED")
    logs.block(70, "short", "1", "ended", reason="CANCELLED")
    logs.submitted(75, LINK, executor="gpu")
    logs.worker(80, "start", LINK, executor="gpu")
    logs.driver(100, "lost", LINK, attempt=1, outcome="lost", executor="gpu", reason="NODE_FAIL", pid=11)
    logs.driver(500, "opened")
    gpu, short = executors(logs.events, logs.table)
    assert gpu == {
        "executor": "gpu",
        "blocks": 1,
        "attempts": 1,
        "worker_s": 80.0,
        "busy_s": 20.0,
        "waiting_s": 20.0,
        "lost": 1,
        "idle_frac": 0.75,
    }
    assert short == {
        "executor": "short",
        "blocks": 2,
        "attempts": 6,
        "worker_s": 200.0,
        "busy_s": 60.0,
        "waiting_s": 80.0,
        "lost": 0,
        "idle_frac": 0.7,
    }


@pytest.mark.parametrize(
    ("step", "position", "batch", "id"),
    [
        ("pairs", "P1", 3, "contact.pairs/P1/00003"),
        ("pairs", "well.A1.2", 0, "contact.pairs/well.A1.2/00000"),
        ("events", "well.2", None, "contact.events/well.2"),
    ],
)
def test_names_of_positions_may_have_dots(
    tmp_path: Path, logs: Logs, step: str, position: str, batch: int | None, id: str
) -> None:
    node = StepNode(Contact(), Contact.steps()[step], "", {}, {}, 4, 1, tmp_path)
    part = Part(node, position, batch or 0, (0,))
    assert part.id == id
    logs.submitted(1.0, part.id)
    (row,) = logs.rows
    assert (row["step"], row["position_id"], row["batch"]) == (step, position, batch)
    assert _root(part.id, 0, "torn")["position"] == position

"""The table of attempts of a real run that lost a worker and its driver: no attempt is missing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import events, open_run
from dataops_parsl.bundle import MANIFEST
from dataops_parsl.trace import TRACE
from dataops_parsl.worker.log import attempt_lines, read_all
from tests.helpers import Project, processes_of, wait_for

Row = dict[str, Any]


def _held(project: Project) -> Row | None:
    """The start line of a worker that is in mid-task, and is stopped there: none if it was just over."""
    alive = {p.pid for p in processes_of(project.root)}
    for folder in (b / "log" / "workers" for b in project.bundles()):
        last = {x["pid"]: x for x in read_all(folder) if x["event"] in ("start", "end")}
        for start in (x for x in last.values() if x["event"] == "start" and x["pid"] in alive):
            os.kill(start["pid"], signal.SIGSTOP)
            if attempt_lines(folder, start["task"], start["attempt"])[-1] == start:
                return start
            os.kill(start["pid"], signal.SIGCONT)
    return None


def test_every_attempt_of_a_run_that_was_killed_and_went_on(
    project: Project, tmp_path: Path, leaves_nothing: None
) -> None:
    command = ("run", "--until=trackmate", "--workers=2", "--set=engine.heartbeat_s=1")
    driver = project.start(*command)
    victim = wait_for(lambda: _held(project), 120, "a worker is in mid-task")
    os.kill(victim["pid"], signal.SIGKILL)
    (bundle,) = project.bundles()
    log = bundle / "log" / "events.jsonl"
    wait_for(lambda: _of(log, "lost"), 120, "it is noticed")
    before = len(_of(log, "ended"))
    wait_for(lambda: len(_of(log, "ended")) > before + 3, 120, "work goes on")
    halted = wait_for(lambda: _held(project), 120, "a worker is in mid-task")
    for pid in (driver.pid, halted["pid"]):
        os.kill(pid, signal.SIGKILL)
    driver.wait()
    project.run(*command)
    assert project.bundles() == [bundle], "it went on"

    run = open_run(bundle)
    table = run.arrow("trace")
    assert TRACE.problems(table) == []
    rows: list[Row] = table.to_pylist()
    _lost_worker(rows, victim)
    said, heard = read_all(bundle / "log" / "workers"), [*events.read(log)]
    # Each start of a worker, each submission and each end is one row's.
    assert sum(r["started"] is not None for r in rows) == sum(x["event"] == "start" for x in said)
    assert len(rows) == len(_of(log, "submitted"))
    assert sum(r["outcome"] == "done" for r in rows) >= len(_of(log, "ended"))
    assert [e["event"] for e in heard].count("opened") == 2
    stopped = [r for r in rows if r["outcome"] == "stopped"]
    assert (halted["task"], halted["pid"]) in {(r["task"], r["worker_pid"]) for r in stopped if r["started"]}
    assert {r["outcome"] for r in rows} == {"done", "lost", "stopped"}
    again = {r["task"] for r in rows if r["outcome"] == "done"}
    assert {r["task"] for r in stopped} <= again
    for row in rows:
        if row["outcome"] == "done":
            assert row["submitted"] <= row["started"] <= row["ended"]
            assert row["cpu_s"] > 0
            assert row["max_rss_mb"] > 10
            assert (row["executor"], row["job_id"]) == ("laptop", None)
            assert None not in (row["block"], row["host"], row["worker_pid"])

    facts = json.loads((bundle / "run.json").read_text())
    (used,) = facts["executors"]
    assert (used["executor"], used["attempts"], used["lost"]) == ("laptop", len(rows), 1)
    assert used["blocks"] >= 2, "one for each start at least"
    assert 0 < used["busy_s"] < used["worker_s"]
    assert used["idle_frac"] == pytest.approx(1 - used["busy_s"] / used["worker_s"], abs=0.01)
    assert "trace" not in facts["rows"]
    assert "tables/trace.parquet" in json.loads((bundle / MANIFEST).read_text())["files"]
    assert run.trace.shape == table.shape
    assert "trace" in run.names
    assert "trace" not in run.results
    project.run("runs", "export", "--csv", run.bundle.id, "--to", str(tmp_path / "out"))
    assert {p.stem for p in (tmp_path / "out" / "tables").iterdir()} == set(run.results)


def _of(log: Path, kind: str) -> list[Row]:
    return [e for e in events.read(log) if e["event"] == kind]


def _lost_worker(rows: list[Row], victim: Row) -> None:
    first, second = [r for r in rows if r["task"] == victim["task"]][:2]
    assert (first["attempt"], first["outcome"]) == (1, "lost")
    assert (first["worker_pid"], first["host"]) == (victim["pid"], victim["host"])
    assert first["started"] == victim["time"]
    assert first["started"] < first["ended"] < second["started"]
    assert str(victim["pid"]) in first["reason"]
    assert second["attempt"] == 2

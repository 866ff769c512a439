"""What a run did, attempt by attempt: made from the driver's events and the workers' own logs.

The driver knows what it submitted and what came back; a worker that died or outlived its driver has told only
its log. Put together, no attempt is missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataops_parsl.bundle import TRACE as NAME
from dataops_parsl.dataset.names import FOR_ALL
from dataops_parsl.events import read
from dataops_parsl.tables import Column, Schema
from dataops_parsl.worker.log import read_all

Line = dict[str, Any]
CLOCK_SLACK_S = 60.0
"""Clocks of nodes may differ by so much from the driver's."""

TRACE = Schema(
    NAME,
    "an attempt at a task, in the order in which they were submitted",
    (
        Column("task", "string", "id of the part: stage.step[population]/position/batch"),
        Column("stage", "string", "stage"),
        Column("step", "string", "step of the stage"),
        Column("population", "string", "population; null for a step that is for all"),
        Column("position_id", "string", "field of view; null for a step that is for all"),
        Column("batch", "int64", "0-based batch of frames; null for a step that is for the whole film"),
        Column("attempt", "int64", "1 for the first; counted anew each time the run is started", low=1),
        Column("executor", "string", "executor: workers of one kind"),
        Column("block", "string", "block of the executor, as Parsl numbers it"),
        Column("job_id", "string", "SLURM job; null on a single machine"),
        Column("host", "string", "host of the worker"),
        Column("worker_pid", "int64", "process id of the worker"),
        Column("submitted", "float64", "when the driver submitted it, UTC since 1970; null if unknown", "s"),
        Column("started", "float64", "when a worker began, UTC since 1970; null if none did", "s"),
        Column(
            "ended",
            "float64",
            "when it ended, UTC since 1970; of a lost one, when that was noticed; null if not known",
            "s",
        ),
        Column("cpu_s", "float64", "processor time of this attempt", "s", low=0),
        Column("max_rss_mb", "float64", "largest resident memory during this attempt", "MiB", low=0),
        Column("device", "string", "what a model computed on: a card's name, or cpu; null without a model"),
        Column("gpu_mem_mb", "float64", "largest memory on its GPU; null where it used none", "MiB", low=0),
        Column(
            "load_s",
            "float64",
            "time to load what the worker keeps for later tasks, such as a model; null where it was there, "
            "or none is needed",
            "s",
            low=0,
        ),
        Column("note", "string", "what happened on the way, such as fewer tiles at once for lack of memory"),
        Column(
            "outcome",
            "string",
            "done, partial, failed, input_missing, refused, unfit: what the worker said; lost: the worker "
            "died; oom: it passed its share of memory; stopped: the run was stopped meanwhile",
        ),
        Column("reason", "string", "why, where it is not done"),
    ),
)
_ID = re.compile(r"(?P<stage>[^./\[]+)\.(?P<step>[^/\[]+)(?:\[(?P<population>[^\]]*)\])?/(?P<place>.*)")


def trace(events_path: Path, log_dir: Path) -> pa.Table:
    """Make the table `TRACE` of a run, all its starts together.

    Parameters
    ----------
    events_path : Path
        The run's ``events.jsonl``.
    log_dir : Path
        Folder of its workers' logs; it need not be there.
    """
    attempts = _submitted(read(events_path))
    _add_what_workers_said(attempts, read_all(log_dir))
    rows = [a.row() for a in sorted(attempts, key=_when)]
    return TRACE.table({c: [row.get(c) for row in rows] for c in TRACE.names})


@dataclass
class _Attempt:
    """What is known of one attempt; `said` are the lines of its worker."""

    facts: Line
    outcome: str = ""
    said: list[Line] = field(default_factory=list)

    def row(self) -> Line:
        """The row of the table."""
        by_event = {line["event"]: line for line in self.said}
        end, over = by_event.get("end", {}), by_event.get("oom", {})
        row = {**_parsed(self.facts["task"]), **_known(by_event.get("start", {})), **_known(self.facts)}
        row.setdefault("started", by_event.get("start", {}).get("time"))
        for name in ("cpu_s", "max_rss_mb", "device", "gpu_mem_mb", "note"):
            row.setdefault(name, end.get(name))
        loads_s = [line["load_s"] for line in self.said if line["event"] == "loaded"]
        row.setdefault("load_s", round(sum(loads_s), 3) if loads_s else None)
        if not self.outcome:  # the driver never heard of its end, but its worker may have said it
            self.outcome = end.get("status") or ("oom" if over else "stopped")
            row.setdefault("ended", (end or over).get("time"))
        if over and row["max_rss_mb"] is None:
            row["max_rss_mb"] = over["rss_mb"]
        return {**row, "outcome": self.outcome}


def _when(attempt: _Attempt) -> float:
    start = attempt.said[0]["time"] if attempt.said else 0.0
    return float(attempt.facts.get("submitted") or attempt.facts.get("started") or start)


def _parsed(task: str) -> Line:
    found = _ID.fullmatch(task)
    if found is None:
        return {"stage": task.partition(".")[0]}
    position, _, batch = found["place"].partition("/")
    # A step for the whole dataset has one part, which is of no field of view.
    one_for_all = position == FOR_ALL and not batch
    return {
        "stage": found["stage"],
        "step": found["step"],
        "population": found["population"],
        "position_id": None if one_for_all else position,
        "batch": int(batch) if batch else None,
    }


def _known(facts: Line) -> Line:
    """The columns of the table that a line holds, without those that say nothing."""
    named = {**facts, "worker_pid": facts.get("pid")}
    return {k: named[k] for k in TRACE.names if named.get(k) not in (None, "")}


def _submitted(events: Iterable[Line]) -> list[_Attempt]:
    """The attempts that the driver submitted, with what it heard of them."""
    attempts: list[_Attempt] = []
    open_ones: dict[str, _Attempt] = {}
    for event in events:
        kind, task = event["event"], event.get("task", "")
        if kind == "opened":
            open_ones.clear()
        elif kind == "submitted":
            facts = {k: event[k] for k in ("task", "attempt", "executor")}
            open_ones[task] = _Attempt({**facts, "submitted": event["time"]})
            attempts.append(open_ones[task])
        elif kind == "lost" and task in open_ones:
            attempt = open_ones.pop(task)
            attempt.outcome = event.get("outcome", "lost")
            attempt.facts |= {**_known(event), "ended": event["time"]}
        elif kind == "ended" and task in open_ones:
            # After its last attempt was lost, a task ends without one: that row is there already.
            attempt = open_ones.pop(task)
            attempt.outcome = event["status"]
            failed = event.get("failed", {})
            frames = "; ".join(f"frame {frame}: {reason}" for frame, reason in failed.items())
            attempt.facts |= {**_known(event), "reason": event["reason"] or frames or None}
    return attempts


def _add_what_workers_said(attempts: list[_Attempt], lines: list[Line]) -> None:
    """Give each start line its attempt; one that no event is about becomes an attempt of its own."""
    same: dict[tuple[str, int], list[_Attempt]] = {}
    for attempt in attempts:
        same.setdefault((attempt.facts["task"], attempt.facts["attempt"]), []).append(attempt)
    for said in _starts(lines):
        task, number = said[0]["task"], said[0]["attempt"]
        found = _fitting([a for a in same.get((task, number), []) if not a.said], said[0])
        if found is None:
            found = _Attempt({"task": task, "attempt": number})
            attempts.append(found)
        found.said = said


def _starts(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """The lines of each start: a worker does one thing after the other."""
    now: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        worker = line["host"], line["pid"]
        if line["event"] == "start":
            if worker in now:
                yield now[worker]
            now[worker] = [line]
        elif worker in now and now[worker][0]["task"] == line["task"]:
            now[worker].append(line)
    yield from now.values()


def _fitting(attempts: list[_Attempt], start: Line) -> _Attempt | None:
    """Which of the attempts of one number a start belongs to, by worker and time."""
    fit = [a for a in attempts if _may_be(a.facts, start)]
    before = [a for a in fit if a.facts["submitted"] <= start["time"]]
    # None before it: the worker's clock is behind.
    return before[-1] if before else next(iter(fit), None)


def _may_be(facts: Line, start: Line) -> bool:
    """Whether an attempt may have started so: it was not another worker's, nor long before or after."""
    for known, said in ((facts.get("worker_pid"), start["pid"]), (facts.get("host"), start["host"])):
        if known not in (None, said):
            return False
    began = float(start["time"])
    if "started" in facts:  # by the same worker's clock
        return abs(float(facts["started"]) - began) < CLOCK_SLACK_S
    latest = float(facts.get("ended", began)) + CLOCK_SLACK_S
    return float(facts["submitted"]) - CLOCK_SLACK_S <= began <= latest


def executors(events_path: Path, table: pa.Table) -> list[dict[str, Any]]:
    """How the executors of a run were used, all its starts together.

    Parameters
    ----------
    events_path : Path
    table : pa.Table
        Its `trace`.

    Returns
    -------
    list of dict
        ``executor``; ``blocks`` and ``attempts``; ``worker_s``, running time of the blocks times their
        workers; ``busy_s`` of these computing; ``idle_frac``, the rest, None where nothing ran;
        ``waiting_s`` of blocks in the queue; ``lost`` attempts. Attempts whose end nobody saw count as idle.
    """
    out: dict[str, dict[str, Any]] = {}

    def of(label: str) -> dict[str, Any]:
        zero = {"blocks": 0, "attempts": 0, "worker_s": 0.0, "busy_s": 0.0, "waiting_s": 0.0, "lost": 0}
        return out.setdefault(label, {"executor": label, **zero})

    for block in blocks(read(events_path)):
        row = of(block["executor"])
        ran_from = block.get("running", block["ended"])
        row["blocks"] += 1
        row["waiting_s"] += ran_from - block["submitted"]
        row["worker_s"] += (block["ended"] - ran_from) * block["workers"]
    for attempt in table.select(["executor", "started", "ended", "outcome"]).to_pylist():
        row = of(attempt["executor"] or "")
        row["attempts"] += 1
        row["lost"] += attempt["outcome"] in ("lost", "oom")
        if attempt["started"] is not None and attempt["ended"] is not None:
            row["busy_s"] += max(0.0, attempt["ended"] - attempt["started"])
    for row in out.values():
        busy_frac = row["busy_s"] / row["worker_s"] if row["worker_s"] else None
        row["idle_frac"] = None if busy_frac is None else round(max(0.0, 1 - busy_frac), 4)
        row |= {k: round(row[k], 1) for k in ("worker_s", "busy_s", "waiting_s")}
    return [out[label] for label in sorted(out)]


def blocks(events: Iterable[Line]) -> list[Line]:
    """Each block of a run with its ``executor, workers`` and the times ``submitted, running, ended``.

    ``running`` is missing where it never ran; ``log`` and ``reason`` are there where its end was told.
    """
    found: list[Line] = []
    open_ones: dict[tuple[str, str], Line] = {}
    last = 0.0

    def end(left: Iterable[Line]) -> None:
        # Their driver was killed, and they went with it.
        for block in left:
            block["ended"] = last

    for event in events:
        if event["event"] == "opened":
            end(open_ones.values())
            open_ones.clear()
        last = event["time"]
        if event["event"] != "block":
            continue
        key, state = (event["executor"], event["block"]), event["state"]
        if state == "submitted":
            open_ones[key] = {"executor": key[0], "submitted": last, "workers": event["workers"]}
            found.append(open_ones[key])
        elif key in open_ones and state in ("running", "connected"):
            open_ones[key].setdefault("running", last)
        elif key in open_ones and state == "ended":
            open_ones.pop(key).update(
                {"ended": last, **{k: event[k] for k in ("reason", "log") if event.get(k)}}
            )
    end(open_ones.values())
    return found


def devices(log_dir: Path) -> list[str]:
    """The devices that workers of a run found themselves with, or that a model computed on, each name once.

    Parameters
    ----------
    log_dir : Path
        Folder of the workers' logs; it need not be there.
    """
    lines = read_all(log_dir)
    return sorted({line[name] for line in lines for name in ("gpu", "device") if line.get(name)})


def gpu_idle_frac(rows: Iterable[Mapping[str, Any]], labels: Collection[str]) -> float | None:
    """Share of the time of GPU workers in which they computed nothing; None where there were none.

    Parameters
    ----------
    rows : of `executors`
    labels : collection of str
        Executors whose blocks have GPUs.
    """
    gpu = [row for row in rows if row["executor"] in labels and row["worker_s"]]
    if not gpu:
        return None
    busy_s, worker_s = (float(sum(row[k] for row in gpu)) for k in ("busy_s", "worker_s"))
    return round(max(0.0, 1 - busy_s / worker_s), 4)

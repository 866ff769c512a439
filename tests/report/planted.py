"""Sealed bundles with a planted trace: what the page says of time, cost and memory is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dataops_parsl.bundle import TRACE as NAME
from dataops_parsl.bundle import Bundle
from dataops_parsl.report.view import RunView
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.trace import TRACE

START = 1_700_000_000.0


def _step(name: str, scope: str, parts: int, *reads: str) -> dict[str, Any]:
    return {"id": name, "stage": name.partition(".")[0], "scope": scope, "parts": parts, "reads": list(reads)}


GRAPH = [
    _step("register.apply", "batch", 2, "raw"),
    _step("segment.masks", "batch", 2, "raw", "register.apply"),
    _step("segment.more", "film", 1, "segment.masks"),
    _step("track.link", "batch", 2, "register.apply", "segment.more"),
]
RESOURCES = {"cores": 1, "mem_gb": 4.0, "walltime_min": 240, "gres": ""}


def attempt(
    stage: str, began_s: float, took_s: float, pid: int = 1, outcome: str = "done", **more: Any
) -> dict[str, Any]:
    """A row of the trace; `began_s` is since the run's start."""
    number = more.pop("number", 0)
    facts = {
        "task": f"{stage}.step/P1/{number:05d}",
        "stage": stage,
        "attempt": 1,
        "executor": "cpu",
        "host": "node",
        "worker_pid": pid,
        "submitted": START + began_s,
        "started": START + began_s,
        "ended": START + began_s + took_s,
        "cpu_s": took_s / 2,
        "max_rss_mb": 512.0,
        "outcome": outcome,
    }
    return facts | more


def planted(
    root: Path,
    attempts: Iterable[dict[str, Any]],
    *,
    kind: str = "local",
    resources: dict[str, dict[str, Any]] | None = None,
    own: dict[str, Any] | None = None,
    block_s: float = 600.0,
    **facts: Any,
) -> RunView:
    """A sealed bundle of a workflow register → segment → track.

    Parameters
    ----------
    kind : str
        Of the site.
    resources : mapping, optional
        What is asked for a stage, where it is not `RESOURCES`.
    own : mapping, optional
        ``[resources]`` of the configuration.
    block_s : float
        Life of the one block.
    """
    bundle = Bundle(root / "output" / "planted" / "run_20260101T000000Z-aaaa")
    rows = list(attempts)
    asked = {s: RESOURCES | (resources or {}).get(s, {}) for s in ("register", "segment", "track")}
    said = {
        "run": bundle.id,
        "workflow": "planted",
        "status": "open",
        "opened_at": "2026-01-01T00:00:00+00:00",
        "dataset": {"name": "films"},
        "graph": GRAPH,
        "resources": asked,
        "config": {
            "workers": 2,
            "site": {"kind": kind, "name": kind, "slurm": {"drain_min": 10.0}},
            "resources": own or {"default": RESOURCES},
        },
        "starts": [{"at": "2026-01-01T00:00:00+00:00", "cores": 8, "command": ["x/__main__.py", "run"]}],
        "n_frames": {"P1": 20},
        "rows": {},
    }
    bundle.update(**said | facts)
    columns = {c: [row.get(c) for row in rows] for c in TRACE.names}
    bundle.write_table(NAME, parquet_bytes(TRACE.table(columns)))
    block = {"event": "block", "executor": "cpu", "block": "0", "job_id": "7"}
    events = [
        {"time": START, "event": "opened"},
        {"time": START, **block, "state": "submitted", "workers": 2},
        {"time": START + 1, **block, "state": "running"},
        {"time": START + 1 + block_s, **block, "state": "ended", "reason": "given back"},
    ]
    bundle.write_text("log/events.jsonl", "".join(json.dumps(e) + "\n" for e in events))
    bundle.seal(verdict=facts.get("verdict", "accepted"), wall_s=60.0)
    return RunView.of(bundle)

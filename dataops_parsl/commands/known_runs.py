"""What the run bundles say about scratch: which steps they are made of, and which runs are going on."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from dataops_parsl.bench.record import MASTER, REPLAY
from dataops_parsl.bundle import Bundle, bundles
from dataops_parsl.commands.which import all_runs
from dataops_parsl.migration.taking_in import MIGRATED
from dataops_parsl.storage.retention import Known


def known_runs(output_root: Path, keep_last: int) -> Known:
    """Read all bundles, of workflows and of benchmarks.

    Parameters
    ----------
    keep_last : int
        So many runs of each workflow on each dataset are the last ones.
    """
    known = Known()
    seen: Counter[tuple[str, str]] = Counter()
    # Newest first over all workflows, so that the run named is the newest that needs a step.
    for bundle in sorted(all_runs(output_root), key=lambda b: b.id, reverse=True):
        said: Any = bundle.facts
        facts: dict[str, Any] = said if isinstance(said, dict) else {}
        if facts.get("status") in ("abandoned", MIGRATED):
            continue
        dataset, keys = _steps(facts)
        if dataset is None:
            # Right after its start a run has not said yet what it is made of; its lease has.
            if not bundle.live:
                known.unread.append(str(bundle.root))
            continue
        known.runs += 1
        flow = (str(bundle.root.parent), dataset)
        seen[flow] += 1
        used_s = _last_time(facts)
        for key in keys:
            step = (dataset, key)
            known.needed.setdefault(step, bundle.id)
            known.used_s[step] = max(used_s, known.used_s.get(step, 0.0))
            if seen[flow] <= keep_last:
                known.last.setdefault(step, bundle.id)
            if bundle.live:
                known.live.setdefault(step, bundle.id)
    return known


def _steps(facts: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Name of the dataset and keys of the steps; None where the record does not say."""
    try:
        return str(facts["dataset"]["name"]), [str(key) for key in facts["keys"].values()]
    except (KeyError, TypeError, AttributeError):
        return None, []


def _last_time(facts: dict[str, Any]) -> float:
    """When the run was last heard of, s since 1970."""
    starts = facts.get("starts")
    last = (
        starts[-1].get("at") if isinstance(starts, list) and starts and isinstance(starts[-1], dict) else None
    )
    return max(_seconds(said) for said in (facts.get("sealed_at"), facts.get("opened_at"), last))


def _seconds(said: Any) -> float:
    try:
        return datetime.fromisoformat(said).timestamp()
    except (TypeError, ValueError):
        return 0.0


def benchmark(output_root: Path, run: str) -> Bundle | None:
    """The record of a benchmark by its id; None where this project has none."""
    found = (b for kind in (MASTER, REPLAY) for b in bundles(output_root, kind) if b.id == run)
    return next(found, None)

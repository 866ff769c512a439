"""What failed in a run, why, and what the logs say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_parsl.report.html import Html, code, details, join, table, tag
from dataops_parsl.report.view import GOOD, RunView
from dataops_parsl.report.words import UNKNOWN, many, number
from dataops_parsl.validate.failures import place
from dataops_parsl.validate.ranges import ranges

MOST_ROWS, EXCERPT_LINES, MOST_EXCERPTS, MOST_CHARACTERS = 40, 25, 8, 4000
_END_BYTES = 64 * 1024
"""So much of a log's end is read: more than the page takes of it, and logs may be of gigabytes."""
_WORDS = {"stopped": "the run was stopped or killed meanwhile"}
Line = Mapping[str, Any]


def troubled(view: RunView) -> bool:
    """Whether anything failed, was lost or did not end well."""
    return bool(view.facts.get("failures")) or any(a["outcome"] not in GOOD for a in view.attempts)


def trouble(view: RunView) -> Html:
    """Frames that are missing from the results; attempts that had to be made again; excerpts of logs."""
    if not troubled(view):
        return tag("p", "Nothing failed, and no worker was lost.")
    return join([_missing(view), _again(view), *_excerpts(view)])


def _missing(view: RunView) -> Html:
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for f in view.facts.get("failures", []):
        key = (place(f["position"]), f["stage"], f["reason"])
        grouped.setdefault(key, []).extend([] if f["frame"] in (None, -1) else [f["frame"]])
    if not grouped:
        return tag("p", "No frame is missing from the results: what was lost was computed again.")
    rows = [
        (position, ranges(frames) if frames else "all", stage, reason)
        for (position, stage, reason), frames in grouped.items()
    ]
    return table(
        "Missing from the results",
        ("position", "frames", "step", "why"),
        rows[:MOST_ROWS],
        range(4),
        note=_rest(len(rows)),
    )


def _again(view: RunView) -> Html | None:
    grouped: dict[tuple[str, str, str], list[Line]] = {}
    for a in view.attempts:
        if a["outcome"] not in GOOD:
            key = (a["stage"], a["outcome"], a["reason"] or _WORDS.get(a["outcome"], UNKNOWN))
            grouped.setdefault(key, []).append(a)
    if not grouped:
        return None
    done = {a["task"] for a in view.attempts if a["outcome"] in GOOD}
    rows = [
        (
            stage,
            outcome,
            number(len(lines)),
            number(len({x["task"] for x in lines} & done)),
            ", ".join(sorted({_worker(x) for x in lines if x["host"]})[:3]) or UNKNOWN,
            reason,
        )
        for (stage, outcome, reason), lines in grouped.items()
    ]
    return table(
        "Attempts that did not succeed",
        ("stage", "outcome", "attempts", "tasks done later", "worker", "why"),
        rows[:MOST_ROWS],
        (0, 1, 4, 5),
        note=_rest(len(rows)),
    )


def _rest(n: int) -> str:
    return (
        f"The first {MOST_ROWS} of {n}; all are in run.json and tables/trace.parquet."
        if n > MOST_ROWS
        else ""
    )


def _worker(attempt: Line) -> str:
    job = f", job {attempt['job_id']}" if attempt["job_id"] else ""
    return f"{attempt['host']} {attempt['worker_pid']}{job}"


def _excerpts(view: RunView) -> list[Html]:
    """The ends of the logs that belong to what failed, each once."""
    named = [*(f.get("log") for f in view.facts.get("failures", [])), *(b.get("log") for b in view.blocks)]
    paths = [path for name in named if name and (path := _own(view, Path(name)))]
    paths += [p for p in sorted((view.log_dir / "failures").glob("*.txt")) if _inside(view, p)]
    paths += [p for a in view.attempts if a["outcome"] in ("lost", "oom") and (p := _worker_log(view, a))]
    unique = list(dict.fromkeys(paths))
    found = [(path, text) for path in unique[:MOST_EXCERPTS] if (text := tail(path))]
    out = [details(f"Log: {path.relative_to(view.bundle.root)}, its end", code(text)) for path, text in found]
    if len(unique) > MOST_EXCERPTS:
        out.append(tag("p", f"{many(len(unique) - MOST_EXCERPTS, 'more log')} in {view.log_dir}."))
    return out


def _own(view: RunView, path: Path) -> Path | None:
    """A log's place in the bundle as it lies now: it may have been moved since it was written."""
    parts = path.parts
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == "log":
            return _inside(view, view.bundle.root.joinpath(*parts[i:]))
    return None


def _inside(view: RunView, path: Path) -> Path | None:
    """A file of the bundle's logs, and no other: names come from records that anybody may have written."""
    try:
        inside = path.resolve().is_relative_to(view.log_dir.resolve())
        return path if inside and path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _worker_log(view: RunView, attempt: Line) -> Path | None:
    if not attempt["host"]:
        return None
    return _inside(view, view.bundle.worker_logs / f"{attempt['host']}-{attempt['worker_pid']}.jsonl")


def tail(path: Path) -> str:
    """The last lines of a log, not more than fit on a page."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END_BYTES))
            end = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = end.strip().splitlines()[-EXCERPT_LINES:]
    text = "\n".join(lines)
    return text if len(text) <= MOST_CHARACTERS else "…" + text[-MOST_CHARACTERS:]

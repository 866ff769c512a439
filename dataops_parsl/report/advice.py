"""What was asked for against what was used, and what to ask for in the next run, word for word."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dataops_parsl.report.html import Html, code, join, table, tag
from dataops_parsl.report.view import RunView
from dataops_parsl.report.words import UNKNOWN, duration, number, percent, short_duration

HEADROOM = 1.3
"""What is advised is so many times the largest use: another film may hold more cells."""
_TIGHT, _LAVISH = 0.85, 2.0
"""Use above this share of what was asked for is tight; asking for so many times the advice is too much."""
_WALLTIMES_MIN = (10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440, 2880, 4320, 10080)


@dataclass(frozen=True)
class Use:
    """A stage's share of a worker, and what it took of it.

    Parameters
    ----------
    asked_gb, used_gb : float or None
        Memory of one worker, GB of 2**30 bytes.
    asked_min : int or None
        Walltime of a block; None on a single machine.
    longest_task_s, longest_block_s : float or None
    """

    stage: str
    asked_gb: float | None
    used_gb: float | None
    over: bool
    asked_min: int | None
    longest_task_s: float
    longest_block_s: float | None


@dataclass(frozen=True)
class Change:
    """One key to set: in which table, to what, and why."""

    table: str
    key: str
    value: float
    why: str


def uses(view: RunView) -> list[Use]:
    """Of each stage that computed anything."""
    cluster = _site(view).get("kind") == "slurm"
    ended = [b for b in view.blocks if "running" in b]
    out = []
    for stage in view.stages:
        mine = [a for a in view.attempts if a["stage"] == stage]
        took = [a["ended"] - a["started"] for a in view.ran if a["stage"] == stage]
        if not took:
            continue
        asked = view.facts.get("resources", {}).get(stage, {})
        used = [a["max_rss_mb"] for a in mine if a["max_rss_mb"]]
        where = {a["executor"] for a in mine}
        blocks = [b["ended"] - b["running"] for b in ended if b["executor"] in where]
        out.append(
            Use(
                stage,
                asked.get("mem_gb"),
                max(used) / 1024 if used else None,
                any(a["outcome"] == "oom" for a in mine),
                asked.get("walltime_min") if cluster else None,
                max(took),
                max(blocks, default=None) if cluster else None,
            )
        )
    return out


def changes(view: RunView) -> list[Change]:
    """What to set for the next run of this kind; none where what was asked for fits."""
    return [*_workers(view), *_by_table(view, "mem_gb"), *_by_table(view, "walltime_min")]


def _site(view: RunView) -> Mapping[str, Any]:
    site: Mapping[str, Any] = view.facts.get("config", {}).get("site", {})
    return site


def _workers(view: RunView) -> Iterator[Change]:
    """On one machine more workers than cores only take memory."""
    workers = view.facts.get("config", {}).get("workers")
    cores = (view.facts.get("starts") or [{}])[-1].get("cores")
    if _site(view).get("kind") == "local" and workers and cores and workers > cores:
        yield Change("", "workers", cores, f"{workers} workers shared {cores} cores of this machine")


def _by_table(view: RunView, key: str) -> Iterator[Change]:
    """One change for each table that holds the key: stages without a key of their own share the default."""
    own = view.facts.get("config", {}).get("resources", {})
    shared: dict[str, list[Use]] = {}
    for use in uses(view):
        name = use.stage if key in own.get(use.stage, {}) else "default"
        shared.setdefault(f"resources.{name}", []).append(use)
    for name, many in shared.items():
        change = _memory(name, many) if key == "mem_gb" else _walltime(name, many, _site(view))
        if change is not None:
            yield change


def _memory(name: str, many: list[Use]) -> Change | None:
    known = [u for u in many if u.used_gb is not None and u.asked_gb]
    if not known:
        return None
    most = max(known, key=lambda u: u.used_gb or 0.0)
    asked, used = most.asked_gb or 0.0, most.used_gb or 0.0
    value = memory_gb(used)
    if any(u.over for u in known):
        value = max(value, memory_gb(asked))
        return Change(name, "mem_gb", value, f"{asked:g} GB were not enough for {most.stage}")
    if used > _TIGHT * asked:
        return Change(name, "mem_gb", value, f"{most.stage} used {used:.2g} of {asked:g} GB: that is tight")
    if asked >= _LAVISH * value:
        return Change(
            name, "mem_gb", value, f"was {asked:g}; the most that was used is {used:.2g} GB, by {most.stage}"
        )
    return None


def memory_gb(used_gb: float) -> float:
    """Memory to ask for: with headroom, at least 1 GB, in halves up to 8 GB and whole ones above."""
    wanted = max(1.0, HEADROOM * used_gb)
    return math.ceil(wanted * 2) / 2 if wanted <= 8 else float(math.ceil(wanted))


def _walltime(name: str, many: list[Use], site: Mapping[str, Any]) -> Change | None:
    known = [u for u in many if u.asked_min and u.longest_block_s is not None]
    if not known:
        return None
    asked = max(u.asked_min or 0 for u in known)
    longest = max(known, key=lambda u: u.longest_task_s)
    block_s = max(u.longest_block_s or 0.0 for u in known)
    drain_min = float(site.get("slurm", {}).get("drain_min", 10))
    value = walltime_min(longest.longest_task_s, block_s, drain_min)
    if longest.longest_task_s > 60 * asked / 2:
        return Change(
            name,
            "walltime_min",
            value,
            f"a task of {longest.stage} took {duration(longest.longest_task_s)} of {asked} min",
        )
    if asked >= _LAVISH * value:
        return Change(
            name,
            "walltime_min",
            value,
            f"was {asked}; no block lived longer than {duration(block_s)}, and short ones start sooner",
        )
    return None


def walltime_min(longest_task_s: float, longest_block_s: float, drain_min: float) -> int:
    """Walltime to ask for: 1.5 of the longest block, and at least two of the longest tasks and the drain."""
    wanted = max(1.5 * longest_block_s / 60, 2 * longest_task_s / 60 + drain_min)
    return next((w for w in _WALLTIMES_MIN if w >= wanted), math.ceil(wanted))


def as_toml(found: list[Change]) -> str:
    """The changes as TOML, the reasons as comments."""
    lines: list[str] = []
    at = ""
    for change in sorted(found, key=lambda c: c.table):
        if change.table != at:
            lines += ([""] if lines else []) + [f"[{change.table}]"]
            at = change.table
        lines.append(f"{change.key} = {change.value:g}  # {change.why}")
    return "\n".join(lines)


def advice(view: RunView) -> Html:
    """The table, and what to change."""
    found = uses(view)
    if not found:
        return tag("p", "Nothing was computed in this run, so that nothing can be advised.")
    cluster = any(u.asked_min for u in found)
    head = ["stage", "memory asked, GB", "used at most, GB", "used", "longest task"]
    head += ["walltime asked", "longest block"] if cluster else []
    rows = [(*_memory_cells(u), *(_time_cells(u) if cluster else ())) for u in found]
    told = (
        "Memory: of one worker, the largest resident memory of any attempt."
        if cluster
        else "Memory: of one worker, the largest resident memory of any attempt. On a single machine no "
        "scheduler is asked; mem_gb is what a worker may use here, and what a cluster would be asked for."
    )
    return join(
        [table("Asked for and used, by stage", head, rows, note=told), _what_to_change(changes(view))]
    )


def _memory_cells(use: Use) -> tuple[str, ...]:
    share = use.used_gb / use.asked_gb if use.used_gb is not None and use.asked_gb else None
    return (
        use.stage,
        number(use.asked_gb),
        number(use.used_gb),
        percent(share) + (" and more" if use.over else ""),
        short_duration(use.longest_task_s),
    )


def _time_cells(use: Use) -> tuple[str, ...]:
    asked = UNKNOWN if use.asked_min is None else f"{use.asked_min} min"
    return asked, UNKNOWN if use.longest_block_s is None else duration(use.longest_block_s)


def _what_to_change(found: list[Change]) -> Html:
    heading = tag("h3", "For the next run")
    if not found:
        return join([heading, tag("p", "Nothing to change: what was asked for fits what was used.")])
    top, tables = [c for c in found if not c.table], [c for c in found if c.table]
    made = [heading]
    for changes_there, before, after in (
        # Below a table's head it would be a key of that table.
        (top, "Put this at the top of ", ", above every table:"),
        (tables, "Put this into ", "; where a table is there already, change its key:"),
    ):
        if changes_there:
            made.append(tag("p", before, tag("code", "configs/config.user.toml"), after))
            made.append(code(as_toml(changes_there)))
    return join([*made, tag("p", "Results do not depend on it.")])

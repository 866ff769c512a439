"""What each stage cost, and how well the workers were used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dataops_parsl.report.html import Html, join, table, tag
from dataops_parsl.report.view import GOOD, RunView
from dataops_parsl.report.words import UNKNOWN, duration, number, percent, short_duration

_HEAD = (
    "stage",
    "tasks",
    "failed or lost",
    "worker time",
    "share",
    "CPU time",
    "CPU used",
    "core-hours",
    "GPU-hours",
    "median task",
    "longest task",
)


@dataclass(frozen=True)
class StageCost:
    """What the attempts of a stage cost, lost ones too.

    Attributes
    ----------
    tasks, again : int
        Tasks; attempts after which something had to be done again.
    wall_s, cpu_s : float
        Time of workers; of their processors.
    core_h, gpu_h : float
        Time of workers times the cores, and the cards, that each asked for.
    median_s, longest_s : float
        Of an attempt.
    cores : int
        That a worker asked for.
    peak_mb : float or None
        Largest resident memory of an attempt, MiB.
    """

    stage: str
    tasks: int
    again: int
    wall_s: float
    cpu_s: float
    core_h: float
    gpu_h: float
    median_s: float = 0.0
    longest_s: float = 0.0
    cores: int = 1
    peak_mb: float | None = None


def stage_costs(view: RunView) -> list[StageCost]:
    """The stages that computed something, in order of the workflow."""
    ran: dict[str, list[Mapping[str, Any]]] = {}
    for attempt in view.ran:
        ran.setdefault(attempt["stage"], []).append(attempt)
    again = Counter(a["stage"] for a in view.attempts if a["outcome"] not in GOOD)
    found = []
    for stage in view.stages:
        if stage not in ran:
            continue
        mine = ran[stage]
        took = [_took(a) for a in mine]
        cores = view.facts.get("resources", {}).get(stage, {}).get("cores", 1)
        found.append(
            StageCost(
                stage=stage,
                tasks=len({a["task"] for a in mine}),
                again=again[stage],
                wall_s=sum(took),
                cpu_s=sum(a["cpu_s"] or 0.0 for a in mine),
                core_h=sum(took) * cores / 3600,
                gpu_h=sum(_took(a) * _cards_of(view.facts, a["executor"] or "") for a in mine) / 3600,
                median_s=median(took),
                longest_s=max(took),
                cores=cores,
                peak_mb=max((a["max_rss_mb"] for a in mine if a["max_rss_mb"]), default=None),
            )
        )
    return found


def in_all(found: Sequence[StageCost]) -> StageCost:
    """All stages together; the cores are the most that one asked for."""
    return StageCost(
        stage="all",
        tasks=sum(own.tasks for own in found),
        again=sum(own.again for own in found),
        wall_s=sum(own.wall_s for own in found),
        cpu_s=sum(own.cpu_s for own in found),
        core_h=sum(own.core_h for own in found),
        gpu_h=sum(own.gpu_h for own in found),
        cores=max((own.cores for own in found), default=1),
        peak_mb=max((own.peak_mb for own in found if own.peak_mb), default=None),
    )


def charged_hours(facts: Mapping[str, Any], trace: pa.Table) -> tuple[float, float]:
    """Core-hours and GPU-hours of a run, as `stage_costs` sums them, without a list of its attempts.

    Parameters
    ----------
    facts : mapping
        Its ``run.json``.
    trace : pa.Table
        Columns stage, executor, started, ended of its `trace`.
    """
    took = pc.max_element_wise(pc.subtract(trace["ended"], trace["started"]), 0.0, skip_nulls=False)
    rows = trace.select(["stage", "executor"]).append_column("took_s", took)
    core_s = gpu_s = 0.0
    for row in rows.group_by(["stage", "executor"]).aggregate([("took_s", "sum")]).to_pylist():
        took_s = row["took_s_sum"] or 0.0
        core_s += took_s * facts.get("resources", {}).get(row["stage"], {}).get("cores", 1)
        gpu_s += took_s * _cards_of(facts, row["executor"] or "")
    return core_s / 3600, gpu_s / 3600


def costs(view: RunView) -> Html:
    """A table of stages and one of executors."""
    if not view.attempts:
        return tag("p", "Nothing was computed in this run, so that it cost nothing.")
    return join([_stages(view), _executors(view)])


def _stages(view: RunView) -> Html:
    gpu = has_gpus(view.facts)
    found = stage_costs(view)
    all_s = sum(own.wall_s for own in found)
    rows = [
        (own.stage, *_cells(own, all_s), short_duration(own.median_s), short_duration(own.longest_s))
        for own in found
    ]
    rows.append(("all", *_cells(in_all(found), all_s), UNKNOWN, UNKNOWN))
    head = list(_HEAD)
    if not gpu:
        rows = [row[:8] + row[9:] for row in rows]
        head.remove("GPU-hours")
    return table(
        "Cost of each stage",
        head,
        rows,
        note="Worker time: of all attempts, those that were lost too. CPU used: CPU time over worker "
        "time times cores; below 100 % a worker waits for the disk, or for a core that it shares.",
    )


def _took(attempt: Mapping[str, Any]) -> float:
    return max(0.0, float(attempt["ended"]) - float(attempt["started"]))


def _cells(own: StageCost, all_s: float) -> tuple[str, ...]:
    wall = own.wall_s
    return (
        number(own.tasks),
        number(own.again),
        duration(wall),
        percent(wall / all_s if all_s else None),
        duration(own.cpu_s),
        percent(own.cpu_s / (wall * own.cores) if wall else None),
        hours(own.core_h),
        hours(own.gpu_h),
    )


def hours(value: float) -> str:
    """Hours as they are charged."""
    if value == 0:
        return "0"
    return "< 0.001" if 0 < value < 0.001 else f"{value:.3f}" if value < 1 else number(value, 3)


def cards(gres: str) -> int:
    """Cards of one worker, by its generic resources: ``gpu:a100:2`` is 2, ``gpu`` is 1."""
    if not gres.startswith("gpu"):
        return 0
    found = re.search(r":(\d+)$", gres)
    return int(found.group(1)) if found else 1


def has_gpus(facts: Mapping[str, Any]) -> bool:
    """Whether any worker of a run asked for a card."""
    return any(cards(gres) for gres in facts.get("executor_gres", {}).values())


def _cards_of(facts: Mapping[str, Any], executor: str) -> int:
    """Cards that a worker asked for; an executor with more memory asks for those of the one it came from."""
    asked = facts.get("executor_gres", {})
    return cards(asked.get(executor, asked.get(executor.rpartition("_with_")[0], "")))


def _executors(view: RunView) -> Html:
    rows = [
        (
            row["executor"] or UNKNOWN,
            number(row["blocks"]),
            number(row["attempts"]),
            number(row["lost"]),
            duration(row["waiting_s"]),
            duration(row["worker_s"]),
            duration(row["busy_s"]),
            percent(None if row["idle_frac"] is None else 1 - row["idle_frac"]),
        )
        for row in view.facts.get("executors", [])
    ]
    return table(
        "Executors: workers of one kind",
        ("executor", "blocks", "attempts", "lost", "in the queue", "paid", "computing", "efficiency"),
        rows,
        note="Paid: time of blocks times their workers, start and idling included. Efficiency: computing "
        "over paid.",
    )
